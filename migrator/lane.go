package migrator

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"surecut/internal/keyspace"
)

// item is what a lane applies in one go: the calls of one command or of one MULTI group that concern it.
type item struct {
	start, end int64 // offsets before its first and of its last byte in the stream
	startDB    int   // database selected in the stream at start
	received   int64 // Unix ms
	slot       uint16
	calls      []call
	commands   int64 // commands of the source that are settled with it
	bytes      int
	meet       *meeting
}

// meeting brings several lanes to one point of the stream. With a leader, that lane applies the item for all of
// them; without, the dispatcher acts once all have arrived.
type meeting struct {
	lanes    []*lane
	leader   *lane
	missing  atomic.Int32
	all      chan struct{} // closed when every lane but the leader has arrived
	released chan struct{}
}

func newMeeting(lanes []*lane, leader *lane) *meeting {
	m := &meeting{lanes: lanes, leader: leader, all: make(chan struct{}), released: make(chan struct{})}
	m.missing.Store(int32(len(lanes)))
	if leader != nil {
		m.arrive()
	}
	return m
}

func (m *meeting) arrive() {
	if m.missing.Add(-1) == 0 {
		close(m.all)
	}
}

// Bounds of what waits in a lane, and of what it applies at once.
const (
	laneQueueBytes = 4 << 20
	laneQueueItems = 8192
	laneBatchBytes = 1 << 20
	laneBatchItems = 512
)

// committer applies transactions to the target.
type committer interface {
	// commit applies transactions, in their order as far as they share a unit. It returns when the target has answered for all of them; calls
	// that the target refused are in failed.
	commit(ctx context.Context, txs []*transaction) error

	close()
}

// lane applies the commands of its slots, in order.
type lane struct {
	l  *link
	id int
	w  committer

	mu       sync.Mutex
	changed  *sync.Cond // queue or inflight
	queue    []*item
	bytes    int
	inflight *item // the oldest one that is being applied
	stopped  bool
	forget   map[unit][]pastFence

	batch []*item // reused by take

	// Reused by transactions.
	calls  []call
	txs    []*transaction
	byUnit map[unit]*transaction
	sizes  map[unit]int // calls of each unit
}

// pastFence is a fence that has been dispatched past. Its field may go once the unit's checkpoint says no less.
type pastFence struct {
	field  string
	offset int64
}

func newLane(l *link, id int) *lane {
	n := &lane{l: l, id: id, w: l.newWriter(), forget: map[unit][]pastFence{}, byUnit: map[unit]*transaction{}, sizes: map[unit]int{}}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// push queues items; it waits while the lane has enough to do. A lane that has stopped ends the context too, with the reason.
func (n *lane) push(ctx context.Context, items ...*item) error {
	if !n.queued(items...) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

// queued is push; false where the lane has stopped.
func (n *lane) queued(items ...*item) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, it := range items {
		for !n.stopped && len(n.queue) > 0 && (n.bytes > laneQueueBytes || len(n.queue) >= laneQueueItems) {
			n.changed.Broadcast()
			n.changed.Wait()
		}
		if n.stopped {
			return false
		}
		n.queue = append(n.queue, it)
		n.bytes += it.bytes
	}
	n.changed.Broadcast()
	return true
}

// stop wakes whoever waits on the lane; what is queued stays unapplied.
func (n *lane) stop() {
	n.mu.Lock()
	n.stopped = true
	n.mu.Unlock()
	n.changed.Broadcast()
}

// oldest gives the first item that is not applied.
func (n *lane) oldest() *item {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.inflight != nil {
		return n.inflight
	}
	if len(n.queue) > 0 {
		return n.queue[0]
	}
	return nil
}

// take gives the next items to apply together: up to a meeting, which comes alone.
func (n *lane) take() []*item {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inflight = nil
	n.changed.Broadcast()
	for !n.stopped && len(n.queue) == 0 {
		n.changed.Wait()
	}
	if n.stopped {
		return nil
	}
	count, bytes := 0, 0
	for count < len(n.queue) && count < laneBatchItems && bytes < laneBatchBytes {
		if it := n.queue[count]; it.meet != nil {
			if count == 0 {
				count, bytes = 1, it.bytes
			}
			break
		}
		bytes += n.queue[count].bytes
		count++
	}
	batch := append(n.batch[:0], n.queue[:count]...)
	n.batch = batch
	left := copy(n.queue, n.queue[count:])
	clear(n.queue[left:])
	n.queue = n.queue[:left]
	n.bytes -= bytes
	n.inflight = batch[0]
	n.changed.Broadcast()
	return batch
}

// run applies items until the lane is stopped.
func (n *lane) run(ctx context.Context) error {
	defer n.w.close()
	defer n.stop() // whoever waits for room must not wait for a lane that has failed
	defer context.AfterFunc(ctx, n.stop)()
	for {
		batch := n.take()
		if batch == nil {
			return context.Cause(ctx)
		}
		var err error
		if m := batch[0].meet; m != nil {
			err = n.attend(ctx, m, batch[0])
		} else {
			err = n.apply(ctx, batch)
		}
		if err != nil {
			return err
		}
	}
}

// attend brings the lane to a meeting.
func (n *lane) attend(ctx context.Context, m *meeting, it *item) error {
	if m.leader == n {
		select {
		case <-m.all:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		x := n.transaction(it)
		x.units = nil
		for _, other := range m.lanes {
			x.units = append(x.units, unit(other.id))
		}
		if err := n.commit(ctx, []*transaction{x}, it.commands); err != nil {
			return err // the others are not released: their checkpoints must not pass what was not applied
		}
		close(m.released)
		return nil
	}
	m.arrive()
	select {
	case <-m.released:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// apply commits items, in one transaction for each unit.
func (n *lane) apply(ctx context.Context, batch []*item) error {
	txs, commands := n.transactions(batch)
	return n.commit(ctx, txs, commands)
}

// transactions builds one for each unit that items concern. They are valid until the next call.
func (n *lane) transactions(batch []*item) (txs []*transaction, commands int64) {
	total := 0
	clear(n.sizes)
	for _, it := range batch {
		commands += it.commands
		n.sizes[n.unitOf(it.slot)] += len(it.calls)
		total += len(it.calls)
	}
	clear(n.calls) // or they would keep what earlier commands hold
	if cap(n.calls) < total {
		n.calls = make([]call, total)
	}
	n.calls = n.calls[:total]
	room := n.calls
	clear(n.byUnit)
	txs = n.txs[:0]
	for _, it := range batch {
		u := n.unitOf(it.slot)
		x := n.byUnit[u]
		if x == nil {
			x = n.transaction(it)
			size := n.sizes[u]
			x.calls, room = room[:0:size], room[size:size]
			n.byUnit[u] = x
			txs = append(txs, x)
		}
		x.end = it.end
		x.calls = append(x.calls, it.calls...)
	}
	n.txs = txs
	return txs, commands
}

func (n *lane) unitOf(slot uint16) unit {
	if n.l.m.target.cluster {
		return unit(slot)
	}
	return unit(n.id)
}

func (n *lane) transaction(it *item) *transaction {
	u := n.unitOf(it.slot)
	x := &transaction{slot: it.slot, units: []unit{u}, end: it.end, calls: it.calls}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget[u] = slices.DeleteFunc(n.forget[u], func(f pastFence) bool {
		if f.offset > it.end { // what was queued before the fence was passed may be applied after that
			return false
		}
		x.forget = append(x.forget, f.field)
		return true
	})
	if len(n.forget[u]) == 0 {
		delete(n.forget, u)
	}
	return x
}

// keepFence takes back that a fence may be forgotten: its key is being copied again. The lane stands still.
func (n *lane) keepFence(u unit, k keyspace.Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	field := fenceField(k)
	n.forget[u] = slices.DeleteFunc(n.forget[u], func(f pastFence) bool { return f.field == field })
}

func (n *lane) commit(ctx context.Context, txs []*transaction, commands int64) error {
	if err := n.w.commit(ctx, txs); err != nil {
		return err
	}
	n.l.doubts.spread(txs)
	n.l.ledger.applied.Add(commands)
	for _, x := range txs {
		n.l.positions.acknowledge(x.units, x.end)
		if err := n.l.doubt(x.failed); err != nil {
			return err
		}
	}
	return nil
}
