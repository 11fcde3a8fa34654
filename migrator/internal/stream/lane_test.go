package stream

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"surecut/migrator/internal/target"

	"golang.org/x/sync/errgroup"
)

func TestLaneQueue(t *testing.T) {
	l := newTestStream(t)
	n := newTestLane(l, 0)
	push := func(it *item) {
		t.Helper()
		if err := n.push(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		push(&item{start: int64(i)})
	}
	push(&item{start: 3, meet: newMeeting([]*lane{n}, nil)})
	push(&item{start: 4})
	for i, want := range []int{3, 1, 1} {
		if oldest, there := n.oldest(); !there || oldest.Offset != []int64{0, 0, 3}[i] {
			t.Errorf("before batch %d the oldest is %+v (there: %v)", i, oldest, there)
		}
		if got := n.take(); len(got) != want {
			t.Errorf("batch %d has %d items", i, len(got))
		}
	}
	for range laneQueueItems {
		push(&item{bytes: 1})
	}
	blocked := make(chan error, 1)
	go func() { blocked <- n.push(t.Context(), &item{}) }()
	select {
	case err := <-blocked:
		t.Fatalf("a full lane took one more: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	n.take()
	if err := <-blocked; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.stop()
	if err := n.push(ctx, &item{}); err == nil {
		t.Error("a stopped lane took an item")
	}
	if n.take() != nil {
		t.Error("a stopped lane gave items")
	}
}

// failing is a committer that applies nothing.
type failing struct{}

var errNoTarget = errors.New("there is no target")

func (failing) Commit(context.Context, []*target.Transaction) error { return errNoTarget }
func (failing) Close()                                              {}

// TestFailedLane: who waits for room in a lane that fails goes on, with the lane's reason.
func TestFailedLane(t *testing.T) {
	n := newLane(newTestStream(t).Config, 0, failing{})
	g, ctx := errgroup.WithContext(t.Context())
	g.Go(func() error {
		for {
			if err := n.push(ctx, &item{}); err != nil {
				return err
			}
		}
	})
	g.Go(func() error { return n.run(ctx) })
	over := make(chan error, 1)
	go func() { over <- g.Wait() }()
	select {
	case err := <-over:
		if err == nil || !strings.Contains(err.Error(), errNoTarget.Error()) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("whoever waits for room in a failed lane waits for ever")
	}
}

// TestMeetingThatFails: no other lane goes on where the leader could not apply what all had met for.
func TestMeetingThatFails(t *testing.T) {
	l := newTestStream(t)
	a, b := newLane(l.Config, 0, failing{}), newLane(l.Config, 1, failing{})
	m := newMeeting([]*lane{a, b}, a)
	it := &item{end: 5, meet: m}
	ctx, cancel := context.WithCancel(t.Context())
	other := make(chan error, 1)
	go func() { other <- b.attend(ctx, m, it) }()
	<-m.all
	it.calls = []target.Call{{Args: []string{"SET", "a", "x"}}}
	if err := a.attend(ctx, m, it); !errors.Is(err, errNoTarget) {
		t.Fatalf("the leader applied the item: %v", err)
	}
	select {
	case err := <-other:
		t.Fatalf("the other lane was released: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	if err := <-other; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
