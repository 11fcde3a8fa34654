package migrator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/reread"
)

// always is the field renew of a call whose reply 0 means at any time that the target lacks a key that the source had.
const always = math.MaxInt64

// proves returns always for a command that a source passes on only if it found its key, so that the reply 0 shows that the target lacks the
// key. For other commands it returns 0. RENAME replies with an error instead, but if that is lost, its keys are copied because of renew.
func proves(name string) int64 {
	switch name {
	case "COPY", "RENAME", "RENAMENX", "SMOVE", "RPOPLPUSH", "LMOVE", "LPUSHX", "RPUSHX":
		return always
	}
	return 0
}

// hold appends to run a call that gives a key an expiry, or removes it. While expiries are held, hold leaves out an expiry that could pass
// before the link has caught up, and any that was relative at the source: that one was dated by the time of receipt, which may be much
// later than that of the command. The reply tells whether the target still has the key; one that has expired there is copied again.
func (d *dispatcher) hold(run []call, c *sourceCommand, x call, relative bool) []call {
	if d.l.file != nil {
		return d.postpone(run, c, x)
	}
	if strings.EqualFold(x.args[0], "PERSIST") && len(x.args) == 2 {
		if !d.l.expiries.Holds() {
			x.renew = always
			return append(run, x)
		}
		return d.keepHeld(run, c, x)
	}
	at, ok := absoluteExpiry(x.args)
	if !ok {
		return append(run, x)
	}
	if !d.l.expiries.Holds() || !relative && at > d.l.clock.Now()+d.l.m.cfg.HoldExpiry.Milliseconds() {
		x.renew = renews(x.args[0], at)
		return append(run, x)
	}
	if strings.EqualFold(x.args[0], "RESTORE") {
		d.noteHeld(c, x.args[1])
		x.args = append([]string(nil), x.args...)
		x.args[2], x.expires = "0", 0
		return append(run, x)
	}
	return d.keepHeld(run, c, x)
}

// keepHeld appends EXISTS and PERSIST in place of a call that changes the expiry of a key, and notes the key as held.
func (d *dispatcher) keepHeld(run []call, c *sourceCommand, x call) []call {
	d.noteHeld(c, x.args[1])
	there := x
	there.args, there.renew, there.expires = []string{"EXISTS", x.args[1]}, always, 0
	there.commands = 0
	x.args, x.expires = []string{"PERSIST", x.args[1]}, 0
	return append(run, there, x)
}

func (d *dispatcher) noteHeld(c *sourceCommand, name string) {
	if err := d.l.expiries.Hold(keyspace.Key{DB: c.db, Name: name}); err != nil {
		d.l.fail(err)
	}
}

// absoluteExpiry returns the Unix ms at which a call lets a whole key expire: PEXPIREAT, EXPIREAT, or RESTORE with ABSTTL. Other commands
// that set the expiry of a key have been rewritten to these forms before.
func absoluteExpiry(args []string) (at int64, ok bool) {
	if len(args) < 3 {
		return 0, false
	}
	var unit int64
	switch {
	case strings.EqualFold(args[0], "PEXPIREAT"):
		unit = 1
	case strings.EqualFold(args[0], "EXPIREAT"):
		unit = 1000
	case strings.EqualFold(args[0], "RESTORE") && args[2] != "0":
		unit = 1
	default:
		return 0, false
	}
	n, err := strconv.ParseInt(args[2], 10, 64)
	return n * unit, err == nil
}

// renews returns the field renew of a call that gives a key an expiry: at, until which the reply 0 shows that the target lacks the key, or
// 0 for RESTORE, which makes the key.
func renews(name string, at int64) int64 {
	if strings.EqualFold(name, "RESTORE") {
		return 0
	}
	return at
}

// holdAgain notes the keys of a command as held: an earlier run may have applied the command and ended before it saved the list, or the
// command (see carriesExpiry) makes a key that is without expiry because another one is held.
func (d *dispatcher) holdAgain(c *sourceCommand) error {
	for _, k := range d.keys {
		if err := d.l.expiries.Hold(keyspace.Key{DB: c.db, Name: view(c.args[k])}); err != nil {
			return err
		}
	}
	return nil
}

// carriesExpiry says whether a command gives a key the expiry that another key has.
func carriesExpiry(name string) bool { return name == "RENAME" || name == "RENAMENX" || name == "COPY" }

// holdCopy removes a near expiry from the copy of a key, and notes the key as held: the stream is behind the copy, and might renew the
// expiry only after the target has let the key expire.
func (d *dispatcher) holdCopy(c *reread.Copy) error {
	if c.ExpireAt == 0 || !d.l.expiries.Holds() || c.ExpireAt > d.l.clock.Now()+d.l.m.cfg.HoldExpiry.Milliseconds() {
		return nil
	}
	c.ExpireAt = 0
	if err := d.l.expiries.Hold(c.Key); err != nil {
		return err
	}
	return d.l.expiries.Save()
}

// releaseHeld gives held keys their true expiry, or deletes those that the source does not have any more, once the link has nearly caught
// up. It reads them on the source, at offsets that the dispatcher has not passed yet, and injects the result at those offsets.
func (d *dispatcher) releaseHeld(ctx context.Context) error {
	l := d.l
	if l.file != nil {
		return nil // releaseAtEnd does it
	}
	if !l.expiries.RewindRelease() || !l.nearlyCaughtUp() || len(d.injections) > 0 || d.resumedEnd > 0 {
		return nil // until resumedEnd is passed, keys are still added to the list
	}
	if err := d.copySuspects(ctx); err != nil {
		return err
	}
	if !l.nearlyCaughtUp() {
		return nil
	}
	if err := d.beginRelease(); err != nil {
		return err
	}
	got, err := d.nextHeld(ctx)
	if err != nil {
		return err
	}
	if len(got) == 0 {
		return d.meet(ctx, d.lanes, d.endHolding) // the meeting comes after all that was injected
	}
	for _, c := range got { // they come in the order of their offsets
		if n := len(d.injections); n == 0 || d.injections[n-1].at < c.Offset {
			d.injections = append(d.injections, injection{at: c.Offset})
		}
		in := &d.injections[len(d.injections)-1]
		in.keys = append(in.keys, c)
	}
	return d.catchUpTo(ctx, got[len(got)-1].Offset)
}

// BeginRelease makes durable that from now on held keys get their expiry, so that the target may let them expire.
func (d *dispatcher) beginRelease() error {
	if !d.l.expiries.BeginRelease() {
		return nil
	}
	return d.l.m.saveState()
}

// endHolding makes durable that no key is held any more.
func (d *dispatcher) endHolding() error {
	if err := d.l.expiries.End(); err != nil {
		return err
	}
	d.l.releases.Add(1)
	return d.l.m.saveState()
}

// releaseAtEnd releases the held keys when the stream has ended, so that the target does not keep for ever what expires on the source.
func (d *dispatcher) releaseAtEnd(ctx context.Context) error {
	l := d.l
	if !l.expiries.Holding() || l.expiries.Empty() && l.doubts.later.Empty() || d.resumedEnd > 0 {
		return nil
	}
	if l.file != nil {
		if l.positions.dispatchedTo().offset < l.file.Size()-l.cut.Load() {
			return nil // the run was told to stop before the end of the file; the next one goes on
		}
		return d.endPostponing(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	l.expiries.Restart()
	d.injections = nil
	if err := errors.Join(d.copySuspects(ctx), d.beginRelease()); err != nil {
		return err
	}
	for {
		got, err := d.nextHeld(ctx)
		if err != nil {
			l.ledger.Note(0, "", "", "keys are still held without their expiry, since the source could not be asked at the end ("+err.Error()+"): run the same command again")
			return nil
		}
		if len(got) == 0 {
			return d.meet(ctx, d.lanes, d.endHolding)
		}
		at := l.positions.dispatchedTo()
		var pieces []piece
		var gone []keyspace.Key
		for _, c := range got {
			if _, ok := l.scope.Map(c.Key.DB); ok && !c.Present && l.scope.Carries(c.Key) {
				gone = append(gone, c.Key)
				continue
			}
			pieces = append(pieces, d.release(c, at.offset)...)
		}
		// The source has these keys no longer, but commands that the next run receives may still read them. A copy leaves a fence, which
		// tells that run that they are ahead of the stream.
		if _, err := d.copyKeys(ctx, gone, at.offset); err != nil {
			return err
		}
		if err := d.send(ctx, group{start: at.offset, startDB: at.db, received: at.received}, pieces); err != nil {
			return err
		}
	}
}

// nextHeld reads the next keys of the list of held keys on the source. It returns none at the end of the list.
func (d *dispatcher) nextHeld(ctx context.Context) ([]reread.Copy, error) {
	keys, err := d.l.expiries.Next(500)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	return d.l.source.Read(ctx, keys, false, 0)
}

// release returns the calls that give a key the expiry that the source named, or delete it if the source does not have it.
func (d *dispatcher) release(c reread.Copy, end int64) []piece {
	if copiedAt, copied := d.fences[c.Key]; copied && copiedAt > c.Offset {
		return nil // the key was copied later: the copy has its expiry, or has put the key on the list once more
	}
	db, ok := d.l.scope.Map(c.Key.DB)
	if !ok || !d.l.scope.Carries(c.Key) {
		return nil
	}
	x := call{db: db, key: c.Key}
	there := x
	there.args, there.renew = []string{"EXISTS", c.Key.Name}, always
	calls := []call{there, x}
	switch last := &calls[1]; {
	case !c.Present:
		last.args = []string{"DEL", c.Key.Name}
		calls = calls[1:]
	case c.ExpireAt == 0:
		last.args = []string{"PERSIST", c.Key.Name}
	default:
		last.args, last.renew, last.expires = []string{"PEXPIREAT", c.Key.Name, fmt.Sprint(c.ExpireAt)}, c.ExpireAt, c.ExpireAt
		calls = calls[1:]
	}
	pieces := make([]piece, len(calls))
	for i := range calls {
		pieces[i] = piece{slot: d.l.m.target.slot(c.Key.Name), end: end, call: calls[i]}
	}
	return pieces
}

// catchUpTo dispatches up to an offset that the source has reached, including the injections that are due there.
func (d *dispatcher) catchUpTo(ctx context.Context, offset int64) error {
	deadline := time.NewTimer(d.l.m.cfg.RetryFor)
	defer deadline.Stop()
	for d.l.positions.dispatchedTo().offset < offset {
		if d.pending() {
			if err := errors.Join(d.step(ctx, d.take()), d.handOver(ctx)); err != nil {
				return err
			}
			continue
		}
		select {
		case c, ok := <-d.stretches:
			if !ok {
				return errStreamEnded
			}
			d.open, d.at = c, 0
		case <-deadline.C:
			return fmt.Errorf("offset %d of the source was not received within %v", offset, d.l.m.cfg.RetryFor)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	m := d.l.positions.dispatchedTo()
	return d.inject(ctx, group{start: m.offset, startDB: m.db, received: m.received})
}
