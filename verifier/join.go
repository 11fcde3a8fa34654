package verifier

import (
	"cmp"
	"context"

	"golang.org/x/sync/errgroup"
)

// spills hold the records of both sides.
type spills struct{ Source, Target *spill }

// join pairs the records of both sides, part by part. Keys whose records agree and that were not written since the window began
// count as the same; all others become suspects.
func (v *verification) join(ctx context.Context, s spills, seen sighting, suspects *spill) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i := range s.Source.parts {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return v.joinPart(s, i, seen, suspects)
		})
	}
	return g.Wait()
}

func (v *verification) joinPart(s spills, i int, seen sighting, suspects *spill) error {
	j := partJoin{index: make(map[pairKey]int32, s.Source.parts[i].count)}
	j.entries = make([]entry, 0, s.Source.parts[i].count)
	if err := s.Source.each(i, j.takeSource); err != nil {
		return err
	}
	if err := s.Target.each(i, j.takeTarget); err != nil {
		return err
	}
	v.source.short.repeated(j.twice[0])
	v.target.short.repeated(j.twice[1])
	return v.tally.batch(func(t *tally) error {
		for k := range j.entries {
			e := &j.entries[k]
			p := e.pair()
			if verdict, _ := v.rules.judge(&p); verdict == Same && e.source.flags&clash == 0 {
				if w, _ := seen.of(e.id(), &p); v.judges.clears(w) {
					v.trusts(&decision{Verdict: Same}, w, seen.still)
					t.same(e.id(), &p)
					continue
				}
			}
			if err := suspects.add(v.suspect(e)); err != nil {
				return err
			}
		}
		return nil
	})
}

// clears says whether a key whose records agree may count as the same. If it was written meanwhile, the two sides were not read at
// one point.
func clears(w writing) bool { return w == unwritten }

// suspect makes a suspect of a key that the join could not clear. It carries what the scan has read on the source.
func (v *verification) suspect(e *entry) *record {
	id, several := v.origins().locate(e.id(), e.hasSource)
	if v.fixed {
		return e.suspectOfFile(id)
	}
	r := &record{keyID: id, flags: e.source.flags & clash}
	if several {
		r.flags |= unplaced
	}
	if e.hasSource && e.source.flags&unread == 0 {
		r.flags |= seen
		r.holdAs(&e.source)
	}
	return r
}

type pairKey struct {
	db   int
	name string
}

// entry is one key of a part with the records of both sides.
type entry struct {
	source, target       record
	hasSource, hasTarget bool
}

type partJoin struct {
	index   map[pairKey]int32
	entries []entry
	twice   [2]int64 // keys that SCAN returned twice, by source and target
}

func (j *partJoin) at(r *record) *entry {
	k := pairKey{r.pairDB, r.name}
	i, ok := j.index[k]
	if !ok {
		i = int32(len(j.entries))
		j.index[k] = i
		j.entries = append(j.entries, entry{})
	}
	return &j.entries[i]
}

// takeSource takes the records of the source. Of a key that SCAN returned twice, the later record counts: the key may have been
// written in between.
func (j *partJoin) takeSource(records []record) error {
	for _, r := range records {
		e := j.at(&r)
		switch {
		case e.hasSource && r.flags&astray != 0:
			continue
		case !e.hasSource, e.source.flags&astray != 0:
		case e.source.db != r.db:
			r.flags |= clash
		default:
			j.twice[0]++
			r.flags |= e.source.flags & clash
		}
		e.source, e.hasSource = r, true
	}
	return nil
}

func (j *partJoin) takeTarget(records []record) error {
	for _, r := range records {
		e := j.at(&r)
		switch {
		case e.hasTarget && r.flags&astray != 0:
			continue
		case e.hasTarget && e.target.flags&astray == 0:
			j.twice[1]++
		}
		e.target, e.hasTarget = r, true
	}
	return nil
}

func (e *entry) id() keyID {
	if e.hasSource {
		return e.source.keyID
	}
	return e.target.keyID
}

func (e *entry) pair() (p pair) {
	if e.hasSource {
		p.Source = e.source.reading()
	}
	if e.hasTarget {
		p.Target = e.target.reading()
	}
	return p
}

// reading returns what was read when the record was made.
func (r *record) reading() reading {
	if r.flags&unread != 0 {
		return reading{Err: errChanged}
	}
	return reading{Type: r.t, TypeName: cmp.Or(r.module, r.t.String()), FP: r.fp, ExpireAt: r.expireAt, FieldsAt: r.fieldsAt}
}
