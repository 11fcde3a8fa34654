package verifier

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

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

// strayList are the strays of one side.
type strayList struct {
	naming
	dep   *endpoint.Deployment
	limit int // of those that are kept

	mu        sync.Mutex
	keys      []stray                    // guarded by mu: as many as findings are listed
	count     int64                      // guarded by mu: the number of all strays
	importing map[string]map[uint16]bool // guarded by mu: slots that are moving to a primary
}

// belongs says whether clients look for a key on the node. In a cluster they do so on the owner of its slot only, and not on the
// node to which the slot is moving.
func (l *strayList) belongs(n *node, name string) bool {
	if !l.strict() {
		return l.dep.Holds(n.primary, name)
	}
	owner, ok := l.dep.PrimaryOf(l.dep.Slot(name))
	return ok && owner.Addr == n.primary
}

// strict says that the side is a Redis Cluster whose nodes are known. Such nodes refuse requests for keys of other nodes' slots,
// but SCAN lists those keys.
func (l *strayList) strict() bool {
	return l.dep.Kind() == endpoint.Cluster && l.dep.Spec().Proxy == ""
}

// add notes a key that does not belong to the node.
func (l *strayList) add(n *node, db int, name string) {
	id, _ := l.compared(db, name)
	id.db = -1
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count++; len(l.keys) < l.limit {
		l.keys = append(l.keys, stray{n, db, id})
	}
}

// imports notes slots that are moving to a primary: it already holds some of their keys.
func (l *strayList) imports(primary string, slots map[uint16]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for slot := range slots {
		if l.importing == nil {
			l.importing = map[string]map[uint16]bool{}
		}
		if l.importing[primary] == nil {
			l.importing[primary] = map[uint16]bool{}
		}
		l.importing[primary][slot] = true
	}
}

// takeOutMoved drops keys that turned out not to be strays: their slot was moved while keys were listed, or is moving to their
// node.
func (l *strayList) takeOutMoved() {
	if !l.strict() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := len(l.keys)
	l.keys = slices.DeleteFunc(l.keys, func(k stray) bool {
		name := l.nameOf(k)
		return l.belongs(k.node, name) || l.importing[k.node.primary][l.dep.Slot(name)]
	})
	l.count -= int64(before - len(l.keys))
}

// nameOf returns the name of a stray on its own side.
func (l *strayList) nameOf(k stray) string {
	if l.of == endpoint.Source {
		return l.mapping.SourceName(k.db, k.id.name)
	}
	return k.id.name
}

// listed returns the strays as the report lists them, and the sentence about them.
func (l *strayList) listed() (list []Stray, sentence string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.keys {
		name := l.nameOf(k)
		list = append(list, Stray{Side: l.of.String(), Node: k.node.addr(), DB: k.db, Slot: l.dep.Slot(name), Key: keyspace.Printable(name),
			KeyBase64: base64.StdEncoding.EncodeToString([]byte(name))})
	}
	if l.count == 0 {
		return nil, ""
	}
	slices.SortFunc(list, func(a, b Stray) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.DB, b.DB), cmp.Compare(a.KeyBase64, b.KeyBase64), cmp.Compare(a.Node, b.Node))
	})
	where := "where its proxy does not look for them"
	if l.strict() {
		where = "that do not own their slots"
	}
	return list, fmt.Sprintf("On the %s, %d keys are on nodes %s. No client finds them there, and they were not compared: %s.", l.of, l.count, where, examplesOf(list))
}

// take returns the strays that are kept and the number of all, and forgets them.
func (l *strayList) take() (keys []stray, count int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys, count = l.keys, l.count
	l.keys, l.count = nil, 0
	return keys, count
}

// settleStrays counts the strays of a target behind a proxy as extra: they will be in the way when the sharding is changed. Other
// strays are only listed and are not part of the data.
func (v *verification) settleStrays() {
	if v.target.strays.strict() {
		return
	}
	strays, count := v.target.strays.take()
	_ = v.tally.batch(func(t *tally) error {
		for _, s := range strays {
			id, _ := v.origins().locate(s.id, false)
			t.settle(id, &decision{Verdict: Extra, Why: liesAstray(s.node.addr())})
		}
		unlisted := count - int64(len(strays))
		t.totals.Extra += unlisted
		t.byReason.add(cause{Reason: AstrayOnTarget}, unlisted)
		t.omitted += int(unlisted)
		return nil
	})
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
