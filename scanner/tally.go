package scanner

import (
	"cmp"
	"encoding/base64"
	"slices"
	"time"

	"surecut/internal/keyspace"
)

// reading is what a scan learned of one key. Name is valid during the call only.
type reading struct {
	db       int
	name     []byte
	typ      keyspace.Type
	bytes    int64
	elements int64 // 1 for a string
	length   int64 // of a string, in bytes; else 0
	ttlMs    int64 // -1: never expires
}

var ttlBounds = []struct {
	name string
	upTo time.Duration // 0: no bound
}{
	{"1m", time.Minute}, {"10m", 10 * time.Minute}, {"1h", time.Hour}, {"6h", 6 * time.Hour}, {"1d", 24 * time.Hour},
	{"7d", 7 * 24 * time.Hour}, {"30d", 30 * 24 * time.Hour}, {">30d", 0},
}

const neverExpires = "never"

// tally sums readings in bounded memory. It is for one goroutine.
type tally struct {
	totals   BigTotals
	types    [keyspace.Module + 1]Group
	slots    []SlotSize // by slot
	ttl      []TTLBucket
	prefixes prefixTable
	top      topKeys
}

func newTally(o Options) *tally {
	t := &tally{slots: make([]SlotSize, keyspace.Slots), prefixes: newPrefixTable(), top: newTopKeys(o.Top)}
	for i := range t.types {
		t.types[i].Name = keyspace.Type(i).String()
	}
	for i := range t.slots {
		t.slots[i].Slot = uint16(i)
	}
	for _, b := range ttlBounds {
		t.ttl = append(t.ttl, TTLBucket{UpTo: b.name})
	}
	t.ttl = append(t.ttl, TTLBucket{UpTo: neverExpires})
	return t
}

func (t *tally) add(r reading) {
	t.totals.Keys++
	t.totals.Bytes += r.bytes
	t.totals.Elements += r.elements
	if r.ttlMs < 0 {
		t.totals.NoTTL++
	}
	t.types[r.typ].add(r)
	slot := keyspace.Slot(string(r.name))
	t.slots[slot].Keys++
	t.slots[slot].Bytes += r.bytes
	b := t.bucket(r.ttlMs)
	b.Keys++
	b.Bytes += r.bytes
	t.prefixes.add(r)
	t.top.add(r, slot)
}

func (g *Group) add(r reading) {
	g.Keys++
	g.Bytes += r.bytes
	g.Elements += r.elements
}

func (t *tally) bucket(ttlMs int64) *TTLBucket {
	if ttlMs < 0 {
		return &t.ttl[len(t.ttl)-1]
	}
	for i, b := range ttlBounds {
		if b.upTo == 0 || ttlMs <= b.upTo.Milliseconds() {
			return &t.ttl[i]
		}
	}
	panic("scanner: no bucket without a bound")
}

// result ends the tally.
func (t *tally) result(o Options) *BigKeys {
	out := &BigKeys{Totals: t.totals, TTL: t.ttl, ByType: []Group{}, BySlot: []SlotSize{}, Top: []BigKey{}}
	for _, g := range t.types {
		if g.Keys > 0 {
			out.ByType = append(out.ByType, g)
		}
	}
	slices.SortFunc(out.ByType, largestFirst)
	for _, s := range t.slots {
		if s.Keys > 0 {
			out.BySlot = append(out.BySlot, s)
		}
	}
	var folded bool
	if out.ByPrefix, folded = t.prefixes.groups(o.Prefixes); folded {
		out.Notes = append(out.Notes, "There are more prefixes than were kept at a time; rare ones may be listed too small, the difference is in \"(other)\".")
	}
	for _, e := range t.top.sorted() {
		out.Top = append(out.Top, BigKey{
			DB: e.db, Key: printable(e.name), KeyBase64: base64.StdEncoding.EncodeToString([]byte(e.name)), Type: e.typ.String(),
			Slot: e.slot, Bytes: e.bytes, Elements: e.elements, TTLMs: max(e.ttlMs, -1), Risks: t.risks(e),
		})
	}
	return out
}

func largestFirst(a, b Group) int {
	return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Keys, a.Keys), cmp.Compare(a.Name, b.Name))
}
