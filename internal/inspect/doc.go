// Package inspect looks at a span of a binlog: what is in it, how parallel it could be applied, what made its volume, and the rows themselves. It
// changes nothing and follows nothing; it is what `braid binlog` prints.
//
// # Model
//
//	Source (server or files) ──Scan(Span)──▶ Sink: Begin, Rows…, End for each transaction
//
// A [Source] is the log of a server, or log files. A [Span] is a part of it, by GTIDs, by time, or by number. [Source.Scan] reads it once and hands
// each transaction to a [Sink]; the sinks are:
//
//	Groups       which transactions could run together, and what each must wait for
//	Parallelism  the shape of these dependencies, and what workers would gain
//	Top          which tables, statements, sizes and rows made the volume, against the span before
//	Tail         the transactions with their rows
//
// Rows are read with the table's definition: the server's, where it still fits the log, else what the log itself says of the table, which is
// names and primary key with binlog_row_metadata=FULL and types alone (columns @1, @2, …) without.
//
// # Commit order
//
// Which transactions ran together on the source stood in last_committed once. Servers since 8.4 lower it by writesets, so that it only says what
// a replica may do. Groups by commit order add what the log still proves: transactions of one session never ran together, and
// transactions that committed more than commitWindow apart are taken as having run one after the other.
//
// # Invariants
//
//   - I1: memory does not grow with the span, with three bounds that the output names when they are reached: tables that are counted,
//     rows that compete for being hot (the space-saving sketch keeps those that matter), transactions of Parallelism.
//   - I2: what cannot be read exactly (statements, partial images) is counted and noted, never left out in silence.
//
// # Concurrency
//
// A Scan runs in its caller. Sinks belong to one scan at a time.
//
// # Failure
//
// An error ends the scan; what was handed to the sink before is right. A server's log is not reconnected to.
package inspect
