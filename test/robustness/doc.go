// Package robustness holds the torture of `braid replicate`: two real mysqlds, a storm on the source, and processes that die.
//
// # Model
//
//	storm, witness ──▶ source mysqld ──▶ braid replicate ──▶ target mysqld ◀── a reader that checks A2
//	                      ✂ SIGKILL          ✂ SIGKILL           ✂ SIGKILL
//
// A round has one combination of mode, commit order and writer. While the storm blows, the three processes are killed and started again; pests
// kill sessions and statements of the replication, make the target read-only or its packets small, hold rows for longer than an applier waits, take
// locks in any order, and slow commits down, all for a moment. When it is over, the replication is asked to stop exactly behind the source's last transaction, and both sides must be
// equal: the same tables with the same definitions, row by row.
//
// `make torture` runs all combinations, TORTURE_MINUTES long, from TORTURE_SEED; TORTURE_ONLY runs one. The normal tests run three of them for some seconds.
package robustness
