package verifier

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
)

// sideProber reads suspects on one side, each from the node that has it now.
type sideProber struct {
	*side
	db func(keyID) int // the key's database on this side; -1: the key cannot be there
}

type place struct {
	node *node
	db   int
}

// probe returns a reading per key. It returns an error only if the run was interrupted; failures of nodes are in the readings.
func (s sideProber) probe(ctx context.Context, keys []keyID, keep int64) ([]reading, error) {
	out := make([]reading, len(keys))
	places := map[place][]int{}
	for i, k := range keys {
		db := s.db(k)
		n, err := s.nodeOf(s.named(k))
		switch {
		case db < 0:
		case err != nil:
			out[i].Err = err
		case n.facts.DatabasesKnown && db >= n.facts.Databases: // the server has no such database, so it has no such key
		default:
			places[place{n, db}] = append(places[place{n, db}], i)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	var stale sync.Once
	for at, indexes := range places {
		g.Go(func() error {
			if moved := s.probePlace(gctx, at, keys, indexes, out, keep); moved {
				stale.Do(func() { _ = s.refresh(gctx) }) // a failure shows in the next readings
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return out, nil
}

// probePlace reads keys of one database of one node. It says whether the node redirected any of them.
func (s sideProber) probePlace(ctx context.Context, at place, keys []keyID, indexes []int, out []reading, keep int64) (moved bool) {
	r := s.borrow(at.node, at.db)
	defer s.giveBack(r)
	names := make([]string, len(indexes))
	for j, i := range indexes {
		names[j] = s.named(keys[i])
	}
	got := make([]reading, len(names))
	r.keepTimes(mostTimes / s.cfg.Workers)
	defer r.keepTimes(0)
	if err := r.read(ctx, names, got, keep); err != nil {
		for j := range got {
			got[j] = reading{Err: err}
		}
	}
	for j, i := range indexes {
		out[i] = got[j]
		moved = moved || redirected(got[j].Err)
	}
	return moved
}

// refresh asks which node serves each slot now, and adds nodes that are new.
func (s *side) refresh(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, s.cfg.Silence)
	defer cancel()
	if err := s.dep.Refresh(asking); err != nil {
		return err
	}
	s.mu.Lock()
	known := map[string]bool{}
	for _, n := range s.nodes {
		known[n.primary] = true
	}
	s.mu.Unlock()
	for _, shard := range s.dep.Shards() {
		if known[shard.Primary.Addr] {
			continue
		}
		n, err := newNode(ctx, s.dep, shard.Primary.Addr, shard.Primary.Addr, s.cfg)
		if err != nil {
			continue
		}
		s.mu.Lock()
		s.nodes = append(s.nodes, n)
		s.mu.Unlock()
	}
	return nil
}

// nodeOf returns the node that a key is read from: the primary of its slot, or the replica that was chosen for that shard.
func (s *side) nodeOf(name string) (*node, error) {
	s.mu.Lock()
	nodes := s.nodes
	s.mu.Unlock()
	if !s.dep.Sharded() {
		return nodes[0], nil
	}
	slot := s.dep.Slot(name)
	primary, ok := s.dep.PrimaryOf(slot)
	if ok {
		for _, n := range nodes {
			if n.primary == primary.Addr {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("it is not known which node of the %s serves slot %d", s.name, slot)
}

// redirected says that a node answered with MOVED or ASK.
func redirected(err error) bool {
	var r *refusal
	return errors.As(err, &r) && (r.code == "MOVED" || r.code == "ASK")
}
