package stream

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
)

// item holds the calls that a lane applies together: those of one command, or of one MULTI group, that concern it.
//
// An item belongs to the router, then to the lane that it is pushed to. Once the target has answered for all its calls, the lane blanks it
// and hands it back, to be used for another command; an item with a meeting, which several lanes hold, is not used again. Only the items
// themselves, the room for their calls, and series are used again: what a call consists of (names, arguments, their bytes) is never written
// over, so that a copy of a call, such as in target.Failure, may be kept for as long as anyone likes.
type item struct {
	start, end int64 // offsets in the stream: before its group's first byte, and of its own last byte
	startDB    int   // database selected in the stream at start
	received   int64 // Unix ms
	slot       uint16
	calls      []target.Call
	series     *target.Series // what calls holds if its commands are plain; else room for other commands, or nil
	commands   int64          // commands of the source that count as applied once the item is
	bytes      int
	absolute   bool     // the item is one call that may be applied again from an earlier point
	meet       *meeting // for which the lane waits; nil: it applies the item alone
}

// meeting brings several lanes to one point of the stream. Where there is a leader, this lane applies the item for all of them; otherwise
// the dispatcher acts once all have arrived.
type meeting struct {
	lanes    []*lane
	leader   *lane
	missing  atomic.Int32
	all      chan struct{} // closed when every lane but the leader has arrived
	released chan struct{} // closed when the lanes may go on
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

// Bounds of what waits in a lane, and of what the lane applies at once.
const (
	laneQueueBytes = 4 << 20
	laneQueueItems = 8192
	laneBatchBytes = 1 << 20  // the least that a target may be set to take in a transaction; one item may have more
	laneBatchFrame = 64 << 10 // of them for what the writer adds
	laneBatchItems = 1024     // commands of a transaction, which holds up the target while it runs
	laneBareItems  = 4096     // commands that may be applied one by one
)

// Committer applies transactions to the target.
type Committer interface {
	// Commit applies transactions, no two of which share a unit. It returns when the target has answered for all of them. The calls of
	// a transaction that the target refused are then in its field Failed.
	Commit(ctx context.Context, txs []*target.Transaction) error

	Close()
}

// lane applies the commands of its slots, in order.
type lane struct {
	*Config
	id int
	w  Committer

	mu       sync.Mutex
	changed  *sync.Cond // tells that queue or stopped has changed
	queue    []*item
	bytes    int
	inflight *item // the oldest item that is being applied
	stopped  bool
	forget   map[target.Unit][]pastFence // fences that the next transactions may delete on the target

	batch []*item // reused by take
	spare []*item // applied and blank, for the router

	// Reused by the method transactions.
	calls  []target.Call
	txs    []*target.Transaction
	byUnit map[target.Unit]*target.Transaction
	sizes  map[target.Unit]int // number of calls of each unit
}

// pastFence is a fence that the stream has passed. Its field may be deleted by a transaction that moves the unit's checkpoint to the offset
// of the fence, or beyond it.
type pastFence struct {
	field  string
	offset int64
}

// newLane returns a lane that applies by a writer, which it closes.
func newLane(cfg *Config, id int, w Committer) *lane {
	n := &lane{Config: cfg, id: id, w: w, forget: map[target.Unit][]pastFence{}, byUnit: map[target.Unit]*target.Transaction{}, sizes: map[target.Unit]int{}}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// push queues items, and waits while the queue is full. If the lane has stopped, push waits for the end of ctx, which the lane's error ends
// too, and returns the cause.
func (n *lane) push(ctx context.Context, items ...*item) error {
	if !n.queued(items...) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

// queued queues items as push does; it returns false if the lane has stopped.
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

// stop ends the lane and wakes everybody who waits for it. Items that are queued stay unapplied.
func (n *lane) stop() {
	n.mu.Lock()
	n.stopped = true
	n.mu.Unlock()
	n.changed.Broadcast()
}

// oldest returns the point before the first item that is not applied yet, if there is one.
func (n *lane) oldest() (before Mark, there bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	it := n.inflight
	if it == nil && len(n.queue) > 0 {
		it = n.queue[0]
	}
	if it == nil {
		return Mark{}, false
	}
	return Mark{Offset: it.start, DB: it.startDB, Received: it.received}, true
}

// mostSpare bounds the items that wait to be used again, and mostSpareCalls the room of each: that of a single command, with what is asked
// beside it. The transactions of a source make room of their own, since each item would have room for the largest of them after a while.
const (
	mostSpare      = 4096
	mostSpareCalls = 4
)

// blank empties an item that is to be used again, so that it keeps no values in memory.
func (it *item) blank() {
	clear(it.calls)
	calls := it.calls[:0]
	if cap(calls) > mostSpareCalls {
		calls = nil
	}
	series := it.series
	if series != nil {
		series.Blank()
	}
	*it = item{calls: calls, series: series}
}

// size returns how many commands the item counts as where lanes are bounded.
func (it *item) size() int {
	if len(it.calls) == 1 && it.calls[0].Series != nil {
		return it.series.Len()
	}
	return 1
}

// applied notes that the items of the batch are applied, and blanks those that may be used again.
func (n *lane) applied(batch []*item) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inflight = nil
	if batch[0].meet != nil {
		return
	}
	n.mu.Unlock() // nobody else has the items by now
	for _, it := range batch {
		it.blank()
	}
	n.mu.Lock()
	n.spare = append(n.spare, batch[:min(len(batch), max(mostSpare-len(n.spare), 0))]...)
}

// handBack moves the lane's spare items to those that the router has.
func (n *lane) handBack(to []*item) []*item {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.spare) > 0 && len(to) < mostSpare {
		last := len(n.spare) - 1
		to = append(to, n.spare[last])
		n.spare[last], n.spare = nil, n.spare[:last]
	}
	return to
}

// take waits for the next items to apply together, and returns nil once the lane is stopped. An item with a meeting is returned alone.
func (n *lane) take() []*item {
	n.mu.Lock()
	defer n.mu.Unlock()
	for !n.stopped && len(n.queue) == 0 {
		n.changed.Wait()
	}
	if n.stopped {
		return nil
	}
	count, size, bytes, absolute := 0, 0, 0, true
	for count < len(n.queue) && size < laneBareItems && bytes < laneBatchBytes {
		it := n.queue[count]
		if it.meet != nil {
			if count == 0 {
				count, bytes = 1, it.bytes
			}
			break
		}
		if absolute = absolute && it.absolute; !absolute && size >= laneBatchItems {
			break
		}
		if count > 0 && bytes+it.bytes > laneBatchBytes-laneBatchFrame {
			break
		}
		bytes += it.bytes
		size += it.size()
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
	defer n.w.Close()
	defer n.stop() // nobody must go on waiting for room in a lane that has failed
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
		n.applied(batch)
	}
}

// attend takes part in a meeting until the lanes may go on. If this lane is the leader, it applies the item once the others have arrived.
func (n *lane) attend(ctx context.Context, m *meeting, it *item) error {
	if m.leader == n {
		select {
		case <-m.all:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		x := n.transaction(it)
		x.Units, x.Absolute = nil, false
		for _, other := range m.lanes {
			x.Units = append(x.Units, target.Unit(other.id))
		}
		if err := n.commit(ctx, []*target.Transaction{x}, it.commands); err != nil {
			return err // the other lanes stay in the meeting: their checkpoints must not move beyond an item that was not applied
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

// apply commits items, in one transaction for each unit. A transaction whose calls are all absolute may go bare (direct.mayGoBare).
func (n *lane) apply(ctx context.Context, batch []*item) error {
	txs, commands := n.transactions(batch)
	return n.commit(ctx, txs, commands)
}

// transactions returns one transaction for each unit of the items. They are valid until the next call.
func (n *lane) transactions(batch []*item) (txs []*target.Transaction, commands int64) {
	total := 0
	clear(n.sizes)
	for i := 0; i < len(batch); {
		u, size := n.unitOf(batch[i].slot), 0
		for ; i < len(batch) && n.unitOf(batch[i].slot) == u; i++ {
			commands += batch[i].commands
			size += len(batch[i].calls)
		}
		n.sizes[u] += size
		total += size
	}
	clear(n.calls) // else the calls would keep the values of earlier commands in memory
	if cap(n.calls) < total {
		n.calls = make([]target.Call, total)
	}
	n.calls = n.calls[:total]
	room := n.calls
	clear(n.byUnit)
	txs = n.txs[:0]
	var x *target.Transaction
	for _, it := range batch {
		u := n.unitOf(it.slot)
		if x == nil || x.Units[0] != u {
			x = n.byUnit[u]
		}
		if x == nil {
			x = n.transaction(it)
			size := n.sizes[u]
			x.Calls, room = room[:0:size], room[size:size]
			n.byUnit[u] = x
			txs = append(txs, x)
		}
		x.End, x.Absolute = it.end, x.Absolute && it.absolute
		x.Calls = append(x.Calls, it.calls...)
	}
	n.txs = txs
	return txs, commands
}

func (n *lane) unitOf(slot uint16) target.Unit {
	if n.Target.Cluster {
		return target.Unit(slot)
	}
	return target.Unit(n.id)
}

func (n *lane) transaction(it *item) *target.Transaction {
	u := n.unitOf(it.slot)
	x := &target.Transaction{Slot: it.slot, Units: []target.Unit{u}, End: it.end, Calls: it.calls, Absolute: it.absolute}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget[u] = slices.DeleteFunc(n.forget[u], func(f pastFence) bool {
		if f.offset > it.end { // this item was queued before the stream passed the fence
			return false
		}
		x.Forget = append(x.Forget, f.field)
		return true
	})
	if len(n.forget[u]) == 0 {
		delete(n.forget, u)
	}
	return x
}

// passFence notes that the stream has passed the fence of a key.
func (n *lane) passFence(u target.Unit, k keyspace.Key, offset int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget[u] = append(n.forget[u], pastFence{target.FenceField(k), offset})
}

// keepFence takes back that the fence of a key may be deleted, since the key is being copied again. The lane must stand still.
func (n *lane) keepFence(u target.Unit, k keyspace.Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	field := target.FenceField(k)
	n.forget[u] = slices.DeleteFunc(n.forget[u], func(f pastFence) bool { return f.field == field })
}

func (n *lane) commit(ctx context.Context, txs []*target.Transaction, commands int64) error {
	if err := n.w.Commit(ctx, txs); err != nil {
		return err
	}
	n.Doubts.spread(txs)
	n.Ledger.Applied.Add(commands)
	for _, x := range txs {
		if !x.Bare { // what is sent without a checkpoint leaves the checkpoint where it was
			n.Positions.acknowledge(x.Units, x.End)
		}
		if err := n.Doubts.add(x.Failed); err != nil {
			return err
		}
	}
	return nil
}
