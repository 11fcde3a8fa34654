package scanner

import (
	"cmp"
	"math/bits"
	"slices"
	"strconv"
	"time"

	"surecut/internal/keyspace"
)

// reading is what a scan learned about one key. Name is valid only during the call.
type reading struct {
	db         int
	name       []byte
	typ        keyspace.Type
	encoding   string // as in OBJECT ENCODING; "": not known
	bytes      int64
	serialized int64
	elements   int64 // 1 for a string; -1: not counted
	length     int64 // length of a string in bytes; else 0
	largest    int64 // bytes of the largest element; -1: not known
	ttlMs      int64 // -1: never expires
	idle, freq int64 // -1: not known
}

var ttlBounds = []struct {
	name string
	upTo time.Duration // 0: no bound
}{
	{"1m", time.Minute}, {"10m", 10 * time.Minute}, {"1h", time.Hour}, {"6h", 6 * time.Hour}, {"1d", 24 * time.Hour},
	{"7d", 7 * 24 * time.Hour}, {"30d", 30 * 24 * time.Hour}, {">30d", 0},
}

const (
	neverExpires = "never"
	leastSize    = 6   // the first bucket of sizes goes up to 2^6 = 64 bytes
	uncountedMax = 100 // number of keys that are listed as uncounted
	databasesMax = 1 << 12
	shownName    = 512 // bytes that are kept of the name of a slot's largest key
)

// slotSum holds the sums of a slot, and the bytes of its largest key.
type slotSum struct{ keys, bytes, largest int64 }

// tally sums up readings in bounded memory. Only one goroutine may use it at a time.
type tally struct {
	node      *Group // node from which the readings come
	totals    BigTotals
	types     [keyspace.Module + 1]Group
	encodings [keyspace.Module + 1][]encodingSum
	dbs       map[int]*Group
	lastDB    *Group
	lastDBOf  int
	nodes     map[string]*Group
	slots     []slotSum
	largest   [keyspace.Slots][]byte // by slot: the first bytes of the largest key's name
	ttl       []TTLBucket
	cutover   Cutover
	sizes     [64]SizeBucket
	prefixes  prefixTable
	tops      [len(rankings)]topKeys
	uncounted []Uncounted
	each      func(db int, name string, bytes int64) // nil: not wanted
}

// encodingSum sums up the keys of a type that have the same encoding.
type encodingSum struct {
	encoding string
	*Group
}

func newTally(o Config) *tally {
	t := &tally{slots: make([]slotSum, keyspace.Slots), prefixes: newPrefixTable(),
		dbs: map[int]*Group{}, nodes: map[string]*Group{}, cutover: Cutover{AfterMs: o.Cutover.Milliseconds()}, each: o.Each}
	for i := range t.types {
		t.types[i].Name = keyspace.Type(i).String()
	}
	for _, b := range ttlBounds {
		t.ttl = append(t.ttl, TTLBucket{UpTo: b.name})
	}
	t.ttl = append(t.ttl, TTLBucket{UpTo: neverExpires})
	for i := range t.tops {
		t.tops[i] = newTopKeys(o.Top, rankings[i])
	}
	t.from("")
	return t
}

// from sets the node from which the next readings come.
func (t *tally) from(node string) *Group {
	if t.node = t.nodes[node]; t.node == nil {
		t.node = &Group{Name: node}
		t.nodes[node] = t.node
	}
	return t.node
}

func (t *tally) add(r *reading) {
	if t.each != nil {
		t.each(r.db, string(r.name), r.bytes)
	}
	var all Group
	all.add(r)
	t.totals.Keys++
	t.totals.Bytes += all.Bytes
	t.totals.Serialized += all.Serialized
	t.totals.Elements += all.Elements
	t.totals.NoTTL += all.NoTTL
	t.types[r.typ].sum(all)
	t.encodingOf(r.typ, r.encoding).sum(all)
	t.database(r.db).sum(all)
	t.node.sum(all)
	slot := slotOf(r.name)
	s := &t.slots[slot]
	s.keys++
	s.bytes += r.bytes
	if r.bytes > s.largest {
		s.largest, t.largest[slot] = r.bytes, append(t.largest[slot][:0], r.name[:min(len(r.name), shownName)]...)
	}
	t.expiry(r)
	size := &t.sizes[max(leastSize, bits.Len64(uint64(max(r.bytes, 1)-1)))]
	size.Keys++
	size.Bytes += r.bytes
	t.prefixes.add(r.name[:min(len(r.name), exactName)], all)
	for i := range t.tops {
		t.tops[i].add(r, slot, t.node.Name)
	}
}

func (t *tally) encodingOf(typ keyspace.Type, encoding string) *Group {
	for _, e := range t.encodings[typ] {
		if e.encoding == encoding {
			return e.Group
		}
	}
	g := &Group{Name: typ.String() + "/" + cmp.Or(encoding, "unknown")}
	t.encodings[typ] = append(t.encodings[typ], encodingSum{encoding, g})
	return g
}

// database returns the group of a database. If there are too many databases, the others share one group.
func (t *tally) database(db int) *Group {
	if t.lastDB != nil && t.lastDBOf == db {
		return t.lastDB
	}
	t.lastDBOf = db
	g := t.dbs[db]
	if g == nil {
		if len(t.dbs) >= databasesMax {
			db = -1
		}
		if g = t.dbs[db]; g == nil {
			g = &Group{Name: strconv.Itoa(db)}
			if db < 0 {
				g.Name = otherGroup
			}
			t.dbs[db] = g
		}
	}
	t.lastDB = g
	return g
}

// setAside notes a key that exists but is not counted.
func (t *tally) setAside(db int, name []byte, typ keyspace.Type, reason string) {
	switch reason {
	case reasonExpired:
		t.totals.Expired++
	case reasonForeign:
		t.totals.Foreign++
	}
	if len(t.uncounted) < uncountedMax {
		kept := keepName(name)
		t.uncounted = append(t.uncounted, Uncounted{DB: db, Key: kept.quoted(), KeyBase64: kept.exact(), KeyLength: kept.length, KeyDigest: kept.sum(),
			Type: typ.String(), Slot: slotOf(name), Node: t.node.Name, Reason: reason})
	}
}

// These are the reasons why a key is not counted.
const (
	reasonExpired = "expired"
	reasonForeign = "foreign_slot"
)

func (g *Group) add(r *reading) {
	g.Keys++
	g.Bytes += r.bytes
	g.Serialized += r.serialized
	g.Elements += max(r.elements, 0)
	if r.ttlMs < 0 {
		g.NoTTL++
	}
}

func (g *Group) sum(other Group) {
	g.Keys += other.Keys
	g.Bytes += other.Bytes
	g.Serialized += other.Serialized
	g.Elements += other.Elements
	g.NoTTL += other.NoTTL
}

func (t *tally) expiry(r *reading) {
	b := &t.ttl[len(t.ttl)-1]
	if r.ttlMs >= 0 {
		for i, bound := range ttlBounds {
			if bound.upTo == 0 || r.ttlMs <= bound.upTo.Milliseconds() {
				b = &t.ttl[i]
				break
			}
		}
		if r.ttlMs <= t.cutover.AfterMs {
			t.cutover.Keys++
			t.cutover.Bytes += r.bytes
		}
	}
	b.Keys++
	b.Bytes += r.bytes
}

// merge adds another tally, which must have the same options.
func (t *tally) merge(o *tally) {
	t.totals.Keys += o.totals.Keys
	t.totals.Bytes += o.totals.Bytes
	t.totals.Serialized += o.totals.Serialized
	t.totals.Elements += o.totals.Elements
	t.totals.NoTTL += o.totals.NoTTL
	t.totals.Expired += o.totals.Expired
	t.totals.Foreign += o.totals.Foreign
	t.totals.Vanished += o.totals.Vanished
	t.totals.Errors += o.totals.Errors
	for i := range o.types {
		t.types[i].sum(o.types[i])
	}
	for typ, sums := range o.encodings {
		for _, e := range sums {
			t.encodingOf(keyspace.Type(typ), e.encoding).sum(*e.Group)
		}
	}
	for db, g := range o.dbs {
		t.database(db).sum(*g)
	}
	for node, g := range o.nodes {
		t.from(node).sum(*g)
	}
	for i, s := range o.slots {
		mine := &t.slots[i]
		mine.keys += s.keys
		mine.bytes += s.bytes
		if s.largest > mine.largest {
			mine.largest, t.largest[i] = s.largest, o.largest[i]
		}
	}
	for i, b := range o.ttl {
		t.ttl[i].Keys += b.Keys
		t.ttl[i].Bytes += b.Bytes
	}
	t.cutover.Keys += o.cutover.Keys
	t.cutover.Bytes += o.cutover.Bytes
	for i, b := range o.sizes {
		t.sizes[i].Keys += b.Keys
		t.sizes[i].Bytes += b.Bytes
	}
	t.prefixes.merge(&o.prefixes)
	for i := range o.tops {
		t.tops[i].merge(&o.tops[i])
	}
	t.uncounted = append(t.uncounted, o.uncounted[:min(len(o.uncounted), uncountedMax-len(t.uncounted))]...)
}

// result returns the result of the tally.
func (t *tally) result(o Config) *BigKeys {
	looked := keyspace.Filter{DBs: o.DBs}
	out := &BigKeys{Selection: looked.Selection(keyspace.NamedDatabases{Source: -1, Target: -1}), Totals: t.totals, TTL: t.ttl, Cutover: t.cutover, ByType: []Group{}, BySlot: []SlotSize{}, Sizes: []SizeBucket{},
		TargetShards: []TargetShard{}, OutputBuffer: []Buffer{}, Uncounted: append([]Uncounted{}, t.uncounted...)}
	for _, g := range t.types {
		if g.Keys > 0 {
			out.ByType = append(out.ByType, g)
		}
	}
	slices.SortFunc(out.ByType, largestFirst)
	out.ByEncoding = []Group{}
	for _, sums := range t.encodings {
		for _, e := range sums {
			out.ByEncoding = append(out.ByEncoding, *e.Group)
		}
	}
	slices.SortFunc(out.ByEncoding, largestFirst)
	out.ByDB, out.ByNode = groupsOf(t.dbs), groupsOf(t.nodes)
	for i, s := range t.slots {
		if s.keys > 0 {
			out.BySlot = append(out.BySlot, SlotSize{Slot: uint16(i), Keys: s.keys, Bytes: s.bytes})
		}
	}
	for i, b := range t.sizes {
		if b.Keys > 0 {
			out.Sizes = append(out.Sizes, SizeBucket{UpTo: 1 << min(i, 62), Keys: b.Keys, Bytes: b.Bytes})
		}
	}
	out.PrefixTree = t.prefixes.tree(t.totals.Bytes)
	var folded bool
	if out.ByPrefix, folded = t.prefixes.groups(o.Prefixes); folded {
		out.Notes = append(out.Notes, "There are more prefixes than could be kept at a time, so the figures of rare ones may be too small; the difference is in \"(other)\".")
	}
	if o.TargetShards > 0 {
		out.TargetShards = t.shards(o)
	}
	out.Top, out.TopElements, out.TopLargest = t.list(0, o), t.list(1, o), t.list(2, o)
	return out
}

// list returns the keys of one ranking.
func (t *tally) list(ranking int, o Config) []BigKey {
	list := []BigKey{}
	for _, e := range t.tops[ranking].sorted() {
		k := BigKey{DB: e.db, Key: e.name.quoted(), KeyBase64: e.name.exact(), KeyLength: e.name.length, KeyDigest: e.name.sum(), Type: e.typ.String(),
			Encoding: e.encoding, Slot: e.slot, Node: e.node, Bytes: e.bytes, Serialized: e.serialized, Elements: e.elements, LargestElement: e.largest,
			TTLMs: max(e.ttlMs, -1), IdleSeconds: e.idle, Frequency: e.freq, Risks: []string{}, Remedies: []string{}}
		for _, r := range t.risks(e, o) {
			k.Risks, k.Remedies = append(k.Risks, r.text), append(k.Remedies, r.remedy)
		}
		list = append(list, k)
	}
	return list
}

func groupsOf[K comparable](groups map[K]*Group) []Group {
	list := []Group{}
	for _, g := range groups {
		if g.Keys > 0 {
			list = append(list, *g)
		}
	}
	slices.SortFunc(list, largestFirst)
	return list
}

func largestFirst(a, b Group) int {
	return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Keys, a.Keys), cmp.Compare(a.Name, b.Name))
}

// largestFloor returns the size below which no element gets a key into the list by largest elements.
func (t *tally) largestFloor() int64 { return t.tops[2].least }
