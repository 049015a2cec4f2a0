// Package cluster is a whole cluster on one machine: the plan of its processes, and the supervisor that runs them. `braid up`
// and the demo are built on it.
//
// # Model
//
// A Plan says which processes there are, where they listen and with which passwords they talk to each other. It is made once
// per data directory, from a Spec, and kept in cluster.json: what started there before starts there again, at the same addresses.
// More shards can be added to it later. The Supervisor runs the plan as separate operating system processes:
//
//	            etcd ┐
//	mysql-100 … ─────┴─▶ tablet-100 … ─▶ controller ─▶ gate
//
// and State tells others, from the data directory alone, what is running.
//
//	<data-dir>/cluster.json   the plan, 0600: it holds the passwords
//	<data-dir>/lock           held by the supervisor; holds its pid
//	<data-dir>/run/NAME.pid   a process that is running
//	<data-dir>/logs/NAME.log  what it printed, of all its starts
//	<data-dir>/etcd, mysql-N  their data
//
// # Invariants
//
//	S1 One supervisor per data directory: it holds a file lock as long as it lives.
//	S2 No process of the cluster outlives its supervisor, however that ends (package process).
//	S3 After Stop returned, and after Start failed or was interrupted, no process of the cluster is left.
//	S4 A process that dies is started again, until it dies too often: then the supervisor stops everything and says why.
//
// # Concurrency
//
// One goroutine per process waits for its death and starts it again; Start and Stop belong to the owner, Stop may come at
// any time and more than once. All goroutines have ended when Stop returns.
//
// # Failure
//
// A supervisor that is killed takes all processes with it; the next one finds the lock free and the data as a crash leaves
// it, which etcd and MySQL recover from. A fault that BRAID_FAULTS set in a process is not set again in its successor.
package cluster
