package verifier

import (
	"context"
	"sync"
	"time"
)

// breakerRest is how long a node that is down is left alone before it is asked again whether it answers.
const breakerRest = 5 * time.Second

// breaker remembers that a node did not answer within the patience it was given, so that the run waits for it once
// and not for each batch of its keys.
type breaker struct {
	mu        sync.Mutex
	last      error     // guarded by mu: why no connection may be opened; nil: one may be
	rest      time.Time // guarded by mu: until then nobody asks the node again
	exhausted bool      // guarded by mu: the patience was used up, and no command has succeeded since then
}

// down returns why a node counts as down, or nil where it does not. Once every breakerRest, one caller asks the node
// with answers whether it is back; meanwhile the other callers get the failure.
func (b *breaker) down(ctx context.Context, answers func(context.Context) error) error {
	b.mu.Lock()
	last := b.last
	if last == nil || time.Now().Before(b.rest) {
		b.mu.Unlock()
		return last
	}
	b.rest = time.Now().Add(breakerRest)
	b.mu.Unlock()
	if answers(ctx) != nil {
		return last
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = nil
	return nil
}

// allowance returns the patience that is left for the node: 0, which allows a single attempt, once the patience was
// used up.
func (b *breaker) allowance(patience time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.exhausted {
		return 0
	}
	return patience
}

// fail marks the node as down.
func (b *breaker) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = err
	b.rest = time.Now().Add(breakerRest)
	b.exhausted = true
}

// ok marks the node as one that answers.
func (b *breaker) ok() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last, b.exhausted = nil, false
}
