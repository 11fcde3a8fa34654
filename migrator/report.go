package migrator

import (
	"sync"
	"time"
)

// Report returns how far the migration has come.
func (m *Migration) Report() Report {
	m.mu.Lock()
	r := Report{State: "running", Level: m.target.Level(), Problems: m.problemsOfAll(), Selection: m.cfg.selection()}
	ended, cut, err := m.ended, m.cut, m.err
	m.mu.Unlock()
	r.Problems = append(append(r.Problems, m.evicted()...), m.lackingLibraries()...)
	if !ended {
		r.Waiting = waitings(m.waitsOf(m.live()), time.Now())
	}
	all := true
	for _, l := range m.all() {
		l.ledger.ThisRun().AddTo(&r.Counters)
		if l.gone.Load() {
			continue
		}
		li := l.report()
		r.Links = append(r.Links, li)
		all = all && li.Phase == phaseCaughtUp
	}
	r.AllRuns = m.allRuns(r.Counters)
	r.MovingSlots = m.movingSlots()
	if m.scans() {
		r.Level = "repaired"
	}
	switch {
	case cut:
		r.State = "stopped"
	case ended && err != nil:
		r.State, r.Error = "failed", err.Error()
	case ended && (m.stopping.Err() == nil || m.Snapshotted() && m.Settled()):
		r.State = "done"
	case ended:
		r.State = "stopped"
	case all:
		r.State = "caught_up"
	}
	return r
}

// TargetWrites counts what the run has written to the target.
type TargetWrites struct {
	Begun, Ended map[string]int64 // calls that write surecut's own keys beside the data, by the name of the command in lower case: sent, and ended
	Commands     int64            // commands of the stream that were applied
	Copied       int64            // commands whose keys were copied from the source instead
	Exact        bool             // nothing else is written: every link has caught up, and counts offsets of the source
}

// TargetWrites returns what the run has written to the target so far.
func (m *Migration) TargetWrites() TargetWrites {
	r, own := m.Report(), m.target.OwnWrites()
	w := TargetWrites{Begun: own.Begun, Ended: own.Ended, Commands: r.Counters.CommandsApplied, Copied: r.Counters.CommandsRepaired, Exact: m.target.Can.Transactions}
	for _, l := range r.Links {
		w.Exact = w.Exact && l.Phase == phaseCaughtUp && !l.Sync
	}
	return w
}

// problemsOfAll returns the first problems of all links.
func (m *Migration) problemsOfAll() []Problem {
	all := []Problem{}
	for _, l := range m.all() {
		all = append(all, l.problems.All()...)
	}
	return all[:min(len(all), mostProblems)]
}

// mostProblems bounds the list of problems in the report. The counters are exact.
const mostProblems = 1000

// tellProgress calls Config.Progress with the report until end is called, which has Progress called a last time.
func (m *Migration) tellProgress() (end func()) {
	if m.cfg.Progress == nil {
		return func() {}
	}
	ended := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for running := true; running; {
			select {
			case <-tick.C:
			case <-ended:
				running = false
			}
			m.cfg.Progress(m.Report())
		}
	})
	return func() { close(ended); telling.Wait() }
}

func (l *link) report() Link {
	l.m.stateMu.Lock()
	st := *l.st
	l.m.stateMu.Unlock()
	li := Link{Shard: l.shard.Primary(), Reads: l.shard.Node(), Phase: l.phase(), Keys: l.ledger.KeysDone(),
		Bytes: l.ledger.SnapshotBytes.Load(), SnapshotBytes: l.ledger.SnapshotReceived.Load(), SnapshotTotal: l.ledger.SnapshotTotal.Load(),
		Commands: l.ledger.Commands.Load(), ReplID: st.ReplID, Offset: st.Start, AppliedOffset: st.Start}
	li.Sync = st.Sync
	if l.file != nil {
		li.CutBytes = l.file.cut.Load()
		li.SnapshotTotal, li.SnapshotBytes = l.file.received(), l.file.received()
	}
	if l.applying.Load() != nil {
		bytes, age := l.lag()
		li.Offset, li.AppliedOffset = l.origin.received(), l.positions.Applied().Offset
		li.LagBytes, li.LagSeconds = bytes, age.Seconds()
		li.SourceOffset, _ = l.sourceOffset()
	}
	return li
}

const phaseCaughtUp = "caught_up"

// phase returns what the link does now, as Link.Phase.
func (l *link) phase() string {
	switch {
	case l.does(ended):
		return "done"
	case l.does(draining):
		return "draining"
	case l.does(preparing):
		return "handshake"
	case !l.standing.stage().inTarget():
		return "snapshot"
	case l.caughtUp():
		return phaseCaughtUp
	}
	return "streaming"
}
