package verifier

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"surecut/internal/endpoint"
)

// side is one of the two deployments, with the nodes that are read.
type side struct {
	naming
	*readerPool
	*roster
	name   endpoint.Side
	dep    *endpoint.Deployment
	cfg    *Config
	short  shortfall
	dbs    heldDatabases
	strays strayList

	keys, total atomic.Int64 // keys that were enumerated; keys according to DBSIZE
	own         atomic.Int64 // surecut's own keys, which are not compared
}

// bareSide makes a side of a deployment. It opens nothing, and knows no nodes yet.
func bareSide(name endpoint.Side, dep *endpoint.Deployment, o *Config) *side {
	names := naming{name, &o.mapping}
	s := &side{naming: names, readerPool: newReaderPool(o), name: name, dep: dep, cfg: o}
	s.short.of = name
	s.dbs.naming, s.dbs.file, s.dbs.used, s.dbs.elsewhere = names, s.isFile(), map[int]bool{}, map[int]int64{}
	s.strays.naming, s.strays.dep, s.strays.limit = names, dep, o.MaxFindings
	s.roster = &roster{name: name, dep: dep, cfg: o, short: &s.short}
	return s
}

func newSide(ctx context.Context, name endpoint.Side, dep *endpoint.Deployment, o *Config) (*side, error) {
	s := bareSide(name, dep, o)
	if s.isFile() {
		return s, nil
	}
	if err := s.fill(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// keyspace returns the databases of a node that hold keys, with the numbers of their keys and of those that expire, and the whole
// of INFO, with the counters of commands.
func (n *node) keyspace(ctx context.Context) (map[int]endpoint.Database, map[string]string, error) {
	info, err := n.info(ctx, "all")
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
	n := s.known()[0]
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
