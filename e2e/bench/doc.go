// Package bench measures surecut against native replication in one run (make bench; build tag bench).
//
// All servers are local redis-server processes on loopback, not containers, so that both sides of a ratio pay the
// same. What is compared alternates, and the ratio is that of the medians. SURECUT_BENCH_KEYS (default 1000000),
// SURECUT_BENCH_WRITES (default 1000000), SURECUT_BENCH_RDB_MIB (of the file that is scanned; default 1024) and
// SURECUT_BENCH_ROUNDS (default 3) size the run; SURECUT_BINARY names a binary to measure instead of building one.
package bench
