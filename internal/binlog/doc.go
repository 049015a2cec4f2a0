// Package binlog reads a MySQL server's binary log over a dump connection, cuts it into transactions, and shares what it reads between
// any number of readers.
//
// # Model
//
//	                                                 ┌▶ Reader (on the ring)
//	mysqld ──dump──▶ decoder ──▶ ring (64 MiB) ──────┼▶ Reader (on the ring)
//	   │                hub                          └▶ Reader (too slow: leaves, comes back)
//	   └────dump──▶ decoder ──▶ queue (4 MiB) ─────────▶ Reader (in the past: alone until it meets the ring)
//
// A Reader yields Events in binlog order. A Transaction carries the row events of the tables that its user follows, as the bytes that
// the server sent; nothing is decoded here. A table that nobody follows costs the header of its table map. A DDL is a
// statement that changes tables or databases, with the names of what it touches. A Mark says how far the log was read while
// nothing happened for the user: heartbeats and file switches.
//
// A [Hub] has one dump connection for all its readers and keeps the newest events in a ring, with the rows of the tables that a present
// reader follows. A transaction in the ring says of which other tables it had rows. A reader that comes with such a table reads on a
// connection of its own as long as the ring lacks rows of it behind the reader's position, and joins behind them. The union
// of what the readers follow is asked for each table map, and again when a reader has come or gone; a reader counts before its place is
// looked for, so that it waits only for what was left out before. What was being read at that moment it meets on the ring, and leaves
// before it. Rows of prepared XA transactions are kept whoever follows them. Each reader
// filters for itself. A reader whose position is not on the ring, because it starts in the past or was too slow, reads on a
// connection of its own and joins the ring at exactly the place where its position is that of the ring: compared as GTID sets, between
// two transactions. Coordinates would not do, since two readers at the same place of the log may lack different transactions before it.
// [Open] is a single connection without a hub, [OpenFile] reads files.
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
//     XA COMMIT; then one Transaction carries the GTIDs of both. What is too much to hold (64 MiB for all that are prepared) is read again
//     from the source then, over a connection of its own: docs/decisions/016.
//   - B3: coordinates never run ahead of what was yielded.
//   - B4: a Reader is opened only at a position that the source can serve: gtid_purged ⊆ position ⊆ gtid_executed.
//   - B5: a reader that is slower than another never slows it. Memory is bounded: a ring for a hub, a queue for a connection of a
//     reader's own, one segment of the ring for a reader that has stopped in the middle of it.
//
// # Concurrency
//
// A dump connection has one goroutine, which reads, verifies checksums, decodes, and puts what it finds into the ring or the queue. Events
// are slices of the buffers that the socket was read into; they are shared and read-only. A reader on the ring has no goroutine. Poll
// runs in its caller. Locks are taken in the order reader, hub, ring.
//
// A full queue stops the reading of the socket, and so the server. The hub stops reading when its fastest reader is half a ring
// behind: what would come now, nobody could use, and with ten streams that catch up together one connection serves them all.
// A reader that is ahead of a hub that waits so makes it jump to its own place.
//
// # Failure
//
// A hub and its readers connect again by themselves after a cut or a restart of the server, from the last complete transaction; parts
// of the next that were passed on already are not passed on again. They end with an error when the source was not to be heard for
// timeouts.SourceGone, has lost what comes next, or is another server than before; and when an event comes damaged for the third time in a
// row, which means that it is so on the source's disk. A reader of Open ends with the cut. docs/change-source.md lists what is read, passed
// and refused, line by line.
//
// What the hub itself cannot decide, because it depends on what a reader follows or where it began (a rollback that cannot be
// undone, the commit of an XA transaction whose begin is older than the hub), becomes a barrier in the ring: each reader that
// meets it goes on with a connection of its own, which passes the transaction or refuses it. The hub skips it.
package binlog
