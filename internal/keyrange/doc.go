// Package keyrange holds the key space: ranges of keyspace IDs and partitions of the whole space into shards.
//
// # Model
//
// A keyspace ID is a string of bytes. IDs are compared byte by byte, and a prefix sorts before what it begins. A [Range] is
// [Start, End): Start belongs to it, End does not, and an empty bound is open. It is written in hex as "-80", "80-", "40-80";
// "-" is everything, and so is "0", the name that an unsharded keyspace gives its only shard.
//
// # Invariants
//
// Shards of a keyspace partition the space: every keyspace ID belongs to exactly one. [CheckPartition] proves it and names the
// gap or the overlap otherwise. Trailing zero bytes are significant in an ID but not in a bound of a shard: "80-" and "8000-"
// differ by the single ID 0x80, which a partition must not lose, so they are different bounds here too.
//
// # Concurrency
//
// Ranges are values that nothing in this package changes.
//
// # Failure
//
// Everything is pure. Parse refuses what it does not understand and says why.
package keyrange
