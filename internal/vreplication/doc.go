// Package vreplication runs streams on their target: it copies the tables, applies the changes, keeps the position, survives
// whatever dies.
//
// # Model
//
//	_braid.vreplication (a row a stream)
//	      │ poll, verbs
//	   Engine ──▶ controller (one a stream) ──▶ run, run, run …   each from a connection to the first failure
//	                                             │
//	       vstream.Source ──▶ receiver ──▶ owner ──▶ apply.Applier ──▶ workers ──▶ data and position in one commit
//	                                             └─ windows: the next chunks of a copy, a join, a diff
//
// The row is the truth: its state says whether the stream is to run, by whomever it was written. States: Init (nothing read
// yet), Copying, Running, Stopped, Error; Lagging is what a running stream with a high lag is shown as. Times are Unix
// microseconds.
//
// A stream begins at the source's present position and asks for its tables' chunks in the stream, while the changes of all tables are
// applied. Each table first gets a chunk; those that are larger are split into ranges, which take turns. A range has one chunk under way,
// so its progress is one key; eight ranges have, and the applier commits their chunks beside each other. Rows go by LOAD DATA where the
// target allows it (package bulk). Only the copy pauses when a server suffers (package throttle), or when the stream is behind.
//
//	copied ─▶ indexes, then foreign keys ─▶ drained ─▶ strict: what does not fit stops the stream ─▶ Running
//
// Indexes that are not unique, and foreign keys, are added when the tables are filled; CreateTable makes tables without them and writes down
// what they lack. They are added beside the stream, by sessions of their own.
//
// # Merge
//
// A table is merged when another stream of the same workflow on this target has a rule with the same target table; nothing
// has to be declared, and streams that are created together see each other. The rule must name the vindex: a row belongs
// to the source whose shard has its keyspace ID. Rows move between sources: one inserts it before the other deletes it, so for
// a moment both have the row, and the streams, which are not at the same moment, meet it in any order. So:
//
//   - A stream writes to rows of its own source and to free keys only. A row that finds its place taken is contested: it is kept
//     in _braid.contested, in the commit that should have written it, kept up to date by the changes that follow, and written
//     as soon as the other stream has deleted what stands there; each commit of a sibling is a reason to try.
//   - A transaction that depends on a commit of another shard waits until the sibling that reads that shard has applied it.
//
// Then at every moment each row that a source has at its stream's position is on the target as that source's, or kept. When all
// sources are read to their ends, every key has one owner, and nothing is kept. A wait for a position includes that. The price: a
// row that moves is missing on the target for the moment between two commits. Letting an insert take over the place at
// once was tried: an older insert of a stream that is behind then removes a row that has moved on already.
//
// # Invariants
//
//   - A1: data and position commit together. The position is pos of the stream's row and, beside it, what the rows of its lanes say: a
//     worker writes its own lane. A run reads it when no session that could move it lives any more: the stream has a named lock on its
//     control session, each lane one on its worker's, and MySQL gives up a lock when its session has ended, after its last
//     transaction is decided. So a lost COMMIT is never repeated, and two processes never apply one stream.
//   - W2: a chunk and the progress of its range (copy_state, copy_range) commit together.
//   - No table is strict before everything that came before the end of its copy is applied: workers commit chunks ahead of earlier changes
//     that have nothing to do with their rows.
//   - A wait for a position is woken by the commit that reaches it; positions without rows for us are saved at once when
//     somebody waits, else once a second.
//   - A stop position stops exactly behind the transaction that reaches it: nothing behind it is given to the applier. The state
//     follows when all is committed; if that is lost, the next run finds the position reached.
//   - While tables are copied, workers commit in any order; then in the source's, unless the stream's options say otherwise. The order
//     changes on a complete prefix. A stream with merged tables has one worker.
//   - When Update or Delete return, a stream that they stopped writes nothing any more.
//
// # Concurrency
//
// The engine has a goroutine that polls the rows. A stream has a controller goroutine, and during a run a receiver, an owner of the run's
// state, and the applier's workers, which there are only while there is work; a diff compares in another. The owner takes items, gives them
// to the applier, opens windows, saves positions without rows; it alone uses the control session. What workers tell (a commit, a
// repetition) goes into trackers, which have locks, or is left for the owner. Engine.reconciling (verbs and poll) is taken before Engine.mu;
// a controller takes neither, so it can be stopped and waited for under the first. A tracker has its own lock, the innermost.
//
// # Failure
//
// Every error ends the run. One that repeating may cure is written into the row's message and the next run begins after a
// pause; one that needs a person makes the state Error, with the remedy. After a restart of anything the run goes on from
// the row and copy_state; windows that had not been committed are asked for again.
package vreplication
