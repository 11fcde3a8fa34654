package receive

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
)

// primaries remembers one in memory.
type primaries struct{ last, replID string }

func (p *primaries) LastPrimary() (addr, replID string) { return p.last, p.replID }
func (p *primaries) RememberPrimary(addr string) error {
	p.last = addr
	return nil
}

func shardOf(primary string, replicas ...string) endpoint.Shard {
	s := endpoint.Shard{Primary: endpoint.Node{Addr: primary}}
	for _, r := range replicas {
		s.Replicas = append(s.Replicas, endpoint.Node{Addr: r})
	}
	return s
}

// TestFailover: what becomes of a node that cannot continue the stream depends on what is known of the shard.
func TestFailover(t *testing.T) {
	server := endpointtest.Serve(t, "7.0.15")
	same := server.Addr
	for _, c := range []struct {
		name, why  string
		now        endpoint.Shard
		role       string // by INFO, of the node that was the primary before; "": master
		unproven   bool
		noSnapshot bool
		refuses    error
		then       string // the node that is asked next
	}{
		{name: "primary that was promoted", now: shardOf("b:1"), refuses: ErrFailedOver, then: "b:1"},
		{name: "same primary", why: "nothing was promoted, so its backlog is too short", now: shardOf(same), refuses: ErrNotContinued, then: same},
		{name: "same primary that has become a replica", why: "the topology is behind", now: shardOf(same), role: "slave", refuses: errStale, then: same},
		{name: "primary that nobody knows", now: shardOf("x:1"), unproven: true, refuses: ErrStranger, then: "x:1"},
		{name: "no snapshot is wanted", now: shardOf("b:1"), noSnapshot: true, refuses: ErrNotContinued, then: "b:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := 0
			server.Tell("role", cmp.Or(c.role, "master"))
			p := &primaries{last: same}
			s := NewShard(shardOf(same, "b:1"), same, ShardConfig{Source: endpointtest.Open(t, server.URL()), Follows: true, NoSnapshot: c.noSnapshot, Primaries: p,
				Refresh: func(context.Context) error { asked++; return nil },
				Find:    func() (endpoint.Shard, bool, bool) { return c.now, !c.unproven, true },
				Moved:   func(context.Context) error { return nil }, Log: slog.New(slog.DiscardHandler)})
			if at, err := s.Next(t.Context()); at != same || err != nil || asked != 0 {
				t.Fatalf("first %s, %v: it was chosen before", at, err)
			}
			at, err := s.Next(t.Context())
			if at != c.then || err != nil || asked != 1 {
				t.Fatalf("then %s, %v, want %s", at, err, c.then)
			}
			if err := s.Refuse(t.Context(), at); !errors.Is(err, c.refuses) {
				t.Errorf("%s: %v, want %v", c.why, err, c.refuses)
			}
			if err := s.Settle(t.Context(), at); err != nil || s.Node() != at || p.last != s.Primary() {
				t.Errorf("settled at %s under %s, which is remembered as %s: %v", s.Node(), s.Primary(), p.last, err)
			}
		})
	}
}

// TestRefusedByReplica: the backlog of a replica may be young, so the primary is asked before anything is given up.
func TestRefusedByReplica(t *testing.T) {
	s := NewShard(shardOf("a:1", "b:1"), "b:1", ShardConfig{Follows: true, FromReplica: true, Source: &endpoint.Deployment{}, Primaries: &primaries{},
		Refresh: func(context.Context) error { return errors.New("nobody answers") },
		Find:    func() (endpoint.Shard, bool, bool) { return shardOf("a:1", "b:1"), true, true }, Log: slog.New(slog.DiscardHandler)})
	s.Reset()
	if err := s.Refuse(t.Context(), "b:1"); !errors.Is(err, errElsewhere) || final(err) {
		t.Errorf("%v", err)
	}
	if at, err := s.Next(t.Context()); at != "a:1" || err != nil {
		t.Errorf("then %s, %v", at, err)
	}
}

// TestStandaloneIsNotFollowed: without a topology there is no other node.
func TestStandaloneIsNotFollowed(t *testing.T) {
	s := NewShard(shardOf("a:1"), "a:1", ShardConfig{Primaries: &primaries{last: "b:1"}})
	s.Reset()
	if at, err := s.Next(t.Context()); at != "a:1" || err != nil || s.Follows() {
		t.Errorf("%s, %v", at, err)
	}
	if err := s.Refuse(t.Context(), "a:1"); !errors.Is(err, ErrNotContinued) || !strings.Contains(err.Error(), "backlog") {
		t.Errorf("%v", err)
	}
	if err := s.Watch(t.Context(), "a:1"); err != nil {
		t.Errorf("%v", err)
	}
}
