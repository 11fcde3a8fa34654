// Package bench measures surecut against native replication in one run (make bench; build tag bench).
//
// All servers are local redis-server processes on loopback, not containers, so that both sides of a ratio pay the
// same. What is compared alternates, and the ratio is that of the medians. Each part is a subtest with servers of its
// own: make bench PART=sets runs one of them. The table at the end gives for each figure what the design demands
// (must) and aims at; the run fails only beyond a generous limit.
//
// Numbers from the environment size the run: SURECUT_BENCH_KEYS (default 1000000) of the full phase, SURECUT_BENCH_SETS
// (3000000) and SURECUT_BENCH_WRITES (1000000) of the streams, SURECUT_BENCH_LARGE_KEYS (10000000, which take 4 GiB of
// memory) of the part memory, SURECUT_BENCH_IDLE_SECONDS (30), SURECUT_BENCH_RDB_MIB (1024) of the file that is scanned,
// SURECUT_BENCH_ROUNDS (3). SURECUT_BINARY names a binary to measure instead of building one.
//
// CPU times are those of the processes, as the kernel counts them. They are less disturbed than durations by what else
// runs on the machine, but not independent of it.
package bench
