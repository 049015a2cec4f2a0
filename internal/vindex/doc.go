// Package vindex holds the sharding functions: from the values of a row's vindex columns to its keyspace ID.
//
// # Model
//
// A vindex is a named function of a type. Its input are canonical cells (package rowimage), its output the bytes that a key
// range is compared with. The functions are those of Vitess, bit for bit, so that a sharded database can move between the two:
//
//	hash                  DES with the null key over the value as 8 bytes, big endian (Vitess calls it a null-key hash)
//	numeric               the value as 8 bytes, big endian
//	reverse_bits          the same with its 64 bits reversed
//	binary                the bytes themselves
//	binary_md5            MD5 of the bytes
//	xxhash                XXH64 of the bytes, little endian
//	unicode_loose_md5     MD5 of the string's primary collation weights (case, accents and trailing spaces make no difference)
//	unicode_loose_xxhash  XXH64 of the same
//	null                  the ID 00 for every value
//
// Hash and xxhash also map many integers at once ([OfNumbers]), without their text: what a stream that filters by key range needs for each
// event. DES with a key of zeros is done by tables of its own.
//
// # Invariants
//
// The same cells give the same keyspace ID in every process and every release: a vindex that changed would lose rows. Known vectors
// and Vitess's own golden file are in the tests.
//
// # Concurrency
//
// A Vindex is immutable and safe for use by many goroutines.
//
// # Failure
//
// A cell that the function cannot map (NULL, a word where a number is wanted, invalid UTF-8) is an error. It is never mapped to some
// default: a row in the wrong shard is lost.
package vindex
