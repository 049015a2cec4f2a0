// Package apply writes a stream's changes to the target: through several sessions at once, many source transactions as one commit, exactly
// once, and in an order that nobody who reads the target can tell from the source's.
//
// # Model
//
//	owner: Add, Chunk ─▶ coordinator ─▶ queue (GAQ) ─▶ workers ─▶ rows.Session ─▶ MySQL
//	                     dependencies   LWM …………………   groups      data and lane in one commit
//
// The owner of the stream calls Add in the stream's order. The coordinator, which is that call and has no goroutine of its own, gives each
// transaction a dense local sequence and finds the earlier ones that it must follow (package writeset). The queue keeps everything from the
// low-water mark (LWM) on: all before it is committed. A worker has a session and a lane; it takes a group, executes it, and
// commits it together with what its lane says. The base is the position in the stream's row.
//
// The algorithm:
//
//	a free worker takes a group:
//	    preserve: the next consecutive transactions, up to a bound, if one of them can be executed now
//	    relaxed:  transactions, in order, whose predecessors are all committed or in this group
//	it executes what can be executed; the rest of the group when what it follows is committed
//	    (only in order preserve; what it follows is in earlier groups, which never wait for later ones)
//	preserve: it waits until all earlier groups are committed
//	it commits: rows, its lane's GTIDs above the base, now and then a new base
//	the LWM moves over what is committed; whoever waited for that goes on
//
// It never waits to fill a group: without a backlog a group is one transaction, with one it is hundreds.
//
// A group in order preserve is a run of consecutive transactions although some of them may be blocked, and executes around those. The
// simpler designs were to end the run at the first blocked one, or not to take it: on 400,000 rows, with four groups of 100 transactions of
// three rows each, half of all groups have a blocked one in them, and so half of the workers would stand still.
//
// # Position
//
// Base and lanes together are the position: a set of GTIDs, and all that a restart needs. The base may have holes. A lane is
// written with the data of its worker and by nobody else, so no row is shared, neither here nor on the target's own replicas. In order
// preserve a lane says all that lies before its group's end, because all of it is committed by then: one interval, however old the base is. In
// order relaxed it says its own GTIDs above the base, and when that becomes long, the base is moved in the same commit. The base
// only ever takes what is committed, and a lane leaves out only what a committed base has: so at every moment base and lanes are exactly what is
// applied, whoever dies when.
//
// # Invariants
//
//   - A1: data and lane commit together, or neither does. What a lost COMMIT did is read from base and lanes.
//   - A2: in order preserve, what is committed is a prefix of the source's transactions, at every moment.
//   - A3: a transaction is executed when all that it must follow is committed, or is executed before it in its own group.
//   - A4: the queue is bounded in bytes, Add waits. A transaction that comes in fragments is dropped as it is sent.
//   - Nothing of a failed transaction stays, and the failure names transaction, table and key (Failure). In order preserve everything
//     before it is applied, and nothing behind it.
//
// # Locks
//
// READ COMMITTED, short lock waits. Independent transactions can still wait for each other's locks: gaps, entries marked as deleted, parents
// of foreign keys. In order preserve one of them may hold the lock until its turn, which comes after the other: victim.go. A deadlock or a lock
// timeout repeats the group.
//
// # Fragments, chunks, barriers
//
// A transaction that comes in fragments runs alone, from when all before it is committed; those behind it may pass it in order relaxed, if they are
// independent. So it never waits for another, nor gives way. A chunk of copied rows is a group of its own, with tokens of its own. Barrier and
// the setters wait until nothing is under way.
//
// # Concurrency
//
// The owner's methods belong to one goroutine. Workers are goroutines, made when there is work for them, ended when there is none for a while, and
// waited for by Close: an idle applier has neither goroutine nor session. Applier.mu guards the queue and all groups; no I/O is done under it. A
// worker's session belongs to the worker. Committed is called by workers, under Applier.publishing, which is taken before mu.
//
// # Failure
//
// A group that fails otherwise is rolled back, waits for its turn, and is applied transaction by transaction, a row per statement, until the one
// that fails stands alone. A row that only a foreign key refuses is written without the check. A large transaction whose fragments are gone cannot be
// repeated (ErrRepeat), and a lost connection ends the applier: its owner makes another, behind what base and lanes say.
package apply
