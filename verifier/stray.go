package verifier

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// stray is a key on a server behind a proxy that the proxy does not look for it on: what a change of the sharding has left
// behind, or what was written past the proxy. Nobody who goes through the proxy can see it.
type stray struct {
	addr string
	id   keyID
}

func (s *side) addStray(n *node, db int, name string) {
	id, _ := s.compared(db, name)
	id.db = -1
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.astray++; len(s.strays) < s.opts.MaxFindings {
		s.strays = append(s.strays, stray{n.addr(), id})
	}
}

// settleStrays counts the strays of the target as extra. Those of the source are no part of its data.
func (v *verification) settleStrays() {
	strays := v.target.strays
	v.target.strays = nil
	_ = v.tally.batch(func(t *tally) error {
		for _, s := range strays {
			id, _ := v.locateSource(s.id, false)
			t.settle(id, &decision{Verdict: Extra, Reason: liesAstray(s.addr)})
		}
		unlisted := v.target.astray - int64(len(strays))
		t.totals.Extra += unlisted
		t.omitted += int(unlisted)
		return nil
	})
	v.target.astray = 0
}

func liesAstray(addrs ...string) string {
	return fmt.Sprintf("it lies on %s, where the proxy does not look for it", strings.Join(addrs, " and "))
}

func addrsOf(nodes []*node) []string {
	addrs := make([]string, len(nodes))
	for i, n := range nodes {
		addrs[i] = n.addr()
	}
	return addrs
}

// straysOf gives the nodes of the target that hold a key which the proxy looks for on another one.
func (v *verification) straysOf(ctx context.Context, k keyID) (nodes []*node, err error) {
	for _, n := range v.target.nodes {
		if v.target.dep.Holds(n.primary, k.name) {
			continue
		}
		r := v.target.borrow(n, k.pairDB)
		reply, err := r.one(ctx, "EXISTS", k.name)
		v.target.giveBack(r)
		if err != nil {
			return nil, err
		}
		if there, err := reply.AsInt64(); err != nil {
			return nil, fmt.Errorf("EXISTS on %s: %w", n.addr(), err)
		} else if there > 0 {
			nodes = append(nodes, n)
		}
	}
	return nodes, nil
}

// deleteStrays deletes a key where the proxy does not look for it, and nowhere else.
func (v *verification) deleteStrays(ctx context.Context, k keyID, on []*node) error {
	var errs []error
	for _, n := range on {
		r := v.target.borrow(n, k.pairDB)
		_, err := r.one(ctx, "DEL", k.name)
		v.target.giveBack(r)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
