package verifier

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// stray is a key on a server where no client finds it: a change of the sharding has left it behind, or it was written past the
// proxy. Clients go through the proxy, or a Redis Cluster redirects them to the owner of the slot, so that they cannot see the key.
type stray struct {
	node *node
	db   int // database on this side
	id   keyID
}

// Stray is a key on a server where no client finds it, as the report shows it.
type Stray struct {
	Side      string `json:"side"` // source or target
	Node      string `json:"node"` // host:port
	DB        int    `json:"db"`
	Slot      uint16 `json:"slot"`
	Key       string `json:"key"` // printable, as in findings
	KeyBase64 string `json:"key_base64"`
}

// belongs says whether clients look for a key on the node. In a cluster they do so on the owner of its slot only, and not on the
// node to which the slot is moving.
func (s *side) belongs(n *node, name string) bool {
	if !s.strict() {
		return s.dep.Holds(n.primary, name)
	}
	owner, ok := s.dep.PrimaryOf(s.dep.Slot(name))
	return ok && owner.Addr == n.primary
}

// strict says that the side is a Redis Cluster whose nodes are known. Such nodes refuse requests for keys of other nodes' slots,
// but SCAN lists those keys.
func (s *side) strict() bool { return s.dep.Kind() == endpoint.Cluster && s.dep.Spec().Proxy == "" }

// findAstray notes a key that does not belong to the node. In a cluster it becomes a suspect, too: it may have moved here with its
// slot since the topology was read, and its new node may have been listed before it arrived.
func (s *side) findAstray(n *node, db int, name string, to *spill) error {
	s.addStray(n, db, name)
	if !s.strict() {
		return nil
	}
	id, _ := s.compared(db, name)
	return to.add(&record{keyID: id, flags: unread | astray})
}

func (s *side) addStray(n *node, db int, name string) {
	id, _ := s.compared(db, name)
	id.db = -1
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.astray++; len(s.strays) < s.cfg.MaxFindings {
		s.strays = append(s.strays, stray{n, db, id})
	}
}

// takeOutMoved drops keys that turned out not to be strays: their slot was moved while keys were listed, or is moving to their
// node.
func (s *side) takeOutMoved() {
	if !s.strict() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.strays)
	s.strays = slices.DeleteFunc(s.strays, func(k stray) bool {
		name := s.nameOf(k)
		return s.belongs(k.node, name) || s.importing[k.node.primary][s.dep.Slot(name)]
	})
	s.astray -= int64(before - len(s.strays))
}

// nameOf returns the name of a stray on its own side.
func (s *side) nameOf(k stray) string {
	if s.name == endpoint.Source {
		return s.cfg.mapping.SourceName(k.db, k.id.name)
	}
	return k.id.name
}

// settleStrays counts the strays of a target behind a proxy as extra: they will be in the way when the sharding is changed. Other
// strays are only listed and are not part of the data.
func (v *verification) settleStrays() {
	if v.target.strict() {
		return
	}
	strays := v.target.strays
	v.target.strays = nil
	_ = v.tally.batch(func(t *tally) error {
		for _, s := range strays {
			id, _ := v.locateSource(s.id, false)
			t.settle(id, &decision{Verdict: Extra, Why: liesAstray(s.node.addr())})
		}
		unlisted := v.target.astray - int64(len(strays))
		t.totals.Extra += unlisted
		t.byReason.add(cause{Reason: AstrayOnTarget}, unlisted)
		t.omitted += int(unlisted)
		return nil
	})
	v.target.astray = 0
}

// listedStrays returns the strays of a side as the report lists them, and the sentence about them.
func (s *side) listedStrays() (list []Stray, sentence string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.strays {
		name := s.nameOf(k)
		list = append(list, Stray{Side: s.name.String(), Node: k.node.addr(), DB: k.db, Slot: s.dep.Slot(name), Key: keyspace.Printable(name),
			KeyBase64: base64.StdEncoding.EncodeToString([]byte(name))})
	}
	if s.astray == 0 {
		return nil, ""
	}
	slices.SortFunc(list, func(a, b Stray) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.DB, b.DB), cmp.Compare(a.KeyBase64, b.KeyBase64), cmp.Compare(a.Node, b.Node))
	})
	where := "where its proxy does not look for them"
	if s.strict() {
		where = "that do not own their slots"
	}
	return list, fmt.Sprintf("On the %s, %d keys are on nodes %s. No client finds them there, and they were not compared: %s.", s.name, s.astray, where, examplesOf(list))
}

// examplesOf names the first strays of a list.
func examplesOf(list []Stray) string {
	const few = 3
	var words []string
	for _, k := range list[:min(few, len(list))] {
		words = append(words, fmt.Sprintf("%s (slot %d) on %s", k.Key, k.Slot, k.Node))
	}
	if len(list) > few {
		words = append(words, "...")
	}
	return strings.Join(words, ", ")
}

func liesAstray(addrs ...string) cause {
	return cause{AstrayOnTarget, fmt.Sprintf("it is on %s, where the proxy does not look for it", strings.Join(addrs, " and "))}
}

func addrsOf(nodes []*node) []string {
	addrs := make([]string, len(nodes))
	for i, n := range nodes {
		addrs[i] = n.addr()
	}
	return addrs
}

// straysOf returns the nodes of the target that hold a key which the proxy looks for on another node.
func (p *repairer) straysOf(ctx context.Context, k keyID) (nodes []*node, err error) {
	for _, n := range p.target.known() {
		if p.target.dep.Holds(n.primary, k.name) {
			continue
		}
		r := p.target.borrow(n, k.pairDB)
		reply, err := r.one(ctx, "EXISTS", k.name)
		p.target.giveBack(r)
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

// deleteStrays deletes a key from nodes where the proxy does not look for it, and from no other node.
func (p *repairer) deleteStrays(ctx context.Context, k keyID, on []*node) error {
	var errs []error
	for _, n := range on {
		r := p.target.borrow(n, k.pairDB)
		err := keyWriter{r.conn}.delete(ctx, k.name)
		p.target.giveBack(r)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
