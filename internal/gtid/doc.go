// Package gtid holds positions: sets of global transaction identifiers, tagged ones (MySQL 8.3 and later) included.
//
// # Model
//
// A [GTID] is uuid[:tag]:number, one transaction. A [Set] is a set of them, and a position is a Set: the transactions that someone
// has. A source is a (uuid, tag) pair; for each source a Set keeps sorted intervals that neither overlap nor touch. Its text form is
// that of MySQL, canonical: equal sets have equal strings.
//
// go-mysql has such a set too. It is mutable and shared on assignment, normalizes the whole list of intervals at each addition, and
// accepts UUIDs that MySQL refuses; a position is too central for that.
//
// # Invariants
//
//   - A Set is a value: no method changes what another variable holds, though copies share memory. [Set.Add] replaces the
//     variable that it is called on.
//   - Adding the next transaction of the source to which the last one was added, which is what a stream does all day, allocates nothing
//     however many intervals the set has.
//
// # Concurrency
//
// Copies of a Set may be used by different goroutines at the same time, as with any value. One variable may not be read and
// written concurrently, as with any variable.
//
// Memory is shared like this: the intervals of a source, all but the last, stand in an append-only buffer. Whoever appends first at
// the end of the buffer (an atomic counter decides) extends it in place, which readers of the shorter list do not see; another copy
// that appends at the same place copies the buffer. The last interval, which grows, is kept by value, and so is the source to which the
// last transaction was added.
//
// # Failure
//
// Everything is pure. Parsing refuses what MySQL would not print, and says what and where.
package gtid
