package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"surecut/migrator/internal/target"
)

// dispatcher hands the commands of the stream to the lanes of their keys. It also does all that has to happen between two commands,
// so that one goroutine decides on the order of everything. What it decides by is with others:
//
//	planner   how each command is carried
//	router    brings commands to the lanes, and has lanes meet
//	ahead     what the target has already of that which is still to come
//	holds     which keys are held without their expiry, or are to be copied later
//	releaser  gives held keys their expiry
//	copier    copies keys from the source
//	wide      carries commands that concern a whole server
type dispatcher struct {
	*Config
	*router
	planner  *planner
	ahead    *ahead
	holds    *holds
	releases *releaser
	copies   *copier

	stretches <-chan stretch
	open      stretch // the stretch that is being dispatched
	at        int     // index of the next group of open
	quiet     int64   // between this offset and what is dispatched, the source has sent nothing that changes data
	pieces    []piece // reused from one group to the next

	freezes chan *Frame
	errands chan errand
	over    chan struct{} // closed when the dispatcher has ended
}

func newDispatcher(cfg *Config, lanes []*lane, stretches <-chan stretch, cp *target.Checkpoint) *dispatcher {
	d := &dispatcher{Config: cfg, router: newRouter(cfg, lanes), ahead: newAhead(cfg.Target, cp), stretches: stretches, quiet: cp.Offset,
		freezes: make(chan *Frame), errands: make(chan errand), over: make(chan struct{})}
	d.holds = newHolds(cfg, d.ahead)
	d.copies = &copier{Config: cfg, router: d.router, ahead: d.ahead, holds: d.holds}
	d.releases = &releaser{Config: cfg, router: d.router, ahead: d.ahead, holds: d.holds, copies: d.copies, catchUpTo: d.catchUpTo}
	wide := &wide{Config: cfg, router: d.router, ahead: d.ahead, holds: d.holds, copies: d.copies}
	d.planner = newPlanner(cfg, d.ahead, d.holds, betweenCommands{d.copies, wide})
	return d
}

// groupsBetweenChores is how many groups are dispatched before they are handed over to the lanes, and chores and frames have their turn:
// with a slow target that takes a while. Handing over wakes the lanes, which costs more than many commands.
const groupsBetweenChores = 2048

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
		if !d.pending() {
			d.retire()
		}
	}
	if err := d.finish(ctx); err != nil {
		return err
	}
	if err := d.releases.releaseAtEnd(ctx); err != nil {
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
		case e := <-d.errands:
			return true, d.attend(ctx, e)
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
	case e := <-d.errands:
		return true, d.attend(ctx, e)
	case <-d.Doubts.wake:
	case <-tick:
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
	return true, nil
}

// pending says whether the open stretch has groups that are not dispatched.
func (d *dispatcher) pending() bool { return d.at < len(d.open.groups) }

// retire gives the open stretch back, all of which is dispatched. It is called only where no command is being dispatched: what is done
// between two commands may open other stretches.
func (d *dispatcher) retire() {
	d.open.giveBack()
	d.open, d.at = stretch{}, 0
}

// take returns the next pending group. With the last group of a stretch, it gives the stretch's room back to the parser.
func (d *dispatcher) take() group {
	g := d.open.groups[d.at]
	if d.at++; !d.pending() {
		d.open.done()
	}
	return g
}

// step dispatches one group. Its commands reach the lanes, and count as dispatched, with the next handOver.
func (d *dispatcher) step(ctx context.Context, g group) error {
	if err := d.Link.Reserve(g.end); err != nil {
		return err
	}
	if err := d.releases.inject(ctx, g); err != nil {
		return err
	}
	pieces, commands := d.pieces[:0], g.commands
	if len(commands) == 1 {
		if to, ok := d.planner.plain(&commands[0]); ok {
			d.sendPlain(&g, to)
			commands = nil
		}
	}
	for i := range commands {
		c := &commands[i]
		p, err := d.planner.plan(c, g.received)
		if err != nil {
			return fmt.Errorf("stream at offset %d: %s: %w", c.end, c.name(), err)
		}
		if len(g.commands) == 1 {
			pieces = p.pieces
		} else {
			pieces = append(pieces, p.pieces...)
			d.pieces = pieces
		}
		if p.act == nil {
			continue
		}
		if err := errors.Join(d.send(ctx, g, pieces), d.handOver(ctx)); err != nil {
			return err
		}
		pieces = d.pieces[:0]
		if err := p.act(ctx, g); err != nil {
			return fmt.Errorf("stream at offset %d: %s: %w", c.end, c.name(), err)
		}
	}
	if err := d.send(ctx, g, pieces); err != nil {
		return err
	}
	if g.control > 0 {
		d.Ledger.Control.Add(g.control)
	}
	d.Ledger.Commands.Add(g.control + int64(len(g.commands)))
	d.done = Mark{Offset: g.end, DB: g.db, Received: g.received}
	if n := len(g.commands); n > 0 {
		d.quiet = g.commands[n-1].end
	}
	d.prune(g.end)
	clear(pieces) // else they would keep the values of the group in memory
	return nil
}

// prune forgets what the stream has passed at an offset. The lanes may delete the fences of it.
func (d *dispatcher) prune(offset int64) {
	if d.ahead.nothing() {
		return
	}
	for k, end := range d.ahead.prune(offset) {
		slot := d.Target.Slot(k.Name)
		d.lane(slot).passFence(d.Target.UnitOf(slot), k, end)
	}
}

// finish returns once the lanes have applied all that was dispatched, and the doubts that this raised are settled.
func (d *dispatcher) finish(ctx context.Context) error {
	for {
		if err := d.meet(ctx, d.lanes, func() error { return nil }); err != nil {
			return err
		}
		if d.ahead.resumedEnd > 0 {
			return nil // the stream has not passed all that an earlier run applied, so that the next run settles the doubts
		}
		doubts := d.Doubts.take()
		if len(doubts) == 0 {
			return nil
		}
		if err := d.copies.settleDoubts(ctx, doubts); err != nil {
			return err
		}
	}
}

// chores does what is due between two commands.
func (d *dispatcher) chores(ctx context.Context) error {
	if err := d.revise(ctx); err != nil {
		return err
	}
	if d.ahead.resumedEnd == 0 { // doubts wait until the stream has passed all that an earlier run applied
		if doubts := d.Doubts.take(); len(doubts) > 0 {
			if err := d.copies.settleDoubts(ctx, doubts); err != nil {
				return err
			}
		}
	}
	err := d.releases.releaseHeld(ctx)
	if errors.Is(err, errStreamEnded) {
		return nil // keys that are still held stay on the list
	}
	return err
}

// revise copies those keys again that were copied as of an offset that is void.
func (d *dispatcher) revise(ctx context.Context) error {
	m := d.Moved.Swap(nil)
	if m == nil {
		return nil
	}
	d.releases.dropVoid(m)
	_, err := d.copies.copyKeys(ctx, d.ahead.aheadOf(m.Behind), d.Positions.dispatchedTo().Offset)
	return err
}

// catchUpTo dispatches up to an offset that the source has reached, including the injections that are due there.
func (d *dispatcher) catchUpTo(ctx context.Context, offset int64) error {
	deadline := time.NewTimer(d.RetryFor)
	defer deadline.Stop()
	for d.Positions.dispatchedTo().Offset < offset {
		if d.pending() {
			if err := errors.Join(d.step(ctx, d.take()), d.handOver(ctx)); err != nil {
				return err
			}
			continue
		}
		select {
		case c, ok := <-d.stretches:
			if !ok {
				return errStreamEnded
			}
			d.open, d.at = c, 0
		case <-deadline.C:
			return fmt.Errorf("offset %d of the source was not received within %v", offset, d.RetryFor)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	m := d.Positions.dispatchedTo()
	return d.releases.inject(ctx, group{start: m.Offset, startDB: m.DB, received: m.Received})
}

// errStreamEnded says that the stream has ended before an offset that was waited for.
var errStreamEnded = errors.New("the stream was ended")
