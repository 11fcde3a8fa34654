package receive

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

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
		replID     string // of the stream
		replID2    string // by INFO
		unproven   bool
		noSnapshot bool
		refuses    error
		then       string // the node that is asked next
	}{
		{name: "primary that was promoted", now: shardOf("b:1"), refuses: ErrFailedOver, then: "b:1"},
		{name: "same primary", why: "nothing was promoted, so its backlog is too short", now: shardOf(same), refuses: ErrNotContinued, then: same},
		{name: "same primary, which was a replica between", why: "its data come from the other one", now: shardOf(same), replID: "of the other one", replID2: "f00", refuses: ErrFailedOver, then: same},
		{name: "same primary, which came back empty", now: shardOf(same), replID: "of its last life", refuses: ErrNotContinued, then: same},
		{name: "same primary, promoted before the stream began", now: shardOf(same), replID: server.ReplID(), replID2: "f00", refuses: ErrNotContinued, then: same},
		{name: "same primary, which came back with its own data", why: "which may be old", now: shardOf(same), replID: "f00", replID2: "f00", refuses: ErrNotContinued, then: same},
		{name: "same primary, and the spool is gone", now: shardOf(same), replID2: "f00", refuses: ErrNotContinued, then: same},
		{name: "same primary that has become a replica", why: "the topology is behind", now: shardOf(same), role: "slave", refuses: errStale, then: same},
		{name: "primary that nobody knows", now: shardOf("x:1"), unproven: true, refuses: ErrStranger, then: "x:1"},
		{name: "no snapshot is wanted", now: shardOf("b:1"), noSnapshot: true, refuses: ErrNotContinued, then: "b:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := 0
			server.Tell("role", cmp.Or(c.role, "master"), "master_replid2", cmp.Or(c.replID2, strings.Repeat("0", 40)))
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
			if err := s.Refuse(t.Context(), at, c.replID); !errors.Is(err, c.refuses) {
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
	if err := s.Refuse(t.Context(), "b:1", "r"); !errors.Is(err, errElsewhere) || final(err) {
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
	if err := s.Refuse(t.Context(), "a:1", "r"); !errors.Is(err, ErrNotContinued) || !strings.Contains(err.Error(), "backlog") {
		t.Errorf("%v", err)
	}
	if err := s.Watch(t.Context(), "a:1"); err != nil {
		t.Errorf("%v", err)
	}
}

// TestReplicaIsLeft: a replica that has lost its primary, or takes writes of its own, is left at once, and not chosen.
func TestReplicaIsLeft(t *testing.T) {
	primary, replica := endpointtest.Serve(t, "7.0.15"), endpointtest.Serve(t, "7.0.15")
	nodes := shardOf(primary.Addr, replica.Addr)
	for _, c := range []struct {
		name string
		tell []string
		says string // "": it stays
	}{
		{name: "in sync"},
		{name: "cut off", tell: []string{"master_link_status", "down"}, says: "its link to its primary is down"},
		{name: "being synchronized", tell: []string{"master_sync_in_progress", "1"}, says: "it is being synchronized"},
		{name: "writable", tell: []string{"slave_read_only", "0"}, says: "it takes writes of its own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			replica.Tell("role", "slave", "master_link_status", "up", "master_sync_in_progress", "0", "slave_read_only", "1")
			source := endpointtest.Open(t, primary.URL())
			s := NewShard(nodes, replica.Addr, ShardConfig{Source: source, Follows: true, FromReplica: true, Primaries: &primaries{last: primary.Addr},
				Refresh: func(context.Context) error { return nil },
				Find:    func() (endpoint.Shard, bool, bool) { return nodes, true, true }, Log: slog.New(slog.DiscardHandler)})
			replica.Tell(c.tell...)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if c.says == "" { // until it was asked
				asked := len(replica.Calls("INFO"))
				go func() {
					for len(replica.Calls("INFO")) == asked && ctx.Err() == nil {
						time.Sleep(time.Millisecond)
					}
					cancel()
				}()
			}
			err := s.Watch(ctx, replica.Addr)
			if (err != nil) != (c.says != "") || err != nil && (!errors.Is(err, errUnfit) || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%v, want one that says %q", err, c.says)
			}
			want := primary.Addr
			if c.says == "" {
				want = replica.Addr
			}
			if at, err := ChooseReplica(t.Context(), source, nodes); err != nil || at != want {
				t.Errorf("chose %s, %v, want %s", at, err, want)
			}
		})
	}
}

// TestStanding: how far the source has come is what the primary says of the stream that is received, whichever node sends it.
func TestStanding(t *testing.T) {
	for _, c := range []struct {
		name, why string
		version   string
		replica   bool // the shard is received from the replica
		primary   []string
		of        []string // the replica's INFO
		want      int64
		is        error
	}{
		{name: "primary", version: "7.0.15", primary: []string{"master_repl_offset", "7000"}, want: 7000},
		{name: "replica", why: "it may be cut off", version: "7.0.15", replica: true, primary: []string{"master_repl_offset", "7000"}, of: []string{"master_repl_offset", "5000"}, want: 7000},
		{name: "primary of another stream", version: "7.0.15", primary: []string{"master_replid", strings.Repeat("1", 40)}, is: errOtherStream},
		{name: "primary that has become a replica", version: "7.0.15", primary: []string{"role", "slave"}, is: errStale},
		{name: "primary before 4.0", version: "3.2.12", primary: []string{"master_repl_offset", "7000"}, want: 7000},
		{name: "replica before 4.0", why: "its stream has offsets of its own", version: "3.2.12", replica: true, primary: []string{"master_repl_offset", "7000"},
			of: []string{"slave_repl_offset", "7000", "master_repl_offset", "300"}, want: 300},
		{name: "replica before 4.0 that is behind", version: "3.2.12", replica: true, primary: []string{"master_repl_offset", "7000"},
			of: []string{"slave_repl_offset", "6999", "master_repl_offset", "300"}, is: context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			primary, replica := endpointtest.Serve(t, c.version), endpointtest.Serve(t, c.version)
			primary.Tell(c.primary...)
			replica.Tell(append([]string{"role", "slave", "master_link_status", "up"}, c.of...)...)
			at, id := primary.Addr, primary.ReplID()
			if c.replica {
				at = replica.Addr
				if replica.Number < 40000 {
					id = replica.ReplID()
				}
			}
			s := NewShard(shardOf(primary.Addr, replica.Addr), at, ShardConfig{Source: endpointtest.Open(t, primary.URL()), Follows: true})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if c.is == context.DeadlineExceeded {
				ctx, cancel = context.WithTimeout(ctx, 500*time.Millisecond)
				defer cancel()
			}
			got, err := s.Standing(ctx, id)
			if got != c.want || !errors.Is(err, c.is) || c.is == nil && err != nil {
				t.Errorf("%d, %v, want %d, %v (%s)", got, err, c.want, c.is, c.why)
			}
		})
	}
}
