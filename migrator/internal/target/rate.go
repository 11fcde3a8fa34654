package target

import (
	"context"
	"errors"

	"golang.org/x/time/rate"
)

// limits are the rates to which the user has limited what is written to a target.
type limits struct{ bytes, ops *rate.Limiter }

// newLimits returns limits for rates per second; 0: unlimited.
func newLimits(bytes, ops int64) limits { return limits{limiter(bytes), limiter(ops)} }

// limiter returns a limiter for a rate; 0: unlimited. It allows bursts of a quarter of a second, so that traffic is not chopped.
func limiter(perSecond int64) *rate.Limiter {
	if perSecond <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(max(perSecond/4, 1)))
}

// take waits until so many bytes and operations may be sent.
func (l limits) take(ctx context.Context, bytes, ops int) error {
	return errors.Join(wait(ctx, l.bytes, bytes), wait(ctx, l.ops, ops))
}

// takeFor waits until transactions may be sent.
func (l limits) takeFor(ctx context.Context, txs []*Transaction) error {
	size, ops := 0, 0
	for _, x := range txs {
		size += x.size()
		ops += x.commands()
	}
	return l.take(ctx, size, ops)
}

// wait takes n tokens, in steps of at most the burst.
func wait(ctx context.Context, l *rate.Limiter, n int) error {
	if l.Limit() == rate.Inf {
		return nil
	}
	for n > 0 {
		step := min(n, l.Burst())
		if err := l.WaitN(ctx, step); err != nil {
			return err
		}
		n -= step
	}
	return nil
}
