// Package schema holds table definitions: what information_schema says about a table at one moment.
//
// # Model
//
// A [Table] has [Column]s in the order of a row image, so that a column's index is its place in a row, a primary key, unique keys, and
// all indexes with their prefixes and expressions. It travels as JSON between tablets. [Load] reads any number of tables in a fixed number
// of queries; [Compare] says what keeps one table's rows from being stored in another, [Differences] everything that differs. [Defer] takes a
// definition apart for a table that is to be filled: its indexes that are not unique and its foreign keys are added afterwards.
//
// # Invariants
//
// Invisible columns, a generated invisible primary key included, and generated columns are listed like any other: they are in the row
// image. A unique key with an expression or a prefix is in Indexes only: its equality is not the equality of columns.
//
// # Concurrency
//
// A Table is never changed once it is loaded, and may be shared.
//
// # Failure
//
// Load reads several tables of information_schema without a lock. A DDL between two of the queries can give a mixed picture, so Load
// checks that what it read fits together, and its callers check each row event's table map against the definition.
package schema
