// Package fault is named points at which a test makes the program fail: die, return an error, or stall.
//
// # Model
//
// Code names a point where a fault would be interesting, between two effects:
//
//	if err := fault.Point("cutover.after_journal"); err != nil {
//		return err
//	}
//
// Nothing happens there unless the process was started with BRAID_FAULTS, or a test called [Set]:
//
//	BRAID_FAULTS="cutover.after_journal=kill@2; apply.commit=delay:100ms; topo.write=error@1"
//
// kill sends SIGKILL to the own process: no defer runs, no buffer is flushed. error makes Point return [ErrInjected].
// delay:<duration> sleeps. @n restricts it to the n-th time that the point is reached; without it, every time.
//
// The variable is read in the program as shipped, because a build that only tests use proves nothing about the one that
// users run. While it is unset a point costs one atomic load, and points stand beside effects, never on the path of a row.
//
// # Failure
//
// A specification that does not parse ends the process with status 2: a fault that silently never fires is a test that
// cannot fail.
package fault
