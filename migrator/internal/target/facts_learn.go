package target

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"

	"surecut/internal/command"
	"surecut/internal/endpoint"
)

// learn finds the facts of nodes that are written directly. Before, Can says what the way to them allows.
func (ns *nodes) learn(ctx context.Context, source *endpoint.Deployment) (err error) {
	for i, addr := range ns.Primaries() {
		s, err := ns.learnServer(ctx, addr)
		if err != nil {
			return fmt.Errorf("target %s: %w", addr, err)
		}
		if i == 0 || s.Number < ns.Number {
			ns.Number = s.Number
		}
		if err := ns.learnBounds(ctx, addr, s.Number); err != nil {
			return fmt.Errorf("target %s: %w", addr, err)
		}
		if ns.Cluster || ns.DBs.Only {
			continue
		}
		if ns.DBs.Count, err = ns.countDatabases(ctx, addr, s); err != nil {
			return fmt.Errorf("target %s: how many databases it has: %w", addr, err)
		}
	}
	if err := ns.learnCommands(ctx); err != nil {
		return err
	}
	if err := ns.learnSource(ctx, source); err != nil {
		return err
	}
	ns.Payloads, err = ns.payloads(ctx, source)
	return err
}

// learnServer asks a node who it is, and whether it ends connections.
func (ns *nodes) learnServer(ctx context.Context, addr string) (endpoint.Server, error) {
	s, err := ns.d.Server(ctx, addr)
	if err != nil || !ns.Can.Ends {
		return s, err
	}
	client, err := ns.d.Client(ctx, addr, 0)
	if err == nil {
		ns.Can.Ends = endsConnections(ctx, client)
	}
	return s, err
}

// learnCommands asks every node which commands it has, and sets dialect to those that all have.
func (ns *nodes) learnCommands(ctx context.Context) error {
	for i, addr := range ns.Primaries() {
		c, err := ns.d.Capabilities(ctx, addr, true)
		if err != nil {
			return fmt.Errorf("target: %w", err)
		}
		if len(c.Guessed) > 0 {
			ns.log.Debug("the target's version decides what it did not tell", "target", addr, "guessed", c.Guessed)
		}
		if !c.Eval {
			c.Dialect = c.Dialect.WithoutCommand("EVAL")
		}
		if i == 0 {
			ns.Dialect = c.Dialect
		} else {
			ns.Dialect = ns.Dialect.Common(c.Dialect)
		}
	}
	return nil
}

// learnSource asks the source which commands its stream may have.
func (ns *nodes) learnSource(ctx context.Context, source *endpoint.Deployment) error {
	if !source.Spec().IsFile() {
		for _, shard := range source.Shards() {
			c, err := source.Capabilities(ctx, shard.Primary.Addr, false)
			if err != nil {
				return fmt.Errorf("source: %w", err)
			}
			ns.Dialect = ns.Dialect.From(c.Dialect)
			ns.Forgets = ns.Forgets || ns.Dialect.Has(command.StreamCounters) && !c.Dialect.Has(command.StreamCounters)
		}
	}
	ns.Held = ns.Dialect.Without(command.SetAbsolute)
	return nil
}

// countDatabases returns the number of databases of a standalone node. If CONFIG is refused, it tries SELECT. The number must be known,
// since after a SELECT that fails in a transaction the commands that follow would run in another database.
func (ns *nodes) countDatabases(ctx context.Context, addr string, s endpoint.Server) (int, error) {
	if s.DatabasesKnown {
		return s.Databases, nil
	}
	client, err := ns.d.Client(ctx, addr, 0)
	if err != nil {
		return 0, err
	}
	dc, release := client.Dedicate()
	defer release()
	has := func(db int) bool {
		refused := dc.Do(ctx, arbitrary(dc, "SELECT", strconv.Itoa(db))).Error()
		if refused != nil && endpoint.Code(refused) != "ERR" {
			err = refused
		}
		return refused == nil
	}
	least, most := 1, 2 // the node has at least least databases, and in the end fewer than most
	for ; most < mostDatabases && has(most-1); most *= 2 {
		least = most
	}
	n := least + sort.Search(most-least-1, func(i int) bool { return !has(least + i) })
	has(0)
	return n, err
}

// mostDatabases bounds the numbers that countDatabases tries.
const mostDatabases = 1 << 24

// payloads asks the target's nodes which RDB version they read and, if they are older than 6.2, whether they have the source's modules.
func (ns *nodes) payloads(ctx context.Context, source *endpoint.Deployment) (Payloads, error) {
	p := Payloads{Modules: true}
	for i, addr := range ns.Primaries() {
		version, _, err := ns.d.AcceptedRDB(ctx, addr)
		if err != nil {
			return p, fmt.Errorf("target %s: find out which RDB version it reads: %w", addr, err)
		}
		if i == 0 || version < p.Version {
			p.Version = version
		}
	}
	if ns.Number >= moduleExitsUntil {
		return p, nil
	}
	if p.Modules = !source.Spec().IsFile(); !p.Modules {
		return p, nil
	}
	needed := map[string]bool{}
	for _, s := range source.Shards() {
		names, err := loadedModules(ctx, source, s.Primary.Addr)
		if err != nil {
			p.Modules = false
			return p, ctx.Err()
		}
		for _, n := range names {
			needed[n] = true
		}
	}
	for _, addr := range ns.Primaries() {
		names, err := loadedModules(ctx, ns.d, addr)
		for n := range needed {
			if err != nil || !slices.Contains(names, n) {
				p.Modules = false
			}
		}
	}
	return p, ctx.Err()
}

// loadedModules returns the names of a server's modules, by MODULE LIST (since 4.0).
func loadedModules(ctx context.Context, d *endpoint.Deployment, addr string) ([]string, error) {
	c, err := d.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	list, err := c.Do(ctx, arbitrary(c, "MODULE", "LIST")).ToArray()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range list {
		fields, err := m.AsStrMap()
		if err != nil {
			return nil, err
		}
		names = append(names, fields["name"])
	}
	return names, nil
}
