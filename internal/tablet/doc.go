// Package tablet is the daemon that stands beside one mysqld: it serves the shard's queries under the fence and the
// routing epoch, serves the ordered stream of its binlog, runs the streams that write to its mysqld, and reports health.
//
// # Model
//
//	gate ──MySQL──▶ queryserver ──▶ mysqld ◀── engine (streams that write here; PRIMARY only)
//	tablets, controller ──gRPC──▶ service ──▶ vstream.Local (binlog, windows), engine, schema, journal
//	                     health ──▶ topology (a leased record)
//
// A tablet has one type. PRIMARY takes writes and runs streams; REPLICA and RDONLY follow the primary of their shard by
// MySQL's own replication and are read-only; DRAINED is alive and serves nothing. The database that applications use has
// the name of the keyspace; the sidecar database is _braid.
//
// # Invariants
//
//   - T1: a tablet answers no query before it has read the routing from the topology itself, so a restart cannot lift a fence.
//   - T2: the tablet's record in the topology lives by a lease; a tablet that is dead, or cut off, is gone from it within
//     timeouts.TabletLease.
//   - T3: only a PRIMARY writes to its mysqld: sidecar, streams and schema changes are refused on every other type.
//   - T4: once a leader of some term has changed anything here, no call of an earlier term does. The term is durable, and the
//     first call of a later one waits for the end of those before it.
//
// # Concurrency
//
// The parts are services, started in the order of Start and stopped in reverse. The health loop is the only writer of the
// tablet's record. mysqld may come and go at any time: the loop notices, marks the tablet as not serving, and prepares the
// server again (database, sidecar, replication) when it is back.
//
// # Failure
//
// The streams of the engine read from tablets of other shards, while they copy from replicas if there are any (source.go). One that does not serve any more
// ends them, and they go on from another.
//
// A killed tablet leaves open transactions to mysqld, which rolls them back when the connections end; streams go on from
// the positions in their rows. A lost topology leaves the tablet serving by the last routing it read: no cutover can
// happen without the topology, nor without this tablet's answer to AwaitFence.
package tablet
