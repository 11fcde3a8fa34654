//go:build servers

package migrator

import (
	"testing"

	"surecut/e2e/servers"
)

// TestCountersOfAllRuns: a migration that was resumed still says what it has moved altogether, and what the present run did is
// told apart. Only after a run that did not end in good order are the figures not exact.
func TestCountersOfAllRuns(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	fill(t, source, 3000)
	u, dir := urls{source.URL(), target.URL()}, t.TempDir()
	r := begin(t, u, dir, nil)
	r.caughtUp()
	first := r.stop()
	if first.AllRuns.Runs != 1 || !first.AllRuns.Exact || first.AllRuns.Counters != first.Counters || first.Counters.SnapshotApplied != 3000 {
		t.Errorf("the first run: %+v of all, %+v of its own", first.AllRuns, first.Counters)
	}

	for range 10 {
		source.Must("INCR", "n")
	}
	r = begin(t, u, dir, nil)
	r.caughtUp()
	second := r.stop()
	all := second.AllRuns
	if all.Runs != 2 || !all.Exact || all.Counters.SnapshotApplied != 3000 || all.Counters.Commands != first.Counters.Commands+second.Counters.Commands {
		t.Errorf("after the second run: %+v of all, %+v of its own", all, second.Counters)
	}
	if second.Counters.SnapshotApplied != 0 || second.Counters.CommandsApplied+second.Counters.CommandsRepaired < 10 {
		t.Errorf("the second run's own: %+v", second.Counters)
	}
	addsUp(t, Report{Counters: all.Counters})

	r = begin(t, u, dir, nil)
	r.caughtUp()
	r.abort()
	r = begin(t, u, dir, nil)
	r.caughtUp()
	if all := r.stop().AllRuns; all.Runs != 4 || all.Exact || all.Counters.SnapshotApplied != 3000 {
		t.Errorf("after a run that was aborted: %+v", all)
	}
}
