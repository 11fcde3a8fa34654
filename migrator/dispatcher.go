package migrator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/reread"
)

// dispatcher hands the commands of the stream to the lanes of their keys. It also does all that has to happen between two commands,
// so that one goroutine decides on the order of everything.
type dispatcher struct {
	l         *link
	lanes     []*lane
	stretches <-chan stretch
	open      stretch // the stretch that is being dispatched
	at        int     // index of the next group of open

	resumed    map[unit]int64         // offsets of the units that were ahead of the link's checkpoint when the run began
	resumedEnd int64                  // the highest offset in resumed; 0: every unit has been passed
	witnessed  map[unit]int64         // offset of each unit before the last transaction of an earlier run
	fences     map[keyspace.Key]int64 // keys, as scope names them, that were copied as of an offset ahead of what is dispatched
	fenceEnd   int64                  // no fence is below this offset
	touched    map[uint64]struct{}    // hashes of keys whose first change since the source was lost has come; see ask
	suspects   map[uint64]struct{}    // hashes of keys that were added to doubts.later
	injections []injection            // in the order of their offsets
	lacks      map[keyspace.Key]bool  // keys that were reported because the target does not have their type
	quiet      int64                  // between this offset and what is dispatched, the source has sent nothing that changes data

	freezes chan *Frame
	over    chan struct{} // closed when the dispatcher has ended
	wake    chan struct{} // says that there are doubts to settle

	doubtEnd int64 // through a proxy: the offset up to which an earlier run may have applied commands

	done  mark      // everything up to here is with the lanes or in ready; zero after handOver
	ready [][]*item // by lane: items that wait for handOver

	items   slab[item]
	calls   slab[call]
	strings slab[string]

	// Reused from one command to the next.
	pieces  []piece
	planned []piece
	run1    []call
	forms   [][][]byte
	dated   [][][]byte
	keys    []int
}

// injection is what the source said of held keys at an offset. It is applied between the command that ends there and the next one.
type injection struct {
	at   int64
	keys []reread.Copy
}

// piece is one call with the slot that decides on its lane. A piece without a call brings the lane of its slot to the meeting, and moves
// the checkpoint of the slot.
type piece struct {
	slot     uint16
	call     call
	end      int64
	commands int64
	all      bool // the call may touch keys that it does not name, so that all lanes meet for it
}

func newDispatcher(l *link, lanes []*lane, stretches <-chan stretch, cp *checkpoint) *dispatcher {
	d := &dispatcher{l: l, lanes: lanes, stretches: stretches, resumed: map[unit]int64{}, witnessed: cp.witnessed,
		touched: map[uint64]struct{}{}, suspects: map[uint64]struct{}{}, fences: map[keyspace.Key]int64{}, lacks: map[keyspace.Key]bool{},
		ready: make([][]*item, len(lanes)), quiet: cp.offset, freezes: make(chan *Frame), over: make(chan struct{}), wake: make(chan struct{}, 1)}
	for _, offsets := range []map[unit]int64{cp.units, cp.recorded} {
		for u, offset := range offsets {
			if offset > cp.offset {
				d.resumed[u] = max(d.resumed[u], offset)
				d.resumedEnd = max(d.resumedEnd, offset)
			}
		}
	}
	for k, offset := range cp.fences {
		if offset > cp.offset {
			d.fences[k] = offset
		}
	}
	return d
}

// groupsBetweenChores is how many groups are dispatched before they are handed over to the lanes, and chores and frames have their turn:
// with a slow target that takes a while. Handing over wakes the lanes, which costs more than a command.
const groupsBetweenChores = 512

// run dispatches until the stream ends, and returns once the lanes have applied all of it.
func (d *dispatcher) run(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := d.chores(ctx); err != nil {
			return err
		}
		more, err := d.await(ctx, tick.C)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		for n := 0; n < groupsBetweenChores && d.pending(); n++ {
			if err := d.step(ctx, d.take()); err != nil {
				return err
			}
		}
		if err := d.handOver(ctx); err != nil {
			return err
		}
	}
	if err := d.finish(ctx); err != nil {
		return err
	}
	if err := d.releaseAtEnd(ctx); err != nil {
		return err
	}
	return d.finish(ctx)
}

// await returns when there are groups to dispatch, or something else to do first. more is false at the end of the stream.
func (d *dispatcher) await(ctx context.Context, tick <-chan time.Time) (more bool, err error) {
	if d.pending() {
		select {
		case f := <-d.freezes:
			return true, d.frozen(ctx, f)
		default:
			return true, nil
		}
	}
	select {
	case c, ok := <-d.stretches:
		d.open, d.at = c, 0
		return ok, nil
	case f := <-d.freezes:
		return true, d.frozen(ctx, f)
	case <-d.wake:
	case <-tick:
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
	return true, nil
}

// pending says whether the open stretch has groups that are not dispatched.
func (d *dispatcher) pending() bool { return d.at < len(d.open.groups) }

// take returns the next pending group. With the last group of a stretch, it gives the stretch's room back to the parser.
func (d *dispatcher) take() group {
	g := d.open.groups[d.at]
	if d.at++; !d.pending() {
		d.open.done()
		d.at = 0
	}
	return g
}

// step dispatches one group. Its commands reach the lanes, and count as dispatched, with the next handOver.
func (d *dispatcher) step(ctx context.Context, g group) error {
	if err := d.l.reserve(g.end); err != nil {
		return err
	}
	if err := d.inject(ctx, g); err != nil {
		return err
	}
	d.pieces = d.pieces[:0]
	for i := range g.commands {
		c := &g.commands[i]
		p, err := d.plan(c, g.received)
		if err != nil {
			return fmt.Errorf("stream at offset %d: %s: %w", c.end, c.name(), err)
		}
		d.pieces = append(d.pieces, p.pieces...)
		if p.act == nil {
			continue
		}
		if err := errors.Join(d.send(ctx, g, d.pieces), d.handOver(ctx)); err != nil {
			return err
		}
		d.pieces = d.pieces[:0]
		if err := p.act(ctx, g); err != nil {
			return fmt.Errorf("stream at offset %d: %s: %w", c.end, c.name(), err)
		}
	}
	if err := d.send(ctx, g, d.pieces); err != nil {
		return err
	}
	d.l.ledger.Control.Add(g.control)
	d.l.ledger.Commands.Add(g.control + int64(len(g.commands)))
	d.done = mark{offset: g.end, db: g.db, received: g.received}
	if n := len(g.commands); n > 0 {
		d.quiet = g.commands[n-1].end
	}
	d.prune(g.end)
	clear(d.pieces) // else they would keep the values of the group in memory
	return nil
}

// handOver pushes the items in ready to their lanes, and counts them as dispatched.
func (d *dispatcher) handOver(ctx context.Context) error {
	for i, items := range d.ready {
		if len(items) == 0 {
			continue
		}
		if err := d.lanes[i].push(ctx, items...); err != nil {
			return err
		}
		clear(items)
		d.ready[i] = items[:0]
	}
	if d.done != (mark{}) {
		d.l.positions.setDispatched(d.done)
		d.done = mark{}
	}
	return nil
}

// send queues the pieces of one group for their lanes. On a standalone target they make one item, for which the lanes meet where there are
// several; on a cluster they make one item for each slot.
func (d *dispatcher) send(ctx context.Context, g group, pieces []piece) error {
	if len(pieces) == 0 {
		return nil
	}
	if d.l.m.target.cluster {
		d.sendBySlot(g, pieces)
		return nil
	}
	it := d.item(g, pieces)
	lanes := d.lanesOf(pieces)
	if len(lanes) == 1 {
		d.queue(lanes[0], it)
		return nil
	}
	it.meet = newMeeting(lanes, lanes[0])
	return d.pushAll(ctx, it)
}

// queue adds an item to those that wait for handOver.
func (d *dispatcher) queue(n *lane, it *item) { d.ready[n.id] = append(d.ready[n.id], it) }

// sendBySlot makes one item of the pieces of each slot: a transaction of a cluster is confined to one slot.
func (d *dispatcher) sendBySlot(g group, pieces []piece) {
	for len(pieces) > 0 {
		slot := pieces[0].slot
		other := func(p piece) bool { return p.slot != slot }
		own, rest := pieces, []piece(nil)
		if slices.ContainsFunc(pieces, other) {
			own = nil
			for _, p := range pieces {
				if other(p) {
					rest = append(rest, p)
				} else {
					own = append(own, p)
				}
			}
		}
		d.queue(d.lane(slot), d.item(g, own))
		pieces = rest
	}
}

// item makes one item of pieces. Pieces without a call add no call to it.
func (d *dispatcher) item(g group, pieces []piece) *item {
	it := &d.items.take(1, slabCalls)[0]
	*it = item{start: g.start, startDB: g.startDB, received: g.received, slot: pieces[0].slot}
	n := 0
	for i := range pieces {
		it.end = pieces[i].end
		it.commands += pieces[i].commands
		if pieces[i].call.args != nil {
			n++
		}
	}
	it.calls = d.calls.take(n, slabCalls)[:0]
	it.absolute = n == 1 && len(g.commands) == 1 // what a MULTI holds stays together, and so do the parts of a command
	for i := range pieces {
		p := &pieces[i]
		if p.call.args == nil {
			continue
		}
		it.absolute = it.absolute && p.call.absolute
		it.calls = append(it.calls, p.call)
		it.calls[len(it.calls)-1].commands = p.commands
		for _, a := range p.call.args {
			it.bytes += len(a) + 32
		}
	}
	return it
}

func (d *dispatcher) lane(slot uint16) *lane { return d.lanes[int(slot)%len(d.lanes)] }

// lanesOf returns the lanes that pieces concern, in their order.
func (d *dispatcher) lanesOf(pieces []piece) []*lane {
	first := int(pieces[0].slot) % len(d.lanes)
	one := true
	for i := range pieces {
		if pieces[i].all {
			return d.lanes
		}
		one = one && int(pieces[i].slot)%len(d.lanes) == first
	}
	if one {
		return d.lanes[first : first+1]
	}
	var lanes []*lane
	for _, n := range d.lanes {
		if slices.ContainsFunc(pieces, func(p piece) bool { return d.lane(p.slot) == n }) {
			lanes = append(lanes, n)
		}
	}
	return lanes
}

// pushAll pushes an item to all lanes that meet for it, after the items in ready.
func (d *dispatcher) pushAll(ctx context.Context, it *item) error {
	if err := d.handOver(ctx); err != nil {
		return err
	}
	for _, n := range it.meet.lanes {
		if err := n.push(ctx, it); err != nil {
			return err
		}
	}
	return nil
}

// meet waits until the lanes have applied all that was dispatched to them, runs f while they stand still, and lets them go on.
func (d *dispatcher) meet(ctx context.Context, lanes []*lane, f func() error) error {
	if err := d.handOver(ctx); err != nil {
		return err
	}
	at := d.l.positions.dispatchedTo()
	it := &item{start: at.offset, startDB: at.db, end: at.offset, received: at.received, meet: newMeeting(lanes, nil)}
	if err := d.pushAll(ctx, it); err != nil {
		return err
	}
	defer close(it.meet.released)
	select {
	case <-it.meet.all:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return f()
}

// finish returns once the lanes have applied all that was dispatched, and the doubts that this raised are settled.
func (d *dispatcher) finish(ctx context.Context) error {
	for {
		if err := d.meet(ctx, d.lanes, func() error { return nil }); err != nil {
			return err
		}
		if d.resumedEnd > 0 {
			return nil // the stream has not passed all that an earlier run applied, so that the next run settles the doubts
		}
		doubts := d.l.doubts.take()
		if len(doubts) == 0 {
			return nil
		}
		if err := d.settleDoubts(ctx, doubts); err != nil {
			return err
		}
	}
}

// inject sends the injections that are due before a group.
func (d *dispatcher) inject(ctx context.Context, g group) error {
	d.dropVoid(d.l.moved.Load())
	for len(d.injections) > 0 && d.injections[0].at <= g.start {
		clear(d.touched) // the injection gives keys their expiry back, so that they may be gone at their next change
		in := d.injections[0]
		d.injections = d.injections[1:]
		at := group{start: g.start, startDB: g.startDB, received: g.received}
		var pieces []piece
		for _, c := range in.keys { // release is called no earlier, since it looks at the fences that commands up to here have added
			pieces = append(pieces, d.release(c, g.start)...)
		}
		if err := errors.Join(d.send(ctx, at, pieces), d.handOver(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// prune forgets the fences and the resumed units that the stream has passed.
func (d *dispatcher) prune(offset int64) {
	if offset >= d.fenceEnd {
		d.pruneFences(offset)
	}
	if d.resumedEnd > 0 && offset >= d.resumedEnd {
		clear(d.resumed)
		d.resumedEnd = 0
	}
}

func (d *dispatcher) pruneFences(offset int64) {
	d.fenceEnd = math.MaxInt64
	for k, end := range d.fences {
		if end > offset {
			d.fenceEnd = min(d.fenceEnd, end)
			continue
		}
		delete(d.fences, k)
		n := d.lane(d.l.m.target.slot(k.Name))
		n.mu.Lock()
		u := n.unitOf(d.l.m.target.slot(k.Name))
		n.forget[u] = append(n.forget[u], pastFence{fenceField(k), end})
		n.mu.Unlock()
	}
}

// applied says whether an earlier run has already applied the command that ends at an offset to a slot.
func (d *dispatcher) applied(slot uint16, end int64) bool {
	return d.resumedEnd > 0 && end <= d.resumed[d.lane(slot).unitOf(slot)]
}

// chores does what is due between two commands.
func (d *dispatcher) chores(ctx context.Context) error {
	if err := d.revise(ctx); err != nil {
		return err
	}
	if d.resumedEnd == 0 { // doubts wait until the stream has passed all that an earlier run applied
		if doubts := d.l.doubts.take(); len(doubts) > 0 {
			if err := d.settleDoubts(ctx, doubts); err != nil {
				return err
			}
		}
	}
	err := d.releaseHeld(ctx)
	if errors.Is(err, errStreamEnded) {
		return nil // keys that are still held stay on the list
	}
	return err
}

// errStreamEnded says that the stream has ended before an offset that was waited for.
var errStreamEnded = errors.New("the stream was ended")
