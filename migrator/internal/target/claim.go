package target

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"surecut/internal/retry"
)

// A target belongs to one run of one migration at a time. The record __surecut:migration says to which. A run changes the record only in a
// transaction (through a proxy, in a script) that fails if the record has changed since it was read, so that of two runs which begin at
// the same time one is refused. The run that holds the record renews it. Another run may take over a record that was not renewed for the
// length of a lease.
//
// A run can be stopped without noticing (SIGSTOP, a suspended machine) and go on when another run has taken the record over. So a run
// writes only while its last renewal is recent by both clocks, monotonic and wall; otherwise it renews first, and ends if the record is no
// longer its own. A run that takes a record over ends the connections of the run before it, and a run uses a new connection only after it
// has seen that the record is its own. So commands that a stopped run had on their way do not arrive late. Where connections cannot be ended,
// it waits until the run before it writes no more (outlast).

const (
	// leaseRenewal is the interval at which the run renews its record.
	leaseRenewal = 5 * time.Second
	// leaseTrust is how long the run may write after a renewal without another one.
	leaseTrust = 15 * time.Second
)

// Claim is the hold of this run on the target.
type Claim struct {
	store  claimStore
	left   *leftBehind
	holder holder
	past   *past // nil: no earlier run of this migration has held the target
	log    *slog.Logger
	wait   time.Duration // how long outlast waits: leaseTrust

	renewing sync.Mutex // one renewal at a time
	lease    lease
}

func newClaim(ns *nodes, left *leftBehind, stateDir string) (*Claim, error) {
	h, err := newHolder(ns.id, ns.DBs.Home, stateDir)
	if err != nil {
		return nil, err
	}
	return &Claim{store: claimStore{ns}, left: left, holder: h, log: ns.log, wait: leaseTrust}, nil
}

// Resume says that an earlier run of the migration has held the target. whole says whether that run's witnesses show that the target has
// not lost its keys.
func (c *Claim) Resume(whole bool) { c.past = &past{holder: c.holder, whole: whole} }

// Acquire claims the target for this run, or returns an error that says which run holds it. It ends connections that the run which held it
// before, or a killed run of this migration, may have left behind.
func (c *Claim) Acquire(ctx context.Context) error {
	before, err := c.write(ctx, "running", func(r record, elsewhere bool) error {
		if err := c.holder.mayAcquire(r, elsewhere); err != nil {
			return err
		}
		return c.past.stillOurs(r, elsewhere)
	})
	if err != nil {
		return err
	}
	ids := []string{c.holder.id}
	if id := before["id"]; id != "" && id != c.holder.id {
		ids = append(ids, id)
	}
	if err := c.left.endNamed(ctx, ids); err != nil {
		return err
	}
	return c.outlast(ctx, before)
}

// outlast waits until the run whose record was taken over trusts its claim no longer, if that run may live and its connections cannot be
// ended. Through a proxy the clocks of two hosts decide whether a record is old, and one of them may be wrong. Then outlast looks whether the
// record still belongs to this run.
func (c *Claim) outlast(ctx context.Context, before map[string]string) error {
	if before["state"] != "running" || before["run"] == c.holder.run || before["place"] == c.holder.place || c.left.nodes.Can.Ends {
		return nil
	}
	if err := retry.Pause(ctx, c.wait); err != nil {
		return err
	}
	return c.Renew(ctx, "running")
}

// Renew renews the claim. While the target does not answer, it waits.
func (c *Claim) Renew(ctx context.Context, state string) error {
	c.renewing.Lock()
	defer c.renewing.Unlock()
	_, err := c.write(ctx, state, c.holder.mayRenew)
	return err
}

// Release deletes the record if it still belongs to this run. That of another run stays as it is.
func (c *Claim) Release(ctx context.Context) error {
	c.renewing.Lock()
	defer c.renewing.Unlock()
	_, _, err := c.store.change(ctx, func(int64) []string { return []string{"DEL", KeyMigration} }, c.holder.mayRenew)
	if errors.Is(err, ErrClaimed) {
		return nil
	}
	c.lease.end()
	return err
}

// Hold returns nil if this run may write. It asks the target only if the last renewal is not recent.
func (c *Claim) Hold(ctx context.Context) error {
	if c == nil || c.lease.trusted() {
		return nil
	}
	c.renewing.Lock()
	defer c.renewing.Unlock()
	if c.lease.trusted() { // another goroutine has renewed the claim meanwhile
		return nil
	}
	_, err := c.write(ctx, "running", c.holder.mayRenew)
	return err
}

// write writes the record if may allows it, and returns what it was before.
func (c *Claim) write(ctx context.Context, state string, may permit) (before map[string]string, err error) {
	before, sent, err := c.store.change(ctx, c.holder.writing(state), may)
	if err == nil {
		c.lease.renew(sent)
	}
	return before, err
}

// verify checks that the record still belongs to this run, before a new connection is used.
func (c *Claim) verify(ctx context.Context) error {
	if c == nil || !c.lease.begun() {
		return nil
	}
	r, err := c.store.read(ctx)
	if err != nil {
		return err
	}
	return c.holder.mayRenew(r, false)
}

// Keep renews the claim until ctx ends. It returns an error if the target belongs to another run by now.
func (c *Claim) Keep(ctx context.Context) error {
	tick := time.NewTicker(leaseRenewal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := c.Renew(ctx, "running")
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrClaimed):
			return err
		case err != nil:
			c.log.Warn("the heartbeat could not be written to the target", "error", err)
		}
	}
}

// lease says how recent the last renewal is.
type lease struct {
	mu   sync.Mutex
	held bool      // a claim is held; guarded by mu
	sent time.Time // when the last renewal was sent; guarded by mu
}

func (l *lease) renew(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.sent = true, sent
}

// end notes that no claim is held any more.
func (l *lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
}

// begun says whether a claim is held.
func (l *lease) begun() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// trusted says whether the last renewal is recent, or no claim is held yet. It asks both clocks: the monotonic one stands still while the
// machine is suspended, and the wall clock may be set.
func (l *lease) trusted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return !l.held || now.Sub(l.sent) < leaseTrust && now.Round(0).Sub(l.sent.Round(0)).Abs() < leaseTrust
}
