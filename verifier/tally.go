package verifier

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"surecut/internal/keyspace"
)

// tally counts the keys whose verdict is known, and keeps the findings.
type tally struct {
	mu       *sync.Mutex // guards all fields below
	rules    *rules
	mapping  keyspace.Mapping // tells the source's names of keys
	totals   Totals
	types    [keyspace.Module + 1]int64 // of the source's keys
	slots    *[keyspace.Slots]slotTally
	findings []Finding
	limit    int
	omitted  int
	last     int // highest slot of the findings once they have reached the limit; a finding of a higher slot would not be listed

	keptNames int // bytes of long names that findings keep in memory
	byReason  byReason
}

type slotTally struct {
	source, target keyspace.Digest
	worst          Verdict
}

func newTally(u *rules, limit int) *tally {
	return &tally{mu: new(sync.Mutex), rules: u, slots: new([keyspace.Slots]slotTally), limit: limit, last: keyspace.Slots, byReason: byReason{}}
}

// batch calls f with the tally locked.
func (t *tally) batch(f func(t *tally) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return f(t)
}

// same counts a key that agrees. A key that is absent on both sides does not count. Call same from batch.
func (t *tally) same(id keyID, p *pair) {
	if !p.Source.present() {
		return
	}
	t.totals.Same++
	t.totals.SourceKeys++
	t.totals.TargetKeys++
	t.types[p.Source.Type]++
	// Values that agree within the tolerance must agree in the digests, too.
	slot := &t.slots[keyspace.Slot(id.name)]
	fp := p.Source.FP
	if !t.rules.counters || p.Target.FP.Counters == 0 {
		fp.Counters = 0
	}
	key := keyspace.Key{DB: id.pairDB, Name: id.name}
	slot.source.Add(key, p.Source.Type, fp, p.Source.ExpireAt)
	slot.target.Add(key, p.Source.Type, fp, p.Source.ExpireAt)
}

// settle counts a key by its verdict. Call settle from batch.
func (t *tally) settle(id keyID, d *decision) {
	p := &d.Pair
	if d.Verdict == Same {
		t.same(id, p)
		return
	}
	if id.db < 0 && d.Why.Reason == AbsentOnSource {
		d.Why = cause{Reason: DatabaseUnmapped}
	}
	t.byReason.add(d.Why, 1)
	key := keyspace.Key{DB: id.pairDB, Name: id.name}
	slot := &t.slots[keyspace.Slot(id.name)]
	count := func(r *reading, keys *int64, d *keyspace.Digest) {
		if !r.known() {
			return
		}
		*keys++
		fp := r.FP
		if !t.rules.counters {
			fp.Counters = 0
		}
		d.Add(key, r.Type, fp, r.ExpireAt)
	}
	count(&p.Target, &t.totals.TargetKeys, &slot.target)
	count(&p.Source, &t.totals.SourceKeys, &slot.source)
	if p.Source.known() {
		t.types[p.Source.Type]++
	}
	slot.worsen(d.Verdict)
	switch d.Verdict {
	case Different:
		t.totals.Different++
	case Missing:
		t.totals.Missing++
	case Extra:
		t.totals.Extra++
	default:
		t.totals.Unchecked++
	}
	t.list(id, d)
}

// worsen takes in the verdict of a key that is not the same.
func (s *slotTally) worsen(v Verdict) {
	switch {
	case v != Unchecked:
		s.worst = Different
	case s.worst == "":
		s.worst = Unchecked
	}
}

// list keeps the findings that come first in the order of the report, in whatever order they arrive.
func (t *tally) list(id keyID, d *decision) {
	if int(keyspace.Slot(id.name)) > t.last {
		t.omitted++
		return
	}
	name := t.mapping.SourceName(id.db, id.name)
	f := newFinding(id, name, d)
	if f.IsLong() && t.keptNames+len(name) <= keptNames {
		t.keptNames += len(name)
		f.long = &longNames{strings.Clone(name), strings.Clone(id.name)}
	}
	t.findings = append(t.findings, f)
	if len(t.findings) >= 2*t.limit {
		t.trim()
	}
}

func (t *tally) trim() {
	slices.SortFunc(t.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.TargetDB, b.TargetDB), cmp.Compare(a.sortName(), b.sortName()))
	})
	if len(t.findings) > t.limit {
		t.omitted += len(t.findings) - t.limit
		t.findings = slices.Delete(t.findings, t.limit, len(t.findings))
		t.last = int(t.findings[t.limit-1].Slot)
	}
}

// slotResults returns the results of the slots that hold keys.
func (t *tally) slotResults() []SlotResult {
	out := []SlotResult{}
	for i := range t.slots {
		s := &t.slots[i]
		if s.source.Keys == 0 && s.target.Keys == 0 && s.worst == "" {
			continue
		}
		verdict := s.worst
		if verdict == "" {
			verdict = Same
		}
		out = append(out, SlotResult{Slot: uint16(i), SourceKeys: int64(s.source.Keys), TargetKeys: int64(s.target.Keys),
			SourceDigest: digestText(s.source), TargetDigest: digestText(s.target), Verdict: verdict})
	}
	return out
}

func (t *tally) typeTotals() []TypeTotal {
	out := []TypeTotal{}
	for ty, n := range t.types {
		if n > 0 {
			out = append(out, TypeTotal{Type: keyspace.Type(ty).String(), Keys: n})
		}
	}
	return out
}

func digestText(d keyspace.Digest) string { return hex16(d.Values) + "/" + hex16(d.Expiries) }

func hex16(v uint64) string { return fmt.Sprintf("%016x", v) }
