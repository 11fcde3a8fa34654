package verifier

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// linkWaits waits for the links of the migration that feeds the target. All waits of a run share one patience.
type linkWaits struct {
	cfg      *Config
	clock    *clock
	patience time.Duration // how long links that lag may still be waited for
	err      error         // why a link could not be stopped at an offset, if one could not
}

// await returns once the target has applied what the node of a link had written by the given position. Its patience, which
// all links share, is the same as that of the frames.
func (f *linkWaits) await(ctx context.Context, link int, l *AppliedLink, at []nodePosition) error {
	var goal *nodePosition
	for i := range at {
		if at[i].addr == l.Reads {
			goal = &at[i]
		}
	}
	if goal == nil {
		return fmt.Errorf("the migration reads the shard of %s from %s, which this comparison does not read, or whose offset is not known", l.Shard, l.Reads)
	}
	begun := f.clock.now()
	patience := max(f.patience, frameRetry)
	for {
		applied, err := f.cfg.Applier.Applied(ctx, link)
		passed := f.clock.now().Sub(begun)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && applied.ReplID == goal.at.ReplID && applied.Offset >= goal.at.Offset:
			f.patience -= passed
			return nil
		case passed > patience && err != nil:
			f.patience -= passed
			return fmt.Errorf("ask how far the target has followed %s: %w", l.Shard, err)
		case passed > patience:
			f.patience -= passed
			return fmt.Errorf("the target lags behind %s: %w (it has applied offset %d, and the source was at %d)", l.Shard, ErrLags, applied.Offset, goal.at.Offset)
		}
		if err := f.clock.sleep(ctx, appliedPoll); err != nil {
			return err
		}
	}
}

// freeze stops a link once it has caught up. It waits for a link that lags, because rounds would take the lag for differences.
func (f *linkWaits) freeze(ctx context.Context, index int, link AppliedLink) (Frame, error) {
	begun := f.clock.now()
	fctx, cancel := context.WithTimeoutCause(ctx, max(f.patience, frameRetry), ErrLags)
	defer cancel()
	frozen, err := f.cfg.Applier.Freeze(fctx, index)
	if err != nil {
		f.patience -= f.clock.now().Sub(begun)
		return nil, fmt.Errorf("stop applying what %s sends: %w", link.Shard, err)
	}
	return frozen, nil
}

// failed keeps why keys could not be compared at one offset. That a link lags takes precedence.
func (f *linkWaits) failed(err error) {
	if f.err == nil || errors.Is(err, ErrLags) {
		f.err = err
	}
}
