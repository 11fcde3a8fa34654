package target

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/time/rate"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/retry"
)

// Target is the deployment that a migration writes to. All its writers share it.
type Target struct {
	Facts
	d        *endpoint.Deployment
	way      way
	id       string    // of the migration
	lanes    int       // number of lanes of each link
	Expiring *Expiring // keys that may have expired on the target
	Claim    *Claim    // the hold of this run on the target
	log      *slog.Logger
	retryFor time.Duration
	bytes    *rate.Limiter
	ops      *rate.Limiter

	left leftBehind // connections that were closed

	written    sync.Mutex
	writtenDBs map[int]bool // databases that were written to; guarded by written

	refresh sync.Mutex
	last    time.Time
}

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

// Over returns a target with known facts that is written by a way of its own, such as one in memory. Open finds facts and way out.
func Over(w way, f Facts, lanes int) *Target {
	return &Target{Facts: f, way: w, d: &endpoint.Deployment{}, lanes: lanes, Expiring: newExpiring(), bytes: limiter(0), ops: limiter(0)}
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
func (t *Target) Level() string {
	if t.Can.Transactions {
		return "exactly_once"
	}
	return "repaired"
}

// way is how a target is written: node by node, or through a proxy. Its constructors are openDirect and openProxied.
type way interface {
	PrimaryOf(slot uint16) (endpoint.Node, bool)
	Refresh(ctx context.Context) error
	Reading(args ...string) []string
	NewWriter(of Writing) Writer
}

// Config configures a target.
type Config struct {
	Target    *endpoint.Deployment
	Source    *endpoint.Deployment // decides on the commands that come
	StateDir  string
	ID        string        // of the migration
	Lanes     int           // number of lanes of each link
	RetryFor  time.Duration // how long a target that does not answer is tried again
	RateBytes int64         // per second; 0: unlimited
	RateOps   int64         // per second; 0: unlimited
	Log       *slog.Logger
}

// Open opens the target of a migration. It writes nothing to it, except through a proxy a few keys that it deletes at once.
func Open(ctx context.Context, cfg Config) (*Target, error) {
	d := cfg.Target
	t := &Target{Facts: Facts{Cluster: d.Sharded(), DBs: d.Databases()}, d: d, id: cfg.ID, lanes: cfg.Lanes, log: cfg.Log, retryFor: cfg.RetryFor,
		bytes: limiter(cfg.RateBytes), ops: limiter(cfg.RateOps), Expiring: newExpiring()}
	var err error
	if t.Claim, err = newClaim(t, cfg.StateDir); err != nil {
		return nil, err
	}
	if d.Kind() == endpoint.Codis || d.Spec().ViaProxy {
		return t, t.openProxied(ctx, cfg.Source)
	}
	return t, t.openDirect(ctx, cfg.Source)
}

// countDatabases returns the number of databases of a standalone node. If CONFIG is refused, it tries SELECT. The number must be known,
// since after a SELECT that fails in a transaction the commands that follow would run in another database.
func (t *Target) countDatabases(ctx context.Context, addr string, s endpoint.Server) (int, error) {
	if s.DatabasesKnown {
		return s.Databases, nil
	}
	client, err := t.d.Client(ctx, addr, 0)
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

// learn asks every node which commands it has, and sets dialect to those that all have.
func (t *Target) learn(ctx context.Context, source *endpoint.Deployment) error {
	for i, addr := range t.Primaries() {
		c, err := t.d.Capabilities(ctx, addr, true)
		if err != nil {
			return fmt.Errorf("target: %w", err)
		}
		if len(c.Guessed) > 0 {
			t.log.Debug("the target's version decides what it did not tell", "target", addr, "guessed", c.Guessed)
		}
		if !c.Eval {
			c.Dialect = c.Dialect.WithoutCommand("EVAL")
		}
		if i == 0 {
			t.Dialect = c.Dialect
		} else {
			t.Dialect = t.Dialect.Common(c.Dialect)
		}
	}
	return t.learnSource(ctx, source)
}

// learnSource asks the source which commands its stream may have.
func (t *Target) learnSource(ctx context.Context, source *endpoint.Deployment) error {
	if !source.Spec().IsFile() {
		for _, shard := range source.Shards() {
			c, err := source.Capabilities(ctx, shard.Primary.Addr, false)
			if err != nil {
				return fmt.Errorf("source: %w", err)
			}
			t.Dialect = t.Dialect.From(c.Dialect)
			t.Forgets = t.Forgets || t.Dialect.Has(command.StreamCounters) && !c.Dialect.Has(command.StreamCounters)
		}
	}
	t.Held = t.Dialect.Without(command.SetAbsolute)
	return nil
}

// limiter returns a limiter for a rate; 0: unlimited. It allows bursts of a quarter of a second, so that traffic is not chopped.
func limiter(perSecond int64) *rate.Limiter {
	if perSecond <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(max(perSecond/4, 1)))
}

// wait takes n tokens, in steps of at most the burst.
func wait(ctx context.Context, l *rate.Limiter, n int) error {
	if l.Limit() == rate.Inf {
		return nil
	}
	for n > 0 {
		step := min(n, l.Burst())
		if err := l.WaitN(ctx, step); err != nil {
			return err
		}
		n -= step
	}
	return nil
}

// take waits until so many bytes and operations may be sent.
func (t *Target) take(ctx context.Context, bytes, ops int) error {
	return errors.Join(wait(ctx, t.bytes, bytes), wait(ctx, t.ops, ops))
}

// Primaries returns the addresses of the nodes that are written.
func (t *Target) Primaries() []string {
	shards := t.d.Shards()
	addrs := make([]string, len(shards))
	for i, s := range shards {
		addrs[i] = s.Primary.Addr
	}
	return addrs
}

// Slot returns the slot of a key on the target.
func (t *Target) Slot(name string) uint16 { return t.d.Slot(name) }

// Holds says whether a node is the one that holds a key.
func (t *Target) Holds(addr, name string) bool { return t.d.Holds(addr, name) }

// Units returns the number of units that a link may have checkpoints for.
func (t *Target) Units() int {
	if t.Cluster {
		return t.d.Slots()
	}
	return t.lanes
}

// UnitOf returns the unit that a slot belongs to.
func (t *Target) UnitOf(slot uint16) Unit {
	if t.Cluster {
		return Unit(slot)
	}
	return Unit(int(slot) % t.lanes)
}

// OwnDB returns the database of surecut's own keys.
func (t *Target) OwnDB() int { return max(t.DBs.Home, 0) }

// RefreshTopology asks the target where its slots are, at most a few times a second.
func (t *Target) RefreshTopology(ctx context.Context) error {
	t.refresh.Lock()
	defer t.refresh.Unlock()
	if time.Since(t.last) < 200*time.Millisecond {
		return nil
	}
	t.last = time.Now()
	return t.way.Refresh(ctx)
}

// WatchSentinels asks the sentinels of the target for its primary, since a primary that was cut off and replaced may go on answering.
func (t *Target) WatchSentinels(ctx context.Context) {
	if t.d.Kind() != endpoint.Sentinel {
		return
	}
	if err := t.RefreshTopology(ctx); err != nil && ctx.Err() == nil {
		t.log.Warn("the sentinels of the target cannot be asked", "error", err)
	}
}

// PrimaryOf returns the node to which a slot is written.
func (t *Target) PrimaryOf(slot uint16) (endpoint.Node, bool) { return t.way.PrimaryOf(slot) }

// node returns the address at which a slot is written.
func (t *Target) node(slot uint16) (string, error) {
	n, ok := t.PrimaryOf(slot)
	if !ok {
		return "", fmt.Errorf("target: no node holds slot %d", slot)
	}
	return n.Addr, nil
}

// AddrOf returns the address at which a key is written.
func (t *Target) AddrOf(name string) (string, error) { return t.node(t.Slot(name)) }

// Reading returns a command that reads one key, in the form in which it is sent to the target.
func (t *Target) Reading(args ...string) []string { return t.way.Reading(args...) }

type builder interface{ B() rueidis.Builder }

// NewWriter returns a writer for a link.
func (t *Target) NewWriter(of Writing) Writer { return t.way.NewWriter(of) }

// arbitrary builds any command. Its arguments may be binary.
func arbitrary(b builder, args ...string) rueidis.Completed { return b.B().Arbitrary(args...).Build() }

// Retry repeats try until it succeeds, fails for good, or retryFor has gone by. From the second time on it asks for the topology before.
func (t *Target) Retry(ctx context.Context, try func() (again error, err error)) error {
	failed := false
	again, err := retry.Policy{First: 20 * time.Millisecond, Most: time.Second, For: t.retryFor}.Do(ctx, func() (again, err error) {
		if failed {
			if err := t.RefreshTopology(ctx); err != nil && ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
		}
		failed = true
		again, err = try()
		if err == nil && errors.Is(again, ErrClaimed) { // waiting does not help
			return nil, again
		}
		return again, err
	})
	if again != nil {
		return fmt.Errorf("the target did not recover within %v: %w", t.retryFor, again)
	}
	return err
}

// Everywhere runs one command on every primary of the target. The error is a RefusedError if the target refuses the command for good, and
// the run may go on without it.
func (t *Target) Everywhere(ctx context.Context, args []string) error {
	for _, addr := range t.Primaries() {
		err := t.Retry(ctx, func() (again, err error) {
			if err := t.Claim.Hold(ctx); err != nil {
				return nil, err
			}
			client, err := t.d.Client(ctx, addr, t.OwnDB())
			if err != nil {
				return AgainOrEnd(addr, err)
			}
			err = client.Do(ctx, arbitrary(client, args...)).Error()
			if consequenceOf(err, toFollow) == concernsKey {
				return nil, &RefusedError{addr, err}
			}
			return AgainOrEnd(addr, err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
