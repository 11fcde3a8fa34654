package verifier

import (
	"context"
	"math/bits"
	"time"

	"golang.org/x/sync/errgroup"
)

// expiryGuard is how near an expiry must be for its key to be judged only afterwards, rather than at a moment when one server has
// removed it and the other has not.
const expiryGuard = 3 * time.Second

// expirySlack bounds the error with which the difference of two servers' clocks is measured.
const expirySlack = 200 * time.Millisecond

// prober reads keys of one side and returns one reading per key.
type prober interface {
	probe(ctx context.Context, keys []keyID, keep int64) ([]reading, error)
}

// probers read the two sides.
type probers struct{ Source, Target prober }

// observation is what one round read of one suspect: on the source, then on the target, then on the source again.
type observation struct{ Before, Target, After reading }

// decision is the outcome of a round for one suspect. Unless it is Settled, the suspect is read again.
type decision struct {
	Settled bool
	Verdict Verdict
	Why     cause
	Pair    pair
	Place   *difference // where the values differ, if that is known already
}

// observe takes a round's observation into the suspect's state and decides. The last round decides in any case.
//
// Both sides count as the same only where they were read at one point: the source was unchanged around the reading of the target,
// and w says that nobody wrote the key in the window. A difference needs n.need such windows in a row in which the target was
// unchanged, too: then the target has had all that time to follow.
func (r *record) observe(u *rules, o *observation, w writing, n roundOf) decision {
	d := decision{Pair: pair{o.Before, o.Target}}
	if r.flags&clash != 0 {
		d.Settled = true
		d.Verdict, d.Why = because(NamesCollide, "")
		return d
	}
	d.Verdict, d.Why = u.judge(&d.Pair)
	if lasting(o.Before.Err) || lasting(o.Target.Err) {
		d.Settled = true
		return d
	}
	onePoint := r.onePoint(u, o, w)
	if d.Verdict == Same && onePoint {
		d.Settled = true
		return d
	}
	// If several rounds agree, the first one is the reference that the others are compared with.
	steady := !n.fleeting && (onePoint || w == untold && n.need > 1 && u.unchanged(&o.Before, &o.After))
	r.count(u, o, &d, steady)
	if d.Settled = n.decides(r); d.Settled && d.Verdict != Unchecked && int(r.quiet) < n.need {
		d.Verdict, d.Why = r.undecided(n)
	}
	return d
}

// onePoint says whether both sides were read at one point of the source. Where nothing tells of writes, the key must be as it was
// in the round before, which was long enough ago for the target to follow.
func (r *record) onePoint(u *rules, o *observation, w writing) bool {
	if w == written || !u.unchanged(&o.Before, &o.After) {
		return false
	}
	was := r.reading()
	return w == unwritten || r.flags&seen != 0 && u.unchanged(&was, &o.Before)
}

// count notes in how many rounds in a row both sides were unchanged, and what the source held last.
func (r *record) count(u *rules, o *observation, d *decision, steady bool) {
	was, target := r.reading(), o.Target.mark()
	differs := d.Verdict != Same && d.Verdict != Unchecked
	switch {
	case steady && differs && r.quiet > 0 && r.target == target && u.unchanged(&was, &o.Before):
		r.quiet++
	case steady && differs:
		r.quiet = 1
	default:
		r.quiet = 0
	}
	r.target = target
	moved := r.flags&seen != 0 && !u.unchanged(&was, &o.Before)
	if (moved || !steady) && o.Before.Err == nil && o.After.Err == nil {
		r.changes++
	}
	if o.After.Err != nil {
		return
	}
	gone := was.ExpireAt != 0 && !o.After.present() || was.FieldsAt != 0 && was.FieldsAt != o.After.FieldsAt
	if r.flags&seen != 0 && was.present() && gone {
		r.flags |= expired
	}
	r.flags |= seen
	r.hold(&o.After)
}

// undecided says why the last round leaves a suspect without a definite verdict.
func (r *record) undecided(n roundOf) (Verdict, cause) {
	switch {
	case r.flags&behind != 0:
		return because(LinkBehind, "")
	case int(r.changes) >= n.need:
		return because(KeptChanging, "it was written in every round")
	case r.changes > 0:
		return because(KeptChanging, "it was written in %d of %d rounds", r.changes, n.need)
	}
	return because(TargetUnsteady, "")
}

// mark is a digest of a reading, which shows later whether the key is still the same.
func (r *reading) mark() uint64 {
	if r.Err != nil {
		return 0
	}
	return r.FP.Value ^ bits.RotateLeft64(r.FP.FieldExpiries, 17) ^ bits.RotateLeft64(uint64(r.FP.Length), 31) ^ uint64(r.Type)<<56 | 1
}

// expiring returns how long to wait until the expiry that decides the pair has passed, 0 where none is near.
func (u *rules) expiring(p *pair, now time.Time) time.Duration {
	near := func(r *reading, skew time.Duration) time.Duration {
		if !r.present() {
			return 0
		}
		return untilPast(r.ExpireAt, now.Add(skew), expiryGuard)
	}
	return max(near(&p.Source, u.sourceClock), near(&p.Target, u.sourceClock+u.skew), u.fleeting(p, now))
}

// fleeting returns how long to wait until the first expiry of a field has passed, 0 where none is near. Each side hides a field by
// its own clock, so that the side which was read first may have shown it and the other not.
func (u *rules) fleeting(p *pair, now time.Time) time.Duration {
	return max(untilPast(p.Source.FieldsAt, now.Add(u.sourceClock), u.fieldGuard),
		untilPast(p.Target.FieldsAt, now.Add(u.sourceClock+u.skew), u.fieldGuard))
}

// untilPast returns how long to wait until an expiry, in Unix ms, has passed. It returns 0 where the expiry is further away than
// the guard, and for an expiry of 0, which means none.
func untilPast(expireAt int64, now time.Time, guard time.Duration) time.Duration {
	left := time.UnixMilli(expireAt).Sub(now)
	if expireAt == 0 || left >= guard {
		return 0
	}
	return max(left, 0) + 50*time.Millisecond
}

// fieldGuardFor returns how near the expiry of a field must be for it to explain a difference. Expiries that differ by no more than
// the tolerance are the same. No more than that is waited for, because the fields of one hash may expire all the time, each at
// another moment.
func fieldGuardFor(tolerance time.Duration) time.Duration {
	return min(tolerance+expirySlack, expiryGuard)
}

// mostPasses bounds how often suspects go through all rounds: once, and once more for those whose expiry had to be waited for.
const mostPasses = 2

// resolve reads the suspects until each has its verdict. A suspect that is about to expire is judged after its expiry has passed.
func (v *verification) resolve(ctx context.Context, suspects *spill) error {
	for range mostPasses {
		late, err := newSpill(v.cfg.TempDir, 1)
		if err != nil {
			return err
		}
		defer late.close()
		v.late, v.lateUntil = late, time.Time{}
		if err := v.pass(ctx, suspects); err != nil {
			return err
		}
		if suspects = late; suspects.count() == 0 {
			return nil
		}
		if err := v.clock.sleep(ctx, v.lateUntil.Sub(v.clock.now())); err != nil {
			return err
		}
	}
	return nil
}

// pass takes the suspects through all rounds. Where a migration feeds the target, the first round clears the keys that nobody
// writes, the second step compares keys at one offset, and what is left goes through rounds as it does without a migration.
func (v *verification) pass(ctx context.Context, suspects *spill) error {
	most := 2*v.cfg.Rounds - 1
	steps := make([]func(context.Context, *spill, *spill) error, 0, most+2)
	if v.cfg.Applier != nil {
		steps = append(steps, v.roundStep(roundOf{need: v.cfg.Rounds, most: most}), v.prove)
	}
	for n := 1; n <= most; n++ {
		steps = append(steps, v.roundStep(roundOf{round: n, need: v.cfg.Rounds, most: most}))
	}
	for _, step := range steps {
		if suspects.count() == 0 {
			return nil
		}
		rest, err := newSpill(v.cfg.TempDir, 1)
		if err != nil {
			return err
		}
		defer rest.close()
		begun := v.clock.now()
		r := Round{Round: len(v.history) + 1, Suspects: suspects.count()}
		v.progress.begin(PhaseResolve, r.Round, r.Suspects)
		if err := step(ctx, suspects, rest); err != nil {
			return err
		}
		r.DurationMs = v.clock.now().Sub(begun).Milliseconds()
		v.closeRound(r)
		suspects = rest
	}
	return nil
}

// roundOf says which round of a pass a suspect goes through, and by which limits it is judged.
type roundOf struct {
	round    int  // from 1 on; 0: the round only clears suspects
	need     int  // how many windows in a row prove a difference
	most     int  // number of the last round
	fleeting bool // a field of the suspect expires about now, perhaps on one side before the other
}

// decides says whether a suspect gets its verdict in this round: once as many rounds are over as are needed. A suspect that was
// written in one of them, and has been unchanged since, gets as many more rounds as its difference still needs.
func (n roundOf) decides(r *record) bool {
	return n.round == n.most || n.round >= n.need && (r.quiet == 0 || int(r.quiet) >= n.need)
}

func (v *verification) roundStep(n roundOf) func(context.Context, *spill, *spill) error {
	return func(ctx context.Context, suspects, rest *spill) error {
		if err := v.windows.open(ctx); err != nil {
			return err
		}
		if err := v.pause(ctx); err != nil {
			return err
		}
		return v.round(ctx, suspects, rest, n)
	}
}

// pause keeps rounds apart, so that writes on their way to the target arrive in between. No pause is needed before the first round
// where the target is known to have followed the source, or where the source is files.
func (v *verification) pause(ctx context.Context) error {
	if !v.fixed && v.cfg.Applier == nil {
		return v.windows.awaitLead(ctx)
	}
	if len(v.history) == 0 {
		return nil
	}
	return v.clock.sleep(ctx, v.cfg.Interval)
}

// round reads every suspect once. Suspects that are not settled go to rest.
func (v *verification) round(ctx context.Context, suspects, rest *spill, n roundOf) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(v.cfg.Workers)
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

// roundBatch reads a batch, learns which keys were written up to then, and judges.
func (v *verification) roundBatch(ctx context.Context, batch []record, rest *spill, n roundOf) error {
	observed, err := v.observeAll(ctx, batch)
	if err != nil {
		return err
	}
	seen, err := v.windows.end(ctx)
	if err != nil {
		return err
	}
	return v.tally.batch(func(t *tally) error {
		for i := range batch {
			r := &batch[i]
			r.flags &^= behind
			w, late := seen.of(r.keyID, &pair{observed[i].Before, observed[i].Target})
			if late {
				r.flags |= behind
			}
			n.fleeting = v.rules.fleeting(&pair{observed[i].Before, observed[i].Target}, v.clock.now()) > 0
			d := v.judges.observe(r, &v.rules, &observed[i], w, n)
			switch {
			case !d.Settled:
				if err := rest.add(r); err != nil {
					return err
				}
			case d.Verdict != Same && r.flags&waited == 0 && v.awaitsExpiry(r, &d):
				if err := v.late.add(r); err != nil {
					return err
				}
			default:
				v.trusts(&d, w, seen.still)
				v.settle(t, r.keyID, &d)
			}
		}
		return nil
	})
}

// awaitsExpiry says whether a suspect must be judged again later because its expiry passes now or has passed between two rounds. If
// so, it resets the suspect's state.
func (v *verification) awaitsExpiry(r *record, d *decision) bool {
	now := v.clock.now()
	left := v.rules.expiring(&d.Pair, now)
	if left == 0 && r.flags&expired == 0 {
		return false
	}
	if until := now.Add(left); until.After(v.lateUntil) {
		v.lateUntil = until
	}
	*r = record{keyID: r.keyID, flags: r.flags&(clash|unplaced) | waited, t: r.t, fp: r.fp, expireAt: r.expireAt, fieldsAt: r.fieldsAt, module: r.module}
	if v.fixed {
		r.flags |= seen
	}
	return true
}

// trusts notes that a verdict rests on an assumption: that the target lags less than the lead, or that a key does not return to an
// earlier value. A difference that was found in windows may be nothing but lag, however long nobody has written to the source. Other
// verdicts rest on both sides being known to be at one offset. The caller holds the tally's lock.
func (v *verification) trusts(d *decision, w writing, still bool) {
	switch {
	case d.Verdict == Unchecked || v.fixed:
	case w == untold, d.Verdict != Same, v.cfg.Applier == nil && !still:
		v.trusting = true
	}
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
	if err := v.origins().place(ctx, v.probers.Source, batch); err != nil {
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
		var readings []reading
		var err error
		if v.fixed && step.side == v.probers.Source {
			readings, err = v.observeFile(ctx, batch)
		} else {
			readings, err = step.side.probe(ctx, keys, 0)
		}
		if err != nil {
			return nil, err
		}
		for i := range readings {
			*step.put(&out[i]) = readings[i]
		}
	}
	return out, nil
}
