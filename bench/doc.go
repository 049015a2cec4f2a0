// Package bench measures the program against what a user would use instead, both in one run on one machine, and says the result as a
// ratio.
//
// # Model
//
// A [Report] collects [Figure]s: what was measured, ours, the peer's, the ratio, and the floor that the ratio must not go below. It is
// printed as a table and written to bench/out/<name>.jsonl, a line a figure. A figure under its floor fails the benchmark.
//
// Each benchmark is a Benchmark function of one pass:
//
//	make bench-binlog               a log of 256 MB
//	BENCH_FULL=1 make bench-binlog  a log of 1 GB
//	make bench                      all
//
// # Concurrency
//
// Measured code runs alone: the load is written before, and what it writes to is idle. CPU time is that of this process; the server's
// is not counted.
//
// # Failure
//
// A benchmark that cannot run fails; it never prints a figure that it has not measured.
package bench
