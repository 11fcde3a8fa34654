package migrator

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"surecut/migrator/internal/stream"
)

// TestFreezeWaits: a link may lag for a moment; whoever compares then would take the lag for differences.
func TestFreezeWaits(t *testing.T) {
	lagging := func(t *testing.T) *link {
		l := newTestLink(t)
		l.ended = make(chan struct{})
		l.replica.spool = emptySpool(t)
		l.st.Stage = following
		l.do(working)
		l.applying.Store(&stream.Stream{})
		return l
	}
	t.Run("until it has caught up", func(t *testing.T) {
		l := lagging(t)
		time.AfterFunc(50*time.Millisecond, func() { l.positions.SetDispatched(stream.Mark{Offset: 100}) })
		if d, err := l.awaitCaughtUp(t.Context()); err != nil || d != l.applying.Load() {
			t.Errorf("%v, %v", d, err)
		}
	})
	t.Run("until it has ended", func(t *testing.T) {
		l := lagging(t)
		time.AfterFunc(50*time.Millisecond, func() { close(l.ended) })
		if _, err := l.awaitCaughtUp(t.Context()); err == nil || !strings.Contains(err.Error(), "ended") {
			t.Errorf("%v", err)
		}
	})
	t.Run("told over the socket", func(t *testing.T) {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			var q controlRequest
			if json.NewDecoder(there).Decode(&q) == nil {
				_ = json.NewEncoder(there).Encode(controlReply{Error: "the link of shard a:1 has not caught up", Lags: true})
			}
		}()
		f := &RemoteFrame{conn: here, in: json.NewDecoder(here), out: json.NewEncoder(here)}
		if _, err := f.ask(t.Context(), controlRequest{Op: "freeze"}); !errors.Is(err, ErrLags) || !strings.Contains(err.Error(), "a:1") {
			t.Errorf("%v", err)
		}
	})
	t.Run("no longer than the caller", func(t *testing.T) {
		why := errors.New("patience is over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, why)
		defer cancel()
		if _, err := lagging(t).awaitCaughtUp(ctx); !errors.Is(err, why) {
			t.Errorf("%v, want %v", err, why)
		}
	})
	t.Run("not while keys are held", func(t *testing.T) {
		l := lagging(t)
		l.positions.SetDispatched(stream.Mark{Offset: 100})
		l.expiries.Begin()
		begun := time.Now()
		time.AfterFunc(50*time.Millisecond, func() {
			if err := l.expiries.End(); err != nil {
				t.Error(err)
			}
		})
		if _, err := l.awaitCaughtUp(t.Context()); err != nil || time.Since(begun) < 50*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}
