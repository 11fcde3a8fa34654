package stream

import (
	"context"
	"testing"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
)

// ending is a feed that sends nothing and ends.
type ending struct{}

func (ending) Close() error { return nil }

func (ending) run(_ context.Context, out chan<- stretch) error {
	close(out)
	return nil
}

// TestSettled: a stream that ends before it has passed all that an earlier run applied is not settled, nor is one with keys in doubt.
func TestSettled(t *testing.T) {
	for _, c := range []struct {
		name  string
		units map[target.Unit]int64 // what an earlier run has applied behind the link's checkpoint
		doubt bool                  // a key is in doubt
		want  bool
	}{
		{name: "all is passed", want: true},
		{name: "an earlier run has come further", units: map[target.Unit]int64{1: 200}},
		{name: "an earlier run has come further, and has left a key to be copied", units: map[target.Unit]int64{1: 200}, doubt: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestStream(t)
			if c.doubt {
				if err := l.Doubts.AddInterrupted([]keyspace.Key{{Name: "k"}}); err != nil {
					t.Fatal(err)
				}
			}
			s := New(l.Config, 3, func() Committer { return taking{} }, &target.Checkpoint{Offset: 100, Units: c.units})
			if s.Settled() {
				t.Error("a stream that has not run is settled")
			}
			if err := s.Run(t.Context(), ending{}, func(context.Context) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if got := s.Settled(); got != c.want {
				t.Errorf("settled: %v, want %v", got, c.want)
			}
		})
	}
	l := newTestStream(t) // the keys that wait until the link has caught up count as well
	if err := l.Doubts.later.Add(keyspace.Key{Name: "k"}); err != nil || !l.Doubts.open() {
		t.Errorf("a key that is to be copied later is not open: %v", err)
	}
}
