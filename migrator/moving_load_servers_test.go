//go:build servers

package migrator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
)

// slotOp is a command, or a transaction of several, whose keys lie in one slot.
type slotOp struct {
	slot uint16
	cmds [][]string
}

// slotRouter sends operations to the owners of their slots, and follows MOVED and ASK as clients of a cluster do.
type slotRouter struct {
	c      *slotCluster
	owners [16384]atomic.Pointer[servers.Server] // as far as is known

	done, moved, asked atomic.Int64 // operations that were answered; redirections
	gaveUp             atomic.Int64 // operations whose outcome is unknown, or that nobody would take
}

func newSlotRouter(c *slotCluster) *slotRouter { return &slotRouter{c: c} }

// route returns where a slot is, or where one may ask for it.
func (r *slotRouter) route(slot uint16) (*servers.Server, error) {
	if n := r.owners[slot].Load(); n != nil {
		return n, nil
	}
	for _, n := range r.c.live() {
		if nodes, err := r.c.sees(n); err == nil {
			for _, o := range nodes {
				if at := r.node(o.Addr); at != nil {
					for s := range o.Slots.All() {
						r.owners[s].CompareAndSwap(nil, at)
					}
				}
			}
			break
		}
	}
	if n := r.owners[slot].Load(); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("nobody has slot %d", slot)
}

func (r *slotRouter) node(addr string) *servers.Server {
	for _, n := range r.c.live() {
		if n.Addr == addr {
			return n
		}
	}
	return nil
}

// runAll runs operations, those of each node in one pipeline, and returns an error for each that failed. An error reply that is no matter of
// the cluster's, such as a wrong type, is no failure.
func (r *slotRouter) runAll(ops []slotOp) []error {
	errs := make([]error, len(ops))
	byNode := map[*servers.Server][]int{}
	for i, op := range ops {
		n, err := r.route(op.slot)
		if err != nil {
			errs[i] = err
			continue
		}
		byNode[n] = append(byNode[n], i)
	}
	for n, all := range byNode {
		var batch []slotOp
		for _, i := range all {
			batch = append(batch, ops[i])
		}
		for j, err := range r.send(n, batch, false) {
			errs[all[j]] = err
		}
	}
	for i, err := range errs {
		if err != nil {
			errs[i] = r.again(ops[i], err)
		}
		if errs[i] != nil {
			r.gaveUp.Add(1)
		} else {
			r.done.Add(1)
		}
	}
	return errs
}

// again follows the redirections of one operation. What a node may have executed before it was lost is not repeated.
func (r *slotRouter) again(op slotOp, err error) error {
	for range 20 {
		reply, answered := rueidis.IsRedisErr(err)
		switch {
		case err == nil:
			return nil
		case !answered: // there is another one after a failover
			r.owners[op.slot].Store(nil)
			time.Sleep(5 * time.Millisecond)
			return err
		}
		asking := false
		n := r.owners[op.slot].Load()
		if addr, ok := reply.IsMoved(); ok {
			n = r.node(addr)
			r.moved.Add(1)
			r.owners[op.slot].Store(n)
		} else if addr, ok := reply.IsAsk(); ok {
			if len(op.cmds) > 1 {
				return err // a transaction has no way to ask
			}
			n, asking = r.node(addr), true
			r.asked.Add(1)
		} else {
			time.Sleep(5 * time.Millisecond) // TRYAGAIN, CLUSTERDOWN, LOADING, a primary that has become a replica
		}
		if n == nil {
			return fmt.Errorf("sent to a node that is gone: %w", err)
		}
		err = r.send(n, []slotOp{op}, asking)[0]
	}
	return err
}

// send runs operations on a node and returns for each what kept the cluster from running it.
func (r *slotRouter) send(n *servers.Server, ops []slotOp, asking bool) []error {
	errs := make([]error, len(ops))
	client, err := r.c.client(n.Addr)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	var cmds []rueidis.Completed
	var of []int
	add := func(i int, args ...string) {
		cmds, of = append(cmds, endpoint.Arbitrary(client, args...)), append(of, i)
	}
	for i, op := range ops {
		if asking {
			add(i, "ASKING")
		}
		if len(op.cmds) > 1 {
			add(i, "MULTI")
		}
		for _, args := range op.cmds {
			add(i, args...)
		}
		if len(op.cmds) > 1 {
			add(i, "EXEC")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for j, res := range client.DoMulti(ctx, cmds...) {
		if err := res.Error(); err != nil && errs[of[j]] == nil && !harmless(err) {
			errs[of[j]] = err
		}
	}
	return errs
}

// harmless says whether an operation was run, though it may have been refused for the value that it met.
func harmless(err error) bool {
	reply, ok := rueidis.IsRedisErr(err)
	if !ok {
		return rueidis.IsRedisNil(err)
	}
	for _, word := range []string{"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN", "EXECABORT", "UNBLOCKED"} {
		if strings.HasPrefix(reply.Error(), word) {
			return false
		}
	}
	return true
}

// write runs one command, wherever its slot is.
func (r *slotRouter) write(slot uint16, args ...string) {
	r.c.t.Helper()
	for _, err := range r.runAll([]slotOp{{slot, [][]string{args}}}) {
		r.c.must(err)
	}
}

// slotLoad writes commands whose loss or repetition shows to some slots, wherever they are, until it is stopped.
type slotLoad struct {
	*slotRouter
	slots []uint16
	over  chan struct{}
	wg    sync.WaitGroup
}

// opsPerRound is how many operations a worker sends before it waits for their replies.
const opsPerRound = 24

// load begins to write about so many operations a second to keys of the given slots. only says which kinds; nil: all of them.
func (c *slotCluster) load(seed uint64, slots []uint16, rate int, only opKind) *slotLoad {
	c.t.Helper()
	l := &slotLoad{slotRouter: newSlotRouter(c), slots: slots, over: make(chan struct{})}
	const workers = 2
	for w := range workers {
		l.wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			tick := time.NewTicker(time.Second * opsPerRound * workers / time.Duration(rate))
			defer tick.Stop()
			for n := w; ; n += workers {
				select {
				case <-l.over:
					return
				case <-tick.C:
				}
				l.round(rng, n, only)
			}
		})
	}
	c.until("load", func() error {
		if l.done.Load() < 2*opsPerRound {
			return errors.New("too few writes")
		}
		return nil
	})
	return l
}

func (l *slotLoad) round(rng *rand.Rand, n int, only opKind) {
	ops := make([]slotOp, opsPerRound)
	for i := range ops {
		ops[i] = randomOp(rng, l.slots[rng.IntN(len(l.slots))], n*opsPerRound+i, only)
	}
	l.runAll(ops)
}

// stop ends the load, once everything that was sent has been answered.
func (l *slotLoad) stop() {
	l.c.t.Helper()
	select {
	case <-l.over:
		return
	default:
	}
	close(l.over)
	l.wg.Wait()
	l.c.t.Logf("%d operations; %d redirections by MOVED, %d by ASK; %d given up", l.done.Load(), l.moved.Load(), l.asked.Load(), l.gaveUp.Load())
}
