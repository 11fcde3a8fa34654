package reread

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/reply"
)

// Clock tells the time by the clock of a link's source.
type Clock struct {
	source *endpoint.Deployment
	log    *slog.Logger
	ahead  atomic.Int64 // ms by which the source's clock is ahead of this machine's
}

// NewClock returns a clock that agrees with this machine's until Measure is called.
func NewClock(source *endpoint.Deployment, log *slog.Logger) *Clock {
	return &Clock{source: source, log: log}
}

// Now returns the source's time in Unix ms.
func (c *Clock) Now() int64 { return c.At(time.Now().UnixMilli()) }

// At returns the source's time, in Unix ms, when this machine's was local.
func (c *Clock) At(local int64) int64 { return local + c.ahead.Load() }

// Measure compares the clock of a node of the source with this machine's.
func (c *Clock) Measure(ctx context.Context, addr string) error {
	client, err := c.source.Client(ctx, addr, 0)
	if err != nil {
		return fmt.Errorf("source %s: %w", addr, err)
	}
	before := time.Now()
	m, err := client.Do(ctx, endpoint.Arbitrary(client, "TIME")).ToMessage()
	if endpoint.Code(err) == "ERR" {
		c.log.Warn("the source has no TIME (added in Redis 2.6): relative expiries are computed with the clock of this machine")
		return nil
	}
	if err != nil {
		return fmt.Errorf("source %s: TIME: %w", addr, err)
	}
	now, err := reply.Time(&m)
	if err != nil {
		return fmt.Errorf("source %s: TIME: %w", addr, err)
	}
	c.ahead.Store(now.UnixMilli() - before.Add(time.Since(before)/2).UnixMilli())
	return nil
}
