package verifier

import (
	"context"
	"errors"
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

// redirected says that a node answered with MOVED or ASK.
func redirected(err error) bool {
	var r *refusal
	return errors.As(err, &r) && (r.code == "MOVED" || r.code == "ASK")
}
