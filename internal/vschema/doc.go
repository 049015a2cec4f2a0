// Package vschema holds a keyspace's VSchema: which tables are sharded, by which vindex on which columns, and where their sequences are.
//
// # Model
//
// The JSON form is Vitess's. A [Keyspace] has named vindexes and tables; a sharded [Table] has column vindexes, the first of which, the
// primary one, places the row. A reference table has a copy in every shard; a sequence table gives ids and lives in an unsharded
// keyspace; auto_increment ties a column to a sequence, written "keyspace.table".
//
// # Invariants
//
// A Keyspace that Parse has returned is sound by itself: every vindex that is named exists and is of a known type, every sharded table can
// place its rows. What a parser cannot see (whether the columns exist, whether another keyspace has the sequence) is checked by those who see
// both. Parse and String are inverses, and String is canonical.
//
// # Concurrency
//
// A Keyspace is never changed once it is parsed, and may be shared.
//
// # Failure
//
// Parsing is strict: an unknown key is an error, because a misspelt "column_vindexes" would otherwise be a table without sharding. Parts of Vitess's
// VSchema that this program does not have (lookup vindexes with owners are among them) are such unknown keys or types.
package vschema
