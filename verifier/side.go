package verifier

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"surecut/internal/endpoint"
)

// side is one of the two deployments, with the nodes that are read.
type side struct {
	naming
	*readerPool
	name  endpoint.Side
	dep   *endpoint.Deployment
	nodes []*node // one per shard
	cfg   *Config
	who   endpoint.Identity // the side's servers, as they were when the run began
	chain endpoint.Identity // servers between a replica that was named and the primary that is read, including that primary
	short shortfall
	dbs   heldDatabases

	keys, total atomic.Int64 // keys that were enumerated; keys according to DBSIZE
	own         atomic.Int64 // surecut's own keys, which are not compared
	mu          sync.Mutex
	strays      []stray                    // guarded by mu: keys on nodes where no client finds them; as many as findings are listed
	astray      int64                      // guarded by mu: the number of all such keys
	notes       []string                   // guarded by mu: sentences for the report
	importing   map[string]map[uint16]bool // guarded by mu: slots that are moving to a primary
}

// bareSide makes a side of a deployment. It opens nothing, and knows no nodes yet.
func bareSide(name endpoint.Side, dep *endpoint.Deployment, o *Config) *side {
	names := naming{name, &o.mapping}
	s := &side{naming: names, readerPool: newReaderPool(o), name: name, dep: dep, cfg: o}
	s.short.of = name
	s.dbs.naming, s.dbs.file, s.dbs.used, s.dbs.elsewhere = names, s.isFile(), map[int]bool{}, map[int]int64{}
	return s
}

func newSide(ctx context.Context, name endpoint.Side, dep *endpoint.Deployment, o *Config) (*side, error) {
	s := bareSide(name, dep, o)
	if s.isFile() {
		return s, nil
	}
	var err error
	if s.who, err = dep.Identity(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, shard := range dep.Shards() {
		n, err := s.choose(ctx, shard)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s.nodes = append(s.nodes, n)
	}
	if len(s.nodes) == 0 {
		return nil, fmt.Errorf("%s: no shard is known", name)
	}
	return s, nil
}

// servers returns the servers of the side, with those marked that are read.
func (s *side) servers() endpoint.Identity {
	who := slices.Clone(s.who)
	for _, m := range s.chain { // in a chain, the first replica names only the second
		if i := slices.IndexFunc(who, func(w endpoint.Member) bool { return w.Addr == m.Addr }); i >= 0 {
			who[i] = m
		} else {
			who = append(who, m)
		}
	}
	for i := range who {
		who[i].Read = slices.ContainsFunc(s.nodes, func(n *node) bool { return n.addr() == who[i].Addr })
	}
	for _, n := range s.nodes { // a primary that was found through its replica has not been asked for its run ID before
		if i := slices.IndexFunc(who, func(m endpoint.Member) bool { return m.Addr == n.addr() }); i >= 0 && who[i].RunID == "" && s.dep.Spec().Proxy == "" {
			who[i].RunID = n.facts.RunID
		}
	}
	return who
}

func newNode(ctx context.Context, dep *endpoint.Deployment, addr, primary string, o *Config) (*node, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Silence)
	defer cancel()
	facts, err := dep.Server(ctx, addr)
	if err != nil {
		return nil, err
	}
	n := &node{dep: dep, facts: facts, primary: primary, replica: addr != primary && dep.Kind() == endpoint.Cluster,
		silence: o.Silence, readers: make(chan struct{}, o.Workers+1)} // the workers, and the reader that lists the keys
	client, err := dep.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	n.learn(ctx, client)
	return n, nil
}

// hasCounters says whether every node keeps the counters of streams, which servers do since 7.0.
func (s *side) hasCounters() bool {
	for _, n := range s.nodes {
		if n.facts.Number < 70000 {
			return false
		}
	}
	return true
}

// keyspace returns the databases of a node that hold keys, with the numbers of their keys and of those that expire, and the whole
// of INFO.
func (n *node) keyspace(ctx context.Context) (map[int]endpoint.Database, map[string]string, error) {
	info, err := n.info(ctx)
	if err != nil {
		return nil, nil, err
	}
	dbs, err := endpoint.Keyspace(info)
	return dbs, info, err
}

// info asks a node for INFO and waits no longer than the node may keep silent. It does not ask a node that is down.
func (n *node) info(ctx context.Context, sections ...string) (map[string]string, error) {
	if err := n.breaker.down(ctx, n.answers); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, n.silence)
	defer cancel()
	client, err := n.dep.Client(bounded, n.addr(), 0)
	if err != nil {
		return nil, n.failed(ctx, "a login", err)
	}
	info, err := endpoint.Info(bounded, client, sections...)
	if err != nil && endpoint.Code(err) == "" {
		return nil, n.failed(ctx, "", err)
	}
	return info, err
}

// clockSkew returns how far the first node's clock is ahead of ours.
func (s *side) clockSkew(ctx context.Context) (time.Duration, error) {
	if s.isFile() {
		return 0, nil
	}
	n := s.nodes[0]
	client, err := s.dep.Client(ctx, n.addr(), 0)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Silence)
	defer cancel()
	before := time.Now()
	ms, err := serverTime(client.Do(ctx, client.B().Time().Build()))
	if err != nil {
		return 0, fmt.Errorf("ask %s for its time: %w", n.addr(), err)
	}
	middle := before.Add(time.Since(before) / 2)
	return time.UnixMilli(ms).Sub(middle), nil
}
