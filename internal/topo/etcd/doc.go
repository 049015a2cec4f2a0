// Package etcd is the topology store on etcd.
//
// # Model
//
// Every key stands below a root (default "braid/"), so that several clusters can share one etcd. A version is etcd's mod
// revision of the key; a fencing token is the revision that took the lock.
//
//	<root>data/<key>      what topo.Store reads and writes
//	<root>lock/<name>     held locks: value is the holder, the lease is the holder's
//	<root>elect/<name>    terms
//
// Each operation is one request: writes are transactions whose conditions and whose answer travel together. A lock that is
// free costs two, a lease and a transaction.
//
// # Invariants
//
// T3: a lease's end is counted here from before its renewal was sent, with the time to live that the server granted; so
// Done of a lock closes before the server can give the lock to another. It closes on time also when nothing answers.
//
// # Concurrency
//
// A registration is a goroutine that alone writes its key; Update hands it the value. A lock or term is a goroutine that
// renews its lease. A watch is a goroutine that owns the set of keys that it has sent. All end with Close, which waits.
//
// # Failure
//
// Creating a client connects to nothing, so [Open] asks for a key before it returns. etcd's client waits for a connection
// until the context ends; every operation here has timeouts.Topology. Its own lease and session machinery is not used: it
// counts a lease's end from the answer of a renewal, and its sessions end without coming back. A watch resumes where it
// was cut; if etcd has compacted that away, it reads the whole state again.
package etcd
