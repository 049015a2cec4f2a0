// Package apply writes a stream's changes to the target: transactions become SQL, several of them one commit, and the stream's
// position commits with them.
//
// # Model
//
//	Transaction ─▶ Batch (text of one packet) ─▶ one round trip ─▶ COMMIT with the position
//	  changes        consecutive rows of a kind: one statement
//
// A [Table] is a source table's definition bound to its target's: the parts of statements that do not change. A [Batch] is a
// packet under construction, a reused buffer. An [Applier] collects transactions into a commit group: those that were received already, up
// to a bound; it never waits to fill one, so without a backlog a group is one transaction.
//
// What a change finds on the target depends on the table's [Mode]:
//
//	Upsert     it is being copied: a row may be missing or there. Insert and update are an upsert of the full row, an update of
//	           the key also deletes the old key, a delete may find nothing (W1).
//	Strict     it is copied: an insert that finds a row, an update or delete that finds none, is a divergence and stops the stream.
//	Merge      several streams write to it: inserts take free keys only, updates and deletes reach only rows that still have the
//	           vindex columns of their before image. What was in the way shows in the counts, and the owner of the stream keeps
//	           those rows until their place is free.
//
// # Invariants
//
//   - A1: data and position commit together, or neither does. What a lost COMMIT did is read from the position.
//   - Nothing of a failed transaction stays, and the failure names transaction, table and key ([Failure]).
//   - A change costs no allocation once the buffers have grown.
//
// # Why two round trips when rows may be missing
//
// A packet "BEGIN; …; UPDATE position; COMMIT" is one round trip, but the server runs its COMMIT whatever its UPDATEs have found. So
// a packet with strict updates or deletes is sent without its end, the counts of found rows are compared, and the end follows. The
// alternatives (a check after each statement that raises an error, a counter in a user variable) cost the server more than
// the round trip, which a group shares. Inserts and upserts cannot miss: they stay at one.
//
// # Concurrency
//
// An Applier and its session belong to one goroutine. Nothing here starts another.
//
// # Failure
//
// Deadlocks and lock timeouts repeat the whole packet. A group that fails otherwise is rolled back and applied transaction by
// transaction, a row per statement, until the one that fails stands alone; those before it are applied. A transaction larger than
// a packet is sent in parts inside of one open transaction; if MySQL rolls that back, the stream has to be read again from
// the saved position ([ErrRepeat]). A lost connection ends the Applier; its owner opens a session and reads the position.
package apply
