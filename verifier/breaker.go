package verifier

import (
	"sync/atomic"
	"time"
)

// breaker remembers that a node did not answer within the patience that it was given.
type breaker struct{ open atomic.Bool }

func (b *breaker) allowance(patience time.Duration) time.Duration {
	if b.open.Load() {
		return 0
	}
	return patience
}

func (b *breaker) fail() { b.open.Store(true) }
func (b *breaker) ok()   { b.open.Store(false) }
