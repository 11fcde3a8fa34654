package verifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// verification is one run.
type verification struct {
	cfg            *Config
	source, target *side
	fixed          bool // the source is files: suspects carry what the files say
	probers        probers
	atOffset       offsetReader
	rules          rules
	tally          *tally
	progress       *progress
	history        []Round
	following      *sourceFeed // the feed of a source that consists of servers
	clock          *clock
	windows        windows
	links          *linkWaits
	judges         judges
	list           listing
	writers        writerCounters
	parts          int // of the spills of the enumeration; 0: spillParts

	late      *spill    // suspects whose expiry is waited for
	lateUntil time.Time // guarded by the tally's lock
	trusting  bool      // guarded by the tally's lock: a verdict rests on an assumption, see trusts

	cleared, confirmed int64 // in the current round; guarded by the tally's lock
}

// Run compares both sides. It returns an error if the run could not be started or was interrupted. Whatever else goes wrong, for
// example that a node goes away, is in the report and makes its verdict unchecked.
func Run(ctx context.Context, o Config) (*Report, error) {
	if err := errors.Join(o.Validate(), o.Sides.Validate()); err != nil {
		return nil, err
	}
	selection := selectionOf(&o)
	o.mapping = mappingOf(&o)
	v, err := newVerification(ctx, &o)
	if err != nil {
		return nil, err
	}
	defer v.close()
	defer v.source.close()
	defer v.target.close()
	stop := v.progress.run(o.Progress, v)
	err = v.compare(ctx)
	if err == nil {
		v.progress.begin(PhaseDone, 0, 0)
	}
	stop()
	if err != nil {
		return nil, err
	}
	v.lookAgain(ctx)
	r := v.report(selection)
	r.Writes.Clients, r.Writes.ClientsWhy = v.writers.since(ctx)
	r.URLs, r.Servers, r.LeftOut = o.URLs(), v.servers(), v.leftOut(ctx)
	return r, nil
}

// judges are the functions that decide about single keys. Tests weaken them one at a time to see that the simulator notices.
type judges struct {
	clears  func(w writing) bool
	observe func(r *record, u *rules, o *observation, w writing, n roundOf) decision
}

var theJudges = judges{clears, (*record).observe}

// listing enumerates both sides. It begins with the target only when lead has returned.
type listing func(ctx context.Context, s spills, lead func(context.Context) error) error

// listBoth enumerates both sides concurrently.
func (v *verification) listBoth(ctx context.Context, s spills, lead func(context.Context) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return v.source.enumerate(gctx, s.Source) })
	g.Go(func() error {
		if err := lead(gctx); err != nil {
			return err
		}
		return v.target.enumerate(gctx, s.Target)
	})
	return g.Wait()
}

func (v *verification) close() {
	if v.following != nil {
		v.following.close()
	}
}

// writes returns what was written on the source during the run.
func (v *verification) writes() *Writes {
	if v.following == nil {
		return &Writes{KnownBy: ByFile, Nodes: []NodeOfWrites{}}
	}
	return v.following.report()
}

// proof returns what the verdicts rest on.
func (v *verification) proof() Proof {
	if v.trusting {
		return ProofRounds
	}
	return ProofOffset
}

// servers returns the servers of both sides and marks those that were read.
func (v *verification) servers() Servers { return Servers{v.source.servers(), v.target.servers()} }

// mappingOf returns the mapping that a migration between the two endpoints follows.
func mappingOf(o *Config) keyspace.Mapping {
	f := o.Filter.From(o.Source.Spec().NamedDB())
	if onlyOne(o.Source, f.DBs) { // keys of the target in databases that a cluster cannot have are extra
		f.DBs = nil
	}
	return f.To(o.Target.Databases())
}

func newVerification(ctx context.Context, o *Config) (*verification, error) {
	if err := checkFile(o); err != nil {
		return nil, err
	}
	source, err := newSide(ctx, endpoint.Source, o.Source, o)
	if err != nil {
		return nil, err
	}
	target, err := newSide(ctx, endpoint.Target, o.Target, o)
	if err != nil {
		return nil, err
	}
	v := &verification{cfg: o, source: source, target: target, progress: &progress{}, atOffset: atomicReader{source}, judges: theJudges,
		writers: writerCounters{cfg: o}}
	v.keepTime(realClock)
	v.list = v.listBoth
	if !source.isFile() {
		v.following = newSourceFeed(source)
		v.windows.feed = v.following
		v.writers.begin(ctx)
	}
	v.progress.begin(PhaseEnumerate, 0, 0)
	v.probers = probers{
		Source: sideProber{source, func(k keyID) int { return k.db }},
		Target: sideProber{target, func(k keyID) int { return k.pairDB }},
	}
	if source.isFile() {
		v.fixed, v.windows.fixed, v.probers.Source = true, true, fileProber{source}
	}
	sourceClock, err := source.clockSkew(ctx)
	if err != nil {
		return nil, err
	}
	targetClock, err := target.clockSkew(ctx)
	if err != nil {
		return nil, err
	}
	v.rules = rules{depth: o.Depth, jitter: expiryJitter, counters: source.hasCounters() && target.hasCounters(), tolerance: o.TTLTolerance,
		fieldGuard: fieldGuardFor(o.TTLTolerance), skew: targetClock - sourceClock, sourceClock: sourceClock}
	v.tally = newTally(&v.rules, o.MaxFindings)
	v.tally.mapping = o.mapping
	return v, nil
}

// keepTime has the run go by a clock. It makes what waits.
func (v *verification) keepTime(c clock) {
	v.clock = &c
	v.links = &linkWaits{cfg: v.cfg, clock: v.clock, patience: framePatience}
	v.windows = windows{cfg: v.cfg, clock: v.clock, source: v.source, links: v.links}
}

func (v *verification) compare(ctx context.Context) error {
	suspects, err := newSpill(v.cfg.TempDir, 1)
	if err != nil {
		return err
	}
	defer suspects.close()
	if err := v.pair(ctx, suspects); err != nil {
		return err
	}
	if err := v.resolve(ctx, suspects); err != nil {
		return err
	}
	v.progress.begin(PhaseLocate, 0, int64(len(v.tally.findings)))
	return v.locate(ctx)
}

// pair enumerates both sides in one window and joins their records.
func (v *verification) pair(ctx context.Context, suspects *spill) error {
	v.progress.begin(PhaseEnumerate, 0, 0)
	parts := spillParts
	if v.parts > 0 {
		parts = v.parts
	}
	source, err := newSpill(v.cfg.TempDir, parts)
	if err != nil {
		return err
	}
	defer source.close()
	target, err := newSpill(v.cfg.TempDir, parts)
	if err != nil {
		return err
	}
	defer target.close()
	s := spills{source, target}
	if err := v.windows.open(ctx); err != nil {
		return err
	}
	if err := v.list(ctx, s, v.windows.awaitLead); err != nil {
		return err
	}
	seen, err := v.windows.end(ctx)
	if err != nil {
		return err
	}
	v.progress.begin(PhaseJoin, 0, 0)
	return v.join(ctx, s, seen, suspects)
}

func (v *verification) closeRound(r Round) {
	r.Cleared, r.Confirmed = v.cleared, v.confirmed
	v.cleared, v.confirmed = 0, 0
	v.history = append(v.history, r)
}

// report returns what was found. It shows the user's selection: the mapping that the run used also includes the databases that the
// URLs name.
func (v *verification) report(selection *keyspace.Selection) *Report {
	t := v.tally
	v.settleStrays()
	t.trim()
	r := &Report{Depth: v.cfg.Depth, Rounds: len(v.history), Proof: v.proof(), Totals: t.totals, ByType: t.typeTotals(), ByReason: t.byReason.totals(),
		History: v.history, Slots: t.slotResults(), Findings: t.findings, Omitted: t.omitted}
	if r.History == nil {
		r.History = []Round{}
	}
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	r.Selection, r.TTLToleranceMs = selection, v.cfg.TTLTolerance.Milliseconds()
	if part := selection.Part(); part != "" {
		r.Reasons = append(r.Reasons, "Only "+part+" were compared.")
	}
	r.Reasons = append(r.Reasons, slices.Concat(v.source.notesSoFar(), v.target.notesSoFar())...)
	r.Strays = []Stray{}
	for _, s := range []*side{v.source, v.target} {
		list, sentence := s.strays.listed()
		if r.Strays = append(r.Strays, list...); sentence != "" {
			r.Reasons = append(r.Reasons, sentence)
		}
	}
	r.Writes = v.writes()
	r.Incomplete = slices.Concat([]string{}, v.source.short.reasons(), v.target.short.reasons())
	r.conclude(t.byReason, v.holding())
	r.Reasons = append(r.Reasons, v.restsOn()...)
	if v.links.err != nil && (v.trusting || t.totals.Unchecked > 0) {
		r.Reasons = append(r.Reasons, fmt.Sprintf("Keys were compared in rounds instead of at one offset, because the migration could not be stopped there: %v.", v.links.err))
	}
	return r
}

// restsOn says which assumptions the verdicts rest on.
func (v *verification) restsOn() []string {
	if !v.trusting {
		return nil
	}
	var out []string
	if n := v.tally.totals; v.cfg.Applier == nil && !v.writes().Written && n.Different+n.Missing+n.Extra > 0 {
		out = append(out, "That keys are not the same assumes that nothing is still on its way to the target; with Config.Applier, which names the running migration, keys are compared at one offset and nothing is assumed.")
	} else if v.cfg.Applier == nil {
		out = append(out, fmt.Sprintf("The source was written during the comparison. The verdict assumes that the target lags by less than %v (Config.Interval); with Config.Applier, which names the running migration, keys are compared at one offset and nothing is assumed.", v.windows.lead()))
	}
	if w := v.writes(); w.KnownBy == ByRereading {
		out = append(out, "It was not known which keys of the source were written; keys that had the same value before and after count as not written.")
	}
	return out
}

// conclude gives the report its verdict and reasons. The parameter holding says which databases hold keys. Where no key was
// compared the verdict is unchecked, not same, except after a repair, which may have deleted all its keys.
func (r *Report) conclude(reasons byReason, holding string) {
	n := r.Totals
	say := func(count int64, one, many string) {
		if count == 1 {
			r.Reasons = append(r.Reasons, "1 key "+one+".")
		} else if count > 0 {
			r.Reasons = append(r.Reasons, fmt.Sprintf("%d keys %s.", count, many))
		}
	}
	say(n.Different, "differs", "differ")
	say(n.Missing, "is missing on the target", "are missing on the target")
	say(n.Extra, "is on the target only", "are on the target only")
	say(n.Unchecked, "could not be compared", "could not be compared")
	r.Reasons = append(r.Reasons, reasons.unchecked()...)
	for _, s := range r.Incomplete {
		r.Reasons = append(r.Reasons, "The comparison may not cover all keys: "+s+".")
	}
	compared := n.Same + n.Different + n.Missing + n.Extra
	switch {
	case n.Different+n.Missing+n.Extra > 0:
		r.Verdict = Different
	case n.Unchecked > 0 || len(r.Incomplete) > 0:
		r.Verdict = Unchecked
	case compared == 0 && (r.Selection == nil || !r.Selection.Repaired):
		r.Verdict = Unchecked
		r.Reasons = append(r.Reasons, "Nothing was compared; "+holding+".")
	default:
		r.Verdict = Same
		r.Reasons = append(r.Reasons, fmt.Sprintf("All %d keys are the same on both sides, at depth %s.", n.Same, r.Depth))
	}
}

// progress holds the figures that the run shows of itself.
type progress struct {
	phase    atomic.Pointer[Phase]
	round    atomic.Int64
	suspects atomic.Int64
	settled  atomic.Int64
}

func (p *progress) begin(phase Phase, round int, suspects int64) {
	p.phase.Store(&phase)
	p.round.Store(int64(round))
	p.suspects.Store(suspects)
	p.settled.Store(0)
}

// run calls show now and then until the returned function is called.
func (p *progress) run(show func(Progress), v *verification) (stop func()) {
	if show == nil {
		return func() {}
	}
	begun := time.Now()
	tell := func() {
		phase := PhaseEnumerate
		if s := p.phase.Load(); s != nil {
			phase = *s
		}
		show(Progress{Phase: phase, SourceKeys: v.source.keys.Load(), SourceTotal: v.source.total.Load(), TargetKeys: v.target.keys.Load(),
			TargetTotal: v.target.total.Load(), Round: int(p.round.Load()), Suspects: p.suspects.Load(), Settled: p.settled.Load(),
			Seconds: time.Since(begun).Seconds()})
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				tell()
			case <-done:
				if *p.phase.Load() == PhaseDone {
					tell()
				}
				return
			}
		}
	}()
	return func() { close(done); <-gone }
}
