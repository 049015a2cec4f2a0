// Package throttle says when a copy has to pause, because a server suffers or its replicas fall behind, and why.
//
// # Model
//
//	Probe, Probe, …  ──every second──▶  Reading, Reading, …  ──▶  Policy  ──▶  "" or a reason
//
// A [Probe] reads one figure of one server: the history list of the source, the lag of a replica of either side, the time that a commit
// takes on the target, the threads that run there, or whatever a query returns. [Policy] is pure: it compares figures with their bounds. A
// [Throttle] runs the probes and keeps the verdict; who copies asks [Throttle.Reason] before each chunk.
//
// Only the copy pauses. The stream of changes never does: what it has not applied would have to be applied later, on top of more.
//
// # Invariants
//
//   - A figure that cannot be read counts as bad, and so do figures that are older than a few seconds: silence is no sign of health.
//   - A figure that was bad is good again below nine tenths of its bound, so that a copy does not flutter around it.
//   - The reason names the figure, where it was read, its value and its bound.
//
// # Concurrency
//
// Start runs one goroutine, which reads all probes at once, each with a time limit. Reason may be called by any goroutine and never waits.
//
// # Failure
//
// A probe's error becomes part of the reason, and the probe is asked again a second later.
package throttle
