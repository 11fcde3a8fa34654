//go:build bench

package bench

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"surecut/e2e/dataset"
)

// full alternates native replication and surecut into fresh servers. The last copy is compared, by other means and by surecut verify.
func (b *bench) full(t *testing.T) {
	source := filled(t, size("SURECUT_BENCH_KEYS", 1_000_000))
	var native, ours []time.Duration
	var nativeCPU, ourCPU [3]time.Duration // of source, target and surecut; of the last round
	var peak int64
	var target *deployment
	for round := range b.rounds {
		replica := startServer(t)
		before := source.cpu()
		native = append(native, replicate(t, source, replica))
		nativeCPU = [3]time.Duration{source.cpu() - before, replica.cpu(), 0}
		replica.stop()
		if target != nil {
			target.stop()
		}
		target = startServer(t)
		before = source.cpu()
		start := time.Now()
		s := copyAll(t, source, target)
		ours = append(ours, time.Since(start))
		ourCPU = [3]time.Duration{source.cpu() - before, target.cpu(), s.spent()}
		peak = max(peak, s.peak.Load())
		t.Logf("round %d: native %v, CPU of source and replica %v; surecut %v, CPU of source, target and surecut %v, its peak %d MiB", round+1,
			native[round].Round(time.Millisecond), nativeCPU[:2], ours[round].Round(time.Millisecond), ourCPU, s.peak.Load()>>20)
	}
	spent := func(cpu [3]time.Duration) float64 { return (cpu[0] + cpu[1] + cpu[2]).Seconds() }
	b.add(
		ratio("full phase / native REPLICAOF, diskless", ours, native, 1.15, 1.0, 2.0),
		row{what: "full phase: CPU of both servers and surecut / natively", measured: fmt.Sprintf("%.2f s (surecut %.2f s) / %.2f s", spent(ourCPU), ourCPU[2].Seconds(), spent(nativeCPU)),
			value: spent(ourCPU) / spent(nativeCPU)},
		peakRow("migrate in the full phase", peak, mustTake, aimTake))

	result, err := dataset.Compare(t.Context(), dataset.Pair{Source: source.side, Target: target.side}, dataset.CompareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("independent comparison: %v", result)
	if result.Count != 0 {
		t.Errorf("the copy differs: %v", result)
	}
	b.verification(t, source, target)
}

// filled starts a server with so many keys of all kinds.
func filled(t *testing.T, keys int) *deployment {
	t.Helper()
	source := startServer(t)
	stats, err := dataset.Fill(t.Context(), source.side, dataset.Options{Seed: 1, Keys: keys, BigKeys: 4, BigElements: 50_000, NoEdges: true, NoShortTTL: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed 1: %d keys, 4 big keys of each kind, by %d commands in %v", keys, stats.Commands, stats.Elapsed.Round(time.Millisecond))
	return source
}

// replicate times native replication until the replica serves the whole copy.
func replicate(t *testing.T, source, replica *deployment) time.Duration {
	t.Helper()
	want := source.size(t)
	start := time.Now()
	replica.do(t, "REPLICAOF", "127.0.0.1", source.ports[0])
	for replica.info(t, "master_link_status") != "up" {
		time.Sleep(5 * time.Millisecond)
		if time.Since(start) > 10*time.Minute {
			t.Fatal("native replication did not finish")
		}
	}
	took := time.Since(start)
	if got := replica.size(t); got != want {
		t.Fatalf("the native replica has %d keys of %d", got, want)
	}
	return took
}

// verification compares verify at depth value with a plain reader of one side.
func (b *bench) verification(t *testing.T, source, target *deployment) {
	var plain, ours []time.Duration
	var peak int64
	for round := range b.rounds {
		start := time.Now()
		read, err := source.side.ReadAll(t.Context(), 4)
		if err != nil {
			t.Fatal(err)
		}
		plain = append(plain, time.Since(start))
		if read < source.size(t) {
			t.Fatalf("the plain reader saw %d keys of %d", read, source.size(t))
		}
		start = time.Now()
		s := startSurecut(t, "verify", "--source", source.url(), "--target", target.url(), "--depth", "value", "--progress", "none")
		s.wait(t)
		ours = append(ours, time.Since(start))
		peak = max(peak, s.peak.Load())
		t.Logf("verify, round %d: plain reader %v, surecut %v, its peak %d MiB", round+1,
			plain[round].Round(time.Millisecond), ours[round].Round(time.Millisecond), s.peak.Load()>>20)
	}
	b.add(ratio("verify, both sides / reading one side", ours, plain, 2.5, 2, 0), peakRow("verify", peak, 256, 128))
}

// memory copies a tenth of many keys, and all of them, each time followed by writes: the memory must not depend on their number. Most keys
// are strings that a script makes; one in a hundred is of any kind.
func (b *bench) memory(t *testing.T) {
	keys := size("SURECUT_BENCH_LARGE_KEYS", 10_000_000)
	var peaks [2]int64 // of a tenth, and of all
	for i, n := range []int{keys / 10, keys} {
		source, target := filled(t, n/100), startServer(t)
		const script = "for i = ARGV[1], ARGV[2] - 1 do redis.call('SET', 'many:' .. i, string.rep('x', 64)) end return 'OK'"
		for from, step := n/100, 100_000; from < n; from += step {
			source.do(t, "EVAL", script, "0", strconv.Itoa(from), strconv.Itoa(min(from+step, n)))
		}
		start := time.Now()
		s := migrate(t, source, target.url())
		took, full := time.Since(start), s.peak.Load()
		pursue(t, source, target, s, mixedLoad, size("SURECUT_BENCH_WRITES", 1_000_000))
		s.stop(t)
		source.stop()
		target.stop()
		peaks[i] = s.peak.Load()
		t.Logf("%d keys: caught up after %v, peak %d MiB until then, %d MiB with the stream", n, took.Round(time.Millisecond), full>>20, peaks[i]>>20)
		b.add(peakRow(fmt.Sprintf("migrate with %d keys, the stream included", n), peaks[i], mustTake, aimTake))
	}
	b.add(row{what: "peak resident memory of migrate, ten times as many keys", measured: fmt.Sprintf("%d MiB / %d MiB", peaks[1]>>20, peaks[0]>>20),
		value: float64(peaks[1]) / float64(peaks[0])})
}
