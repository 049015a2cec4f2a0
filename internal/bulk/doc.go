// Package bulk writes copied rows to a table of the target, as fast as the target takes them.
//
// # Model
//
// A [Table] is a source table bound to its target: the statements, and how each column's cells travel. A [Writer] writes rows through any
// session, with one of two methods behind one contract:
//
//	LOAD DATA LOCAL INFILE, from memory    where the target has local_infile=ON
//	REPLACE … VALUES (…), (…), …           elsewhere, and for what LOAD DATA has a warning
//
// Cells are canonical ones (package rowimage): their bytes are the column's, so nothing is converted on the way. LOAD DATA reads under CHARACTER SET
// binary. Three types need more: a BIT travels as its bytes; an ENUM or a SET as its number, through CAST (a text of digits could be the name
// of another member); JSON through CONVERT, because MySQL makes no document of a binary string.
//
// # Invariants
//
//   - What is written reads back as the same cells, for every type, with both methods. One suite checks both.
//   - A chunk's rows may be on the target already, with the same values (W1: a change of a row that has yet to be copied was applied as an
//     upsert). Both methods replace: the row is the same afterwards, and a row that somebody else wrote gives way to the source's.
//     Ignoring duplicates would be as exact, but its warnings would hide those of values that do not fit.
//   - A warning is an error. Only one is expected: an ENUM that holds none of its members says so when it is written.
//   - A row costs no allocation; memory is one buffer a call, whatever the rows' number and size.
//
// # Concurrency
//
// A Table is immutable. A Writer is used by any number of goroutines, each with a session of its own.
//
// # Failure
//
// Write runs inside of the caller's transaction and leaves its decision to the caller. After an error the transaction must be rolled back; the
// rows can be written again.
package bulk
