package migrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/time/rate"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/retry"
)

// target is the deployment that a migration writes to, as all its writers share it.
type target struct {
	d        *endpoint.Deployment
	cluster  bool // keys are spread over its nodes by slot
	dbs      keyspace.Databases
	can      abilities
	via      *viaProxy        // it is written through a proxy; nil: it is not
	number   int              // the lowest Redis-compatible version of its nodes, 70015 for 7.0.15
	dialect  *command.Dialect // what all its nodes understand
	claims   bool             // XCLAIM drops pending entries there (since 7.0) that the source keeps
	payloads payloads         // values as RESTORE takes them
	held     *command.Dialect // without the form of SET that hides an expiry which may have to be held
	id       string
	claim    *claim // of this run on the target
	retryFor time.Duration
	bytes    *rate.Limiter
	ops      *rate.Limiter

	written    sync.Mutex
	writtenDBs map[int]bool // databases that were written to; guarded by written

	refresh sync.Mutex
	last    time.Time
}

// abilities are what the way to a target's servers allows. Whoever depends on one asks for it, and not for the kind of the target.
type abilities struct {
	transactions bool // MULTI, so that a checkpoint is written together with the data that it speaks of
	processes    bool // a connection tells to which process of a server it leads, and that lists and ends its connections
	placement    bool // which server holds a key is known
	nodes        bool // each server is written at an address of its own
	messages     bool // PUBLISH is passed on
}

// abilitiesOf returns what can be done with a target whose nodes are written directly. A proxy that stands for all nodes of a cluster is
// one such node: it passes transactions on, and may change the server behind a connection.
func abilitiesOf(d *endpoint.Deployment) abilities {
	shown := d.Spec().Proxy == ""
	return abilities{transactions: true, processes: shown, placement: shown, nodes: true, messages: true}
}

// level names what a restart or a lost connection means for the writes that were on their way: each is applied once, or its
// keys are copied again.
func (t *target) level() string {
	if t.can.transactions {
		return "exactly_once"
	}
	return "repaired"
}

func newTarget(ctx context.Context, cfg Config, id string) (*target, error) {
	d := cfg.Sides.Target
	t := &target{d: d, cluster: d.Sharded(), can: abilitiesOf(d), dbs: d.Databases(), id: id, retryFor: cfg.RetryFor,
		bytes: limiter(cfg.RateBytes), ops: limiter(cfg.RateOps)}
	if d.Kind() == endpoint.Codis || d.Spec().ViaProxy {
		return t, t.approach(ctx, cfg)
	}
	for i, addr := range t.primaries() {
		s, err := d.Server(ctx, addr)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", addr, err)
		}
		if i == 0 || s.Number < t.number {
			t.number = s.Number
		}
		if t.cluster || t.dbs.Only {
			continue
		}
		if t.dbs.Count, err = t.countDatabases(ctx, addr, s); err != nil {
			return nil, fmt.Errorf("target %s: how many databases it has: %w", addr, err)
		}
	}
	if err := t.learn(ctx, cfg.Sides.Source); err != nil {
		return nil, err
	}
	var err error
	t.payloads, err = newPayloads(ctx, t, cfg.Sides.Source)
	return t, err
}

// countDatabases returns the number of databases of a node that is alone. Where CONFIG is refused, SELECT tells. A SELECT that fails
// in a transaction would let the commands behind it run in another database.
func (t *target) countDatabases(ctx context.Context, addr string, s endpoint.Server) (int, error) {
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
	least, most := 1, 2 // it has the one and not the other
	for ; most < mostDatabases && has(most-1); most *= 2 {
		least = most
	}
	n := least + sort.Search(most-least-1, func(i int) bool { return !has(least + i) })
	has(0)
	return n, err
}

// mostDatabases bounds what is asked for.
const mostDatabases = 1 << 24

// learn asks every node what it can do.
func (t *target) learn(ctx context.Context, source *endpoint.Deployment) error {
	for i, addr := range t.primaries() {
		c, err := t.d.Capabilities(ctx, addr, true)
		if err != nil {
			return fmt.Errorf("target: %w", err)
		}
		if len(c.Guessed) > 0 {
			slog.Debug("the target's version decides what it did not tell", "target", addr, "guessed", c.Guessed)
		}
		if !c.Eval {
			c.Dialect = c.Dialect.WithoutCommand("EVAL")
		}
		if i == 0 {
			t.dialect = c.Dialect
		} else {
			t.dialect = t.dialect.Common(c.Dialect)
		}
	}
	return t.learnSource(ctx, source)
}

// learnSource asks the source what its stream may hold.
func (t *target) learnSource(ctx context.Context, source *endpoint.Deployment) error {
	if !source.Spec().IsFile() {
		for _, shard := range source.Shards() {
			c, err := source.Capabilities(ctx, shard.Primary.Addr, false)
			if err != nil {
				return fmt.Errorf("source: %w", err)
			}
			t.dialect = t.dialect.From(c.Dialect)
			t.claims = t.dialect.Has(command.StreamCounters) && !c.Dialect.Has(command.StreamCounters)
		}
	}
	t.held = t.dialect.Without(command.SetAbsolute)
	return nil
}

// limiter allows bursts of a quarter of a second, so that a limit shapes the traffic and does not chop it.
func limiter(perSecond int64) *rate.Limiter {
	if perSecond <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(max(perSecond/4, 1)))
}

// wait takes n tokens, in as many steps as the burst asks for.
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

func (t *target) primaries() []string {
	shards := t.d.Shards()
	addrs := make([]string, len(shards))
	for i, s := range shards {
		addrs[i] = s.Primary.Addr
	}
	return addrs
}

// slot returns the slot of a key on the target.
func (t *target) slot(name string) uint16 { return t.d.Slot(name) }

// ownDB is the database of surecut's own keys.
func (t *target) ownDB() int { return max(t.dbs.Home, 0) }

// refreshTopology asks the target where its slots are, at most a few times a second.
func (t *target) refreshTopology(ctx context.Context) error {
	t.refresh.Lock()
	defer t.refresh.Unlock()
	if time.Since(t.last) < 200*time.Millisecond {
		return nil
	}
	t.last = time.Now()
	if t.via != nil {
		return t.via.choose(ctx, t.d)
	}
	return t.d.Refresh(ctx)
}

// watchSentinels asks the sentinels of the target for its primary: one that was cut off and replaced goes on answering.
func (t *target) watchSentinels(ctx context.Context) {
	if t.d.Kind() != endpoint.Sentinel {
		return
	}
	if err := t.refreshTopology(ctx); err != nil && ctx.Err() == nil {
		slog.Warn("the sentinels of the target cannot be asked", "error", err)
	}
}

// conn is one connection to one node of the target, owned by one writer.
type conn struct {
	addr    string
	dc      rueidis.DedicatedClient
	release func()
	keep    func() bool // undoes that the end of the context closes it
	id      string      // CLIENT ID; empty before Redis 5.0
	process string      // run_id of the server
	db      int         // the selected database; -1 after a failure
	pipe    *pipe       // beside it, for the values of a snapshot; nil: there is none
}

// writer applies commands to the target over connections of its own. It is not safe for concurrent use.
type writer struct {
	t     *target
	conns map[string]*conn
	lost  map[string][]*conn // by address: the server may not know yet that they are closed
	seen  map[unit]*conn     // connection on which the target was last seen to hold a unit's checkpoint
	out   []rueidis.Completed
	args  []string // reused
}

func (t *target) newWriter() *writer {
	return &writer{t: t, conns: map[string]*conn{}, lost: map[string][]*conn{}, seen: map[unit]*conn{}}
}

func (w *writer) close() {
	for addr := range w.conns {
		w.drop(addr)
	}
}

// node names the primary that holds a slot.
func (w *writer) node(slot uint16) (string, error) {
	n, ok := w.t.primaryOf(slot)
	if !ok {
		return "", fmt.Errorf("target: no node holds slot %d", slot)
	}
	return n.Addr, nil
}

// primaryOf returns the node to which a slot is written.
func (t *target) primaryOf(slot uint16) (endpoint.Node, bool) {
	if t.via != nil {
		return endpoint.Node{Addr: t.via.at()}, true
	}
	return t.d.PrimaryOf(slot)
}

// conn returns the writer's connection to a node, and only while this run may write.
func (w *writer) conn(ctx context.Context, addr string) (*conn, error) {
	if err := w.t.claim.hold(ctx); err != nil {
		return nil, err
	}
	if c := w.conns[addr]; c != nil {
		return c, nil
	}
	c, err := w.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	// Only now: whoever takes the claim over ends the connections that it finds, and this one is not used if it came too late for that.
	if err := w.t.claim.verify(ctx); err != nil {
		w.drop(addr)
		return nil, err
	}
	return c, nil
}

func (w *writer) connect(ctx context.Context, addr string) (*conn, error) {
	home := 0
	if w.t.cluster && w.t.via == nil {
		home = w.t.ownDB()
	}
	client, err := w.t.d.Client(ctx, addr, home)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", addr, err)
	}
	dc, release := client.Dedicate()
	c := &conn{addr: addr, dc: dc, release: release, db: -1}
	c.keep = context.AfterFunc(ctx, dc.Close) // a server that stands still must not hold up who gives up
	if w.t.via != nil {
		w.conns[addr] = c
		return c, nil
	}
	res := dc.DoMulti(ctx, arbitrary(dc, "CLIENT", "SETNAME", clientName(w.t.id)), arbitrary(dc, "CLIENT", "ID"), arbitrary(dc, "INFO", "server"))
	if err = firstLoss(res); err == nil {
		if id, err := res[1].ToInt64(); err == nil {
			c.id = strconv.FormatInt(id, 10)
		}
		if info, err := res[2].ToString(); err == nil {
			_, c.process, _ = strings.Cut(info, "run_id:")
			c.process, _, _ = strings.Cut(c.process, "\r\n")
		}
		err = w.silence(ctx, c)
	}
	if err != nil {
		c.keep()
		dc.Close()
		release()
		return nil, fmt.Errorf("target %s: %w", addr, err)
	}
	w.conns[addr] = c
	return c, nil
}

// clientName marks every connection that writes for a migration.
func clientName(id string) string { return "surecut-" + id }

// firstLoss returns the first failure that is no reply of the server.
func firstLoss(res []rueidis.RedisResult) error {
	for _, r := range res {
		if err := r.NonRedisError(); err != nil {
			return err
		}
	}
	return nil
}

// silence makes sure that the server runs nothing more of what it was sent on connections that were dropped: their bytes
// may still wait in its buffers. Another process under the address has no such buffers, and other clients by these IDs.
//
// Behind a proxy nobody can be told: so much is waited as such bytes may take.
func (w *writer) silence(ctx context.Context, c *conn) error {
	if !w.t.can.processes && len(w.lost[c.addr]) > 0 {
		if err := retry.Pause(ctx, proxyGrace); err != nil {
			return err
		}
	}
	for _, old := range w.lost[c.addr] {
		if old.id == "" || old.process == "" || old.process != c.process {
			continue
		}
		ids := []string{old.id}
		if old.pipe != nil && old.pipe.id != "" {
			ids = append(ids, old.pipe.id)
		}
		for _, id := range ids {
			if err := c.dc.Do(ctx, arbitrary(c.dc, "CLIENT", "KILL", "ID", id)).NonRedisError(); err != nil {
				return err
			}
		}
	}
	delete(w.lost, c.addr)
	return nil
}

// drop closes a connection for good.
func (w *writer) drop(addr string) {
	if c := w.conns[addr]; c != nil {
		w.lost[addr] = append(w.lost[addr], c)
		if c.pipe != nil {
			c.pipe.close()
		}
		c.keep()
		c.dc.Close()
		c.release()
		delete(w.conns, addr)
	}
}

type builder interface{ B() rueidis.Builder }

// arbitrary builds any command; the arguments are binary.
func arbitrary(b builder, args ...string) rueidis.Completed { return b.B().Arbitrary(args...).Build() }

// errTargetFull is what a target answers that has no memory left.
var errTargetFull = errors.New("the target has no memory left (OOM): raise its maxmemory or make room, then run the same command again to resume")

// passing says whether an error reply will go away by itself or by asking where the slot is now.
func passing(code string) bool {
	switch code {
	case "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "BUSY", "MISCONF":
		return true
	}
	return false
}

// retry runs try until it succeeds, fails for good, or retryFor has gone by without progress.
func (t *target) retry(ctx context.Context, try func() (again error, err error)) error {
	failed := false
	again, err := retry.Policy{First: 20 * time.Millisecond, Most: time.Second, For: t.retryFor}.Do(ctx, func() (again, err error) {
		if failed {
			if err := t.refreshTopology(ctx); err != nil && ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
		}
		failed = true
		again, err = try()
		if err == nil && errors.Is(again, errClaimed) { // no time will mend that
			return nil, again
		}
		return again, err
	})
	if again != nil {
		return fmt.Errorf("the target did not recover within %v: %w", t.retryFor, again)
	}
	return err
}

// classify sorts an error of one command: again may be tried once more, err is final.
func classify(addr string, failed error) (again, err error) {
	if failed == nil {
		return nil, nil
	}
	failed = fmt.Errorf("target %s: %w", addr, failed)
	code := endpoint.Code(failed)
	switch {
	case code == "OOM":
		return nil, fmt.Errorf("target %s: %w", addr, errTargetFull)
	case errors.Is(failed, errRegressed), errors.Is(failed, errClaimed):
		return nil, failed
	case code == "", passing(code), endpoint.Unreached(failed):
		return failed, nil
	}
	return nil, failed
}
