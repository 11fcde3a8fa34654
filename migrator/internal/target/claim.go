package target

import (
	"context"
	"errors"
	"fmt"
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
// A run can be stopped at any instant without noticing (SIGSTOP, a suspended machine, a cut wire), and go on when another run has taken the
// record over. Three rules keep it from writing then (docs/consistency.md, "One migration at a time"):
//
//  1. A run gives each connection its name first, and reads the record only then. It writes over the connection only if the record is its own.
//  2. A run that takes the record over writes the record first, and then ends every connection of other runs, on every node. It writes
//     nothing before that is done.
//  3. A run writes only while its last renewal is recent by both clocks, monotonic and wall. Otherwise it renews first, and ends if the record
//     is no longer its own.
//
// By 1 and 2 the run before can write at no instant: of its connections, those that were named before the record changed are ended with all
// that waits in them, and over one that was named later nothing is sent. Where connections cannot be ended, and through a proxy, only the
// third rule holds, and the one that takes over waits until the run before it has to renew (outlast).

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
	server string // run_id of the server that held the record when it was last written; "": unknown
	past   *past  // nil: no earlier run of this migration has held the target
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
	c.holder.fence = fencedByTime
	if c.left.nodes.Can.Ends {
		c.holder.fence = fencedByEnding
	}
	overlapping := map[int]bool{} // databases with the records of runs that may have written to the same databases as this one
	before, err := c.write(ctx, c.holder.claiming, func(r record, elsewhere bool) error {
		if elsewhere {
			overlapping[r.db] = c.holder.overlaps(r)
		}
		if err := c.holder.mayAcquire(r, elsewhere); err != nil {
			return err
		}
		return c.past.stillOurs(r, elsewhere)
	})
	if err != nil {
		return err
	}
	for db, overlaps := range overlapping {
		if overlaps {
			if err := c.displace(ctx, db); err != nil {
				return err
			}
		}
	}
	if err := c.left.endOthers(ctx, &c.holder); err != nil {
		return err
	}
	return c.outlast(ctx, before)
}

// displace puts the name of this run into the record that another run has in a database of its own, so that this one finds it there.
func (c *Claim) displace(ctx context.Context, db int) error {
	ns := c.left.nodes
	return ns.atFenced(ctx, ns.Slot(KeyMigration), db, func(_ string, conn connection) error {
		return ns.calls.write("hmset", 1, func() error {
			return conn.Do(ctx, arbitrary(conn, c.holder.writing("stopped")(record{})...)).Error()
		})
	})
}

// outlast waits until the run whose record was taken over trusts its claim no longer, if that run may live, and its connections cannot be
// found and ended. Through a proxy the clocks of two hosts decide whether a record is old, and one of them may be wrong. Then outlast looks whether the
// record still belongs to this run.
func (c *Claim) outlast(ctx context.Context, before record) error {
	of := before.fields
	if of["state"] != "running" || of["run"] == c.holder.run || of["place"] == c.holder.place || c.left.nodes.Can.Ends && of["fence"] == fencedByEnding {
		return nil
	}
	c.log.Info("the connections of the run that held the target before cannot be ended, so nothing is written until that run has to look whether the target is still its own",
		"migration", of["id"], "host", of["host"], "wait", c.wait)
	if err := retry.Pause(ctx, c.wait); err != nil {
		return err
	}
	return c.Renew(ctx, "running")
}

// Renew renews the claim, with the state "running", or "stopped" at the end of a run, which holds the claim no longer then. While the target
// does not answer, it waits.
func (c *Claim) Renew(ctx context.Context, state string) error {
	c.renewing.Lock()
	defer c.renewing.Unlock()
	err := c.renew(ctx, state)
	if err == nil && state == "stopped" {
		c.lease.end() // only own keys are deleted from now on
	}
	return err
}

// renew does what Renew does. The caller holds renewing.
func (c *Claim) renew(ctx context.Context, state string) error {
	before, err := c.write(ctx, c.holder.writing(state), c.mayRenew)
	if err != nil || before.fields["run"] == c.holder.run || len(before.fields) == 0 {
		return err
	}
	return c.left.endOthers(ctx, &c.holder) // an earlier run may have found its record there again
}

// mayRenew does what holder.mayRenew does. It also refuses a record that is gone from a server that has not been restarted, if this run has
// not renewed it for so long that another run may have taken it over, and ended, meanwhile.
func (c *Claim) mayRenew(r record, elsewhere bool) error {
	if !elsewhere && len(r.fields) == 0 && r.server != "" && r.server == c.server && !c.lease.trusted() {
		return fmt.Errorf("the record of this migration (%s) is gone from the target, where this run has not renewed it for so long that another migration may have come and gone: %w", KeyMigration, ErrGivenAway)
	}
	return c.holder.mayRenew(r, elsewhere)
}

// Release deletes the record if it still belongs to this run. That of another run stays as it is.
func (c *Claim) Release(ctx context.Context) error {
	c.renewing.Lock()
	defer c.renewing.Unlock()
	_, _, err := c.store.change(ctx, func(record) []string { return []string{"DEL", KeyMigration} }, c.holder.mayRenew)
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
	return c.renew(ctx, "running")
}

// write writes the record by a command if may allows it, and returns what it was before.
func (c *Claim) write(ctx context.Context, command func(before record) []string, may permit) (before record, err error) {
	before, sent, err := c.store.change(ctx, command, may)
	if err == nil {
		c.server = before.server
		c.lease.renew(sent)
	}
	return before, err
}

// connectionName returns the name of every connection over which this run writes.
func (c *Claim) connectionName() string {
	if c == nil {
		return (&holder{db: allDatabases}).connectionName()
	}
	return c.holder.connectionName()
}

// verify checks that the record belongs to this run, before a new connection is used that has its name already.
func (c *Claim) verify(ctx context.Context) error {
	if c == nil || !c.lease.begun() {
		return nil
	}
	r, err := c.store.read(ctx)
	if err != nil || r.fields["run"] == c.holder.run {
		return err
	}
	return c.Renew(ctx, "running")
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
		case errors.Is(err, ErrClaimed), errors.Is(err, ErrGivenAway):
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
