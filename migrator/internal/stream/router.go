package stream

import (
	"context"
	"slices"

	"surecut/migrator/internal/target"
)

// router brings the pieces of groups to the lanes of their slots, and has lanes meet. What it queues reaches the lanes, and counts as
// dispatched, with the next handOver.
type router struct {
	target    *target.Target
	positions *Positions
	lanes     []*lane

	done  Mark      // everything up to here is with the lanes or in ready; zero after handOver
	ready [][]*item // by lane: items that wait for handOver

	spare []*item // from lanes that have applied them
}

func newRouter(cfg *Config, lanes []*lane) *router {
	return &router{target: cfg.Target, positions: cfg.Positions, lanes: lanes, ready: make([][]*item, len(lanes))}
}

// piece is one call with the slot that decides on its lane. A piece without a call brings the lane of its slot to the meeting, and moves
// the checkpoint of the slot.
type piece struct {
	slot     uint16
	call     target.Call
	end      int64
	commands int64
	all      bool // the call may touch keys that it does not name, so that all lanes meet for it
}

// handOver pushes the items in ready to their lanes, and counts them as dispatched.
func (r *router) handOver(ctx context.Context) error {
	for i, items := range r.ready {
		if len(items) == 0 {
			continue
		}
		if err := r.lanes[i].push(ctx, items...); err != nil {
			return err
		}
		r.spare = r.lanes[i].handBack(r.spare)
		clear(items)
		r.ready[i] = items[:0]
	}
	if r.done != (Mark{}) {
		r.positions.SetDispatched(r.done)
		r.done = Mark{}
	}
	return nil
}

// send queues the pieces of one group for their lanes. On a standalone target they make one item, for which the lanes meet where there are
// several; on a cluster they make one item for each slot.
func (r *router) send(ctx context.Context, g group, pieces []piece) error {
	if len(pieces) == 0 {
		return nil
	}
	if r.target.Cluster {
		r.sendBySlot(g, pieces)
		return nil
	}
	it := r.item(g, pieces)
	lanes := r.lanesOf(pieces)
	if len(lanes) == 1 {
		r.queue(lanes[0], it)
		return nil
	}
	it.meet = newMeeting(lanes, lanes[0])
	return r.pushAll(ctx, it)
}

// queue adds an item to those that wait for handOver.
func (r *router) queue(n *lane, it *item) { r.ready[n.id] = append(r.ready[n.id], it) }

// sendBySlot makes one item of the pieces of each slot: a transaction of a cluster is confined to one slot.
func (r *router) sendBySlot(g group, pieces []piece) {
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
		r.queue(r.lane(slot), r.item(g, own))
		pieces = rest
	}
}

// item makes one item of pieces. Pieces without a call add no call to it.
func (r *router) item(g group, pieces []piece) *item {
	it := r.blank()
	it.start, it.startDB, it.received, it.slot = g.start, g.startDB, g.received, pieces[0].slot
	n := 0
	for i := range pieces {
		it.end = pieces[i].end
		it.commands += pieces[i].commands
		if pieces[i].call.Args != nil {
			n++
		}
	}
	it.calls = slices.Grow(it.calls, n)
	it.absolute = n == 1 && len(g.commands) == 1 // what a MULTI holds stays together, and so do the parts of a command
	for i := range pieces {
		p := &pieces[i]
		if p.call.Args == nil {
			continue
		}
		it.absolute = it.absolute && p.call.Absolute
		it.calls = append(it.calls, p.call)
		it.calls[len(it.calls)-1].Commands = p.commands
		for _, a := range p.call.Args {
			it.bytes += len(a) + 32
		}
	}
	return it
}

// blank returns an item with nothing but room for calls.
func (r *router) blank() *item {
	if last := len(r.spare) - 1; last >= 0 {
		it := r.spare[last]
		r.spare[last], r.spare = nil, r.spare[:last]
		return it
	}
	return &item{calls: make([]target.Call, 0, 1)}
}

func (r *router) lane(slot uint16) *lane { return r.lanes[int(slot)%len(r.lanes)] }

// lanesOf returns the lanes that pieces concern, in their order.
func (r *router) lanesOf(pieces []piece) []*lane {
	first := int(pieces[0].slot) % len(r.lanes)
	one := true
	for i := range pieces {
		if pieces[i].all {
			return r.lanes
		}
		one = one && int(pieces[i].slot)%len(r.lanes) == first
	}
	if one {
		return r.lanes[first : first+1]
	}
	var lanes []*lane
	for _, n := range r.lanes {
		if slices.ContainsFunc(pieces, func(p piece) bool { return r.lane(p.slot) == n }) {
			lanes = append(lanes, n)
		}
	}
	return lanes
}

// pushAll pushes an item to all lanes that meet for it, after the items in ready.
func (r *router) pushAll(ctx context.Context, it *item) error {
	if err := r.handOver(ctx); err != nil {
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
func (r *router) meet(ctx context.Context, lanes []*lane, f func() error) error {
	if err := r.handOver(ctx); err != nil {
		return err
	}
	at := r.positions.dispatchedTo()
	it := &item{start: at.Offset, startDB: at.DB, end: at.Offset, received: at.Received, meet: newMeeting(lanes, nil)}
	if err := r.pushAll(ctx, it); err != nil {
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
