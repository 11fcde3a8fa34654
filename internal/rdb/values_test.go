package rdb_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

func blobs(all ...string) [][]byte {
	out := [][]byte{}
	for _, s := range all {
		out = append(out, []byte(s))
	}
	return out
}

func list(all ...string) keyspace.Value {
	return keyspace.Value{Type: keyspace.List, List: blobs(all...)}
}

func set(all ...string) keyspace.Value {
	return keyspace.Value{Type: keyspace.Set, Set: blobs(all...)}
}

func hash(all ...string) keyspace.Value {
	v := keyspace.Value{Type: keyspace.Hash}
	for i := 0; i < len(all); i += 2 {
		v.Hash = append(v.Hash, keyspace.Field{Name: []byte(all[i]), Value: []byte(all[i+1])})
	}
	return v
}

func expiring(v keyspace.Value, at ...int64) keyspace.Value {
	for i := range at {
		v.Hash[i].ExpireAt = at[i]
	}
	return v
}

func zset(pairs ...any) keyspace.Value {
	v := keyspace.Value{Type: keyspace.ZSet}
	for i := 0; i < len(pairs); i += 2 {
		v.ZSet = append(v.ZSet, keyspace.Member{Name: []byte(pairs[i].(string)), Score: pairs[i+1].(float64)})
	}
	return v
}

func text(s string) keyspace.Value { return keyspace.Value{Type: keyspace.String, Str: []byte(s)} }

func module(raw []byte) keyspace.Value { return keyspace.Value{Type: keyspace.Module, Module: raw} }

// valueTest is a value that was made by hand, and what it must decode to. Every type that no fixture holds needs one.
type valueTest struct {
	name, why string
	rdbType   byte
	raw       []byte
	want      keyspace.Value
}

// serverVersions are the RDB versions that servers read, with the types of values that the source code of each has. They say
// independently of the table in types.go which server reads what.
var serverVersions = []struct {
	name    string
	version int
	types   []byte
}{
	{"2.8", 6, []byte{0, 1, 2, 3, 4, 9, 10, 11, 12, 13}},
	{"3.2", 7, []byte{0, 1, 2, 3, 4, 9, 10, 11, 12, 13, 14}},
	{"4.0", 8, []byte{0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14}},
	{"5.0", 9, []byte{0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14, 15}},
	{"7.0", 10, []byte{0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}},
	{"7.2", 11, []byte{0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21}},
	{"7.4", 12, []byte{0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 24, 25}},
	{"8.4", 13, []byte{0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 24, 25}},
	{"Valkey 9", 80, []byte{0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22}},
}

var packedInts = []any{0, 12, 13, 127, 128, -1, -128, -129, 4095, 4096, -4096, -4097, 32767, -32768, 32768, -32769,
	1<<23 - 1, -1 << 23, 1 << 23, math.MaxInt32, math.MinInt32, math.MaxInt32 + 1, math.MaxInt64, math.MinInt64}

func texts(all []any) []string {
	var out []string
	for _, e := range all {
		out = append(out, fmt.Sprint(e))
	}
	return out
}

func valueTests() []valueTest {
	long := func(n int) string { return strings.Repeat("x", n) }
	sized := []any{"", long(63), long(64), long(125), long(126), long(253), long(254), long(255), long(4095), long(4096),
		long(16377), long(16378), long(16379), long(16383), long(16384), long(70000), "end"}
	var many []any
	for i := range 70000 {
		many = append(many, i)
	}
	lzfRun := []byte{0xc3, 5, 0x41, 0x0e, 0, 'a', 0xe0, 250, 0} // an "a", and 259 bytes that repeat it
	lzfRun[2], lzfRun[3] = 0x40|byte(260>>8), byte(260&0xff)
	return append([]valueTest{
		{name: "string", rdbType: 0, raw: str("hello"), want: text("hello")},
		{name: "empty string", rdbType: 0, raw: []byte{0}, want: text("")},
		{name: "int8", rdbType: 0, raw: []byte{0xc0, 0x80}, want: text("-128")},
		{name: "int16", rdbType: 0, raw: []byte{0xc1, 0x00, 0x80}, want: text("-32768")},
		{name: "int32", rdbType: 0, raw: cat([]byte{0xc2}, le32(1<<31)), want: text("-2147483648")},
		{name: "lzf run", why: "the copy overlaps itself", rdbType: 0, raw: lzfRun, want: text(long1('a', 260))},
		{name: "lzf literals", rdbType: 0, raw: literalLZF([]byte(long(100))), want: text(long(100))},
		{name: "lzf larger than a piece", rdbType: 0, raw: literalLZF([]byte(long(200000))), want: text(long(200000))},
		{name: "64-bit length", why: "is written above 4 GiB, but is legal below", rdbType: 0, raw: cat(length64(3), []byte("abc")), want: text("abc")},
		{name: "long string", why: "is larger than the window", rdbType: 0, raw: str(long(600000)), want: text(long(600000))},
		{name: "list", rdbType: 1, raw: cat(length(3), strs("a", ""), []byte{0xc0, 7}), want: list("a", "", "7")},
		{name: "long elements", why: "are gathered over several windows", rdbType: 1, raw: cat(length(2), strs(long(300000), long(100000))), want: list(long(300000), long(100000))},
		{name: "set", rdbType: 2, raw: cat(length(2), strs("a", "b")), want: set("a", "b")},
		{name: "text scores", rdbType: 3, raw: cat(length(4), str("a"), []byte("\x041e-3"), str("b"), []byte{254}, str("c"), []byte{255}, str("d"), []byte("\x0217")),
			want: zset("a", 1e-3, "b", math.Inf(1), "c", math.Inf(-1), "d", 17.0)},
		{name: "binary scores", rdbType: 5, raw: cat(length(2), str("a"), le64(math.Float64bits(math.Copysign(0, -1))), str("b"), le64(math.Float64bits(0.1))),
			want: zset("a", math.Copysign(0, -1), "b", 0.1)},
		{name: "hash", rdbType: 4, raw: cat(length(2), strs("f", "v", "", "")), want: hash("f", "v", "", "")},
		{name: "zipmap", why: "free bytes behind a value; a long value", rdbType: 9,
			raw:  str(cat([]byte{2}, []byte("\x01f"), []byte("\x02\x03vvxyz"), []byte("\x01g"), []byte{254}, le32(300), []byte{0}, []byte(long(300)), []byte{255})),
			want: hash("f", "vv", "g", long(300))},
		{name: "intset 16", rdbType: 11, raw: str(cat(le32(2), le32(2), le16(0xffff), le16(5))), want: set("-1", "5")},
		{name: "intset 32", rdbType: 11, raw: str(cat(le32(4), le32(1), le32(1<<31))), want: set("-2147483648")},
		{name: "intset 64", rdbType: 11, raw: str(cat(le32(8), le32(1), le64(1<<63))), want: set("-9223372036854775808")},
		{name: "ziplist ints", why: "every integer encoding", rdbType: 10, raw: str(ziplist(false, packedInts...)), want: list(texts(packedInts)...)},
		{name: "ziplist strings", why: "every length encoding, entries beyond 253 bytes before", rdbType: 10, raw: str(ziplist(false, sized...)), want: list(texts(sized)...)},
		{name: "ziplist with long previous lengths", why: "the server leaves five-byte lengths where one byte would do; 0xFE is also an integer encoding",
			rdbType: 10, raw: str(ziplist(true, -100, "a", 100, 1)), want: list("-100", "a", "100", "1")},
		{name: "ziplist of many", why: "its count is 65535 and means unknown", rdbType: 10, raw: str(ziplist(false, many...)), want: list(texts(many)...)},
		{name: "zset ziplist", rdbType: 12, raw: str(ziplist(false, "a", 3, "b", "0.10000000000000001", "c", "-inf")), want: zset("a", 3.0, "b", 0.1, "c", math.Inf(-1))},
		{name: "hash ziplist", rdbType: 13, raw: literalLZF(ziplist(false, "f", 1, 2, "v")), want: hash("f", "1", "2", "v")},
		{name: "quicklist", rdbType: 14, raw: cat(length(2), str(ziplist(false, "a", 1)), literalLZF(ziplist(false, "b"))), want: list("a", "1", "b")},
		{name: "quicklist 2", why: "plain and packed nodes", rdbType: 18, raw: cat(length(3), length(2), str(listpack("a", 1)), length(1), str(long(100000)), length(2), literalLZF(listpack("b"))),
			want: list("a", "1", long(100000), "b")},
		{name: "listpack ints", why: "every integer encoding", rdbType: 20, raw: str(listpack(packedInts...)), want: set(texts(packedInts)...)},
		{name: "wide listpack ints", why: "a server may keep a small integer in a wide encoding", rdbType: 20,
			raw: str(listpack(cat([]byte{0xf4}, le64(5)), cat([]byte{0xf2}, []byte{0xff, 0xff, 0xff}))), want: set("5", "-1")},
		{name: "listpack strings", why: "every length encoding, and the limits of the length behind an entry", rdbType: 20, raw: str(listpack(sized...)), want: set(texts(sized)...)},
		{name: "listpack of many", rdbType: 20, raw: str(listpack(many...)), want: set(texts(many)...)},
		{name: "hash listpack", rdbType: 16, raw: str(listpack("f", 1, 200, "v")), want: hash("f", "1", "200", "v")},
		{name: "zset listpack", rdbType: 17, raw: str(listpack("a", 3, "b", "0.1", "c", "inf")), want: zset("a", 3.0, "b", 0.1, "c", math.Inf(1))},
		{name: "hash with field TTLs", why: "relative to the earliest, plus 1", rdbType: 24,
			raw:  cat(le64(5000), length(3), length(0), strs("f", "v"), length(1), strs("g", "w"), length(101), strs("h", "x")),
			want: expiring(hash("f", "v", "g", "w", "h", "x"), 0, 5000, 5100)},
		{name: "listpack with field TTLs", rdbType: 25, raw: cat(le64(5000), str(listpack("g", "w", 5000, "h", 9, 4102444800000, "f", "v", 0))),
			want: expiring(hash("g", "w", "h", "9", "f", "v"), 5000, 4102444800000, 0)},
		{name: "hash of Valkey", rdbType: 22, raw: cat(length(2), strs("f", "v"), le64(math.MaxUint64), strs("g", "w"), le64(5000)),
			want: expiring(hash("f", "v", "g", "w"), 0, 5000)},
		{name: "module", why: "opaque, with its ID", rdbType: 7, raw: moduleRaw(), want: module(moduleRaw())},
	}, streamTests()...)
}

func long1(b byte, n int) string { return string(bytes.Repeat([]byte{b}, n)) }

func moduleRaw() []byte {
	return cat(length64(moduleID("ReJSON-RL", 3)), []byte{1}, length(7), []byte{2}, length(1<<20), []byte{3, 0, 0, 0, 0}, []byte{4, 1, 2, 3, 4, 5, 6, 7, 8},
		[]byte{5}, str("abc"), []byte{5}, str(strings.Repeat("m", 300000)), []byte{5}, literalLZF([]byte("packed")), []byte{5, 0xc1, 1, 2}, []byte{0})
}

func moduleID(name string, version uint64) uint64 {
	const charset = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var n uint64
	for i := range len(name) {
		n = n<<6 | uint64(strings.IndexByte(charset, name[i]))
	}
	return n<<10 | version
}

func streamTests() []valueTest {
	sid := func(ms, seq uint64) keyspace.StreamID { return keyspace.StreamID{Ms: ms, Seq: seq} }
	// Node at 100-5 with master fields a, 7: one entry like the master, one deleted, one of its own, one like the master.
	node := cat(str(id(100, 5)), str(listpack(3, 1, 2, "a", 7, 0,
		2, 0, 0, "v1", 1, 5,
		3, 1, 0, "gone", "gone", 5,
		0, 2, -5, 1, "own", 99999, 6,
		2, 3, 7, "v2", "v3", 5)))
	entries := []keyspace.Entry{
		{ID: sid(100, 5), Fields: blobs("a", "v1", "7", "1")},
		{ID: sid(102, 0), Fields: blobs("own", "99999")},
		{ID: sid(103, 12), Fields: blobs("a", "v2", "7", "v3")},
	}
	meta1 := cat(length(3), length(103), length(12))
	meta2 := cat(meta1, length(100), length(5), length(101), length(5), length(4))
	pending := cat(length(2), id(100, 5), le64(1234), length(3), id(102, 0), le64(5678), length(1))
	group := func(entriesRead, active1, active2 []byte) []byte {
		return cat(length(1), str("g"), length(102), length(0), entriesRead, pending, length(2),
			str("alice"), le64(11), active1, length(2), id(100, 5), id(102, 0), str("idle"), le64(22), active2, length(0))
	}
	want := func(m keyspace.StreamMeta, read, active1, active2 int64) keyspace.Value {
		m.Length, m.LastID = 3, sid(103, 12)
		return keyspace.Value{Type: keyspace.Stream, Entries: entries, Meta: m, Groups: []keyspace.Group{{
			Name: []byte("g"), LastID: sid(102, 0), EntriesRead: read,
			Consumers: []keyspace.Consumer{{Name: []byte("alice"), SeenMs: 11, ActiveMs: active1}, {Name: []byte("idle"), SeenMs: 22, ActiveMs: active2}},
			Pending: []keyspace.Pending{{ID: sid(100, 5), Consumer: []byte("alice"), DeliveryMs: 1234, DeliveryCount: 3},
				{ID: sid(102, 0), Consumer: []byte("alice"), DeliveryMs: 5678, DeliveryCount: 1}},
		}}}
	}
	counters := keyspace.StreamMeta{MaxDeletedID: sid(101, 5), EntriesAdded: 4, HasCounters: true}
	never := le64(math.MaxUint64)
	return []valueTest{
		{name: "stream", why: "deleted entries, entries with fields of their own between those of the master", rdbType: 15,
			raw: cat(length(1), node, meta1, group(nil, nil, nil)), want: want(keyspace.StreamMeta{}, -1, -1, -1)},
		{name: "stream 2", rdbType: 19, raw: cat(length(1), node, meta2, group(length(2), nil, nil)), want: want(counters, 2, -1, -1)},
		{name: "stream 3", why: "the number of entries read may be unknown, a consumer never active", rdbType: 21,
			raw: cat(length(1), node, meta2, group(length64(math.MaxUint64), le64(33), never)), want: want(counters, -1, 33, -1)},
		{name: "empty stream", rdbType: 21, raw: cat(length(0), length(0), length(7), length(3), length(0), length(0), length(7), length(3), length(1), length(0)),
			want: keyspace.Value{Type: keyspace.Stream, Meta: keyspace.StreamMeta{LastID: sid(7, 3), MaxDeletedID: sid(7, 3), EntriesAdded: 1, HasCounters: true}}},
	}
}

func magicOf(tt valueTest) (string, int) {
	if tt.rdbType == rdb.TypeValkeyHash2 {
		return "VALKEY080", 80
	}
	return "REDIS0012", 12
}

func TestValues(t *testing.T) {
	for _, tt := range valueTests() {
		t.Run(tt.name, func(t *testing.T) {
			magic, version := magicOf(tt)
			got, err := rdb.DecodeDump(rdb.AppendDump(nil, tt.rdbType, tt.raw, version))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("DecodeDump: %v\n got %.500v\nwant %.500v (%s)", err, got, tt.want, tt.why)
			}
			file := rdbFile(magic, entry(tt.rdbType, "before", tt.raw), entry(tt.rdbType, "key", tt.raw), entry(0, "after", str("v")))
			for maxValue := 1; maxValue < len(tt.raw) && len(tt.raw) < 300; maxValue++ { // the skip gives up at every byte
				checkStreamed(t, tt, rdb.NewReaderWindow(bytes.NewReader(file), rdb.Options{MaxValue: maxValue}, 1), fmt.Sprintf("MaxValue %d, window 1", maxValue), maxValue)
			}
			for _, o := range []rdb.Options{{MaxValue: 64 << 20}, {MaxValue: 1}, {MaxValue: max(1, len(tt.raw)-1)}} {
				for window := 1; window < 40; window += 3 {
					if len(tt.raw) > 100000 {
						break
					}
					checkStreamed(t, tt, rdb.NewReaderWindow(bytes.NewReader(file), o, window), fmt.Sprintf("MaxValue %d, window %d", o.MaxValue, window), o.MaxValue)
				}
				for name, src := range map[string]io.Reader{"whole": bytes.NewReader(file), "half reads": iotest.HalfReader(bytes.NewReader(file)), "one byte reads": iotest.OneByteReader(bytes.NewReader(file))} {
					checkStreamed(t, tt, rdb.NewReader(src, o), fmt.Sprintf("MaxValue %d, %s", o.MaxValue, name), o.MaxValue)
				}
			}
		})
	}
}

// checkStreamed leaves the first value unread, takes the second, and expects a third key behind it.
func checkStreamed(t *testing.T, tt valueTest, r *rdb.Reader, how string, maxValue int) {
	t.Helper()
	if _, err := r.Next(); err != nil {
		t.Fatalf("%s: first key: %v", how, err)
	}
	e, err := r.Next()
	if err != nil || string(e.Key) != "key" {
		t.Fatalf("%s: second key: %v", how, err)
	}
	if e.Big != (len(tt.raw) > maxValue) || e.Big != (e.Raw == nil) || !e.Big && !bytes.Equal(e.Raw, tt.raw) {
		t.Fatalf("%s: Big is %v with %d raw bytes", how, e.Big, len(e.Raw))
	}
	c := keyspace.Collector{V: keyspace.Value{Type: rdb.TypeOf(e.Type)}}
	if e.Big {
		err = r.Walk(&c)
	} else {
		err = rdb.WalkValue(e.Type, e.Raw, &c)
	}
	if err != nil || !reflect.DeepEqual(c.V, tt.want) {
		t.Fatalf("%s: %v\n got %.500v\nwant %.500v", how, err, c.V, tt.want)
	}
	if e, err := r.Next(); err != nil || string(e.Key) != "after" {
		t.Fatalf("%s: key behind the value: %v", how, err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Fatalf("%s: end: %v", how, err)
	}
}

func TestModuleName(t *testing.T) {
	if name, err := rdb.ModuleName(moduleRaw()); name != "ReJSON-RL" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
}

// TestStringPieces checks that a large string arrives in pieces that a caller can send on.
func TestStringPieces(t *testing.T) {
	var b strings.Builder
	for i := range 50000 {
		b.WriteString(strconv.Itoa(i))
	}
	want := b.String()
	for _, raw := range [][]byte{str(want), literalLZF([]byte(want))} {
		p := pieces{t: t}
		if err := rdb.WalkValue(0, raw, &p); err != nil {
			t.Fatal(err)
		}
		if string(p.all) != want || p.calls < 3 {
			t.Errorf("%d bytes in %d pieces", len(p.all), p.calls)
		}
	}
}

// TestCompressedStringPieces checks that compressed data can point back to what was handed out already.
func TestCompressedStringPieces(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	want := make([]byte, 0, 1<<20)
	var packed []byte
	for len(want) < 1<<20-300 {
		if len(want) == 0 || rnd.IntN(3) == 0 {
			n := 1 + rnd.IntN(32)
			packed = append(packed, byte(n-1))
			for range n {
				want = append(want, byte(rnd.Uint32()))
			}
			packed = append(packed, want[len(want)-n:]...)
			continue
		}
		back, n := 1+rnd.IntN(min(len(want), 1<<13)), 3+rnd.IntN(262)
		if rnd.IntN(3) == 0 {
			back = min(len(want), 1<<13)
		}
		if n < 9 {
			packed = append(packed, byte(n-2)<<5|byte((back-1)>>8), byte(back-1))
		} else {
			packed = append(packed, 7<<5|byte((back-1)>>8), byte(n-9), byte(back-1))
		}
		for range n {
			want = append(want, want[len(want)-back])
		}
	}
	raw := cat([]byte{0xc3}, length(len(packed)), length(len(want)), packed)
	p := pieces{t: t}
	if err := rdb.WalkValue(0, raw, &p); err != nil || !bytes.Equal(p.all, want) || p.calls < 10 {
		t.Errorf("%d bytes in %d pieces, %v; the same: %v", len(p.all), p.calls, err, bytes.Equal(p.all, want))
	}
	r := rdb.NewReader(iotest.HalfReader(bytes.NewReader(rdbFile("REDIS0009", entry(0, "k", raw)))), rdb.Options{MaxValue: 1000})
	if e, err := r.Next(); err != nil || !e.Big {
		t.Fatal(err)
	}
	p = pieces{t: t}
	if err := r.Walk(&p); err != nil || !bytes.Equal(p.all, want) {
		t.Errorf("%d bytes in %d pieces, %v; the same: %v", len(p.all), p.calls, err, bytes.Equal(p.all, want))
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
	for name, bad := range map[string][]byte{
		"a byte too few":   cat([]byte{0xc3}, length(len(packed)), length(len(want)+1), packed),
		"a byte too many":  cat([]byte{0xc3}, length(len(packed)), length(len(want)-1), packed),
		"before its start": cat([]byte{0xc3}, length(2002), length(1<<17), []byte{0, 'x', 0x20, 1}, make([]byte, 1998)),
		"cut in a step":    cat([]byte{0xc3}, length(2001), length(1+666*264+100), []byte{0, 'x'}, bytes.Repeat([]byte{0xe0, 0xff, 0}, 666), []byte{0xe0}),
	} {
		var f *rdb.FormatError
		if err := rdb.WalkValue(0, bad, &pieces{t: t}); !errors.As(err, &f) || !strings.Contains(f.Msg, "LZF") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type pieces struct {
	keyspace.Collector
	t     *testing.T
	all   []byte
	calls int
}

func (p *pieces) StringChunk(b []byte) error {
	if len(b) > 64<<10 {
		p.t.Errorf("a piece of %d bytes", len(b))
	}
	p.all = append(p.all, b...)
	p.calls++
	return nil
}
