package keyspace

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// visit passes a whole value on piece by piece; strings in chunks of the given size.
func visit(v Value, chunk int, to Visitor) {
	switch v.Type {
	case String:
		if len(v.Str) == 0 {
			to.StringChunk(nil)
		}
		for p := range slices.Chunk(v.Str, chunk) {
			to.StringChunk(p)
		}
	case List:
		for _, e := range v.List {
			to.ListElement(e)
		}
	case Set:
		for _, e := range v.Set {
			to.SetMember(e)
		}
	case ZSet:
		for _, e := range v.ZSet {
			to.ZSetMember(e.Name, e.Score)
		}
	case Hash:
		for _, e := range v.Hash {
			to.HashField(e.Name, e.Value, e.ExpireAt)
		}
	case Stream:
		for _, e := range v.Entries {
			to.StreamEntry(e.ID, e.Fields)
		}
		to.StreamMeta(v.Meta)
		for _, g := range v.Groups {
			to.StreamGroup(g)
		}
	case Module:
		to.ModulePayload(v.Module)
	}
}

func fingerprint(v Value) Fingerprint {
	h := NewHasher()
	visit(v, 1<<20, h)
	return h.Sum()
}

func b(s ...string) [][]byte {
	out := make([][]byte, len(s))
	for i := range s {
		out[i] = []byte(s[i])
	}
	return out
}

func str(s string) Value                { return Value{Type: String, Str: []byte(s)} }
func list(s ...string) Value            { return Value{Type: List, List: b(s...)} }
func set(s ...string) Value             { return Value{Type: Set, Set: b(s...)} }
func zset(m ...Member) Value            { return Value{Type: ZSet, ZSet: m} }
func hash(f ...Field) Value             { return Value{Type: Hash, Hash: f} }
func member(n string, s float64) Member { return Member{Name: []byte(n), Score: s} }
func field(n, v string, at int64) Field {
	return Field{Name: []byte(n), Value: []byte(v), ExpireAt: at}
}

func stream(change func(*Value)) Value {
	v := Value{Type: Stream,
		Entries: []Entry{{StreamID{1, 0}, b("f", "v")}, {StreamID{2, 5}, b("g", "w", "h", "")}},
		Meta:    StreamMeta{Length: 2, LastID: StreamID{9, 9}, MaxDeletedID: StreamID{3, 0}, EntriesAdded: 7, HasCounters: true},
		Groups: []Group{
			{Name: []byte("g1"), LastID: StreamID{2, 5}, EntriesRead: 2, Consumers: []Consumer{{Name: []byte("a"), SeenMs: 1}, {Name: []byte("b")}},
				Pending: []Pending{{StreamID{1, 0}, []byte("a"), 100, 1}, {StreamID{2, 5}, []byte("b"), 100, 3}}},
			{Name: []byte("g2"), EntriesRead: -1}}}
	if change != nil {
		change(&v)
	}
	return v
}

func hllString(encoding byte, cache string, tail string) Value {
	return str("HYLL" + string(encoding) + "\x00\x00\x00" + cache + tail)
}

const sparseOne = "\x80\xf8\x7f\xfd" // register 0 is 1, register 1 is 31, the rest 0

func TestFingerprintEquality(t *testing.T) {
	dense := string(make([]byte, 12288))
	denseOne := "\xc1\x07" + dense[2:] // register 0 is 1, register 1 is 31
	tests := []struct {
		name string
		a, b Value
		same bool
		why  string
	}{
		{"set order", set("a", "b", "c"), set("c", "a", "b"), true, "a set has no order"},
		{"hash order", hash(field("a", "1", 0), field("b", "2", 0)), hash(field("b", "2", 0), field("a", "1", 0)), true, "a hash has no order"},
		{"zset order", zset(member("a", 1), member("b", 1)), zset(member("b", 1), member("a", 1)), true, "the scores order it"},
		{"minus zero", zset(member("a", 0)), zset(member("a", math.Copysign(0, -1))), true, "-0 and 0 are one score"},
		{"groups order", stream(nil), stream(func(v *Value) { slices.Reverse(v.Groups) }), true, "groups are found by name"},
		{"pending order", stream(nil), stream(func(v *Value) { slices.Reverse(v.Groups[0].Pending) }), true, "IDs order it"},
		{"seen time", stream(nil), stream(func(v *Value) { v.Groups[0].Consumers[0].SeenMs = 99 }), true, "not data"},
		{"consumer without pending entries", stream(nil), stream(func(v *Value) { v.Groups[0].Consumers = append(v.Groups[0].Consumers, Consumer{Name: []byte("idle")}) }), true, "replicas are not told of it"},
		{"entries read", stream(nil), stream(func(v *Value) { v.Groups[0].EntriesRead++ }), true, "7.0 does not tell its replicas"},
		{"delivery time", stream(nil), stream(func(v *Value) { v.Groups[0].Pending[0].DeliveryMs = 1 }), true, "not data"},
		{"sparse hll cache", hllString(1, "12345678", sparseOne), hllString(1, "87654321", sparseOne), true, "PFCOUNT rewrites the cache"},
		{"dense hll cache", hllString(0, "12345678", dense), hllString(0, "87654321", dense), true, "PFCOUNT rewrites the cache"},
		{"hll encoding", hllString(1, "12345678", sparseOne), hllString(0, "12345678", denseOne), true, "PFMERGE makes a dense one before 4.0"},
		{"hll runs", hllString(1, "12345678", "\x7f\xff"), hllString(1, "12345678", strings.Repeat("\x3f", 256)), true, "runs may be cut anywhere"},

		{"hll registers", hllString(1, "12345678", sparseOne), hllString(1, "12345678", "\x80\x7f\xfe"), false, "registers are data"},
		{"hll last register", hllString(0, "12345678", dense), hllString(0, "12345678", dense[1:]+"\x80"), false, ""},
		{"hll that is short", hllString(1, "12345678", "\x7f\xfe"), hllString(1, "87654321", "\x7f\xfe"), false, "a register is missing, so it is text"},
		{"hll that is long", hllString(1, "12345678", "\x7f\xff\x00"), hllString(1, "87654321", "\x7f\xff\x00"), false, "a register too many, so it is text"},
		{"hll cut off", hllString(1, "12345678", "\x7f\xfe\x40"), hllString(1, "87654321", "\x7f\xfe\x40"), false, "half a run, so it is text"},
		{"looks like hll", hllString(0, "12345678", "abc"), hllString(0, "87654321", "abc"), false, "no dense HyperLogLog has this size, so it is text"},
		{"hll unused bytes", hllString(1, "12345678", sparseOne), str("HYLL\x01abc12345678" + sparseOne), false, "SETRANGE key 5 abc: no command of a HyperLogLog writes there"},
		{"hll last unused byte", hllString(0, "12345678", dense), str("HYLL\x00\x00\x00\x0112345678" + dense), false, "the cache begins with the byte after it"},
		{"hll cache beside used bytes", str("HYLL\x01abc12345678" + sparseOne), str("HYLL\x01abc87654321" + sparseOne), true, "the cache is exempt whatever stands before it"},
		{"hll encodings beside used bytes", str("HYLL\x01abc12345678" + sparseOne), str("HYLL\x00abc12345678" + denseOne), true, "so is the encoding"},
		{"hll first byte after the cache", hllString(0, "12345678", dense), hllString(0, "12345678", "\x01"+dense[1:]), false, "registers begin there"},
		{"hll header alone", str("HYLL\x01\x00\x00\x0012345678"), str("HYLL\x01\x00\x00\x0087654321"), false, "no registers, so it is text"},
		{"hll header cut off", str("HYLL\x01\x00\x00\x001234567"), str("HYLL\x01\x00\x00\x008765432"), false, "shorter than a header, so it is text"},
		{"dense hll that is short", hllString(0, "12345678", dense[1:]), hllString(0, "87654321", dense[1:]), false, "a byte is missing, so it is text"},
		{"dense hll that is long", hllString(0, "12345678", dense+"\x00"), hllString(0, "87654321", dense+"\x00"), false, "a byte too many, so it is text"},
		{"hll of another encoding", hllString(2, "12345678", sparseOne), hllString(2, "87654321", sparseOne), false, "there are two encodings"},
		{"score of minus zero", zset(member("a", math.Copysign(0, -1))), zset(member("a", 0)), true, "the sign of a score of 0 is exempt"},
		{"least score", zset(member("a", 0)), zset(member("a", math.SmallestNonzeroFloat64)), false, "no other score is 0"},
		{"least negative score", zset(member("a", math.Copysign(0, -1))), zset(member("a", -math.SmallestNonzeroFloat64)), false, "no other score is 0"},
		{"consumers without pending entries", stream(nil), stream(func(v *Value) { v.Groups[0].Consumers = append(v.Groups[0].Consumers, Consumer{Name: []byte("idle")}) }), true, "exempt"},
		{"when a consumer was seen", stream(nil), stream(func(v *Value) { v.Groups[0].Consumers[0].SeenMs++; v.Groups[0].Consumers[0].ActiveMs++ }), true, "exempt"},
		{"when an entry was delivered", stream(nil), stream(func(v *Value) { v.Groups[0].Pending[0].DeliveryMs++ }), true, "exempt"},
		{"entries read", stream(nil), stream(func(v *Value) { v.Groups[0].EntriesRead++ }), true, "exempt"},
		{"pending entry's ID", stream(nil), stream(func(v *Value) { v.Groups[0].Pending[0].ID.Seq += 1000 }), false, "what stands beside what is exempt"},
		{"group renamed", stream(nil), stream(func(v *Value) { v.Groups[0].Name = []byte("renamed") }), false, "what stands beside what is exempt"},
		{"HYLL text", str("HYLLO world, good day"), str("HYLLO earth, good day"), false, "'O' is no encoding"},
		{"empty string", str(""), Value{}, false, "an empty string is not an absent key"},
		{"one byte", str("abc"), str("abd"), false, ""},
		{"list prefix", list("a", "b"), list("a", "b", "c"), false, "redis-full-check passes this"},
		{"list order", list("a", "b"), list("b", "a"), false, "a list has an order"},
		{"list borders", list("ab", "c"), list("a", "bc"), false, "lengths are hashed"},
		{"list of empties", list("", ""), list(""), false, "empty elements count"},
		{"set element", set("a", "b"), set("a", "c"), false, ""},
		{"set twice", set("a", "a"), set(), false, "XOR would cancel out"},
		{"hash value same length", hash(field("a", "1", 0)), hash(field("a", "2", 0)), false, "redis-full-check mode 2 passes this"},
		{"hash swapped values", hash(field("a", "1", 0), field("b", "2", 0)), hash(field("a", "2", 0), field("b", "1", 0)), false, "the value belongs to its field"},
		{"hash borders", hash(field("a", "bc", 0)), hash(field("ab", "c", 0)), false, "lengths are hashed"},
		{"score", zset(member("a", 1)), zset(member("a", 1.0000000000000002)), false, "float64 bits"},
		{"infinity", zset(member("a", math.Inf(1))), zset(member("a", math.Inf(-1))), false, ""},
		{"type", set("a"), list("a"), false, "types differ"},
		{"java collision", str("Aa"), str("BB"), false, "equal as 32-bit Java hash codes"},
		{"last entry", stream(nil), stream(func(v *Value) { v.Entries[1].Fields[1] = []byte("x") }), false, ""},
		{"entry id", stream(nil), stream(func(v *Value) { v.Entries[1].ID.Seq++ }), false, ""},
		{"entries swapped", stream(nil), stream(func(v *Value) { slices.Reverse(v.Entries) }), false, "order counts"},
		{"last id", stream(nil), stream(func(v *Value) { v.Meta.LastID.Seq++ }), false, "XSETID"},
		{"group missing", stream(nil), stream(func(v *Value) { v.Groups = v.Groups[:1] }), false, ""},
		{"group position", stream(nil), stream(func(v *Value) { v.Groups[1].LastID.Ms++ }), false, ""},
		{"consumer with a pending entry renamed", stream(nil), stream(func(v *Value) {
			v.Groups[0].Consumers[1].Name, v.Groups[0].Pending[1].Consumer = []byte("c"), []byte("c")
		}), false, "it holds an entry"},
		{"pending owner", stream(nil), stream(func(v *Value) { v.Groups[0].Pending[0].Consumer = []byte("b") }), false, ""},
		{"delivery count", stream(nil), stream(func(v *Value) { v.Groups[0].Pending[0].DeliveryCount++ }), false, ""},
		{"pending moved", stream(nil), stream(func(v *Value) { v.Groups[1].Pending, v.Groups[0].Pending = v.Groups[0].Pending, nil }), false, "it belongs to its group"},
	}
	for _, tt := range tests {
		fa, fb := fingerprint(tt.a), fingerprint(tt.b)
		if same := fa == fb; same != tt.same {
			t.Errorf("%s: same = %v, want %v (%s): %+v and %+v", tt.name, same, tt.same, tt.why, fa, fb)
		}
		if !tt.same && fa.Value == fb.Value {
			t.Errorf("%s: the difference must show in Value", tt.name)
		}
	}
}

func TestFingerprintParts(t *testing.T) {
	plain, expiring := fingerprint(hash(field("a", "1", 0))), fingerprint(hash(field("a", "1", 1700000000000)))
	if plain.Value != expiring.Value || plain.FieldExpiries != 0 || expiring.FieldExpiries == 0 {
		t.Errorf("field expiries belong in their own sum: %+v and %+v", plain, expiring)
	}
	if other := fingerprint(hash(field("a", "1", 1700000000001))); other.FieldExpiries == expiring.FieldExpiries {
		t.Error("another field expiry must show")
	}
	moved := fingerprint(hash(field("a", "1", 5), field("b", "1", 0)))
	if moved.FieldExpiries == fingerprint(hash(field("a", "1", 0), field("b", "1", 5))).FieldExpiries {
		t.Error("an expiry belongs to its field")
	}

	known := fingerprint(stream(nil))
	old := fingerprint(stream(func(v *Value) {
		v.Meta.HasCounters, v.Meta.MaxDeletedID, v.Meta.EntriesAdded, v.Groups[0].EntriesRead = false, StreamID{}, 0, -1
	}))
	if known.Value != old.Value || old.Counters != 0 || known.Counters == 0 {
		t.Errorf("counters belong in their own sum, 0 before 7.0: %+v and %+v", known, old)
	}
	for name, change := range map[string]func(*Value){
		"max deleted":   func(v *Value) { v.Meta.MaxDeletedID.Ms++ },
		"entries added": func(v *Value) { v.Meta.EntriesAdded++ },
	} {
		if f := fingerprint(stream(change)); f.Counters == known.Counters || f.Value != known.Value {
			t.Errorf("%s: must show in Counters alone: %+v and %+v", name, f, known)
		}
	}
}

// The golden values pin the definition: digests of reports from different releases can be compared.
func TestFingerprintGolden(t *testing.T) {
	tests := []struct {
		name string
		v    Value
		want Fingerprint
	}{
		{"empty", str(""), Fingerprint{Value: 0x54c4b183d49a587c, Length: 0}},
		{"string", str("hello"), Fingerprint{Value: 0xb9855837f5c88a18, Length: 5}},
		{"hll", hllString(1, "12345678", sparseOne), Fingerprint{Value: 0xb9a7c8a59146cc5c, Length: 12304}},
		{"list", list("a", "", "ccc"), Fingerprint{Value: 0x278397ebe28252d8, Length: 3}},
		{"set", set("a", "b"), Fingerprint{Value: 0x17358ebab65b8935, Length: 2}},
		{"zset", zset(member("a", 0.1), member("b", math.Inf(1))), Fingerprint{Value: 0x2524136119e9c1e4, Length: 2}},
		{"hash", hash(field("f", "v", 0), field("g", "w", 1700000000000)), Fingerprint{Value: 0x7fbc0e0cba1faff3, FieldExpiries: 0x7041eaa9408fcca, Length: 2}},
		{"stream", stream(nil), Fingerprint{Value: 0x9005328298f94ea7, Counters: 0xedf153eff5ee7497, Length: 2}},
		{"module", Value{Type: Module, Module: []byte("xyz")}, Fingerprint{Value: 0x20a85514852c25da, Length: 3}},
	}
	for _, tt := range tests {
		got := fingerprint(tt.v)
		got.Keyed, got.KeyedCounters = 0, 0 // another in each process
		if got != tt.want {
			t.Errorf("%s: {%#x, %#x, %#x} length %d, want %#x", tt.name, got.Value, got.FieldExpiries, got.Counters, got.Length, tt.want)
		}
	}
	var d Digest
	d.Add(Key{DB: 3, Name: "k\x00\xff"}, Hash, Fingerprint{Value: 1, FieldExpiries: 2, Counters: 3, Length: 4}, 5)
	if want := (Digest{Keys: 1, Values: 0x43725bccc4a4772d, Expiries: 0xe5814ae54e1ad444}); d != want {
		t.Errorf("digest {%#x, %#x}, want %#x", d.Values, d.Expiries, want)
	}
}

func TestDigest(t *testing.T) {
	f := fingerprint(str("v"))
	sum := func(adds ...func(*Digest)) (d Digest) {
		for _, add := range adds {
			add(&d)
		}
		return d
	}
	add := func(db int, name string, ty Type, f Fingerprint, at int64) func(*Digest) {
		return func(d *Digest) { d.Add(Key{DB: db, Name: name}, ty, f, at) }
	}
	base := sum(add(0, "a", String, f, 0), add(0, "b", String, f, 5))
	if got := sum(add(0, "b", String, f, 5), add(0, "a", String, f, 0)); got != base {
		t.Error("the order of keys must not matter")
	}
	parts := sum(add(0, "a", String, f, 0))
	parts.Merge(sum(add(0, "b", String, f, 5)))
	if parts != base {
		t.Error("merging must equal adding")
	}
	for name, other := range map[string]Digest{
		"database":  sum(add(1, "a", String, f, 0), add(0, "b", String, f, 5)),
		"name":      sum(add(0, "c", String, f, 0), add(0, "b", String, f, 5)),
		"type":      sum(add(0, "a", Set, f, 0), add(0, "b", String, f, 5)),
		"value":     sum(add(0, "a", String, Fingerprint{Value: 1, Length: 1}, 0), add(0, "b", String, f, 5)),
		"duplicate": sum(add(0, "a", String, f, 0), add(0, "b", String, f, 5), add(0, "b", String, f, 5)),
		"cancelled": sum(add(0, "a", String, f, 0), add(0, "a", String, f, 0)),
	} {
		if other.Values == base.Values {
			t.Errorf("%s: must show in Values", name)
		}
	}
	if ttl := sum(add(0, "a", String, f, 0), add(0, "b", String, f, 6)); ttl.Values != base.Values || ttl.Expiries == base.Expiries {
		t.Error("an expiry must show in Expiries alone")
	}
}

func FuzzHasherChunks(f *testing.F) {
	f.Add([]byte("HYLL\x01\x00\x00\x0012345678abc"), uint64(1))
	f.Add([]byte("HYLL\x01\x00\x00\x0012345678"+sparseOne), uint64(1))
	f.Add([]byte(""), uint64(2))
	f.Add([]byte("HYLL"), uint64(3))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		want := fingerprint(str(string(data)))
		rng := rand.New(rand.NewPCG(seed, 0))
		h := NewHasher()
		h.StringChunk(nil)
		for rest := data; len(rest) > 0; {
			n := 1 + rng.IntN(min(len(rest), 20))
			h.StringChunk(rest[:n])
			rest = rest[n:]
		}
		if got := h.Sum(); got != want {
			t.Errorf("seed %d: chunked %+v, whole %+v", seed, got, want)
		}
	})
}

func FuzzHasherOrder(f *testing.F) {
	f.Add([]byte("\x01a\x02bc\x00\x01a"), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		var items [][]byte
		for len(data) > 0 {
			n := min(int(data[0]), len(data)-1)
			items, data = append(items, data[1:1+n]), data[1+n:]
		}
		v := map[Type]func([][]byte) Value{
			Set: func(p [][]byte) Value { return Value{Type: Set, Set: p} },
			Hash: func(p [][]byte) Value {
				var out Value
				for _, e := range p {
					out.Hash = append(out.Hash, Field{Name: e, Value: e, ExpireAt: int64(len(e))})
				}
				out.Type = Hash
				return out
			},
			ZSet: func(p [][]byte) Value {
				var out Value
				for _, e := range p {
					var bits [8]byte
					copy(bits[:], e)
					out.ZSet = append(out.ZSet, Member{Name: e, Score: math.Float64frombits(binary.LittleEndian.Uint64(bits[:]))})
				}
				out.Type = ZSet
				return out
			},
		}
		shuffled := slices.Clone(items)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for ty, build := range v {
			if a, b := fingerprint(build(items)), fingerprint(build(shuffled)); a != b {
				t.Errorf("seed %d: %v depends on the order: %+v, %+v", seed, ty, a, b)
			}
		}
		ordered := slices.EqualFunc(items, shuffled, bytes.Equal)
		if a, b := fingerprint(Value{Type: List, List: items}), fingerprint(Value{Type: List, List: shuffled}); (a == b) != ordered {
			t.Errorf("seed %d: a list must depend on the order: %v", seed, items)
		}
	})
}

// vectorSum is the fingerprint of a vector set.
func vectorSum(s VectorShape, elements ...VectorElement) Fingerprint {
	h := NewHasher()
	h.VectorShape(s)
	for _, e := range elements {
		h.VectorElement(e)
	}
	return h.Sum()
}

func TestVectorSets(t *testing.T) {
	shape := VectorShape{Dimension: 2, Quantization: 1, Links: 16}
	one := VectorElement{Name: []byte("a"), Vector: []byte{1, 2}, Scale: 3}
	two := VectorElement{Name: []byte("b"), Vector: []byte{3, 4}, Attributes: []byte("{}"), Scale: 5}
	base := vectorSum(shape, one, two)
	if got := vectorSum(shape, two, one); got != base {
		t.Error("the order of the elements counts, though it is another on each replica")
	}
	with := func(change func(s *VectorShape, e *VectorElement)) Fingerprint {
		s, e := shape, two
		change(&s, &e)
		return vectorSum(s, one, e)
	}
	for name, got := range map[string]Fingerprint{
		"dimension":    with(func(s *VectorShape, _ *VectorElement) { s.Dimension = 3 }),
		"quantization": with(func(s *VectorShape, _ *VectorElement) { s.Quantization = 0 }),
		"links":        with(func(s *VectorShape, _ *VectorElement) { s.Links = 8 }),
		"projection":   with(func(s *VectorShape, _ *VectorElement) { s.Projection = []byte{1} }),
		"name":         with(func(_ *VectorShape, e *VectorElement) { e.Name = []byte("c") }),
		"vector":       with(func(_ *VectorShape, e *VectorElement) { e.Vector = []byte{3, 5} }),
		"attributes":   with(func(_ *VectorShape, e *VectorElement) { e.Attributes = nil }),
		"scale":        with(func(_ *VectorShape, e *VectorElement) { e.Scale = 6 }),
		"border":       with(func(_ *VectorShape, e *VectorElement) { e.Vector, e.Attributes = []byte{3}, []byte("\x04{}") }),
		"element":      vectorSum(shape, one),
		"twice":        vectorSum(shape, one, two, two),
	} {
		if got == base {
			t.Errorf("another %s looks the same", name)
		}
	}
	if vectorSum(shape) == (Fingerprint{}) {
		t.Error("an empty vector set looks like no value")
	}
}
