package migrator

import "sync/atomic"

// Report says where the migration stands.
func (m *Migration) Report() Report {
	m.mu.Lock()
	r := Report{State: "running", Level: m.target.level(), Problems: append([]Problem{}, m.problems...), Selection: m.cfg.selection()}
	ended, err := m.ended, m.err
	m.mu.Unlock()
	all := true
	for _, l := range m.links {
		li := l.report()
		r.Links = append(r.Links, li)
		l.count.addTo(&r.Counters)
		all = all && li.Phase == caughtUp.String()
	}
	r.AllRuns = m.allRuns(r.Counters)
	if m.scans() {
		r.Level = "repaired"
	}
	switch {
	case ended && err != nil:
		r.State, r.Error = "failed", err.Error()
	case ended && (m.stopping.Err() == nil || m.finished.Load()):
		r.State = "done"
	case ended:
		r.State = "stopped"
	case all:
		r.State = "caught_up"
	}
	return r
}

func (l *link) report() Link {
	l.mu.Lock()
	p := l.phase
	l.mu.Unlock()
	l.m.stateMu.Lock()
	st := *l.st
	l.m.stateMu.Unlock()
	li := Link{Shard: l.primary(), Reads: l.node(), Phase: p.String(), Keys: l.count.snapshotDone(),
		Bytes: l.count.snapshotBytes.Load(), SnapshotBytes: l.count.snapshotReceived.Load(), SnapshotTotal: l.count.snapshotTotal.Load(),
		Commands: l.count.commands.Load(), ReplID: st.ReplID, Offset: st.Start, AppliedOffset: st.Start}
	li.Sync = st.Sync
	if l.file != nil {
		li.CutBytes = l.cut.Load()
		li.SnapshotTotal, li.SnapshotBytes = l.file.Size(), l.file.Size()
	}
	if l.dispatcher.Load() != nil {
		bytes, age := l.lag()
		li.Offset, li.AppliedOffset = l.received(), l.positions.applied().offset
		li.LagBytes, li.LagSeconds = bytes, age.Seconds()
	}
	return li
}

func (c *counts) snapshotDone() int64 {
	return c.snapshotApplied.Load() + c.snapshotFiltered.Load() + c.snapshotKept.Load() + c.snapshotExpired.Load() + c.snapshotReported.Load()
}

// forgetSnapshot begins the counting anew for a snapshot that is loaded once more.
func (c *counts) forgetSnapshot() {
	for _, n := range []*atomic.Int64{&c.snapshotKeys, &c.snapshotApplied, &c.snapshotFiltered, &c.snapshotKept, &c.snapshotExpired, &c.snapshotReported} {
		n.Store(0)
	}
}

func (c *counts) addTo(t *Counters) {
	t.SnapshotKeys += c.snapshotKeys.Load()
	t.SnapshotApplied += c.snapshotApplied.Load()
	t.SnapshotFiltered += c.snapshotFiltered.Load()
	t.SnapshotKept += c.snapshotKept.Load()
	t.SnapshotExpired += c.snapshotExpired.Load()
	t.SnapshotReported += c.snapshotReported.Load()
	t.Commands += c.commands.Load()
	t.CommandsApplied += c.applied.Load()
	t.CommandsFiltered += c.filtered.Load()
	t.CommandsControl += c.control.Load()
	t.CommandsRepaired += c.repaired.Load()
	t.CommandsReported += c.reported.Load()
}
