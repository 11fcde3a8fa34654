//go:build bench

package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/olekukonko/tablewriter"
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

// size returns a number from the environment, or its default.
func size(name string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return def
}

// row is one line of the result.
type row struct {
	what      string
	measured  string
	value     float64
	must, aim float64 // of the design; 0: it is only shown
	limit     float64 // above it the run fails; 0: it never does
}

// bench is one run.
type bench struct {
	rounds int
	rows   []row
}

func (b *bench) add(rows ...row) { b.rows = append(b.rows, rows...) }

// TestBench measures everything and prints one table.
func TestBench(t *testing.T) {
	b := &bench{rounds: size("SURECUT_BENCH_ROUNDS", 3)}
	for _, part := range []struct {
		name    string
		measure func(t *testing.T)
	}{
		{"full", b.full},
		{"memory", b.memory},
		{"sets", b.sets},
		{"mixed", b.mixed},
		{"cluster", b.cluster},
		{"lanes", b.lanes},
		{"distance", b.distance},
		{"idle", b.idle},
		{"scan", b.scanning},
	} {
		t.Run(part.name, part.measure)
	}
	b.show(t)
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// ratio returns a row for two durations whose ratio counts.
func ratio(what string, ours, other []time.Duration, must, aim, limit float64) row {
	o, n := median(ours).Seconds(), median(other).Seconds()
	return row{what, fmt.Sprintf("%.2f s / %.2f s", o, n), o / n, must, aim, limit}
}

// peakRow returns a row for a peak of resident memory, with budgets in MiB.
func peakRow(what string, peak int64, must, aim float64) row {
	return row{what: "peak resident memory of " + what + ", MiB", value: float64(peak) / (1 << 20), must: must, aim: aim, limit: 256}
}

// Budgets of migrate in MiB.
const mustTake, aimTake = 128, 96

func (b *bench) show(t *testing.T) {
	table := tablewriter.NewWriter(os.Stdout)
	table.Header("what", "measured", "value", "must", "aim", "verdict")
	for _, r := range b.rows {
		verdict, must, aim := "aim met", fmt.Sprint(r.must), fmt.Sprint(r.aim)
		switch {
		case r.must == 0:
			verdict, must, aim = "", "", ""
		case r.value > r.must:
			verdict = "over the design's budget"
		case r.value > r.aim:
			verdict = "must met"
		}
		if r.limit > 0 && r.value > r.limit {
			verdict = "FAILED"
			t.Errorf("%s: %.2f, the limit is %.2f", r.what, r.value, r.limit)
		}
		if err := table.Append(r.what, r.measured, fmt.Sprintf("%.2f", r.value), must, aim, verdict); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Render(); err != nil {
		t.Fatal(err)
	}
}
