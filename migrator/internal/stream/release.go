package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/target"
)

// releaser gives held keys their true expiry once the link has nearly caught up. Before, it copies the keys that were noted to be copied
// then.
type releaser struct {
	*Config
	router    *router
	ahead     *ahead
	holds     *holds
	copies    *copier
	catchUpTo func(ctx context.Context, offset int64) error // dispatches up to an offset that the source has reached

	injections []injection // in the order of their offsets
}

// injection is what the source said of held keys at an offset. It is applied between the command that ends there and the next one.
type injection struct {
	at   int64
	keys []reread.Copy
}

// releaseHeld gives held keys their true expiry, or deletes those that the source does not have any more, once the link has nearly caught
// up. It reads them on the source, at offsets that the dispatcher has not passed yet, and injects the result at those offsets.
func (r *releaser) releaseHeld(ctx context.Context) error {
	if r.File {
		return nil // releaseAtEnd does it
	}
	if !r.Expiries.RewindRelease() || !r.Link.NearlyCaughtUp() || len(r.injections) > 0 || r.ahead.resumedEnd > 0 {
		return nil // until resumedEnd is passed, keys are still added to the list
	}
	if err := r.copySuspects(ctx); err != nil {
		return err
	}
	if !r.Link.NearlyCaughtUp() {
		return nil
	}
	if err := r.beginRelease(); err != nil {
		return err
	}
	got, err := r.nextHeld(ctx)
	if err != nil {
		return err
	}
	if len(got) == 0 {
		return r.router.meet(ctx, r.router.lanes, r.endHolding) // the meeting comes after all that was injected
	}
	for _, c := range got { // they come in the order of their offsets
		if n := len(r.injections); n == 0 || r.injections[n-1].at < c.Offset {
			r.injections = append(r.injections, injection{at: c.Offset})
		}
		in := &r.injections[len(r.injections)-1]
		in.keys = append(in.keys, c)
	}
	return r.catchUpTo(ctx, got[len(got)-1].Offset)
}

// beginRelease makes durable that from now on held keys get their expiry, so that the target may let them expire.
func (r *releaser) beginRelease() error {
	if !r.Expiries.BeginRelease() {
		return nil
	}
	return r.Link.SaveState()
}

// endHolding makes durable that no key is held any more.
func (r *releaser) endHolding() error {
	if err := r.Expiries.End(); err != nil {
		return err
	}
	return r.Link.SaveState()
}

// releaseAtEnd releases the held keys when the stream has ended, so that the target does not keep for ever what expires on the source.
func (r *releaser) releaseAtEnd(ctx context.Context) error {
	if !r.Expiries.Holding() || r.Expiries.Empty() && r.Doubts.later.Empty() || r.ahead.resumedEnd > 0 {
		return nil
	}
	if r.File {
		if r.Positions.dispatchedTo().Offset < r.Link.FileEnd() {
			return nil // the run was told to stop before the end of the file; the next one goes on
		}
		return r.endPostponing(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r.Expiries.Restart()
	r.injections = nil
	if err := errors.Join(r.copySuspects(ctx), r.beginRelease()); err != nil {
		return err
	}
	for {
		got, err := r.nextHeld(ctx)
		if err != nil {
			r.Ledger.NotePassing("keys of the target are still without their expiry, since the source could not be read at the end (" + err.Error() + "): run the same command again")
			return nil
		}
		if len(got) == 0 {
			return r.router.meet(ctx, r.router.lanes, r.endHolding)
		}
		at := r.Positions.dispatchedTo()
		g := group{start: at.Offset, startDB: at.DB, received: at.Received}
		var gone []keyspace.Key
		for _, c := range got {
			if _, ok := r.Scope.Map(c.Key.DB); ok && !c.Present && r.Scope.Carries(c.Key) {
				gone = append(gone, c.Key)
				continue
			}
			if err := r.router.send(ctx, g, r.release(c, at.Offset)); err != nil {
				return err
			}
		}
		// The source has these keys no longer, but commands that the next run receives may still read them. A copy leaves a fence, which
		// tells that run that they are ahead of the stream.
		if _, err := r.copies.copyKeys(ctx, gone, at.Offset); err != nil {
			return err
		}
	}
}

// nextHeld reads the next keys of the list of held keys on the source. It returns none at the end of the list.
func (r *releaser) nextHeld(ctx context.Context) ([]reread.Copy, error) {
	for {
		keys, err := r.Expiries.Next(500)
		if err != nil || len(keys) == 0 {
			return nil, err
		}
		if got, err := r.readOwn(ctx, keys); err != nil || len(got) > 0 {
			return got, err
		}
	}
}

// readOwn reads those keys on the source whose slots do not move there. The others are read again, with their expiry, once their slots have settled.
func (r *releaser) readOwn(ctx context.Context, keys []keyspace.Key) ([]reread.Copy, error) {
	for {
		keys = slices.DeleteFunc(keys, func(k keyspace.Key) bool { return !r.Scope.Here(k) })
		if len(keys) == 0 {
			return nil, nil
		}
		got, err := r.Source.Read(ctx, keys, false, 0)
		sign, failed := r.Scope.Moving.Refused(err)
		if !sign || failed != nil {
			return got, errors.Join(err, failed)
		}
	}
}

// release returns the calls that give a key the expiry that the source named, or delete it if the source does not have it.
func (r *releaser) release(c reread.Copy, end int64) []piece {
	if copiedAt, copied := r.ahead.fences[c.Key]; copied && copiedAt > c.Offset {
		return nil // the key was copied later: the copy has its expiry, or has put the key on the list once more
	}
	db, ok := r.Scope.Map(c.Key.DB)
	if !ok || !r.Scope.Carries(c.Key) || !r.Scope.Here(c.Key) {
		return nil
	}
	x := target.Call{DB: db, Key: c.Key}
	there := x
	there.Args, there.Renew = []string{"EXISTS", c.Key.Name}, target.Always
	calls := []target.Call{there, x}
	switch last := &calls[1]; {
	case !c.Present:
		last.Args = []string{"DEL", c.Key.Name}
		calls = calls[1:]
	case c.ExpireAt == 0:
		last.Args = []string{"PERSIST", c.Key.Name}
	default:
		last.Args, last.Renew, last.Expires = []string{"PEXPIREAT", c.Key.Name, fmt.Sprint(c.ExpireAt)}, c.ExpireAt, c.ExpireAt
		calls = calls[1:]
	}
	pieces := make([]piece, len(calls))
	for i := range calls {
		pieces[i] = piece{slot: r.Target.Slot(c.Key.Name), end: end, call: calls[i]}
	}
	return pieces
}

// inject sends the injections that are due before a group.
func (r *releaser) inject(ctx context.Context, g group) error {
	r.dropVoid(r.Moved.Load())
	for len(r.injections) > 0 && r.injections[0].at <= g.start {
		clear(r.holds.touched) // the injection gives keys their expiry back, so that they may be gone at their next change
		in := r.injections[0]
		r.injections = r.injections[1:]
		at := group{start: g.start, startDB: g.startDB, received: g.received}
		for _, c := range in.keys { // release is called no earlier, since it looks at the fences that commands up to here have added
			if err := r.router.send(ctx, at, r.release(c, g.start)); err != nil { // each by itself: nothing ties keys together here
				return err
			}
		}
		if err := r.router.handOver(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Moved tells the dispatcher that the stream goes on under another replication ID after the offset behind. What was read from the source at
// later offsets is void.
type Moved struct{ Behind int64 }

// dropVoid drops the injections at offsets that are void. Their keys are still held, and are read from the source again.
func (r *releaser) dropVoid(m *Moved) {
	if m != nil {
		r.injections = slices.DeleteFunc(r.injections, func(in injection) bool { return in.at > m.Behind })
	}
}

// mostFenced bounds the number of fences that are ahead of the stream: all of them are in memory, and in the checkpoints of the target.
const mostFenced = 10_000

// passFences dispatches up to the last fence if there are too many of them, or up to the end of the stream.
func (r *releaser) passFences(ctx context.Context) error {
	if len(r.ahead.fences) < mostFenced {
		return nil
	}
	err := r.catchUpTo(ctx, r.ahead.lastFence())
	if errors.Is(err, errStreamEnded) {
		return nil
	}
	return err
}

// copySuspects copies the keys that were noted to be copied once the link has caught up, and those that the lanes note while they apply what
// was dispatched before: once the holding has ended, nobody looks at the list again.
func (r *releaser) copySuspects(ctx context.Context) error {
	list := r.Doubts.later.Cursor()
	seen := map[uint64]struct{}{}
	for over := false; !over; {
		var keys []keyspace.Key
		for len(keys) < 100 && !over {
			k, ok, err := list.Next()
			if err != nil {
				return err
			}
			if !ok && len(keys) > 0 {
				break
			}
			if !ok {
				err := r.router.meet(ctx, r.router.lanes, func() (err error) { // until they meet, the lanes may add keys to the list
					if k, ok, err = list.Next(); err == nil && !ok {
						over = true
						err = r.Doubts.later.Clear()
					}
					return err
				})
				if err != nil {
					return err
				}
			}
			if ok && touch(seen, k) {
				keys = append(keys, k)
			}
		}
		r.Doubts.remember(keys) // a target that goes back may lack the copies
		if _, err := r.copies.copyKeys(ctx, keys, r.Positions.dispatchedTo().Offset); err != nil {
			return err
		}
		if err := errors.Join(r.Doubts.settled(), r.passFences(ctx)); err != nil {
			return err
		}
	}
	clear(r.holds.suspects)
	return nil
}

// endPostponing gives every key on the list of held keys its true expiry, by which the target deletes those that have expired.
func (r *releaser) endPostponing(ctx context.Context) error {
	list := r.Expiries.All()
	next := func() (k keyspace.Key, ok bool, err error) {
		for {
			k, ok, err = list.Next()
			if err != nil || !ok {
				return k, false, err
			}
			db, ok := r.Scope.Map(k.DB)
			if ok && r.Scope.Carries(k) {
				return keyspace.Key{DB: db, Name: k.Name}, true, nil
			}
		}
	}
	if err := r.Target.EndPostponing(ctx, next); err != nil {
		return fmt.Errorf("give keys their expiry: %w", err)
	}
	return r.endHolding()
}
