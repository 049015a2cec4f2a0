// Package sqlast parses SQL and shows what routing needs to know of it, in small types of its own. Nothing else in the
// program sees the parser (Vitess's): it can be replaced here.
//
// # Model
//
// [Parse] makes a [Statement]: its text, its [Kind], and the tree if the parser understands it. Views are computed when asked:
//
//	Tables     every table that the statement names
//	Blocks     the query blocks (SELECTs inside one another) with the conditions that tie their columns to values and to each other
//	Select     one block as a plan sees it: items, aggregates, grouping, order, limit; Edit changes a copy and prints it
//	Insert, Update, Delete, Set, Show, …
//
// A statement that the parser does not know has a Kind by its first word and Err set: a gate may still send it, unchanged, to a
// server that knows it.
//
// # Invariants
//
//   - Text that is not changed is never printed from the tree: what goes to one server is what the client wrote.
//   - When a tree is printed, the names of result columns stay those that MySQL would derive from the original text.
//   - A condition is reported only if it must hold for every row that the block returns or touches.
//
// # Concurrency
//
// A Statement belongs to one goroutine. Views that change something work on a copy of the tree.
//
// # Failure
//
// The parser reads SQL as MySQL's default sql_mode does. ANSI_QUOTES, NO_BACKSLASH_ESCAPES, PIPES_AS_CONCAT and
// HIGH_NOT_PRECEDENCE change the grammar; sessions with them must not be parsed here (see [GrammarMode]).
package sqlast
