package migrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"surecut/internal/keyspace"
)

// mostFrozen bounds how long a frame may stop a link, so that a caller who never releases it cannot stop a migration.
const mostFrozen = 15 * time.Second

// mostAwaited is how long Freeze waits for a link that lags.
const mostAwaited = 10 * time.Second

// ErrLags says that a link has not caught up, so that it cannot be stopped at an offset of the source.
var ErrLags = errors.New("has not caught up")

// LinkInfo says which shard a link replicates (the address of its primary), and from which node it reads, whose offsets count.
type LinkInfo struct {
	Shard, Reads string
	Slots        keyspace.SlotRanges // nil: all
}

// LinkInfos lists the links in shard order.
func (m *Migration) LinkInfos() []LinkInfo {
	infos := make([]LinkInfo, len(m.links))
	for i, l := range m.links {
		infos[i] = LinkInfo{Shard: l.shard.Primary(), Reads: l.shard.Node(), Slots: l.scope.Slots}
	}
	return infos
}

// Applied is how far the target has followed one link: it has applied the stream with this replication ID up to the offset.
type Applied struct {
	ReplID string
	Offset int64
}

// Applied returns how far the target has followed a link, at the moment of the call.
func (m *Migration) Applied(_ context.Context, link int) (Applied, error) {
	if link < 0 || link >= len(m.links) {
		return Applied{}, fmt.Errorf("applied offset: there is no link %d", link)
	}
	l := m.links[link]
	if !l.standing.countsOffsets() || l.dispatcher.Load() == nil {
		return Applied{}, fmt.Errorf("applied offset: the link of shard %s does not apply a stream with offsets now", l.shard.Primary())
	}
	m.stateMu.Lock()
	id := l.st.ReplID
	m.stateMu.Unlock()
	return Applied{ReplID: id, Offset: l.positions.applied().offset}, nil
}

// Frame is a link that stands still between two commands.
type Frame struct {
	granted chan struct{}
	apply   chan frameStep
	release chan struct{}
	over    chan struct{} // closed when the link goes on
}

type frameStep struct {
	offset int64
	done   chan frameEnd
}

type frameEnd struct {
	ahead []keyspace.Key
	err   error
}

// Freeze stops applying one link at a command boundary, once it has caught up. The caller must Release the frame within 15 seconds,
// after which the link goes on by itself and ApplyTo fails.
func (m *Migration) Freeze(ctx context.Context, link int) (*Frame, error) {
	if link < 0 || link >= len(m.links) {
		return nil, fmt.Errorf("freeze: there is no link %d", link)
	}
	l := m.links[link]
	if !l.standing.countsOffsets() {
		return nil, fmt.Errorf("freeze: shard %s has no PSYNC (it came with 2.8), so its offsets cannot be asked for", l.shard.Primary())
	}
	d, err := l.awaitCaughtUp(ctx)
	if err != nil {
		return nil, fmt.Errorf("freeze: %w", err)
	}
	f := &Frame{granted: make(chan struct{}), apply: make(chan frameStep), release: make(chan struct{}, 1), over: make(chan struct{})}
	select {
	case d.freezes <- f:
	case <-d.over:
		return nil, fmt.Errorf("freeze: the link of shard %s has begun anew", l.shard.Primary())
	case <-l.ended:
		return nil, errors.New("freeze: the link has ended")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	<-f.granted
	return f, nil
}

// awaitCaughtUp waits until a link has caught up, for up to mostAwaited, and returns its dispatcher.
func (l *link) awaitCaughtUp(ctx context.Context) (*dispatcher, error) {
	deadline := time.NewTimer(mostAwaited)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if d := l.dispatcher.Load(); d != nil && l.caughtUp() {
			return d, nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return nil, fmt.Errorf("the link of shard %s %w", l.shard.Primary(), ErrLags)
		case <-l.ended:
			return nil, errors.New("the link has ended")
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// ApplyTo applies the stream up to an offset, which must not lie behind what is applied, and returns when the target holds exactly what the
// source held there. The exceptions are the keys that it returns, which were copied from the source as of a later offset. They have
// the database of the source and the name on the target.
func (f *Frame) ApplyTo(ctx context.Context, offset int64) (ahead []keyspace.Key, err error) {
	step := frameStep{offset, make(chan frameEnd, 1)}
	select {
	case f.apply <- step:
	case <-f.over:
		return nil, errors.New("the frame was held for too long")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case end := <-step.done:
		return end.ahead, end.err
	case <-f.over:
		return nil, errors.New("the frame was lost")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Release lets the link go on. It may be called more than once.
func (f *Frame) Release() {
	select {
	case f.release <- struct{}{}:
	default:
	}
}

// frozen serves a frame until it is released.
func (d *dispatcher) frozen(ctx context.Context, f *Frame) error {
	defer close(f.over)
	close(f.granted)
	most := time.NewTimer(mostFrozen)
	defer most.Stop()
	for {
		select {
		case <-f.release:
			return nil
		case <-most.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case step := <-f.apply:
			err := d.applyTo(ctx, step.offset)
			step.done <- frameEnd{d.aheadOf(step.offset), err}
			if err != nil && !errors.Is(err, errStreamEnded) && !errors.Is(err, errPassed) {
				return err
			}
		}
	}
}

// errPassed says that an offset lies behind what is applied.
var errPassed = errors.New("the offset lies behind")

func (d *dispatcher) applyTo(ctx context.Context, offset int64) error {
	if offset < d.quiet {
		return fmt.Errorf("apply to offset %d: %w what is applied (%d)", offset, errPassed, d.l.positions.dispatchedTo().offset)
	}
	if err := d.catchUpTo(ctx, offset); err != nil {
		return err
	}
	if offset < d.quiet {
		return fmt.Errorf("apply to offset %d: %w: it is no boundary between commands (%d is)", offset, errPassed, d.l.positions.dispatchedTo().offset)
	}
	if d.l.expiries.Holding() {
		return fmt.Errorf("apply to offset %d: %w: the source was lost meanwhile, and the target holds keys without their expiry", offset, errPassed)
	}
	if d.resumedEnd > 0 {
		return fmt.Errorf("apply to offset %d: %w: the run before has applied some commands up to %d", offset, errPassed, d.resumedEnd)
	}
	return d.finish(ctx)
}

// aheadOf returns the keys that were copied as of a later offset than this one.
func (d *dispatcher) aheadOf(offset int64) (keys []keyspace.Key) {
	for k, at := range d.fences {
		if at > offset {
			keys = append(keys, k)
		}
	}
	return keys
}
