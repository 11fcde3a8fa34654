package verifier

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// simulation judges plays, one after the other.
type simulation struct {
	cfg    Config
	source *side
	target *side
	tally  *tally
	mutate func(v *verification, w *simWorld, f *simFeed)
}

func newSimulation() *simulation {
	s := &simulation{cfg: DefaultConfig()}
	s.cfg.Workers = 1
	s.source = bareSide(endpoint.Source, &endpoint.Deployment{}, &s.cfg)
	s.target = bareSide(endpoint.Target, &endpoint.Deployment{}, &s.cfg)
	return s
}

// play plays the schedule of a seed and returns what was judged wrong.
func (s *simulation) play(seed uint64) error {
	w := newSimWorld(seed)
	began := w.now
	v := s.verification(w)
	suspects, err := newSpill("", 1)
	if err != nil {
		return err
	}
	defer suspects.close()
	if err := v.pair(context.Background(), suspects); err != nil {
		return err
	}
	if err := v.resolve(context.Background(), suspects); err != nil {
		return err
	}
	return s.check(w, began, v)
}

func (s *simulation) verification(w *simWorld) *verification {
	s.cfg.Applier = nil
	if w.plan.applier {
		s.cfg.Applier = w
	}
	f := &simFeed{simWorld: w}
	v := &verification{cfg: &s.cfg, source: s.source, target: s.target, progress: &progress{}, parts: 1,
		judges: theJudges, list: w.list, probers: probers{simSource{w}, simTarget{w}}, atOffset: simSource{w},
		rules: rules{depth: DepthValue, tolerance: time.Second, fieldGuard: fieldGuardFor(time.Second)}}
	v.keepTime(w.clock())
	v.windows.feed = f
	if s.tally == nil {
		s.tally = newTally(&v.rules, 100)
	}
	s.tally.rules, s.tally.totals, s.tally.findings, s.tally.omitted = &v.rules, Totals{}, nil, 0
	clear(s.tally.byReason)
	v.tally = s.tally
	if s.mutate != nil {
		s.mutate(v, w, f)
	}
	return v
}

// truth is what the two sides held, at one point of the source's stream, in some moment of the play.
type truth struct{ same, different, missing, extra bool }

func (t *truth) take(source, target simState) {
	switch {
	case source == target:
		t.same = true
	case !target.present():
		t.missing = true
	case !source.present():
		t.extra = true
	default:
		t.different = true
	}
}

// truthOf replays the commands of a key on what both sides held at first: the target as if it had applied each at once.
func (w *simWorld) truthOf(key int, began int64) (t truth) {
	source, target := w.keys[key].genesis[0], w.keys[key].genesis[1]
	from := int64(0)
	piece := func(until int64) {
		lo, hi := max(from, began), min(until, w.now)
		if lo > hi {
			return
		}
		if at := target.expireAtMicros(); at > hi && at <= hi+w.plan.maxLag+simFrozen {
			t.take(source.at(simStart+hi/1000), simState{}) // the target's own clock is faster than a command that keeps the key
		}
		for _, at := range []int64{lo, source.expireAtMicros(), target.expireAtMicros(), source.fieldAtMicros(), target.fieldAtMicros(), hi} {
			if at >= lo && at <= hi {
				t.take(source.at(simStart+at/1000), target.at(simStart+at/1000))
			}
		}
	}
	for i := range w.ops {
		op := &w.ops[i]
		if op.key != key && op.key >= 0 {
			continue
		}
		piece(op.at)
		source = op.run(source)
		if w.plan.fed {
			target = op.run(target)
		}
		from = op.at
	}
	piece(w.now)
	return t
}

func (s simState) expireAtMicros() int64 { return simMicros(s.expireAt) }

func (s simState) fieldAtMicros() int64 { return simMicros(s.fieldAt) }

// simMicros returns an expiry in µs since the beginning, -1 where there is none.
func simMicros(at int64) int64 {
	if at == 0 {
		return -1
	}
	return (at - simStart) * 1000
}

func (s *simulation) check(w *simWorld, began int64, v *verification) error {
	verdicts := map[string]Finding{}
	for _, f := range v.tally.findings {
		verdicts[f.Key] = f
	}
	for i := range w.keys {
		k := &w.keys[i]
		if w.listed&(1<<i) == 0 {
			continue // nothing is said of a key that neither side had when it was scanned
		}
		t := w.truthOf(i, began)
		f, found := verdicts[k.name]
		verdict := f.Verdict
		if !found {
			verdict = Same
		}
		var right bool
		switch verdict {
		case Same:
			right = t.same
		case Different:
			right = t.different
		case Missing:
			right = t.missing
		case Extra:
			right = t.extra
		default: // what nobody writes must not stay in doubt
			right = k.every > 0 || k.touched && !k.expires || w.plan.fails || w.flush > 0 || w.plan.flushes || w.plan.breaks || w.plan.applier && w.plan.maxLag > 4_000_000
			if w.plan.feed != simTold {
				right = right || w.busy() || w.plan.replica
			}
		}
		if !right {
			return fmt.Errorf("%s is %s (%s), and was %+v; plan %+v, key %+v", k.name, verdict, f.Reason, t, w.plan, *k)
		}
	}
	return nil
}

// busy says whether any key is written.
func (w *simWorld) busy() bool {
	return slices.ContainsFunc(w.keys, func(k simKey) bool { return k.every > 0 || k.touched })
}

// playMany plays schedules of seeds from the given one on, on all processors, until one is judged wrong.
func playMany(from uint64, n int, mutate func(v *verification, w *simWorld, f *simFeed)) (played int64, wrong error) {
	var next atomic.Int64
	var once sync.Once
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			s := newSimulation()
			s.mutate = mutate
			for !stop.Load() {
				i := next.Add(1) - 1
				if i >= int64(n) {
					return
				}
				seed := from + uint64(i)
				if err := s.play(seed); err != nil {
					once.Do(func() { wrong = fmt.Errorf("seed %d: %w", seed, err) })
					stop.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return min(next.Load(), int64(n)), wrong
}

// No schedule of writes, lag, expiries and readings leads to a false verdict. SURECUT_SCHEDULES asks for more schedules, SURECUT_SEED
// plays from a seed on.
func TestSchedules(t *testing.T) {
	t.Parallel()
	n, seed := 15_000, rand.Uint64()>>1
	if text := os.Getenv("SURECUT_SCHEDULES"); text != "" {
		n, _ = strconv.Atoi(text)
	}
	if text := os.Getenv("SURECUT_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	begun := time.Now()
	played, err := playMany(seed, n, nil)
	t.Logf("seed %d: %d schedules, %.0f a minute", seed, played, float64(played)/time.Since(begun).Minutes())
	if err != nil {
		t.Error(err)
	}
}

// misjudgements are ways to judge wrongly. The simulator must notice each.
var misjudgements = []struct {
	name   string
	mutate func(v *verification, w *simWorld, f *simFeed)
}{
	{"the join clears by equality", func(v *verification, _ *simWorld, _ *simFeed) {
		v.judges.clears = func(writing) bool { return true }
	}},
	{"writes are not looked at in rounds", func(v *verification, _ *simWorld, _ *simFeed) {
		v.judges.observe = func(r *record, u *rules, o *observation, _ writing, n roundOf) decision {
			return r.observe(u, o, unwritten, n)
		}
	}},
	{"what the source holds after clears", func(v *verification, _ *simWorld, _ *simFeed) {
		v.judges.observe = func(r *record, u *rules, o *observation, w writing, n roundOf) decision {
			later := pair{o.After, o.Target}
			if verdict, _ := u.judge(&later); verdict == Same {
				return decision{Settled: true, Verdict: Same, Pair: later}
			}
			return r.observe(u, o, w, n)
		}
	}},
	{"equality in a round clears", func(v *verification, _ *simWorld, _ *simFeed) {
		v.judges.observe = func(r *record, u *rules, o *observation, w writing, n roundOf) decision {
			now := pair{o.Before, o.Target}
			if verdict, _ := u.judge(&now); verdict == Same {
				return decision{Settled: true, Verdict: Same, Pair: now}
			}
			return r.observe(u, o, w, n)
		}
	}},
	{"the last round takes what differs for a difference", func(v *verification, _ *simWorld, _ *simFeed) {
		v.judges.observe = func(r *record, u *rules, o *observation, w writing, n roundOf) decision {
			d := r.observe(u, o, w, n)
			if verdict, why := u.judge(&d.Pair); n.round >= n.need && d.Settled && verdict != Same {
				d.Verdict, d.Why = verdict, why
			}
			return d
		}
	}},
	{"the window begins at the source's offset, not at the applied one", func(v *verification, w *simWorld, _ *simFeed) {
		if v.cfg.Applier != nil {
			v.cfg.Applier = appliedAlways{w}
		}
	}},
	{"the target is read at once", func(v *verification, w *simWorld, _ *simFeed) {
		v.list = func(ctx context.Context, s spills, _ func(context.Context) error) error {
			return w.list(ctx, s, func(context.Context) error { return nil })
		}
	}},
	{"a link that is behind is judged by rounds", func(v *verification, _ *simWorld, _ *simFeed) {
		v.judges.observe = func(r *record, u *rules, o *observation, w writing, n roundOf) decision {
			if r.flags&behind != 0 {
				w = unwritten
			}
			return r.observe(u, o, w, n)
		}
	}},
	{"a gap of the feed is not noticed", func(_ *verification, _ *simWorld, f *simFeed) { f.noGap = true }},
	{"the feed is not awaited", func(_ *verification, _ *simWorld, f *simFeed) { f.noBarrier = true }},
	{"a replica is read that has not what its primary sent to others", func(_ *verification, _ *simWorld, f *simFeed) { f.noPrimary = true }},
	{"a script whose keys are not known is not noticed", func(_ *verification, _ *simWorld, f *simFeed) { f.noFlush = true }},
	{"the feed misses the beginning of the window", func(_ *verification, _ *simWorld, f *simFeed) { f.late = true }},
	{"an expiry counts as a write", func(v *verification, _ *simWorld, _ *simFeed) {
		v.judges.observe = func(r *record, u *rules, o *observation, w writing, n roundOf) decision {
			r.flags |= waited // so that it is not waited for
			return r.observe(u, o, w, n)
		}
	}},
	{"a field that expires about now is a difference", func(v *verification, _ *simWorld, _ *simFeed) {
		v.rules.fieldGuard = -time.Hour
	}},
	{"what was not read counts as absent", func(v *verification, _ *simWorld, _ *simFeed) {
		v.probers = probers{blind{v.probers.Source}, blind{v.probers.Target}}
	}},
	{"what nothing tells of counts as unwritten", func(v *verification, _ *simWorld, _ *simFeed) {
		v.judges.clears = func(w writing) bool { return w != written }
	}},
	{"the earlier reading does not matter where nothing tells", func(v *verification, _ *simWorld, _ *simFeed) {
		v.judges.observe = func(r *record, u *rules, o *observation, w writing, n roundOf) decision {
			if w == untold {
				w = unwritten
			}
			return r.observe(u, o, w, n)
		}
	}},
	{"a frame reads the target where it happens to be", func(v *verification, w *simWorld, _ *simFeed) {
		if v.cfg.Applier != nil {
			v.cfg.Applier = loose{w}
		}
	}},
	{"a frame's source is read before its offset", func(v *verification, w *simWorld, _ *simFeed) {
		v.atOffset = early{simSource{w}}
	}},
}

// appliedAlways says that the target has applied everything.
type appliedAlways struct{ *simWorld }

func (a appliedAlways) Applied(context.Context, int) (Position, error) {
	return Position{simID, int64(len(a.ops))}, nil
}

// loose never stops the link.
type loose struct{ *simWorld }

func (l loose) Freeze(context.Context, int) (Frame, error) { return l, nil }

func (l loose) ApplyTo(context.Context, int64) ([]keyspace.Key, error) { return nil, nil }

func (l loose) Release() {}

// early reads the values, and asks for the offset afterwards.
type early struct{ simSource }

func (e early) readAt(ctx context.Context, l AppliedLink, keys []record) ([]reading, int64, error) {
	out, _, err := e.simSource.readAt(ctx, l, keys)
	e.advance(20_000)
	return out, int64(len(e.ops)), err
}

// blind takes what could not be read for absent.
type blind struct{ prober }

func (b blind) probe(ctx context.Context, keys []keyID, keep int64) ([]reading, error) {
	out, err := b.prober.probe(ctx, keys, keep)
	for i := range out {
		if errors.Is(out[i].Err, errChanged) {
			out[i] = reading{}
		}
	}
	return out, err
}

func TestScheduleMutations(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64() >> 1
	t.Logf("seed %d", seed)
	for _, m := range misjudgements {
		played, err := playMany(seed, 1_000_000, m.mutate)
		if err == nil {
			t.Errorf("%s: not noticed in %d schedules", m.name, played)
			continue
		}
		t.Logf("%s: noticed after %d schedules", m.name, played)
	}
}
