package migrator

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestProgressIsTold: whoever embeds a migration hears where it stands while it runs, and how it has ended.
func TestProgressIsTold(t *testing.T) {
	m := newTestLink(t).m
	told := make(chan Report, 100)
	m.cfg.Progress = func(r Report) { told <- r }
	end := m.tellProgress()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 {
		select {
		case r := <-told:
			if r.State != "running" {
				t.Errorf("state %s of a run that goes on", r.State)
			}
		case <-ctx.Done():
			t.Fatal("nothing was told")
		}
	}
	m.err, m.ended = errors.New("no server"), true
	end()
	var last Report
	for len(told) > 0 {
		last = <-told
	}
	if last.State != "failed" || last.Error != "no server" {
		t.Errorf("told at last: %s, %q", last.State, last.Error)
	}
}
