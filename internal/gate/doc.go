// Package gate is the MySQL endpoint of applications: it takes statements, finds the shards they belong to, sends them to
// tablets, and puts the answers together. To an application it is one MySQL server; a cutover is a pause to it, not an error.
//
// # Model
//
//	client ──▶ session ──▶ plan ──▶ backends (connections to tablets) ──▶ answer
//	             │          │
//	             │          └─ pure: statement + VSchemas + routing → parts (shard, text) and how to merge them
//	             └─ state: keyspace, settings, transaction, prepared statements
//
// A *part* is one statement for one shard. A plan with one part is relayed packet by packet. With several parts, rows are
// merged as they come (order, limit, groups), or counts of written rows are added up. What cannot be done exactly is refused
// with error 1235; no answer is ever nearly right.
//
// A session keeps the backends that it used until its client has been silent for a while, so that what a server remembers of a
// session (warnings, ROW_COUNT) is there when asked for. Settings made by SET are replayed on every backend before it is used.
//
// # Routing and holding
//
// A plan is made from one routing, and its parts carry that routing's epoch. A tablet that refuses (outdated epoch, fence, not
// serving) has done nothing: the gate waits until the routing changes, plans anew and sends again, up to timeouts.GateHold. So do
// connections that cannot be made, and reads whose connection broke. A write that was sent and not answered is never sent again:
// its outcome is unknown, and the client is told so.
//
// Inside a transaction a statement may be sent again only if nothing of the transaction would be lost by it. A transaction that
// has written to something that is now fenced cannot wait for the fence, because the fence waits for it: it is rolled back with
// error 1213, which applications repeat.
//
// # Transactions
//
// BEGIN goes to a shard with the first statement that needs it. A transaction on one shard is MySQL's own. One on several
// shards commits shard by shard: those that received a row that moved first. Into each later one the gate writes the GTIDs of
// the earlier commits (`_braid.dependency`), so that streams that merge the shards keep the order. A later commit that fails
// leaves the earlier ones done: the client gets error BRAID5005, which names them.
//
// # Invariants
//
//   - G1: a statement that a client was told succeeded took effect exactly once.
//   - G2: nothing is written to a client before every part of the statement has been admitted by its tablet.
//   - G3: memory is bounded per session: rows are relayed or merged as streams; what has to be sorted here is limited.
//   - G4: a backend is used by one session at a time, and is as new when the next one gets it.
//
// # Concurrency
//
// One goroutine per client; it owns its session and its backends. The pool, the parsed VSchemas, table definitions and
// sequence blocks are shared and have a mutex each, never held over I/O (a sequence's is: one block is fetched at a time).
//
// # Failure
//
// A gate keeps nothing that matters: one that dies rolls back what was open, and any other takes over. Blocks of sequence
// values that were not used are lost, which leaves gaps, as in MySQL.
package gate
