package migrator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"

	"surecut/migrator/internal/receive"
	"surecut/migrator/internal/target"
)

// TestStartOver: a snapshot replaces an earlier one only where no key of the target can be anybody else's.
func TestStartOver(t *testing.T) {
	tests := []struct {
		name   string
		change func(*link)
		says   string // "" where it may
	}{
		{"target was empty", func(*link) {}, ""},
		{"target held keys", func(l *link) { l.m.state.TargetWasEmpty = false }, "run verify and repair"},
		{"several shards without slots", func(l *link) { l.m.links = append(l.m.links, l) }, "which keys of the target came from this shard"},
		{"several shards with slots", func(l *link) {
			l.m.links = append(l.m.links, l)
			l.scope.Slots = keyspace.SlotRanges{{First: 0, Last: 5}}
		}, ""},
		{"incremental", func(l *link) { l.m.cfg.Mode = ModeIncremental }, "Config.Mode incremental"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newTestLink(t)
			l.dir = t.TempDir()
			l.m.state.dir = l.dir
			l.st.Stage = following
			tt.change(l)
			err := l.startOver(receive.ErrFailedOver)
			if tt.says == "" {
				if err != nil || !l.st.Again || l.st.Stage != fresh {
					t.Fatalf("%v, %+v", err, *l.st)
				}
				return
			}
			if !errors.Is(err, receive.ErrFailedOver) || !strings.Contains(err.Error(), tt.says) || l.st.Again || l.st.Stage != following {
				t.Fatalf("%v, %+v: want an error that says %q", err, *l.st, tt.says)
			}
		})
	}
}

// TestBeginAnew: which failures a link answers by beginning anew, and with what. All others end it with their own words.
func TestBeginAnew(t *testing.T) {
	broken := errors.New("the disk is full")
	for _, tt := range []struct {
		name, why string
		err       error
		change    func(*link)
		stop      bool // Finish was called
		cancel    bool // the context of Run has ended
		again     bool
		stage     stage // afterwards
	}{
		{name: "ended well"},
		{name: "an error of no server", err: broken},
		{name: "failover", err: receive.ErrFailedOver, again: true, stage: fresh},
		{name: "failover, wrapped", err: fmt.Errorf("source a:1: %w", receive.ErrFailedOver), again: true, stage: fresh},
		{name: "failover after Finish", why: "the user wants an end", err: receive.ErrFailedOver, stop: true},
		{name: "failover after the end", err: receive.ErrFailedOver, cancel: true},
		{name: "failover, but others have keys on the target", err: receive.ErrFailedOver, change: func(l *link) { l.m.state.TargetWasEmpty = false }},
		{name: "a stream that cannot be continued", why: "no failover explains it", err: receive.ErrNotContinued},
		{name: "no PSYNC", err: receive.ErrNoPSYNC, again: true, stage: fresh},
		{name: "a snapshot that was cut off", why: "the source may have failed over", err: receive.ErrCut, change: func(l *link) { l.st.Stage = receiving }, again: true, stage: receiving},
		{name: "cut off too often", err: receive.ErrCut, change: func(l *link) { l.st.Stage, l.replica.cuts = receiving, mostCuts }, stage: receiving},
		{name: "cut off, and the source is one server", why: "nobody takes its place", err: receive.ErrCut, change: func(l *link) {
			l.st.Stage, l.shard = receiving, receive.NewShard(endpoint.Shard{}, "", receive.ShardConfig{})
		}, stage: receiving},
		{name: "the target has lost keys, and that was noted", err: target.ErrLost, change: func(l *link) { l.st.Lost = true }, again: true, stage: fresh},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newTestLink(t)
			l.dir = t.TempDir()
			l.m.state.dir, l.m.cfg.Sides.Target = l.dir, &endpoint.Deployment{}
			l.m.stopping, l.m.stop = context.WithCancel(t.Context())
			l.shard = receive.NewShard(endpoint.Shard{}, "", receive.ShardConfig{Follows: true})
			l.st.Stage, l.writer = following, l.newWriter()
			if tt.stage == fresh && !tt.again {
				tt.stage = following
			}
			if tt.change != nil {
				tt.change(l)
			}
			l.fail(broken) // by a goroutine of the run that has ended
			if tt.stop {
				l.m.Finish()
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.cancel {
				cancel()
			}
			again, err := l.replica.again(ctx, tt.err)
			if again != tt.again || again && err != nil || !again && !errors.Is(err, tt.err) || l.st.Stage != tt.stage {
				t.Fatalf("again %v, %v, in stage %q; want %v in %q (%s)", again, err, l.st.Stage, tt.again, tt.stage, tt.why)
			}
			if again && (len(l.failed) > 0 || !l.does(preparing) || l.began != tt.stage || l.st.Lost) {
				t.Errorf("it does not begin anew: %+v", *l.st)
			}
		})
	}
}
