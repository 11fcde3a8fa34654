package verifier

import "fmt"

// stray is a key on a server behind a proxy that the proxy does not look for it on: what a change of the sharding has left
// behind, or what was written past the proxy. Nobody who goes through the proxy can see it.
type stray struct {
	addr string
	id   keyID
}

func (s *side) addStray(n *node, db int, name string) {
	s.apart.Add(1)
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
			id := v.locateSource(s.id, false)
			t.settle(id, &decision{Verdict: Extra, Reason: fmt.Sprintf("it lies on %s, where the proxy does not look for it", s.addr)})
		}
		unlisted := v.target.astray - int64(len(strays))
		t.totals.Extra += unlisted
		t.omitted += int(unlisted)
		return nil
	})
	v.target.astray = 0
}
