// Package vreplication runs streams on their target: it copies the tables, applies the changes, keeps the position, survives
// whatever dies.
//
// # Model
//
//	_braid.vreplication (a row a stream)
//	      │ poll, verbs
//	   Engine ──▶ controller (one a stream) ──▶ run, run, run …   each from a connection to the first failure
//	                                             │
//	       vstream.Source ──▶ receiver ──▶ applier (apply.Applier) ──▶ data, position, copy progress in one commit
//	                                             └─ windows: the next chunk of a copy, a join, a diff
//
// The row is the truth: its state says whether the stream is to run, by whomever it was written. States: Init (nothing read
// yet), Copying, Running, Stopped, Error; Lagging is what a running stream with a high lag is shown as. Times are Unix
// microseconds.
//
// A stream begins at the source's present position and asks for its tables' chunks one after the other, in the stream, while the
// changes of all tables are applied. A copied table is strict: what does not fit stops the stream.
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
//   - A1: data and position commit together, on a session that holds the stream's lock. The lock ends with that session,
//     after its last transaction is decided, and a run reads its position under the lock: so a lost COMMIT is never
//     repeated, and two processes never apply one stream.
//   - W2: a chunk and its row in copy_state commit together.
//   - A wait for a position is woken by the commit that reaches it; positions without rows for us are saved at once when
//     somebody waits, else once a second.
//   - A stop position stops exactly behind the transaction that reaches it: state and data are one commit.
//   - When Update or Delete return, a stream that they stopped writes nothing any more.
//
// # Concurrency
//
// The engine has a goroutine that polls the rows. A stream has a controller goroutine, and during a run a receiver and an applier;
// a diff compares in a fourth. Engine.reconciling (verbs and poll) is taken before Engine.mu; a controller takes neither, so it
// can be stopped and waited for under the first. A tracker has its own lock, the innermost.
//
// # Failure
//
// Every error ends the run. One that repeating may cure is written into the row's message and the next run begins after a
// pause; one that needs a person makes the state Error, with the remedy. After a restart of anything the run goes on from
// the row and copy_state; windows that had not been committed are asked for again.
package vreplication
