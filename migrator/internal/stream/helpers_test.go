package stream

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/scope"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// testStream has what a stream needs, without servers.
type testStream struct {
	*Config
	problems *ledger.Problems
	memory   *targettest.Memory // the target
}

// testStreamLink is the link of a stream that is tested alone.
type testStreamLink struct{ failed error }

func (*testStreamLink) NearlyCaughtUp() bool                       { return true }
func (*testStreamLink) Reserve(int64) error                        { return nil }
func (*testStreamLink) SaveState() error                           { return nil }
func (*testStreamLink) SaveCheckpoint(context.Context, Mark) error { return nil }
func (*testStreamLink) RememberWitnesses([]target.Witness)         {}
func (l *testStreamLink) Fail(err error)                           { l.failed = err }
func (*testStreamLink) FileEnd() int64                             { return 0 }

func newTestStream(t testing.TB) *testStream {
	t.Helper()
	in := targettest.New()
	to := in.Target
	carried := scope.New(keyspace.Filter{}.To(to.DBs), endpoint.Shard{}, &endpoint.Deployment{})
	s := &testStream{problems: &ledger.Problems{}, memory: in}
	log := slog.New(slog.DiscardHandler)
	s.Config = &Config{
		Name: "0", Target: to, Scope: &carried, Ledger: ledger.New(log, &carried.Filter, func() string { return "" }, s.problems, ledger.Counters{}),
		Positions: NewPositions(), Source: reread.NewReader(&endpoint.Deployment{}, func() string { return "" }, 0, nil), Clock: reread.NewClock(nil, nil),
		Moved: &atomic.Pointer[Moved]{}, Link: &testStreamLink{}, Log: log, HoldExpiry: time.Hour, RetryFor: time.Second, Alone: true, TargetWasEmpty: true,
	}
	s.hold(t, ledger.NeverHeld)
	var err error
	dir := t.TempDir()
	if s.Doubts, err = OpenDoubts(dir); err != nil {
		t.Fatal(err)
	}
	if s.Scripts, err = OpenScripts(filepath.Join(dir, "scripts")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Doubts.Close(); s.Scripts.Close() })
	return s
}

// hold gives the stream expiries in a state, and with no key on the list.
func (s *testStream) hold(t testing.TB, state ledger.HeldState) {
	t.Helper()
	s.Expiries = ledger.NewExpiries(state)
	if err := s.Expiries.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Expiries.Close() })
}

// newWriter returns a writer of the stream's target.
func (s *testStream) newWriter() target.Writer {
	return s.Target.NewWriter(target.Writing{Checkpoints: s.Target.NewCheckpoints(s.Name), Acknowledged: s.Positions.Acknowledged})
}

func newTestLane(s *testStream, id int) *lane { return newLane(s.Config, id, s.newWriter()) }

func newTestDispatcher(s *testStream, cp *target.Checkpoint) *dispatcher {
	lanes := make([]*lane, 3)
	for i := range lanes {
		lanes[i] = newTestLane(s, i)
	}
	if cp == nil {
		cp = &target.Checkpoint{}
	}
	return newDispatcher(s.Config, lanes, nil, cp)
}
