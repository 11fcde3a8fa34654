package verifier

import (
	"context"
	"sync"
	"time"
)

// breakerRest is how long a node that is down is left alone before it is asked again.
const breakerRest = 5 * time.Second

// breaker remembers that a node did not answer within the patience that it was given, so that the wait is paid once and not for each
// batch of its keys.
type breaker struct {
	mu        sync.Mutex
	last      error     // guarded by mu: why no connection is opened; nil: one may be
	rest      time.Time // guarded by mu: until then nobody asks the node again
	exhausted bool      // guarded by mu: the patience was used up, and no command has succeeded since
}

// down returns why a node is taken for down, nil where it is not. Now and then one caller asks by answers whether the node is there
// again; the others get the failure meanwhile.
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

// allowance is the patience that is left for the node: one attempt, once it was used up.
func (b *breaker) allowance(patience time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.exhausted {
		return 0
	}
	return patience
}

// fail takes the node for down.
func (b *breaker) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = err
	b.rest = time.Now().Add(breakerRest)
	b.exhausted = true
}

// ok takes the node for one that answers.
func (b *breaker) ok() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last, b.exhausted = nil, false
}
