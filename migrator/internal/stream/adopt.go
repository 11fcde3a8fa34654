package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/retry"
	"surecut/migrator/internal/slots"
)

// errand is something that the dispatcher does between two commands. What it returns goes to whoever asked for it; an error other than
// slots.ErrMovesAgain also ends the stream.
type errand struct {
	do   func(ctx context.Context) error
	done chan error
}

// between has the dispatcher do something between two commands. It returns ErrOver if the stream ends before that.
func (d *dispatcher) between(ctx context.Context, do func(ctx context.Context) error) error {
	e := errand{do, make(chan error, 1)}
	select {
	case d.errands <- e:
	case <-d.over:
		return ErrOver
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-e.done:
		return err
	case <-d.over:
		return ErrOver
	}
}

// attend does an errand.
func (d *dispatcher) attend(ctx context.Context, e errand) error {
	err := e.do(ctx)
	e.done <- err
	if errors.Is(err, slots.ErrMovesAgain) {
		return nil
	}
	return err
}

// Pass returns once everything up to an offset is applied, and nothing that was dispatched before is under way.
func (s *Stream) Pass(ctx context.Context, offset int64) error {
	for {
		passed := false
		err := s.dispatcher.between(ctx, func(ctx context.Context) error {
			d := s.dispatcher
			if d.Positions.dispatchedTo().Offset < offset || d.ahead.resumedEnd > 0 {
				return nil
			}
			passed = true
			return errors.Join(d.finish(ctx), d.noteSuspects())
		})
		if err != nil || passed {
			return err
		}
		if err := retry.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// noteSuspects notes the keys of slots that move among those that are to be copied once the link has caught up: another link may read them
// first.
func (d *dispatcher) noteSuspects() error {
	if d.Doubts.later.Empty() {
		return nil
	}
	err := d.Doubts.later.Each(func(k keyspace.Key) error {
		_, err := d.Scope.Moving.Doubt(k, d.Scope.SourceSlot(k))
		return err
	})
	return errors.Join(err, d.Scope.Moving.Notes.Save())
}

// Copy copies keys of slots that move from the link's shard, which owns them now. It returns slots.ErrMovesAgain if it does not own them
// any more.
func (s *Stream) Copy(ctx context.Context, keys []keyspace.Key) error {
	return s.dispatcher.between(ctx, func(ctx context.Context) error {
		if err := s.dispatcher.adopt(ctx, keys); err != nil {
			return err
		}
		return s.dispatcher.releases.passFences(ctx)
	})
}

// Adopt copies the rest of the keys of slots that move, and calls settle, while the stream stands between two commands. rest returns the
// keys that are still to be copied; none: all are. settle is given the offset at which the stream stands.
func (s *Stream) Adopt(ctx context.Context, rest func() ([]keyspace.Key, error), settle func(at int64) error) error {
	return s.dispatcher.between(ctx, func(ctx context.Context) error {
		for {
			keys, err := rest()
			if err != nil {
				return err
			}
			if len(keys) == 0 {
				return settle(s.dispatcher.Positions.dispatchedTo().Offset)
			}
			if err := s.dispatcher.adopt(ctx, keys); err != nil {
				return err
			}
		}
	})
}

// adopt copies keys of slots that move.
func (d *dispatcher) adopt(ctx context.Context, keys []keyspace.Key) error {
	at := d.Positions.dispatchedTo().Offset
	for len(keys) > 0 {
		n := min(len(keys), 100)
		if _, err := d.copies.copyNow(ctx, keys[:n], at); err != nil {
			sign, failed := d.Scope.Moving.Refused(err)
			if sign && failed == nil {
				return fmt.Errorf("%w: %w", slots.ErrMovesAgain, err)
			}
			return errors.Join(err, failed)
		}
		d.prune(at)
		keys = keys[n:]
	}
	return nil
}
