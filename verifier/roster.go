package verifier

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"surecut/internal/endpoint"
)

// roster says which node of each shard of a side is read.
type roster struct {
	name  endpoint.Side
	dep   *endpoint.Deployment
	cfg   *Config
	short *shortfall
	who   endpoint.Identity // the side's servers, as they were when the run began
	chain endpoint.Identity // servers between a replica that was named and the primary that is read, including that primary

	mu    sync.Mutex
	nodes []*node  // guarded by mu: one per shard
	notes []string // guarded by mu: sentences for the report
}

// fill picks a node of each shard.
func (r *roster) fill(ctx context.Context) (err error) {
	if r.who, err = r.dep.Identity(ctx); err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	for _, shard := range r.dep.Shards() {
		n, err := r.choose(ctx, shard)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		r.add(n)
	}
	if len(r.known()) == 0 {
		return fmt.Errorf("%s: no shard is known", r.name)
	}
	return nil
}

func (r *roster) add(n *node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes = append(r.nodes, n)
}

// known returns the nodes that keys are read from at present.
func (r *roster) known() []*node {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.nodes)
}

// nodeOf returns the node that a key is read from: the primary of its slot, or the replica that was chosen for that shard.
func (r *roster) nodeOf(name string) (*node, error) {
	r.mu.Lock()
	nodes := r.nodes // is only ever appended to; a copy for each key would be costly
	r.mu.Unlock()
	if !r.dep.Sharded() {
		return nodes[0], nil
	}
	slot := r.dep.Slot(name)
	primary, ok := r.dep.PrimaryOf(slot)
	if ok {
		for _, n := range nodes {
			if n.primary == primary.Addr {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("it is not known which node of the %s serves slot %d", r.name, slot)
}

// linkNode returns the node whose offsets a link counts.
func (r *roster) linkNode(link AppliedLink) (*node, error) {
	for _, n := range r.known() {
		if n.addr() == link.Reads {
			return n, nil
		}
	}
	return nil, fmt.Errorf("the migration reads the shard of %s from %s, which this comparison does not read", link.Shard, link.Reads)
}

// refresh asks which node serves each slot now, and adds nodes that are new.
func (r *roster) refresh(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, r.cfg.Silence)
	defer cancel()
	if err := r.dep.Refresh(asking); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, n := range r.known() {
		known[n.primary] = true
	}
	for _, shard := range r.dep.Shards() {
		if known[shard.Primary.Addr] {
			continue
		}
		n, err := newNode(ctx, r.dep, shard.Primary.Addr, shard.Primary.Addr, r.cfg)
		if err != nil {
			continue
		}
		r.add(n)
	}
	return nil
}

// servers returns the servers of the side, with those marked that are read.
func (r *roster) servers() endpoint.Identity {
	who, nodes := slices.Clone(r.who), r.known()
	for _, m := range r.chain { // in a chain, the first replica names only the second
		if i := slices.IndexFunc(who, func(w endpoint.Member) bool { return w.Addr == m.Addr }); i >= 0 {
			who[i] = m
		} else {
			who = append(who, m)
		}
	}
	for i := range who {
		who[i].Read = slices.ContainsFunc(nodes, func(n *node) bool { return n.addr() == who[i].Addr })
	}
	for _, n := range nodes { // a primary that was found through its replica has not been asked for its run ID before
		if i := slices.IndexFunc(who, func(m endpoint.Member) bool { return m.Addr == n.addr() }); i >= 0 && who[i].RunID == "" && r.dep.Spec().Proxy == "" {
			who[i].RunID = n.facts.RunID
		}
	}
	return who
}

// hasCounters says whether every node keeps the counters of streams, which servers do since 7.0.
func (r *roster) hasCounters() bool {
	for _, n := range r.known() {
		if n.facts.Number < 70000 {
			return false
		}
	}
	return true
}
