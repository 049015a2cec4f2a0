// Package binlog reads a MySQL server's binary log over a dump connection and cuts it into transactions.
//
// # Model
//
//	mysqld ──dump──▶ queue (bytes-bounded) ──▶ decoder ──▶ Transaction | DDL | Mark
//
// A Reader yields Events in binlog order. A Transaction carries the row events of the tables that its user follows, as the bytes that
// the server sent; nothing is decoded here. A table that nobody follows costs the header of its table map. A DDL is a
// statement that changes tables or databases, with the names of what it touches. A Mark says how far the log was read while
// nothing happened for the user: heartbeats and file switches.
//
// Positions are GTID sets and belong to the user of a Reader, who adds the GTIDs of each finished Transaction and DDL. Coordinates
// (file and offset) are kept beside them for one purpose: to know when the stream has passed a point of the log that
// SHOW BINARY LOG STATUS named (vstream's windows).
//
// A big transaction comes in fragments: the first has First, the last has Last. A transaction is complete, and its
// GTID may count as read, only with Last.
//
// # Invariants
//
//   - B1: every event is either understood, or carries the flag that says it may be ignored, or ends the reader with a
//     Refusal that names the event, its GTID and the remedy. Nothing that could change a followed row is passed over in silence.
//   - B2: the GTIDs that a Reader yields, added to the position it was opened with, are a position from which another Reader
//     goes on without gap or repetition. The prepared part of an XA transaction is held back, and its GTID with it, until the
//     XA COMMIT; then one Transaction carries the GTIDs of both.
//   - B3: coordinates never run ahead of what was yielded.
//   - B4: a Reader is opened only at a position that the source can serve: gtid_purged ⊆ position ⊆ gtid_executed.
//
// # Concurrency
//
// go-mysql's goroutine reads the connection, verifies checksums and pushes events into the queue; a second waits for its end. The
// decoder runs in the caller of Poll; a Reader has one user. A full queue stops the reading of the socket, and so the server.
//
// # Failure
//
// A cut connection ends the reader with an error after everything that came before the cut was yielded. A
// transaction that was half received is never marked Last: its user drops it, and gets it again from the next Reader.
// Nothing reconnects here.
package binlog
