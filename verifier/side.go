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
	name  endpoint.Side
	dep   *endpoint.Deployment
	nodes []*node // one per shard
	cfg   *Config
	who   endpoint.Identity // the side's servers, as they were when the run began
	chain endpoint.Identity // servers between a replica that was named and the primary that is read, including that primary
	bigs  chan struct{}

	keys, total atomic.Int64 // keys that were enumerated; keys according to DBSIZE
	own         atomic.Int64 // surecut's own keys, which are not compared
	mu          sync.Mutex
	short       []string                   // guarded by mu: why the enumeration may not be complete
	margin      int64                      // guarded by mu: how many more keys were scanned than DBSIZE requires
	twice       int64                      // guarded by mu: keys that were scanned more than once
	strays      []stray                    // guarded by mu: keys on nodes where no client finds them; as many as findings are listed
	astray      int64                      // guarded by mu: the number of all such keys
	notes       []string                   // guarded by mu: sentences for the report
	importing   map[string]map[uint16]bool // guarded by mu: slots that are moving to a primary
	dbs         map[int]bool               // guarded by mu: databases that were found to hold keys
	elsewhere   map[int]int64              // guarded by mu: number of keys in databases that are not compared
	idle        map[*node][]*reader        // guarded by mu: readers that are not in use
}

func newSide(ctx context.Context, name endpoint.Side, dep *endpoint.Deployment, o *Config) (*side, error) {
	s := &side{name: name, dep: dep, cfg: o, bigs: make(chan struct{}, 2), dbs: map[int]bool{}, elsewhere: map[int]int64{}, idle: map[*node][]*reader{}}
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

// pairDB returns the target's database that a database of this side is compared with, and false where the database is left out.
func (s *side) pairDB(db int) (int, bool) {
	m := &s.cfg.mapping
	if s.name == endpoint.Source {
		to, _ := m.Map(db) // a key that is mapped to a database which the target does not have is missing there
		return to, m.MatchDB(db)
	}
	return db, m.Covers(db)
}

// named returns the key's name on this side.
func (s *side) named(k keyID) string {
	if s.name == endpoint.Source {
		return s.cfg.mapping.SourceName(k.db, k.name)
	}
	return k.name
}

// compared returns the ID under which a key that was found on this side is compared, and false where the key is left out.
func (s *side) compared(db int, name string) (keyID, bool) {
	m := &s.cfg.mapping
	pair, ok := s.pairDB(db)
	k := keyID{db: db, pairDB: pair, name: name}
	switch {
	case s.name == endpoint.Source:
		k.name = m.TargetName(db, name)
	case ok && len(m.DBPrefix) > 0:
		from, known := m.Origin(db, name)
		if !known { // the key can only be extra, unless only databases were asked for that cannot have it
			return k, len(m.DBs) == 0 && m.MatchName(name)
		}
		name = m.SourceName(from, name)
	}
	return k, ok && m.MatchName(name)
}

// fellShort notes why the enumeration of this side may not be complete.
func (s *side) fellShort(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.short) < 20 {
		s.short = append(s.short, fmt.Sprintf(format, args...))
	}
}

// addDuplicates takes in how many keys the scan returned twice: the side holds that many fewer than were counted.
func (s *side) addDuplicates(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.twice += n
}

// shortfall returns why the enumeration may not be complete, and nil where it is.
func (s *side) shortfall() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Sorted(slices.Values(s.short)) // nodes are scanned concurrently
	if s.twice > s.margin {
		out = append(out, fmt.Sprintf("%s: SCAN returned %d keys twice, so that %d fewer keys were listed than DBSIZE reports", s.name, s.twice, s.twice-s.margin))
	}
	return out
}

// borrow returns a reader of one database of one node; the caller gives it back. It waits while as many readers of the node are in
// use as the settings allow, whatever the number of databases, because the server has other clients, too. A caller that borrows on
// both sides borrows on the source first.
func (s *side) borrow(n *node, db int) *reader {
	n.readers <- struct{}{}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.idle[n]
	if len(list) == 0 {
		return newReader(n, db, s.cfg, s.bigs)
	}
	r := list[len(list)-1]
	s.idle[n] = list[:len(list)-1]
	r.db = db
	return r
}

func (s *side) giveBack(r *reader) {
	s.mu.Lock()
	s.idle[r.node] = append(s.idle[r.node], r)
	s.mu.Unlock()
	<-r.node.readers
}

func (s *side) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range s.idle {
		for _, r := range list {
			r.close()
		}
	}
	s.idle = map[*node][]*reader{}
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
