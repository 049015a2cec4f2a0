// Package storm makes random schemas and random changes for tests of everything that moves data: what an application, or ten of them, could do
// to a MySQL server at once, and what hurts a replica most.
//
// # Model
//
//	seed ──▶ Generator ──▶ Unit, Unit, … ──▶ Storm ──▶ session 1 ─┐
//	             ▲                                ├──▶ session 2 ─┼──▶ mysqld
//	             └── what became of a DDL ────────┴──▶ session n ─┘
//
// A [Unit] is what one session does in one go: a transaction, a statement, the begin of an XA transaction, its end in another session, a DDL.
// The [Generator] makes them one after the other from the seed, and knows the tables that its DDL has made. A [Storm] runs them in several
// sessions at once; each session has settings of its own (partial JSON, compression, SQL modes, isolation). It rides over a server that dies and comes back.
//
// Keys come from small domains, so that sessions meet on them: rows are deleted and their keys used again, unique values wander from row to
// row, keys of rows change, statements fail half-way and transactions roll back.
//
// A [Model] is what a reader of the change stream makes of it: tables in memory, as multisets of canonical rows. A [Proxy] cuts connections.
// A [Witness] writes rows from which a reader can see whether a state of them ever existed.
//
// # Invariants
//
// The units, and the session that each is given to, depend on the seed and on which DDL succeeded, on nothing else. How the sessions
// interleave is the server's business; with one session a run is the same each time.
//
// # Failure
//
// Statements fail all the time (duplicate keys, deadlocks, tables that are gone); the errors that may happen are listed, any other ends the
// storm. [Counts] tell how much was done, so that a test can refuse a storm in which nothing happened.
package storm
