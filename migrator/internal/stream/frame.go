package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"surecut/internal/keyspace"
)

// mostFrozen bounds how long a frame may stop a link, so that a caller who never releases it cannot stop a migration.
const mostFrozen = 15 * time.Second

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

// ApplyTo applies the stream up to an offset, which must not lie behind what is applied, and returns when the target holds exactly what the
// source held there. The exceptions are the keys that it returns, which were copied from the source as of a later offset. They have
// the database of the source and the name on the target.
func (f *Frame) ApplyTo(ctx context.Context, offset int64) (ahead []keyspace.Key, err error) {
	step := frameStep{offset, make(chan frameEnd, 1)}
	select {
	case f.apply <- step:
	case <-f.over:
		return nil, errors.New("the link was held still for too long, so it has gone on")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case end := <-step.done:
		return end.ahead, end.err
	case <-f.over:
		return nil, errors.New("the link has gone on or has ended meanwhile")
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

// ErrOver says that the stream has ended.
var ErrOver = errors.New("the stream has ended")

// freeze has the dispatcher stop between two commands. It returns ErrOver if the dispatcher ends before that. ended is closed when nobody
// will run the dispatcher any more.
func (d *dispatcher) freeze(ctx context.Context, ended <-chan struct{}) (*Frame, error) {
	f := &Frame{granted: make(chan struct{}), apply: make(chan frameStep), release: make(chan struct{}, 1), over: make(chan struct{})}
	select {
	case d.freezes <- f:
	case <-d.over:
		return nil, ErrOver
	case <-ended:
		return nil, errors.New("freeze: the link has ended")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	<-f.granted
	return f, nil
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
			step.done <- frameEnd{d.ahead.aheadOf(step.offset), err}
			if err != nil && !errors.Is(err, errStreamEnded) && !errors.Is(err, ErrPassed) {
				return err
			}
		}
	}
}

// ErrPassed says that a link cannot stop at an offset, mostly because more is applied already.
var ErrPassed = errors.New("the link cannot stop at this offset")

func (d *dispatcher) applyTo(ctx context.Context, offset int64) error {
	if offset < d.quiet {
		return fmt.Errorf("apply to offset %d: %w: the stream is already applied up to offset %d", offset, ErrPassed, d.Positions.dispatchedTo().Offset)
	}
	if err := d.catchUpTo(ctx, offset); err != nil {
		return err
	}
	if offset < d.quiet {
		return fmt.Errorf("apply to offset %d: %w: it lies inside a command or transaction that ends at offset %d", offset, ErrPassed, d.Positions.dispatchedTo().Offset)
	}
	if d.Expiries.Holding() {
		return fmt.Errorf("apply to offset %d: %w: the connection to the source was lost meanwhile, so some keys of the target are without their expiry", offset, ErrPassed)
	}
	if d.ahead.resumedEnd > 0 {
		return fmt.Errorf("apply to offset %d: %w: an earlier run has already applied some commands up to offset %d", offset, ErrPassed, d.ahead.resumedEnd)
	}
	if err := d.finish(ctx); err != nil {
		return err
	}
	if m := d.Scope.Moving; m != nil && !m.Table.Settled() {
		return fmt.Errorf("apply to offset %d: %w: slots of the source move, and their commands are not applied", offset, ErrPassed)
	}
	return nil
}
