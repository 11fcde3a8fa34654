package migrator

import (
	"testing"

	"surecut/internal/endpoint"
	"surecut/migrator/internal/target/targettest"
)

// runOf opens the state as a run does, with one link.
func runOf(t *testing.T, dir string) *Migration {
	t.Helper()
	m := &Migration{cfg: DefaultConfig(), target: targettest.New().Target}
	m.cfg.StateDir, m.cfg.Sides = dir, Sides{Source: &endpoint.Deployment{}}
	var err error
	if m.state, m.resumed, err = openState(dir); err != nil {
		t.Fatal(err)
	}
	if !m.resumed {
		m.state.Source, m.state.Target, m.state.Lanes = "redis://a", "redis://b", 1
		m.state.Links = []*linkState{{Name: "0"}}
	}
	m.links = []*link{newLink(m, 0, endpoint.Shard{}, "")}
	m.beginRun()
	if err := m.saveState(); err != nil {
		t.Fatal(err)
	}
	return m
}

func allRunsOf(m *Migration) AllRuns {
	return m.allRuns(m.links[0].ledger.ThisRun())
}

// TestCountersAreKept: a snapshot that was loaded counts in every later run. One that was not is loaded again, so that its keys
// must not be counted twice.
func TestCountersAreKept(t *testing.T) {
	dir := t.TempDir()
	first := runOf(t, dir)
	first.links[0].ledger.SnapshotKeys.Store(500) // half of the snapshot, then it is stopped
	first.links[0].ledger.SnapshotApplied.Store(500)
	if err := first.endRun(nil); err != nil {
		t.Fatal(err)
	}
	if err := first.state.close(); err != nil {
		t.Fatal(err)
	}

	second := runOf(t, dir)
	second.links[0].ledger.SnapshotKeys.Store(1000)
	second.links[0].ledger.SnapshotApplied.Store(1000)
	second.update(func() { second.links[0].st.Stage = loaded })
	second.links[0].ledger.Commands.Store(7)
	second.links[0].ledger.Applied.Store(7)
	if all := allRunsOf(second); all.Runs != 2 || !all.Exact || all.Counters.SnapshotApplied != 1000 {
		t.Errorf("the second run: %+v", all)
	}
	if err := second.saveState(); err != nil { // and is killed
		t.Fatal(err)
	}
	if err := second.state.close(); err != nil {
		t.Fatal(err)
	}

	third := runOf(t, dir)
	third.links[0].ledger.Commands.Store(2)
	third.links[0].ledger.Applied.Store(2)
	if all := allRunsOf(third); all.Runs != 3 || all.Exact || all.Counters.SnapshotApplied != 1000 || all.Counters.CommandsApplied != 9 {
		t.Errorf("the third run: %+v", all)
	}
	third.links[0].ledger.ForgetSnapshot() // the source was lost: all of it comes again
	if all := allRunsOf(third); all.Counters.SnapshotKeys != 0 || all.Counters.Commands != 9 {
		t.Errorf("a snapshot that is loaded again: %+v", all)
	}
	if err := third.state.close(); err != nil {
		t.Fatal(err)
	}
}
