// Package rows writes the changes of source transactions through one MySQL session: which statements a change becomes, what each of them
// must find, and which change it was when one has failed.
//
// # Model
//
//	Session.Add ─▶ pending ─▶ fold, or the source's order ─▶ Batch: statements, packets ─▶ ExecBatch ─▶ counts, errors ─▶ Failure
//
// A [Table] is a source table's definition bound to its target's: all that does not change from row to row. [Tables] says which Table a
// change belongs to; a [View] of it stays as it is, so that a transaction is written under the definition that it was received under. A
// [Session] buffers changes, sends them in few packets, and commits them with the statements that record progress.
//
// What a change finds on the target depends on the table's [Mode]:
//
//	Upsert     it is being copied: a row may be missing or there. Insert and update write the full row over what is there, an update of
//	           the key also deletes the old key, a delete may find nothing (W1).
//	Strict     it is copied: an insert that finds a row, an update or delete that finds none, is a divergence and stops the stream.
//	Merge      several streams write to it: inserts take free keys only, updates and deletes reach only rows that still have the
//	           vindex columns of their before image. What was in the way shows in the counts, and the owner of the stream keeps
//	           those rows until their place is free.
//
// Two writers have one contract and one test suite, and [Table.Writer] says which it is and why:
//
//	native   the binlog's own row images, in BINLOG statements: nothing is converted, no type has a text form that could lose something
//	sql      multi-row INSERT, DELETE … IN, INSERT … ON DUPLICATE KEY UPDATE, made of the canonical cells
//
// The SQL writer takes tables of mode Merge, targets with a column of their own before one of the source's (a server matches columns by their
// place), the time formats of servers before 5.6, rows that do not fit a packet in base64, and everything if the account lacks
// BINLOG_ADMIN. Both may be in one transaction.
//
// # The fold
//
// Inside of one transaction of the target nobody sees the states in between, so of several changes of a row only the outcome is written, and the
// changes of a table stand together: deletes, updates, inserts. The proof that no unique key is hurt is at the type fold. Left as they are,
// in the source's order: tables that foreign keys tie to others, unless these are not looked at; tables with columns of the target's own; tables
// without a key; mode Merge.
//
// # Invariants
//
//   - R1: what is written is what the source has at the end of the transaction, byte by byte, with the one exception of the SQL writer that
//     rowimage.AppendLiteral names (a DECIMAL or a time inside a JSON document).
//   - R2: nothing is committed before everything was found that must be found. A row is found by its key; whether its other cells are what the
//     source had is not looked at, which is vdiff's work.
//   - R3: a failure of one row alone (Session.Single, or a part of a large transaction) names transaction, table, key, and both versions.
//   - R4: foreign keys are looked at when the session does, and not for a change that the source made without, or whose consequences are in
//     the binlog themselves (MySQL 9.6 and later).
//   - R5: no packet is larger than the target's max_allowed_packet.
//   - A change costs no allocation once the buffers have grown.
//
// # What a server does with BINLOG (measured on 9.7)
//
//   - A FORMAT_DESCRIPTION event comes first, once a session; ours is made here and says that events have no checksums. It leaves gtid_next
//     as something that no statement may have: SET SESSION gtid_next='AUTOMATIC' follows.
//   - It may stand in a packet among other statements, and an error ends the packet there as ever. But its answer does not say that more
//     follow: sqlconn.ExecBatch counts. So BEGIN, rows, progress and COMMIT are one round trip.
//   - All TABLE_MAP events first, STMT_END on the last row event: the server opens and locks each table once for the statement.
//   - Mode STRICT gives errors 1032 and 1062, without the key of a missing row. In IDEMPOTENT (rbr_exec_mode, a variable of the session)
//     a write goes over the row that is there, a delete of none is no error, and an update of none is lost without a word: an upsert
//     is sent as a write, after a delete of the old key.
//   - An image before may hold the primary key alone, which halves the text of an update. Columns that only the target has must stand behind; they
//     keep their values, or get defaults. Generated columns are computed, triggers do not fire, AUTO_INCREMENT follows.
//   - The row event's flag decides about foreign keys, not the session.
//   - The target's own binlog has row events of the target's table, in one transaction with a GTID of the target.
//
// # Why two round trips when rows may be missing
//
// A packet "BEGIN; …; UPDATE position; COMMIT" is one round trip, but the server runs its COMMIT whatever SQL updates have found. So
// a packet of the SQL writer with strict updates or deletes is sent without its end, the counts of found rows are compared, and the end follows. The
// alternatives (a check after each statement that raises an error, a counter in a user variable) cost the server more than
// the round trip, which a group shares. Row events need none of it: what they do not find is an error.
//
// # Large transactions
//
// A large transaction goes in parts of about a megabyte. While the server executes one, the next is rendered; it is sent when the answer is there, never before: an
// error may have rolled the transaction back, and what came behind it would then be committed statement by statement. The price is the time that a
// megabyte takes to the server, in which it does nothing.
//
// # Concurrency
//
// A Session belongs to one goroutine, a Table is immutable once it is used, Tables may be asked by any. Nothing here starts a goroutine.
//
// # Failure
//
// After an error the caller rolls back and adds again what it wants to be written: nothing is left in the session. A transaction that was
// sent in parts which the caller does not have any more cannot be added again ([ErrRepeat] is its owner's word for that); the session itself
// looks for the row that has failed, from a savepoint in front of the part.
package rows
