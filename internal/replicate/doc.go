// Package replicate keeps one MySQL server a live copy of another, in one process and without a cluster: the user of a stream who has two
// servers and nothing else.
//
// # Model
//
//	Config ─▶ preflight (source, target) ─▶ plan (which tables, under which names) ─▶ missing databases and tables
//	                                                                                        │
//	    source ── vstream.Local ──▶ vreplication.Engine ──▶ target (data, and state in _braid) ◀┘
//
// The stream is named (Config.Name), and its row in the target's _braid.vreplication is all that is kept between two runs: rules,
// position, how far the copy is. It belongs to no database: its rules name databases, so that a transaction of the source that
// spans several stays one.
//
// Several sources into one target are several processes with names of their own. Each has one stream, its own options, and
// its own fate; they share the target's _braid.
//
// # Invariants
//
//   - Nothing is written before the preflight of both sides has passed.
//   - A table of the target that has rows before the copy is refused, and so is one that another stream writes to.
//   - Run again, it goes on exactly where it was (A1). Other rules under the same name are refused.
//   - A run that ends by a signal leaves the target at a complete prefix of the source's transactions.
//
// # Concurrency
//
// Run is one goroutine that starts the engine and looks at it every half second; reports are made by it. A session of its own holds the lock
// of the name, so that no two processes fight for one stream.
//
// # Failure
//
// What a repetition may cure (a lost connection, a restarted server, a lock) is repeated by the engine for as long as it takes, and
// the status says what it waits for. What needs a person ends Run with the stream's message.
package replicate
