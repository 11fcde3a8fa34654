//go:build bench

package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/olekukonko/tablewriter"

	"surecut/e2e/dataset"
)

var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if binary = os.Getenv("SURECUT_BINARY"); binary != "" {
			return m.Run() // another version, measured by the same means
		}
		dir, err := os.MkdirTemp("", "surecut-bench-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "surecut")
		if out, err := exec.Command("go", "build", "-o", binary, "surecut/cmd/surecut").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build surecut: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

func size(name string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return def
}

// budget is one line of the result.
type budget struct {
	what      string
	measured  string
	value     float64
	must, aim float64 // of the design
	limit     float64 // above it the run fails; 0: it is only shown
}

// TestBench measures everything on one data set and prints one table.
func TestBench(t *testing.T) {
	keys, writes, rounds := size("SURECUT_BENCH_KEYS", 1_000_000), size("SURECUT_BENCH_WRITES", 1_000_000), size("SURECUT_BENCH_ROUNDS", 3)
	source := startServer(t)
	stats, err := dataset.Fill(t.Context(), source.side, dataset.Options{Seed: 1, Keys: keys, BigKeys: 4, BigElements: 50_000, NoEdges: true, NoShortTTL: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed 1: %d keys, 4 big keys of each kind, by %d commands in %v", keys, stats.Commands, stats.Elapsed.Round(time.Millisecond))

	target, full := fullPhase(t, source, rounds)
	result, err := dataset.Compare(t.Context(), dataset.Pair{Source: source.side, Target: target.side}, dataset.CompareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("independent comparison: %v", result)
	if result.Count != 0 {
		t.Errorf("the copy differs: %v", result)
	}
	budgets := append(full, verification(t, source, target, rounds)...)
	target.stop()
	budgets = append(budgets, stream(t, source, writes)...)
	budgets = append(budgets, scanning(t, rounds)...)
	show(t, budgets)
}

// fullPhase alternates native replication and surecut into fresh servers. The last copy stays for what follows.
func fullPhase(t *testing.T, source *server, rounds int) (*server, []budget) {
	var native, ours []time.Duration
	var peak int64
	var target *server
	for round := range rounds {
		replica := startServer(t)
		native = append(native, replicate(t, source, replica))
		replica.stop()
		if target != nil {
			target.stop()
		}
		target = startServer(t)
		start := time.Now()
		s := startSurecut(t, "migrate", "--source", source.url(), "--target", target.url(), "--mode", "full", "--accept-alarms", "--progress", "none")
		s.wait(t)
		ours = append(ours, time.Since(start))
		peak = max(peak, s.peak.Load())
		t.Logf("full phase, round %d: native %v, surecut %v, its peak %d MiB", round+1,
			native[round].Round(time.Millisecond), ours[round].Round(time.Millisecond), s.peak.Load()>>20)
	}
	ratio := median(ours).Seconds() / median(native).Seconds()
	return target, []budget{
		{"full phase / native REPLICAOF, diskless", fmt.Sprintf("%.2f s / %.2f s", median(ours).Seconds(), median(native).Seconds()), ratio, 1.3, 1.0, 2.0},
		{"peak resident memory of migrate, MiB", "", float64(peak) / (1 << 20), 256, 128, 256},
	}
}

// replicate times native replication until the replica serves the whole copy.
func replicate(t *testing.T, source, replica *server) time.Duration {
	t.Helper()
	want := source.size(t)
	start := time.Now()
	replica.do(t, "REPLICAOF", "127.0.0.1", source.port)
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
func verification(t *testing.T, source, target *server, rounds int) []budget {
	var plain, ours []time.Duration
	var peak int64
	for round := range rounds {
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
	return []budget{
		{"verify, both sides / reading one side", fmt.Sprintf("%.2f s / %.2f s", median(ours).Seconds(), median(plain).Seconds()),
			median(ours).Seconds() / median(plain).Seconds(), 2.5, 2, 0},
		{"peak resident memory of verify, MiB", "", float64(peak) / (1 << 20), 256, 128, 256},
	}
}

// stream sends pipelined writes and waits until a follower has them all: nobody, a native replica, surecut.
func stream(t *testing.T, source *server, writes int) []budget {
	source.write(t, writes, nil) // makes the keys, so that all that follow find them
	alone, _ := source.write(t, writes, nil)

	replica := startServer(t)
	replicate(t, source, replica)
	withReplica, nativeDone := source.write(t, writes, replica)
	replica.stop()

	target := startServer(t)
	s := startSurecut(t, "migrate", "--source", source.url(), "--target", target.url(), "--accept-alarms", "--progress", "json", "--state", t.TempDir())
	s.waitPhase(t, "caught_up")
	withSurecut, ourDone := source.write(t, writes, target)
	lag := source.lag(t, target, 20_000, 5*time.Second)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.wait(t)
	rate := func(d time.Duration) float64 { return float64(writes) / d.Seconds() }
	t.Logf("writes/s that the source takes: alone %.0f, with a native replica %.0f, with surecut %.0f; peak of migrate %d MiB",
		rate(alone), rate(withReplica), rate(withSurecut), s.peak.Load()>>20)
	return []budget{
		{fmt.Sprintf("stream of %d writes / native replica", writes), fmt.Sprintf("%.2f s / %.2f s", ourDone.Seconds(), nativeDone.Seconds()),
			ourDone.Seconds() / nativeDone.Seconds(), 1.3, 1.1, 0},
		{"lag at 20000 writes/s, ms (99th percentile)", "", float64(lag.Milliseconds()), 1000, 100, 0},
		{"writes lost beyond a native replica's, %", fmt.Sprintf("%.0f/s, %.0f/s", rate(withSurecut), rate(withReplica)),
			100 * (1 - rate(withSurecut)/rate(withReplica)), 10, 0, 0},
		{"peak resident memory in the stream, MiB", "", float64(s.peak.Load()) / (1 << 20), 256, 128, 256},
	}
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

func show(t *testing.T, budgets []budget) {
	table := tablewriter.NewWriter(os.Stdout)
	table.Header("what", "measured", "value", "must", "aim", "verdict")
	for _, b := range budgets {
		verdict := "aim met"
		switch {
		case b.value > b.must:
			verdict = "over the design's budget"
		case b.value > b.aim:
			verdict = "must met"
		}
		if b.limit > 0 && b.value > b.limit {
			verdict = "FAILED"
			t.Errorf("%s: %.2f, the limit is %.2f", b.what, b.value, b.limit)
		}
		if err := table.Append(b.what, b.measured, fmt.Sprintf("%.2f", b.value), fmt.Sprint(b.must), fmt.Sprint(b.aim), verdict); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Render(); err != nil {
		t.Fatal(err)
	}
}
