// Package retry waits, and repeats actions that may succeed the next time.
//
// Its invariant: a cancelled context ends every wait at once, and its cause is the error.
//
// The package does not know which failures are temporary: its callers say so for each.
package retry

import (
	"context"
	"time"
)

// Pause waits for the given duration, or until the context is cancelled. It does not wait for a duration of 0 or less.
func Pause(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Policy says how often and for how long an action is tried.
type Policy struct {
	First, Most time.Duration // First is the pause after the first failure; it doubles with each further one, up to Most
	For         time.Duration // how long after the first failure the action is given up
}

// Do calls try until it returns no reason to try again, or an error, which is final. If Do gives up, it returns the last reason as
// again.
func (p Policy) Do(ctx context.Context, try func() (again, err error)) (again, err error) {
	var since time.Time
	for pause := p.First; ; pause = min(2*pause, p.Most) {
		if again, err = try(); again == nil || err != nil {
			return nil, err
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) > p.For {
			return again, nil
		}
		if err := Pause(ctx, pause); err != nil {
			return nil, err
		}
	}
}
