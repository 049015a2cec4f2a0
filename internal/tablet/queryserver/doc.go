// Package queryserver is the MySQL front of a tablet: gates connect to it, and it relays their statements to the mysqld
// behind it, under the routing epoch and the fences.
//
// # Model
//
//	gate ──▶ session ──▶ one mysqld session of its own (account of the applications)
//	            │
//	         admit: tag of the statement against the routing
//
// Every statement carries a tag (see mysqlproto.Tag). Only what controls a session or a transaction comes without one: it
// touches no table. Packets are relayed without being decoded.
//
// A statement that begins something (an autocommit statement, the first one of a transaction) is refused with BR001 when the
// gate's epoch is older than the tablet's; when it is newer the tablet reads the routing itself first. A write must pass
// Routing.CheckWrite (BR002 when a fence holds it). A tablet that does not serve answers BR003. A refused statement did nothing.
//
// # The fence
//
// A session is a *blocker* of a fence while a write that the fence would refuse is under way at mysqld, or while its open
// transaction has made one. AwaitFence first makes sure that the routing with the fence is the one that is checked against,
// then waits until no blocker is left; after the drain time it kills the rest. Admission and registration as a blocker are
// one step under one lock, so from the moment that no blocker is left none can come again: this is the seal, and it lasts
// until a routing without the fence is read. A transaction that is a blocker may go on writing while the fence drains.
//
// Statements of sessions that this process no longer knows (their gate went away, or the tablet was killed and started again)
// may still run at mysqld. AwaitFence finds them in the process list, kills them, and waits until they are gone.
//
// # Invariants
//
//   - F1: after AwaitFence(epoch) has returned, no write that the fences of the routing of that epoch refuse takes effect, until
//     a later routing is read that does not refuse it. What took effect before is visible at mysqld when it returns.
//   - F2: the routing that statements are checked against never goes back.
//   - F3: a tablet that was restarted reads the routing before it serves.
//   - F4: a read of tables that are fenced reads the routing first: it never shows what was true before a switch that is done.
//
// F4 costs a round trip to the topology per read, only during a cutover. Refusing these reads would be simpler, and would
// make a cutover a pause for readers too.
//
// # Concurrency
//
// One goroutine per connection. Server.mu guards what sessions share: whether the tablet serves, the routing, who blocks. It is
// never held while a packet is read or written.
//
// # Failure
//
// A mysqld that dies ends the session's statement with a lost connection, and the gate decides what that means. A gate that
// dies ends its sessions, and mysqld rolls back.
//
// Foreign keys that cascade, and triggers, can make a statement write tables that its tag does not name; a fence of single
// tables does not see those. Tables that are bound in this way are moved together, then all of them are fenced.
package queryserver
