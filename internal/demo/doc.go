// Package demo is the main job, end to end, on one machine: load a database, let applications write without a pause, move
// two tables to another keyspace, split it into two shards, go back and forth once, and prove that nothing was lost.
//
// # Model
//
// The story (Run) drives a cluster through its public faces only: the control API for workflows, the gate for data. Writers
// are applications: they speak MySQL to the gate, know one database name, and never hear of shards. The Ledger is what they
// were told: each acknowledged write. The Audit compares it with the rows that the shards' own mysqlds hold.
//
// # Invariants
//
//   - D1: a write counts as acknowledged only when its COMMIT (or its autocommit statement) was answered with OK.
//   - D2: every row belongs to one writer, so its expected state is what that writer last heard.
//   - D3: the report is true only if each number in it was measured in this run.
//
// # Concurrency
//
// One goroutine per writer, joined before the audit; the story itself is sequential.
//
// # Failure
//
// A failed write is counted and makes the report fail; a write whose answer was lost may be there or not, and the ledger
// accepts either, once. Any error of the story ends it; the caller stops the cluster.
package demo
