// Package process starts child processes that cannot outlive us, and ends them.
//
// # Model
//
// A Process is one child: started from a Spec, its output appended to a log file, its end announced by Done. A child runs in
// its own process group, so that a Ctrl-C in the terminal reaches us only and we decide the order in which things end.
//
// # Invariants
//
//	P1 When this process dies in whatever way, SIGKILL included, the kernel kills its children (Linux's parent death signal).
//	P2 Every child is waited for: none becomes a zombie, and after Done its pid is not signalled.
//
// # Concurrency
//
// Linux sends the parent death signal when the *thread* that started the child ends, and the Go runtime ends threads at will.
// So one goroutine, locked to its thread, starts all children and lives as long as the program. Each child has a goroutine
// that waits for it.
//
// # Failure
//
// A child that ignores SIGTERM is killed after the grace that Stop was given. On systems without a parent death signal P1
// does not hold; the callers there are tests and clients, which start no children.
package process
