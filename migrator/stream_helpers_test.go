package migrator

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
)

// testStream has what a stream needs, without servers.
type testStream struct {
	*streamConfig
	problems *ledger.Problems
	memory   *memory // the target
}

// testStreamLink is the link of a stream that is tested alone.
type testStreamLink struct{ failed error }

func (*testStreamLink) NearlyCaughtUp() bool                       { return true }
func (*testStreamLink) Reserve(int64) error                        { return nil }
func (*testStreamLink) SaveState() error                           { return nil }
func (*testStreamLink) SaveCheckpoint(context.Context, mark) error { return nil }
func (*testStreamLink) RememberWitnesses([]witness)                {}
func (*testStreamLink) CheckSlots(int, [][]byte) error             { return nil }
func (l *testStreamLink) Fail(err error)                           { l.failed = err }
func (*testStreamLink) FileEnd() int64                             { return 0 }

func newTestStream(t *testing.T) *testStream {
	t.Helper()
	in := inMemory()
	to := in.Target
	carried := scope.New(keyspace.Filter{}.To(to.dbs), endpoint.Shard{}, &endpoint.Deployment{})
	s := &testStream{problems: &ledger.Problems{}, memory: in}
	log := slog.New(slog.DiscardHandler)
	s.streamConfig = &streamConfig{
		Name: "0", Target: to, Scope: &carried, Ledger: ledger.New(log, &carried.Filter, func() string { return "" }, s.problems, ledger.Counters{}),
		Positions: newPositions(), Source: reread.NewReader(&endpoint.Deployment{}, func() string { return "" }, 0, nil), Clock: reread.NewClock(nil, nil),
		Moved: &atomic.Pointer[moved]{}, Link: &testStreamLink{}, Log: log, HoldExpiry: time.Hour, RetryFor: time.Second, Alone: true, TargetWasEmpty: true,
	}
	s.hold(t, ledger.NeverHeld)
	var err error
	dir := t.TempDir()
	if s.Doubts, err = openDoubts(dir); err != nil {
		t.Fatal(err)
	}
	if s.Scripts, err = openScripts(filepath.Join(dir, "scripts")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Doubts.close(); s.Scripts.close() })
	return s
}

// hold gives the stream expiries in a state, and with no key on the list.
func (s *testStream) hold(t *testing.T, state ledger.HeldState) {
	t.Helper()
	s.Expiries = ledger.NewExpiries(state)
	if err := s.Expiries.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Expiries.Close() })
}

// newWriter returns a writer of the stream's target.
func (s *testStream) newWriter() writer {
	return s.Target.newWriter(writing{link: s.Name, acknowledged: s.Positions.acknowledged})
}

func newTestLane(s *testStream, id int) *lane { return newLane(s.streamConfig, id, s.newWriter()) }

func newTestDispatcher(s *testStream, cp *checkpoint) *dispatcher {
	lanes := make([]*lane, 3)
	for i := range lanes {
		lanes[i] = newTestLane(s, i)
	}
	if cp == nil {
		cp = &checkpoint{}
	}
	return newDispatcher(s.streamConfig, lanes, nil, cp)
}
