package verifier

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// expiryGuard is how long a key that is about to expire is waited for, rather than judged in the moment in which
// one server has removed it and the other has not.
const expiryGuard = 3 * time.Second

// prober reads keys of one side, one reading per key.
type prober interface {
	probe(ctx context.Context, keys []keyID, keep int64) ([]reading, error)
}

// probers are the two sides.
type probers struct{ Source, Target prober }

// observation is what one round read of one suspect: the source, then the target, then the source again.
type observation struct {
	Before, Target, After reading
}

// decision is what a round makes of a suspect. Unless Settled, it is read again.
type decision struct {
	Settled bool
	Verdict Verdict
	Reason  string
	Pair    pair
	Place   *difference // where the values differ, if that is known already
}

// observe takes a round's observation into the suspect's state, and decides. The last round decides.
//
// A difference needs a source that stayed as it was through all rounds: then the target has had all that time to follow.
func (r *record) observe(u *rules, o *observation, n roundOf) decision {
	d := decision{Pair: pair{o.Before, o.Target}}
	if r.flags&clash != 0 {
		return decision{Settled: true, Verdict: Unchecked, Reason: "several keys of the source have this name on the target: their databases are mapped to one", Pair: d.Pair}
	}
	if d.Verdict, d.Reason = u.judge(&d.Pair); d.Verdict == Same {
		d.Settled = true
		return d
	}
	later := pair{o.After, o.Target}
	if v, _ := u.judge(&later); v == Same {
		return decision{Settled: true, Verdict: Same, Pair: later}
	}
	if lasting(o.Before.Err) || lasting(o.Target.Err) {
		d.Settled = true
		return d
	}
	steady := u.unchanged(&o.Before, &o.After)
	if r.flags&seen != 0 {
		was := r.reading()
		steady = steady && u.unchanged(&was, &o.Before)
	}
	if !steady && o.Before.Err == nil && o.After.Err == nil {
		r.changes++
	}
	if o.After.Err == nil {
		r.flags |= seen
		r.hold(&o.After)
	}
	if d.Settled = n.round == n.rounds; d.Settled && d.Verdict != Unchecked && r.changes > 0 {
		d.Verdict, d.Reason = Unchecked, changedReason(int(r.changes), n.rounds)
	}
	if d.Settled && d.Verdict != Unchecked && r.flags&behind != 0 {
		d.Verdict, d.Reason = Unchecked, "it differs, and its link has not caught up, so that the right value may be on its way"
	}
	return d
}

func changedReason(changes, rounds int) string {
	if changes >= rounds {
		return "it changed in every round"
	}
	return fmt.Sprintf("it changed in %d of %d rounds", changes, rounds)
}

// expiring gives how long until the pair is past the expiry that decides it, 0 where none is near.
func (u *rules) expiring(p *pair, now time.Time) time.Duration {
	wait := time.Duration(0)
	near := func(r *reading, skew time.Duration) {
		if !r.present() || r.ExpireAt == 0 {
			return
		}
		if left := time.UnixMilli(r.ExpireAt).Sub(now.Add(skew)); left < expiryGuard {
			wait = max(wait, left+50*time.Millisecond, 50*time.Millisecond)
		}
	}
	near(&p.Source, u.sourceClock)
	near(&p.Target, u.sourceClock+u.skew)
	return wait
}

// resolve reads the suspects until each has its verdict: once as they are, which clears what was on its way; then, where a migration
// feeds the target, at one offset; and what is left over in rounds.
func (v *verification) resolve(ctx context.Context, suspects *spill) error {
	for round := 1; suspects.count() > 0; round++ {
		rest, err := newSpill(v.opts.TempDir, 1)
		if err != nil {
			return err
		}
		defer rest.close()
		begun := time.Now()
		r := Round{Round: round, Suspects: suspects.count()}
		v.progress.begin("resolve", round, r.Suspects)
		rounds, proving := v.opts.Rounds, v.opts.Applier != nil && round <= 2
		switch {
		case proving && round == 2:
			v.proof = "offset"
			err = v.prove(ctx, suspects, rest)
		case v.opts.Applier != nil:
			rounds += 2 // the first ones confirm nothing
			fallthrough
		default:
			err = v.round(ctx, suspects, rest, roundOf{round, rounds})
		}
		if err != nil {
			return err
		}
		r.DurationMs = time.Since(begun).Milliseconds()
		v.closeRound(r)
		if suspects = rest; suspects.count() == 0 {
			return nil
		}
		if !proving {
			v.proof = "rounds"
			if err := sleep(ctx, v.opts.Interval); err != nil {
				return err
			}
		}
	}
	return nil
}

// roundOf is one round of so many.
type roundOf struct{ round, rounds int }

// round reads every suspect once. Those that are not settled go to rest.
func (v *verification) round(ctx context.Context, suspects, rest *spill, n roundOf) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(v.opts.Workers)
	err := suspects.each(0, func(batch []record) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g.Go(func() error { return v.roundBatch(ctx, batch, rest, n) })
		return nil
	})
	if werr := g.Wait(); werr != nil {
		return werr
	}
	return err
}

func (v *verification) roundBatch(ctx context.Context, batch []record, rest *spill, n roundOf) error {
	observed, err := v.observeAll(ctx, batch)
	if err != nil {
		return err
	}
	var late []record
	wait := time.Duration(0)
	err = v.tally.batch(func(t *tally) error {
		for i := range batch {
			d := batch[i].observe(&v.rules, &observed[i], n)
			switch left := v.rules.expiring(&d.Pair, time.Now()); {
			case !d.Settled:
				if err := rest.add(&batch[i]); err != nil {
					return err
				}
			case d.Verdict != Same && left > 0:
				late, wait = append(late, batch[i]), max(wait, left)
			default:
				v.settle(t, batch[i].keyID, &d)
			}
		}
		return nil
	})
	if err != nil || len(late) == 0 {
		return err
	}
	return v.afterExpiry(ctx, late, wait, n)
}

// afterExpiry settles suspects that were about to expire once they must have.
func (v *verification) afterExpiry(ctx context.Context, late []record, wait time.Duration, n roundOf) error {
	if err := sleep(ctx, wait); err != nil {
		return err
	}
	observed, err := v.observeAll(ctx, late)
	if err != nil {
		return err
	}
	return v.tally.batch(func(t *tally) error {
		for i := range late {
			d := late[i].observe(&v.rules, &observed[i], roundOf{n.rounds, n.rounds})
			v.settle(t, late[i].keyID, &d)
		}
		return nil
	})
}

func (v *verification) settle(t *tally, id keyID, d *decision) {
	t.settle(id, d)
	v.progress.settled.Add(1)
	switch d.Verdict {
	case Same:
		v.cleared++
	case Unchecked:
	default:
		v.confirmed++
	}
}

func (v *verification) observeAll(ctx context.Context, batch []record) ([]observation, error) {
	if err := v.place(ctx, batch); err != nil {
		return nil, err
	}
	keys := make([]keyID, len(batch))
	for i := range batch {
		keys[i] = batch[i].keyID
	}
	out := make([]observation, len(batch))
	for _, step := range []struct {
		side prober
		put  func(*observation) *reading
	}{
		{v.probers.Source, func(o *observation) *reading { return &o.Before }},
		{v.probers.Target, func(o *observation) *reading { return &o.Target }},
		{v.probers.Source, func(o *observation) *reading { return &o.After }},
	} {
		if v.fixed && step.side == v.probers.Source {
			for i := range batch {
				*step.put(&out[i]) = batch[i].ofFile(time.Now())
			}
			continue
		}
		readings, err := step.side.probe(ctx, keys, 0)
		if err != nil {
			return nil, err
		}
		for i := range readings {
			*step.put(&out[i]) = readings[i]
		}
	}
	return out, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
