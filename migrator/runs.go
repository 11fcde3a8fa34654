package migrator

import (
	"errors"

	"surecut/migrator/internal/ledger"
)

// AllRuns has the counters of the migration from its first run on: a run that resumes goes on counting where the last one stopped. The
// other figures of a Report are those of the present run.
type AllRuns struct {
	Runs     int             `json:"runs"`  // how often the migration was started
	Exact    bool            `json:"exact"` // false once a run failed or was killed: commands under way then are missing here, or counted twice
	Counters ledger.Counters `json:"counters"`
}

// runs is what the state remembers of the runs. Their counters are with each link.
type runs struct {
	Begun int  `json:"begun"`
	Open  bool `json:"open"` // the last run is going on, or did not end in good order
	Cut   bool `json:"cut"`  // a run before the last did not end in good order
}

// beginRun notes that a run has begun. Its counters are saved from time to time, and at its end.
func (m *Migration) beginRun() {
	m.update(func() {
		r := &m.state.Runs
		r.Cut = r.Cut || r.Open
		r.Begun, r.Open = r.Begun+1, true
	})
}

// endRun saves the counters at the end of a run. They are exact only after an end in good order: if the run failed or was aborted, commands
// that were under way come again in the next one.
func (m *Migration) endRun(failed error) error {
	if errors.Is(failed, errStateGone) {
		return nil
	}
	m.update(func() { m.state.Runs.Open = failed != nil })
	return m.saveState()
}

// allRuns returns the counters of earlier runs, added to those of this run.
func (m *Migration) allRuns(this ledger.Counters) AllRuns {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	all := AllRuns{Runs: max(m.state.Runs.Begun, 1), Exact: !m.state.Runs.Cut, Counters: this}
	for _, l := range m.all() {
		l.ledger.BeforeThisRun().AddTo(&all.Counters)
	}
	return all
}

// gather copies into the state, which is about to be saved, what other types keep: the counters of all runs, and the state of expiries. The
// caller holds stateMu.
func (m *Migration) gather() {
	for _, l := range m.all() {
		l.st.Counted, l.st.Expiries = l.ledger.AllRuns(), l.expiries.Stored()
	}
}

// countedBefore returns the counters that earlier runs have left for a link. A snapshot that was not loaded to its end is loaded
// again from its beginning, so that its keys are counted again.
func (st *linkState) countedBefore() ledger.Counters {
	c := st.Counted
	if !st.Stage.inTarget() {
		c.ForgetSnapshot()
	}
	return c
}
