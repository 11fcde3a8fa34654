package verifier

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"surecut/internal/keyspace"
)

// tally counts the keys whose verdict is known, and keeps the findings.
type tally struct {
	mu       *sync.Mutex // guards all below
	rules    *rules
	mapping  keyspace.Mapping // names keys of the source
	totals   Totals
	types    [keyspace.Module + 1]int64 // of the source's keys
	slots    *[keyspace.Slots]slotTally
	findings []Finding
	limit    int
	omitted  int
	last     int // highest slot among findings that have reached the limit; one beyond it would not be listed

	keptNames int              // bytes of long names that findings hold in memory
	unchecked map[string]int64 // by reason; the first few reasons only
}

const uncheckedReasons = 8

type slotTally struct {
	source, target keyspace.Digest
	worst          Verdict
}

func newTally(u *rules, limit int) *tally {
	return &tally{mu: new(sync.Mutex), rules: u, slots: new([keyspace.Slots]slotTally), limit: limit, last: keyspace.Slots, unchecked: map[string]int64{}}
}

// batch calls f with the tally locked.
func (t *tally) batch(f func(t *tally) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return f(t)
}

// same counts a key that agrees; of a pair of absences there is nothing to count. Call it from batch.
func (t *tally) same(id keyID, p *pair) {
	if !p.Source.present() {
		return
	}
	t.totals.Same++
	t.totals.SourceKeys++
	t.totals.TargetKeys++
	t.types[p.Source.Type]++
	// What agrees within the tolerance agrees in the digests.
	slot := &t.slots[keyspace.Slot(id.name)]
	fp := p.Source.FP
	if !t.rules.counters || p.Target.FP.Counters == 0 {
		fp.Counters = 0
	}
	key := keyspace.Key{DB: id.pairDB, Name: id.name}
	slot.source.Add(key, p.Source.Type, fp, p.Source.ExpireAt)
	slot.target.Add(key, p.Source.Type, fp, p.Source.ExpireAt)
}

// settle counts a key by its verdict. Call it from batch.
func (t *tally) settle(id keyID, d *decision) {
	p, v := &d.Pair, d.Verdict
	if v == Same {
		t.same(id, p)
		return
	}
	key := keyspace.Key{DB: id.pairDB, Name: id.name}
	slot := &t.slots[keyspace.Slot(id.name)]
	var f Finding
	count := func(r *reading, keys *int64, d *keyspace.Digest) *Side {
		if r.Err != nil || !r.present() {
			return nil
		}
		*keys++
		fp := r.FP
		if !t.rules.counters {
			fp.Counters = 0
		}
		d.Add(key, r.Type, fp, r.ExpireAt)
		f.Type = r.TypeName
		return &Side{Type: r.TypeName, Length: fp.Length, Digest: hex16(fp.Value), ExpireAt: r.ExpireAt}
	}
	f.Target = count(&p.Target, &t.totals.TargetKeys, &slot.target)
	f.Source = count(&p.Source, &t.totals.SourceKeys, &slot.source)
	if f.Source != nil {
		t.types[p.Source.Type]++
	}
	switch v {
	case Different:
		t.totals.Different++
	case Missing:
		t.totals.Missing++
	case Extra:
		t.totals.Extra++
	default:
		t.totals.Unchecked++
		if _, ok := t.unchecked[d.Reason]; ok || len(t.unchecked) < uncheckedReasons {
			t.unchecked[d.Reason]++
		}
	}
	if slot.worst == "" || slot.worst == Unchecked && v != Unchecked {
		slot.worst = map[bool]Verdict{true: Unchecked, false: Different}[v == Unchecked]
	}
	f.Slot, f.Verdict = keyspace.Slot(id.name), v
	if int(f.Slot) > t.last {
		t.omitted++
		return
	}
	t.list(id, d, f)
}

// list keeps the first findings in the order of the report, whatever the order in which they come.
func (t *tally) list(id keyID, d *decision, f Finding) {
	f.DB, f.TargetDB, f.Reason = id.db, id.pairDB, d.Reason
	name := t.mapping.SourceName(id.db, id.name)
	f.setNames(name, id.name)
	if f.IsLong() && t.keptNames+len(name) <= keptNames {
		t.keptNames += len(name)
		f.long = &longNames{strings.Clone(name), strings.Clone(id.name)}
	}
	if f.DB < 0 {
		f.DB, f.Unmapped = f.TargetDB, true
		f.Reason += ", in a database that no database of the source is mapped to"
	}
	if d.Place != nil {
		d.Place.into(&f)
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

// slotResults returns the slots that hold keys.
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

// printable escapes hostile bytes as %q does, without the quotes.
func printable(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}
