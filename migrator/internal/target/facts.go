package target

import (
	"context"
	"fmt"
	"sort"
	"strconv"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// Facts are what is known of a target once it is open. They do not change.
type Facts struct {
	Cluster  bool // keys are spread over its nodes by slot
	DBs      keyspace.Databases
	Can      Abilities
	Number   int              // the lowest Redis-compatible version of its nodes, 70015 for 7.0.15
	Dialect  *command.Dialect // the commands that all its nodes understand
	Held     *command.Dialect // dialect without SET with an absolute expiry: an expiry that may be held gets a command of its own
	Forgets  bool             // XCLAIM drops pending entries whose message was deleted (since 7.0), and the source keeps them
	Payloads Payloads         // encodes values as RESTORE takes them
}

// Abilities says what the way to a target's servers allows. Code that depends on an ability asks for it, and not for the kind of the
// target.
type Abilities struct {
	Transactions bool // MULTI works, so that a checkpoint is written together with the data
	Processes    bool // a connection leads to one server process, which tells its run_id
	Ends         bool // connections of an earlier run, or such that broke, can be found and ended; see endsConnections
	Placement    bool // it is known which server holds a key
	Nodes        bool // each server is written at an address of its own
	Messages     bool // PUBLISH is passed on
}

// Level returns, as Report.Level, what happens after a restart or a lost connection to the writes that were on their way: each is applied
// exactly once, or its keys are copied again.
func (f Facts) Level() string {
	if f.Can.Transactions {
		return "exactly_once"
	}
	return "repaired"
}

// learn asks every node which commands it has, and sets dialect to those that all have.
func (ns *nodes) learn(ctx context.Context, source *endpoint.Deployment) error {
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
	return ns.learnSource(ctx, source)
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
