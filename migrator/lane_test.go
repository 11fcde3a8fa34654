package migrator

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

func TestLaneQueue(t *testing.T) {
	l := newTestLink(t)
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
		if oldest := n.oldest(); oldest == nil || oldest.start != []int64{0, 0, 3}[i] {
			t.Errorf("before batch %d the oldest is %+v", i, oldest)
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

// TestFailedLane: who waits for room in a lane that fails goes on, with the lane's reason.
func TestFailedLane(t *testing.T) {
	l := newTestLink(t)
	l.m.target.retryFor = time.Millisecond // there is no server
	l.m.target.last = time.Now().Add(time.Hour)
	n := newTestLane(l, 0)
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
		if err == nil || !strings.Contains(err.Error(), "the target did not recover") {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("whoever waits for room in a failed lane waits for ever")
	}
}

// TestMeetingThatFails: no other lane goes on where the leader could not apply what all had met for.
func TestMeetingThatFails(t *testing.T) {
	l := newTestLink(t)
	a, b := newTestLane(l, 0), newTestLane(l, 1)
	m := newMeeting([]*lane{a, b}, a)
	it := &item{end: 5, meet: m}
	ctx, cancel := context.WithCancel(t.Context())
	other := make(chan error, 1)
	go func() { other <- b.attend(ctx, m, it) }()
	failing, fail := context.WithCancel(ctx)
	<-m.all
	l.m.target.bytes = limiter(1) // makes commit notice that its context is over
	it.calls = []call{{args: []string{"SET", "a", "x"}}}
	fail()
	if err := a.attend(failing, m, it); err == nil {
		t.Fatal("a commit with a context that is over succeeded")
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
