package target

import (
	"context"
	"time"
)

// What follows lets tests from outside see what nobody else needs to see.

// Load reads the checkpoints and records of the link once.
func (cps *Checkpoints) Load(ctx context.Context, keys []RecordKey) (*Checkpoint, error) {
	return cps.load(ctx, keys)
}

// Holders returns the number of nodes that hold a record.
func (cp *Checkpoint) Holders() int { return len(cp.held) }

// EndLeft ends the connections that writers have closed.
func (t *Target) EndLeft(ctx context.Context) error { return t.left.endAll(ctx) }

// WaitFor sets how long a run waits for one that may live.
func (c *Claim) WaitFor(d time.Duration) { c.wait = d }

// Distrust lets so much time go by since the last renewal of a claim that it has to be renewed before the next write.
func (c *Claim) Distrust() {
	c.lease.renew(time.Now().Add(-leaseTrust))
}
