// Package topo is what all daemons agree on: cells, keyspaces, shards, tablets, VSchemas, workflow state, locks, the leader,
// and the routing. It is small, strongly consistent, and changes rarely; rows and positions of streams never go through it.
//
// # Model
//
// A [Store] is a map with versions, leases, locks, an election and watches; packages etcd and memory implement it and pass one
// conformance suite (topotest). [Topology] is its typed view. [Cache] follows the part that queries need. [Routing] is the one
// document that says which shards serve which tables, to which tablet types, and what is fenced; it is replaced as a whole, by
// compare-and-swap, and each change grows its epoch by one.
//
//	cluster/cells/<cell>               cluster/vschemas/<keyspace>
//	cluster/keyspaces/<keyspace>       cluster/tablets/<alias>      leased: gone when the tablet is
//	cluster/shards/<keyspace>/<shard>  cluster/routing
//	workflows/<name>
//
// All that daemons follow stands below one prefix, so that one watch sees it in the order in which it changed: a routing that
// names a shard never arrives before the shard.
//
// # Invariants
//
//   - T1 Reads and compare-and-swaps are linearizable; a [Cache] may be behind, never ahead, and its routing never goes back.
//   - T2 A routing's epoch grows by one with each change, and names one content for ever.
//   - T3 At most one holder of a lock believes that it holds it: Done is closed before the lease can have ended elsewhere, as
//     long as clocks run equally fast. For a process that was suspended, Token (a fencing token) settles it.
//   - T4 A shard that overlaps a serving one never begins to serve by being created, and one that serves is never deleted.
//
// # Concurrency
//
// Everything may be called from any goroutine. A registration, a lock and a watch own one goroutine each, which ends with it
// or with the store. No lock is held while a store is asked.
//
// # Failure
//
// Every operation ends within timeouts.Topology. When the topology cannot be reached, it fails with ErrUnreachable; a write
// that may have been done also matches ErrOutcomeUnknown. Meanwhile a Cache serves what it has; locks and terms report
// their end through Done; when the topology is back, watches resume, and registrations return by themselves. The rejected
// alternative, a daemon that stops with its topology, turns an outage of etcd into an outage of the data.
package topo
