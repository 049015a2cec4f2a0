// Package controller is the daemon that runs workflows and answers the control API.
//
// # Model
//
//	CLI, console ──gRPC──▶ api ──▶ topology ◀──watch── foreman ──▶ runner, one per workflow ──gRPC──▶ tablets
//	                        │                             ▲
//	                        └──gRPC──▶ tablets            term of the election
//
// Any number of controllers may run, and each answers the whole API. A verb is checked where it arrives, and accepted by
// writing it into the workflow's state (compare-and-swap); the controller that leads sees that and acts. A runner is the
// loop around the pure machine of package workflow:
//
//	state, version = read;  state, effects = Step(state, Resume{term})
//	for {
//		write the state, and the routing with it, if the state asks for that      (store)
//		run the effects at the same time, wait for all                            (executor)
//		state, effects = Step(state, Ran{results})
//	}
//
// # Invariants
//
// F1 to F7 of package workflow, as far as they speak of writing and running; and
//
//   - C1 A state and the routing that it asks for are written in one transaction, at the version that the runner read. A write
//     whose outcome is unknown is looked up, never assumed.
//   - C2 A runner whose state was changed by somebody else stops what it does, waits for it to end, and reads again.
//   - C3 Everything that a term started ends with it: all calls carry the term's context.
//   - C4 A verb that a controller has answered with "changed" is durable.
//
// # Concurrency
//
// The foreman owns the map of runners and one watch. A runner is one goroutine that owns its state; the effects of a step
// run in goroutines that it waits for. API handlers share nothing with runners but the topology. No lock is held over I/O.
//
// # Failure
//
// A controller that dies leaves the state of the last durable step; its successor, after the lease, sends Resume. A topology
// that cannot be reached stops progress: a runner keeps trying to write while its term lasts, and streams and queries go on
// without it. A tablet that cannot be reached fails the effects that need it, which package workflow undoes or repeats.
package controller
