// Package filter decides which tables and which rows a stream carries.
//
// # Model
//
// [Rules] are an ordered list; the first [Rule] that matches a table decides, and a table that none matches is not followed. A rule may
// rename the table, and may keep only the rows whose keyspace ID lies in a key range. For a table definition, Rules give a [Plan]: the rule
// with column names resolved to places in the row.
//
// Rules may name databases: then a stream carries tables of many, and calls each by both names ([Rules.Name]).
//
// A rule may have a condition on rows: AND, OR and NOT of comparisons of a column with a literal or another column, IN, BETWEEN, IS NULL, and
// column % integer. It is evaluated as the server would, by three-valued logic and the column's collation; what cannot be evaluated
// exactly is an error of Plan. TIMESTAMP is compared in UTC.
//
// # Invariants
//
// A row is in exactly one of the key ranges of a partition, because its keyspace ID is. A row without one (a NULL in a vindex column) is an
// error, never left out in silence.
//
// # Concurrency
//
// Rules and Plans are immutable and safe for use by many goroutines.
//
// # Failure
//
// A rule that a table cannot follow (no such column, no such vindex) is an error of Plan, before the first row.
package filter
