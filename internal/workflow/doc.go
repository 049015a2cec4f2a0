// Package workflow is the pure part of moves and reshards: what state a workflow is in, which verbs that allows, which
// step comes next, what has to be done for it, and what the routing says meanwhile. It does no I/O, reads no clock and has
// no goroutine. Package controller stores the state and runs the effects.
//
// # Model
//
// A [State] is one JSON document in the topology. A [Verb] is what an operator asked for; [Admit] says whether the state
// allows it. [Step] is the whole machine:
//
//	state, effects = Step(state, now, Accept{verb})   a verb begins
//	                 Step(state, now, Resume{term})   somebody has read the state and goes on with it
//	                 Step(state, now, Ran{results})   the effects of the last step have ended, all of them
//	                 Step(state, now, Observed{…})    how the streams are, when nothing is under way
//
// The effects of one step are independent of each other: the caller runs them at the same time, waits for all, and feeds
// the results back. A verb goes through stages:
//
//	create    announce ─▶ schema ─▶ streams
//	start     start
//	stop      stop
//	switch,   check ─▶ lock ─▶ FENCE ─▶ catch-up ─▶ hand-over ─▶ journal ─▶ ROUTE ─▶ finish
//	reverse     │        │       │          │            │           │
//	            └────────┴─ end  └──────────┴────────────┴─▶ undo    └─▶ decide ─▶ journal or undo
//	complete  retire ─▶ drop
//	cancel    unroute ─▶ drop
//
// "Source" and "target" are the sides that create named, for ever. A cutover goes from the side that serves writes to the
// other; reverse is the same code with the sides exchanged. The streams that write on the target have the workflow's name,
// those that write on the source have it with "_reverse" behind it.
//
// The routing is a projection of the state: [State.Route] edits a routing to what the state asks for. State and routing
// are written in one transaction, so there is no moment at which they disagree.
//
// # Which steps are written down
//
// A state is written before its effects run, but only where a crash has to be told apart. In a cutover these are
//
//	check    the verb itself, and who works on it: the new term makes every later write of an older leader fail
//	fence    with the fence in the routing, in one transaction: from here on somebody must lift it
//	route    with the routing, in one transaction: the only write that sends writes to the other side
//	undo     with the fence lifted, in one transaction: an attempt that was given up can never be routed any more
//	decide   so that a source that does not say whether it has the journal is named to whoever asks
//	done
//
// so the pause of writes contains two writes of the topology (fence, route) and four rounds of calls. Catch-up, hand-over and
// journal need no write of their own: their effects can be repeated and are undone as a whole, and what tells "before the
// journal" from "after" is the journal itself, which names the positions and the epoch of its fence. A "journaling" state
// before it would cost a write in the pause, and save a read at takeover: the takeover reads the journals anyway.
//
// # Invariants
//
//   - F1 At most one side takes writes: the fence stands in the routing before the source is asked to drain, and the same
//     transaction that lifts it decides who serves.
//   - F2 Writes go to the other side only if every stream there has applied every write that was acknowledged here.
//   - F3 Before the first journal is durable every failure undoes all. After it, every failure is repeated going forward.
//   - F4 An attempt is named by the epoch of its fence. Whether it is routed or undone is decided by a compare-and-swap on
//     the state; a call of an earlier leader that arrives late finds nothing that still asks for it.
//   - F5 Every effect can be repeated, and repeating it after its success changes nothing.
//   - F6 Passive streams start at the position that their new source had when nobody wrote, or not at all.
//   - F7 A verb that has nothing to do changes nothing and says so.
//
// # Concurrency
//
// Everything here is a value; Step works on a copy.
//
// # Failure
//
// Whoever reads a state that is not at rest sends Resume. At the stage fence (or decide) the machine asks every source for
// the journal: found on any, it goes forward; on none, it undoes; if one cannot be asked, it waits for it with writes held,
// because guessing wrong would lose them. At every other stage it repeats the stage's effects.
package workflow
