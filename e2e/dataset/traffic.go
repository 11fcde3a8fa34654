package dataset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/time/rate"
)

// TrafficOptions bounds the load.
type TrafficOptions struct {
	Seed      uint64
	Rate      int           // writes a second; 0: 5000
	MaxWrites int64         // 0: 10 million
	MaxTime   time.Duration // 0: 10 minutes
	DBs       []int         // databases written to; empty: 0 only. The first takes most
	BulkKeys  int           // bulk keys of the data set, which the load changes, renews and deletes too
	Whole     []int         // two databases that are also flushed and swapped (standalone only); nil: none

	// KeepPending deletes no message that may be pending. What a source before 7.0 sends of such a message makes a target of 7.0 or
	// later forget its pending entry: servers that differ, native replicas alike.
	KeepPending bool

	To *Side // where the data goes: what it does not know is not written; nil: nowhere in particular
}

// Traffic is live load on one side.
type Traffic struct {
	Writes atomic.Int64 // commands sent and answered

	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	counts map[string]int64 // by command; guarded by mu
	err    error            // the first unexpected reply; guarded by mu
}

const trafficWorkers = 2

// StartTraffic starts the load; Stop ends it.
func StartTraffic(ctx context.Context, s *Side, o TrafficOptions) *Traffic {
	if o.Rate == 0 {
		o.Rate = 5000
	}
	if o.MaxWrites == 0 {
		o.MaxWrites = 10_000_000
	}
	if o.MaxTime == 0 {
		o.MaxTime = 10 * time.Minute
	}
	if len(o.DBs) == 0 {
		o.DBs = []int{0}
	}
	ctx, cancel := context.WithTimeout(ctx, o.MaxTime)
	t := &Traffic{cancel: cancel, counts: map[string]int64{}}
	limit := rate.NewLimiter(rate.Limit(o.Rate), max(o.Rate/10, 200))
	for w := range trafficWorkers {
		t.wg.Go(func() {
			worker := &worker{
				traffic: t, side: s, fits: fits{s, o.To}, options: o, number: w, limit: limit, pending: map[string][]string{},
				rng: rand.New(rand.NewPCG(o.Seed, 1<<40+uint64(w))),
			}
			if err := worker.run(ctx); err != nil {
				t.fail(err)
				cancel()
			}
		})
	}
	return t
}

// Stop ends the load, waits until everything sent has been answered, and gives the first unexpected error.
func (t *Traffic) Stop() error {
	t.cancel()
	t.wg.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Counts lists the commands sent, by name.
func (t *Traffic) Counts() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}

func (t *Traffic) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
}

// worker has key groups of its own, so that what it knows of a key holds.
type worker struct {
	traffic *Traffic
	side    *Side
	fits    fits
	options TrafficOptions
	number  int
	limit   *rate.Limiter
	rng     *rand.Rand
	pending map[string][]string // IDs delivered and not acknowledged, by database and stream
	sha     string              // of incrScript

	elements int // of vector sets, that were added
}

// call is one command on its way: which replies it may get, and who wants to see them.
type call struct {
	words   []string
	cmd     rueidis.Completed
	allowed []string // starts of error replies that are in order; rueidis leaves out a first ERR
	reply   func(rueidis.RedisResult)
}

// run sends rounds of operations until the context ends. A round is finished even then: replies that nobody has seen
// would leave open what the server did.
func (w *worker) run(ctx context.Context) error {
	operations := w.operations()
	total := 0
	for _, op := range operations {
		total += op.weight
	}
	if err := w.loadScript(); err != nil {
		return err
	}
	if err := LoadFunctions(context.Background(), w.side, w.options.To); err != nil {
		return err
	}
	for {
		if !w.wait(ctx, 50) {
			return nil
		}
		if w.traffic.Writes.Load() >= w.options.MaxWrites {
			return nil
		}
		db := w.options.DBs[0]
		if w.rng.IntN(4) == 0 {
			db = w.options.DBs[w.rng.IntN(len(w.options.DBs))]
		}
		sent, err := w.round(db, operations, total)
		if err != nil {
			return err
		}
		if !w.wait(ctx, min(max(sent-50, 0), w.limit.Burst())) {
			return nil
		}
	}
}

// wait keeps the rate; false says that the load was told to stop.
func (w *worker) wait(ctx context.Context, writes int) bool { return w.limit.WaitN(ctx, writes) == nil }

// round sends about fifty commands to one database and says how many.
func (w *worker) round(db int, operations []operation, total int) (int, error) {
	client, err := w.side.client(db)
	if err != nil {
		return 0, err
	}
	r := &round{worker: w, db: db, client: client}
	for len(r.calls) < 50 {
		n := w.rng.IntN(total)
		for _, op := range operations {
			if n -= op.weight; n < 0 {
				op.do(r)
				break
			}
		}
	}
	if err := r.send(client.DoMulti); err != nil {
		return 0, err
	}
	sent := len(r.calls)
	for _, tx := range r.transactions {
		if err := tx.sendTransaction(); err != nil {
			return sent, err
		}
		sent += len(tx.calls)
	}
	return sent, nil
}

// round collects commands for one database. Transactions follow the rest, each on a connection of its own.
type round struct {
	*worker
	db           int
	client       rueidis.Client
	calls        []call
	transactions []*round
}

// add queues a command: the words before its keys, the keys, the rest.
func (r *round) add(words, keys, args []string) *call {
	r.calls = append(r.calls, call{
		words: slices.Concat(words, keys, args),
		cmd:   r.client.B().Arbitrary(words...).Keys(keys...).Args(args...).Build(),
	})
	return &r.calls[len(r.calls)-1]
}

// key queues a command whose first argument is its only key.
func (r *round) key(name, key string, args ...string) *call {
	return r.add([]string{name}, []string{key}, args)
}

func (c *call) allow(errors ...string) *call {
	c.allowed = append(c.allowed, errors...)
	return c
}

func (r *round) send(do func(context.Context, ...rueidis.Completed) []rueidis.RedisResult) error {
	cmds := make([]rueidis.Completed, len(r.calls))
	for i := range r.calls {
		cmds[i] = r.calls[i].cmd
	}
	// Not the load's own context: see run.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i, reply := range do(ctx, cmds...) {
		if err := r.calls[i].judge(reply); err != nil {
			return err
		}
	}
	r.count()
	return nil
}

func (r *round) count() {
	t := r.traffic
	t.Writes.Add(int64(len(r.calls)))
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range r.calls {
		t.counts[r.calls[i].words[0]]++
	}
}

func (c *call) judge(reply rueidis.RedisResult) error {
	err := reply.Error()
	if err != nil && !rueidis.IsRedisNil(err) {
		for _, start := range c.allowed {
			if strings.HasPrefix(err.Error(), start) {
				return nil
			}
		}
		return fmt.Errorf("traffic: %.200q: %w", c.words, err)
	}
	if c.reply != nil {
		c.reply(reply)
	}
	return nil
}

// sendTransaction sends MULTI, the calls and EXEC on one connection.
func (r *round) sendTransaction() error {
	commands := slices.Clone(r.calls)
	b := r.client.B()
	r.calls = slices.Concat(
		[]call{{words: []string{"MULTI"}, cmd: b.Multi().Build()}}, commands, []call{{words: []string{"EXEC"}, cmd: b.Exec().Build()}})
	r.calls[len(r.calls)-1].reply = func(reply rueidis.RedisResult) {
		results, err := reply.ToArray()
		if err != nil {
			r.traffic.fail(fmt.Errorf("traffic: EXEC: %w", err))
			return
		}
		for i, result := range results {
			if err := result.Error(); err != nil && !rueidis.IsRedisNil(err) {
				r.traffic.fail(fmt.Errorf("traffic: in a transaction: %.200q: %w", commands[i].words, err))
			}
		}
	}
	return r.client.Dedicated(func(c rueidis.DedicatedClient) error { return r.send(c.DoMulti) })
}

// loadScript makes EVALSHA work at every primary.
func (w *worker) loadScript() error {
	for _, addr := range w.side.primaries {
		c, err := w.side.node(addr)
		if err != nil {
			return err
		}
		if w.sha, err = c.Do(context.Background(), c.B().ScriptLoad().Script(incrScript).Build()).ToString(); err != nil {
			return errors.Join(fmt.Errorf("traffic: SCRIPT LOAD at %s", addr), err)
		}
	}
	return nil
}
