package migrator

import (
	"context"
	"errors"
	"strings"
	"testing"

	"surecut/migrator/internal/receive"
)

// TestStateAtTheEnd is the table of Migration: what ends a run decides on its state.
func TestStateAtTheEnd(t *testing.T) {
	lost := errors.New("the source was lost")
	for _, tt := range []struct {
		name     string
		snapshot bool // is in the target
		finish   bool // was called
		cancel   bool // the context of Run
		resumed  bool // an earlier run had brought the snapshot in
		err      error
		want     string
		says     string
	}{
		{name: "a full copy is in", snapshot: true, want: "done"},
		{name: "finished", snapshot: true, finish: true, want: "done"},
		{name: "finished before the snapshot is in", finish: true, want: "stopped"},
		{name: "resumed, and finished before the stream has begun", snapshot: true, finish: true, resumed: true, want: "stopped"},
		{name: "the context has ended", snapshot: true, cancel: true, err: context.Canceled, want: "stopped"},
		{name: "the context has ended after Run", snapshot: true, cancel: true, want: "done"},
		{name: "an error", snapshot: true, err: lost, want: "failed", says: lost.Error()},
		{name: "an error after Finish", snapshot: true, finish: true, err: lost, want: "failed", says: lost.Error()},
	} {
		m := runOf(t, t.TempDir())
		m.stopping, m.stop = context.WithCancel(t.Context())
		if tt.snapshot {
			m.state.Links[0].Stage = following
		}
		if tt.resumed {
			m.links[0].began = following
		}
		if tt.finish {
			m.Finish()
		}
		ctx, cancel := context.WithCancel(t.Context())
		if tt.cancel {
			cancel()
		}
		m.endedBy(ctx, tt.err)
		cancel()
		if r := m.Report(); r.State != tt.want || r.Error != tt.says {
			t.Errorf("%s: %s %q, want %s %q", tt.name, r.State, r.Error, tt.want, tt.says)
		}
		if err := m.AwaitCaughtUp(t.Context()); err == nil {
			t.Errorf("%s: a migration that has ended counts as caught up", tt.name)
		}
	}
}

// TestSidesAreNeeded: a configuration without deployments is an error that names the field, and no panic.
func TestSidesAreNeeded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.StateDir = t.TempDir()
	if _, err := New(t.Context(), cfg); err == nil || err.Error() != "Config.Sides: the source and the target must be open" {
		t.Errorf("got %v", err)
	}
}

// TestEndsBeforeItOpensItsLinks: a run that fails that early has received nothing, and says so when it is asked.
func TestEndsBeforeItOpensItsLinks(t *testing.T) {
	m := runOf(t, t.TempDir())
	l := m.links[0]
	l.replica = &replica{l: l}
	if why := m.Unsettled(); len(why) != 1 || !strings.Contains(why[0], "it is not known how far the source") || l.sourceStood() != receive.Offline {
		t.Errorf("unsettled: %q", why)
	}
}
