// Package vdiff compares rows of a source with those of its target: what a chunk of the stream holds with what the target has in the same
// range of keys at the same place of the stream.
//
// # Model
//
// A chunk that was asked for with its touched keys stands at a place in the stream; the applier has committed everything before
// it and nothing behind it. A [Snapshot] of the target taken there must hold, between the chunk's bounds, exactly the chunk's
// rows, except for keys that passed while the window was open. Package vreplication runs this: it asks for the windows, takes
// the snapshot, and asks for the left out keys again until each was judged. This package reads the target and compares.
//
// In a merge, target rows of other sources lie in between. A row is this diff's if its keyspace ID lies in the source's key range. A row
// that lies in no source's range, and not in the target's either, is reported by the workflow's first stream.
//
// # Invariants
//
//   - Rows are compared as sets by canonical key, cell by cell, over the columns that both sides have. The order in which
//     either side sorts does not matter; only the bounds of a chunk are compared by the server, by the columns' own collation.
//   - No lock is taken. A read view lasts as long as one chunk's comparison.
//
// # Concurrency
//
// A [Table] is immutable. A session belongs to one goroutine at a time.
//
// # Failure
//
// An error says which table could not be read; the diff's owner records it. Nothing is kept here.
package vdiff
