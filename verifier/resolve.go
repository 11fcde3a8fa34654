package verifier

import (
	"context"
	"math/bits"
	"time"

	"golang.org/x/sync/errgroup"
)

// expiryGuard is how long a key that is about to expire is waited for, rather than judged in the moment in which
// one server has removed it and the other has not.
const expiryGuard = 3 * time.Second

// expirySlack is how far the clocks of two servers may be measured wrongly.
const expirySlack = 200 * time.Millisecond

// prober reads keys of one side, one reading per key.
type prober interface {
	probe(ctx context.Context, keys []keyID, keep int64) ([]reading, error)
}

// probers are the two sides.
type probers struct{ Source, Target prober }

// observation is what one round read of one suspect: the source, then the target, then the source again.
type observation struct{ Before, Target, After reading }

// decision is what a round makes of a suspect. Unless Settled, it is read again.
type decision struct {
	Settled bool
	Verdict Verdict
	Why     cause
	Pair    pair
	Place   *difference // where the values differ, if that is known already
}

// observe takes a round's observation into the suspect's state, and decides. The last round decides.
//
// Both sides agree only where they were read at one point: the source stayed as it was around the reading of the target, and w says
// that nobody wrote the key in the window. A difference needs as many windows of that kind in a row as are asked for, in which the
// target stayed as it was, too: then it has had all that time to follow.
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
	// Of several rounds that agree, the first one stands for what the others find unchanged.
	steady := !n.fleeting && (onePoint || w == untold && n.need > 1 && u.unchanged(&o.Before, &o.After))
	r.count(u, o, &d, steady)
	if d.Settled = n.decides(r); d.Settled && d.Verdict != Unchecked && int(r.quiet) < n.need {
		d.Verdict, d.Why = r.undecided(n)
	}
	return d
}

// onePoint says whether both sides were read at one point of the source. Where nothing tells of writes, the key must be as it was when
// it was read in the round before, which was long enough ago for the target to follow.
func (r *record) onePoint(u *rules, o *observation, w writing) bool {
	if w == written || !u.unchanged(&o.Before, &o.After) {
		return false
	}
	was := r.reading()
	return w == unwritten || r.flags&seen != 0 && u.unchanged(&was, &o.Before)
}

// count notes how often in a row both sides stayed as they are, and what the source held last.
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

// undecided says why the last round leaves a suspect without a verdict.
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

// mark is a digest of what was read, for telling whether it is the same later.
func (r *reading) mark() uint64 {
	if r.Err != nil {
		return 0
	}
	return r.FP.Value ^ bits.RotateLeft64(r.FP.FieldExpiries, 17) ^ bits.RotateLeft64(uint64(r.FP.Length), 31) ^ uint64(r.Type)<<56 | 1
}

// expiring returns how long until the pair is past the expiry that decides it, 0 where none is near.
func (u *rules) expiring(p *pair, now time.Time) time.Duration {
	near := func(r *reading, skew time.Duration) time.Duration {
		if !r.present() {
			return 0
		}
		return untilPast(r.ExpireAt, now.Add(skew), expiryGuard)
	}
	return max(near(&p.Source, u.sourceClock), near(&p.Target, u.sourceClock+u.skew), u.fleeting(p, now))
}

// fleeting returns how long until the pair is past the first expiry of a field, 0 where none is near: each side hides a field by its
// own clock, so that the side which was read first may have shown it and the other not.
func (u *rules) fleeting(p *pair, now time.Time) time.Duration {
	return max(untilPast(p.Source.FieldsAt, now.Add(u.sourceClock), u.fieldGuard),
		untilPast(p.Target.FieldsAt, now.Add(u.sourceClock+u.skew), u.fieldGuard))
}

// untilPast returns how long an expiry, in Unix ms, needs to have passed; 0 where it is further away than the guard, and for an
// expiry of 0, which is none.
func untilPast(expireAt int64, now time.Time, guard time.Duration) time.Duration {
	left := time.UnixMilli(expireAt).Sub(now)
	if expireAt == 0 || left >= guard {
		return 0
	}
	return max(left, 0) + 50*time.Millisecond
}

// fieldGuardFor returns how near the expiry of a field must be to be one that may explain a difference. Expiries that are apart by no
// more than the tolerance are the same. Fields of one hash can expire all the time, each at another, so that nothing more is waited for.
func fieldGuardFor(tolerance time.Duration) time.Duration {
	return min(tolerance+expirySlack, expiryGuard)
}

// mostPasses bounds how often suspects go through all rounds: once, and once more those whose expiry had to be waited for.
const mostPasses = 2

// resolve reads the suspects until each has its verdict. Those whose expiry decides them are judged once it has passed.
func (v *verification) resolve(ctx context.Context, suspects *spill) error {
	for range mostPasses {
		late, err := newSpill(v.opts.TempDir, 1)
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

// pass takes the suspects through all rounds. Where a migration feeds the target, the first round clears what nobody writes, the
// second one compares at one offset, and what is left over goes through rounds as it does without a migration.
func (v *verification) pass(ctx context.Context, suspects *spill) error {
	most := 2*v.opts.Rounds - 1
	steps := make([]func(context.Context, *spill, *spill) error, 0, most+2)
	if v.opts.Applier != nil {
		steps = append(steps, v.roundStep(roundOf{need: v.opts.Rounds, most: most}), v.prove)
	}
	for n := 1; n <= most; n++ {
		steps = append(steps, v.roundStep(roundOf{round: n, need: v.opts.Rounds, most: most}))
	}
	for _, step := range steps {
		if suspects.count() == 0 {
			return nil
		}
		rest, err := newSpill(v.opts.TempDir, 1)
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

// roundOf is one round of a pass, as a suspect goes through it.
type roundOf struct {
	round    int  // from 1 on; 0: it only clears
	need     int  // so many windows in a row prove a difference
	most     int  // no round follows this one
	fleeting bool // a field of the suspect expires about now, maybe on one side before the other
}

// decides says whether a suspect gets its verdict in this round: when as many rounds are over as are asked for. What was written in
// one of them, and has stayed as it is since, is given as many more as its difference still needs.
func (n roundOf) decides(r *record) bool {
	return n.round == n.most || n.round >= n.need && (r.quiet == 0 || int(r.quiet) >= n.need)
}

func (v *verification) roundStep(n roundOf) func(context.Context, *spill, *spill) error {
	return func(ctx context.Context, suspects, rest *spill) error {
		if err := v.openWindow(ctx); err != nil {
			return err
		}
		if err := v.pause(ctx); err != nil {
			return err
		}
		return v.round(ctx, suspects, rest, n)
	}
}

// pause keeps rounds apart, so that what is on its way arrives between them. Nothing need arrive before the first one where the target
// is known to have followed, or where the source is files.
func (v *verification) pause(ctx context.Context) error {
	if !v.fixed && v.opts.Applier == nil {
		return v.awaitLead(ctx)
	}
	if len(v.history) == 0 {
		return nil
	}
	return v.clock.sleep(ctx, v.opts.Interval)
}

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

// roundBatch reads a batch, learns what was written up to then, and judges.
func (v *verification) roundBatch(ctx context.Context, batch []record, rest *spill, n roundOf) error {
	observed, err := v.observeAll(ctx, batch)
	if err != nil {
		return err
	}
	seen, err := v.endWindow(ctx)
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

// awaitsExpiry says whether a suspect is to be judged when its expiry has passed: it passes now, or has passed between two rounds. It
// makes the suspect one that nothing is known of yet.
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

// trusts notes that a verdict rests on the target lagging less than the lead, or on a key not coming back to an earlier value, rather
// than on both sides being known to be at one offset. Call it with the tally locked.
func (v *verification) trusts(d *decision, w writing, still bool) {
	switch {
	case d.Verdict == Unchecked || v.fixed:
	case w == untold, v.opts.Applier == nil && !still, v.opts.Applier != nil && d.Verdict != Same:
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
