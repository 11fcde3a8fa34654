// Package retry waits, and tries again what may go better the next time.
//
// Its invariant: a cancelled context ends every wait at once, and its cause is the error.
//
// The package does not know which failures pass: its callers say so of each.
package retry

import (
	"context"
	"time"
)

// Pause waits for a time, or until the context is cancelled. A time that has gone by already is no wait.
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

// Policy says how often something is tried.
type Policy struct {
	First, Most time.Duration // the pause after the first failure, which doubles with each up to the most
	For         time.Duration // since the first failure; then it is given up
}

// Do calls try until that returns no reason to try again, or an error that is final. again is the reason if it was given up.
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
