package migrator

import (
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/migrator/internal/target"
)

// TestMendable: whether new snapshots may put back what a target has lost.
func TestMendable(t *testing.T) {
	single := endpointtest.Open(t, serve(t, nil).URL())
	node := serve(t, nil)
	cluster([]*endpointtest.Server{node}, "0-16383")
	spread := endpointtest.Open(t, "redis+cluster://"+node.Addr)
	file := endpointtest.Open(t, "rdb:"+writeFile(t, "dump.rdb", rdbOf(t, nil, nil)))
	for _, tt := range []struct {
		name, why string
		target    *endpoint.Deployment
		stages    []stage
		change    func(*Migration)
		want      bool
	}{
		{name: "while snapshots are loaded", why: "they are loaded again", target: single, stages: []stage{received, receiving}, want: true},
		{name: "while some are loaded", why: "the target held a whole one", target: single, stages: []stage{received, loaded}},
		{name: "a single server", why: "its owner has to know that all is gone", target: single, stages: []stage{following}},
		{name: "a node of a cluster", target: spread, stages: []stage{following}, want: true},
		{name: "a node with others' keys", target: spread, stages: []stage{following}, change: func(m *Migration) { m.state.TargetWasEmpty = false }},
		{name: "no snapshot is wanted", target: spread, stages: []stage{following}, change: func(m *Migration) { m.cfg.Mode = ModeIncremental }},
		{name: "a scan", why: "it has no second snapshot", target: spread, stages: []stage{loaded}, change: func(m *Migration) { m.cfg.Capture = CaptureScan }},
		{name: "a file", target: spread, stages: []stage{following}, change: func(m *Migration) { m.cfg.Sides.Source = file }},
	} {
		m := newTestLink(t).m
		m.cfg.Sides = Sides{Source: single, Target: tt.target}
		m.state.Links = nil
		for _, s := range tt.stages {
			m.state.Links = append(m.state.Links, &linkState{Name: "0", Stage: s})
		}
		if tt.change != nil {
			tt.change(m)
		}
		if got := m.mendable(); got != tt.want {
			t.Errorf("%s: %v (%s)", tt.name, got, tt.why)
		}
	}
}

// TestLossIsNoted: the state on disk says which links have to load their keys again, before anything is written to the target.
func TestLossIsNoted(t *testing.T) {
	m := newTestLink(t).m
	m.state.dir = t.TempDir()
	for _, s := range []stage{fresh, receiving, received, loaded, following} {
		m.state.Links = append(m.state.Links, &linkState{Name: "l" + string(s), Shard: string(s), Stage: s})
	}
	m.links = nil
	if err := m.noteLoss(); err != nil {
		t.Fatal(err)
	}
	for _, st := range peek(m.state.dir).Links {
		if st.Lost != (st.Stage != fresh) {
			t.Errorf("a link in stage %q: lost %v", st.Stage, st.Lost)
		}
	}
	l := &standing{m, m.state.Links[3]}
	if !l.lost() || !l.takeLoss() || l.lost() || l.takeLoss() {
		t.Error("a loss is taken once")
	}
}

// TestWitnessesAreRemembered: each once, in the state on disk, and only after the target has them.
func TestWitnessesAreRemembered(t *testing.T) {
	to := serve(t, nil)
	cfg := between(t, serve(t, nil).URL(), to.URL())
	m, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.state.close()
	place := func(ws ...target.Witness) error { return m.placeWitnesses(t.Context(), ws) }
	saysSo(t, place(target.Witness{}), "", "")
	saysSo(t, place(target.Witness{}, target.Witness{DB: 2}), "", "")
	if got := peek(cfg.StateDir).Witnesses; len(got) != 2 || len(ownOf(to, ":witness:")) != 1 {
		t.Errorf("on disk %v, on the target %v", got, ownOf(to, ":witness:"))
	}
	to.Always("SET", "-NOPERM no\r\n")
	saysSo(t, place(target.Witness{DB: 3}), "NOPERM", "")
	if got := m.witnesses(); len(got) != 2 {
		t.Errorf("a witness that was not placed would count as lost: %v", got)
	}
}
