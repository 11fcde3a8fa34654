package scanner

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"surecut/internal/keyspace"
)

func TestPrefix(t *testing.T) {
	tests := []struct{ name, want, why string }{
		{"", "", "an empty name is legal"},
		{"counter", "counter", "one part"},
		{"user:1234", "user:#", "a number"},
		{"user:1234:name", "user:#:name", "three parts are kept"},
		{"user:1:2:3:4", "user:#:#:*", "deeper ones are not"},
		{"user:1:2:", "user:#:#:*", "an empty part is one"},
		{"item42b7", "item#b#", "digits within a part"},
		{"a.b/c|d", "a.b/c|*", "other separators"},
		{"sess:550e8400-e29b-41d4-a716-446655440000", "sess:*", "a UUID is one part though it holds dashes"},
		{"sess:550e8400-e29b-41d4-a716-446655440000:data", "sess:*:data", "and may be in the middle"},
		{"sess:550e8400-e29b-41d4-a716-4466554400001", "sess:*-e#b-*", "one digit too many is none"},
		{"tok:deadbeef01", "tok:*", "a hexadecimal number"},
		{"tok:facade", "tok:facade", "a word of hexadecimal digits"},
		{"tok:12345678", "tok:#", "a decimal number is that first"},
		{"{user:1}:x", "{user:#}:x", "a hash tag"},
		{"k:" + strings.Repeat("x", 100), "k:" + strings.Repeat("x", prefixPart) + "*", "long parts are cut"},
		{"\x00\xff:1", "\x00\xff:#", "bytes"},
	}
	for _, tt := range tests {
		if got := string(appendPrefix(nil, []byte(tt.name))); got != tt.want {
			t.Errorf("prefix of %q = %q, want %q (%s)", tt.name, got, tt.want, tt.why)
		}
	}
}

func FuzzPrefix(f *testing.F) {
	f.Add([]byte("user:1:550e8400-e29b-41d4-a716-446655440000"))
	f.Fuzz(func(t *testing.T, name []byte) {
		p := appendPrefix(nil, name)
		if len(p) > (prefixDepth+1)*(prefixPart+2) {
			t.Fatalf("prefix of %d bytes", len(p))
		}
		for _, r := range printable(string(p)) {
			if r < 0x20 || r == 0x7f {
				t.Fatalf("printable left %q", r)
			}
		}
	})
}

func TestPrefixesStayBounded(t *testing.T) {
	ty := newTally(Options{Top: 10})
	for i := range 5 * prefixLimit {
		name := "rare" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/26/26%26)) + string(rune('a'+i/26/26/26%26))
		ty.add(reading{name: []byte(name), typ: keyspace.String, bytes: 10, elements: 1, ttlMs: -1})
		ty.add(reading{name: []byte("common:1"), typ: keyspace.String, bytes: 5, elements: 1, ttlMs: 1})
		if n := len(ty.prefixes.byName); n > 2*prefixLimit {
			t.Fatalf("%d prefixes are held", n)
		}
	}
	b := ty.result(Options{Prefixes: 20})
	checkSums(t, b)
	if len(b.ByPrefix) != 21 || b.ByPrefix[0].Name != "common:#" || b.ByPrefix[0].Keys != 5*prefixLimit || b.ByPrefix[20].Name != otherGroup {
		t.Errorf("%d prefixes, the first %+v, the last %+v", len(b.ByPrefix), b.ByPrefix[0], b.ByPrefix[len(b.ByPrefix)-1])
	}
	if len(b.Notes) != 1 {
		t.Errorf("notes %q, want one on prefixes folded away", b.Notes)
	}
}

func TestTopKeys(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var all []reading
	for i := range 2000 {
		all = append(all, reading{db: i % 2, name: fmt.Appendf(nil, "k%d", i/2), typ: keyspace.Set, bytes: rnd.Int64N(300), elements: rnd.Int64N(3)})
	}
	var lists [2][]topKey
	for i := range lists {
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		top := newTopKeys(50)
		for _, r := range all {
			top.add(r, 0)
			top.add(r, 0) // SCAN may give a key twice
		}
		lists[i] = top.sorted()
	}
	if !slices.Equal(lists[0], lists[1]) {
		t.Error("the list depends on the order of the scan")
	}
	if len(lists[0]) != 50 || !slices.IsSortedFunc(lists[0], topKey.compare) {
		t.Errorf("%d keys, sorted %v", len(lists[0]), slices.IsSortedFunc(lists[0], topKey.compare))
	}
	seen := map[string]bool{}
	for _, k := range lists[0] {
		id := fmt.Sprint(k.db, k.name)
		if seen[id] {
			t.Errorf("%s is listed twice", id)
		}
		seen[id] = true
	}
	smallest := lists[0][49]
	for _, r := range all {
		k := topKey{db: r.db, name: string(r.name), typ: r.typ, bytes: r.bytes, elements: r.elements}
		if k.compare(smallest) < 0 && !slices.Contains(lists[0], k) {
			t.Fatalf("%+v is larger than the last one listed, and is not listed", k)
		}
	}
}

func TestRisks(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name, why string
		key       reading
		others    int // keys of 1 MiB beside it
		want      []string
	}{
		{name: "small", why: "no verdict without evidence", key: reading{bytes: 1000, elements: 1, ttlMs: -1}},
		{name: "64 MiB", why: "the limit itself is allowed", key: reading{bytes: 64 * mib, elements: 1, ttlMs: 1}},
		{name: "over 64 MiB", why: "blocks", key: reading{bytes: 65 * mib, elements: 10, ttlMs: 1}, want: []string{"65.0 MiB: blocks the source"}},
		{name: "forever", why: "and it never goes away", key: reading{bytes: 65 * mib, ttlMs: -1}, want: []string{"blocks", "never expires"}},
		{name: "many elements", why: "time goes by element", key: reading{bytes: mib, elements: 1_000_001, ttlMs: 1}, want: []string{"1000001 elements"}},
		{name: "both", why: "one sentence", key: reading{bytes: 65 * mib, elements: 2_000_000, ttlMs: 1}, want: []string{"65.0 MiB in 2000000 elements"}},
		{name: "payload", why: "RESTORE takes one argument", key: reading{bytes: 513 * mib, elements: 3, ttlMs: 1}, want: []string{"takes 513.0 MiB", "blocks"}},
		{name: "string", why: "SET too", key: reading{typ: keyspace.String, bytes: 514 * mib, length: 513 * mib, ttlMs: 1}, want: []string{"a string of 513.0 MiB is over proto-max-bulk-len", "blocks"}},
		{name: "share", why: "a cluster spreads slots, not keys", key: reading{bytes: 50 * mib, ttlMs: 1}, others: 200, want: []string{"20.0 % of all bytes"}},
		{name: "few keys", why: "shares say nothing", key: reading{bytes: 50 * mib, ttlMs: 1}, others: 50},
		{name: "slot", why: "the heaviest of a heavy slot", key: reading{bytes: 5 * mib, ttlMs: 1}, others: 200, want: []string{"100.0 % of slot 866, which holds 2.4 % of all bytes"}},
		{name: "no share", why: "an even one", key: reading{bytes: mib, ttlMs: 1}, others: 200},
	}
	for _, tt := range tests {
		ty := newTally(Options{Top: 1000})
		if tt.key.name = []byte("bar{hello}"); tt.key.typ == keyspace.None {
			tt.key.typ = keyspace.Hash
		}
		ty.add(tt.key)
		for i := range tt.others {
			ty.add(reading{name: fmt.Appendf(nil, "other%d", i), typ: keyspace.Hash, bytes: mib, ttlMs: 1})
		}
		var got []string
		for _, k := range ty.result(Options{Prefixes: 10}).Top {
			if k.Key == "bar{hello}" {
				got = k.Risks
			}
		}
		ok := len(got) == len(tt.want)
		for i := range min(len(got), len(tt.want)) {
			ok = ok && strings.Contains(got[i], tt.want[i])
		}
		if !ok {
			t.Errorf("%s: risks %q, want %q (%s)", tt.name, got, tt.want, tt.why)
		}
	}
}

func TestPrintable(t *testing.T) {
	tests := []struct{ name, want string }{
		{"plain key", "plain key"},
		{"grün✓", "grün✓"},
		{"a\x00\x1b[31m\n\x7f", `a\x00\x1b[31m\x0a\x7f`},
		{"\xff\xfe", `\xff\xfe`},
		{`back\slash`, `back\\slash`},
		{"right\u202eleft", `right\u202eleft`},
	}
	for _, tt := range tests {
		if got := printable(tt.name); got != tt.want {
			t.Errorf("printable(%q) = %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestOptionsValidate(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	bad := Options{Top: 0, Prefixes: 0, Samples: -1, Rate: -1, DBs: []int{-1}, ReadFrom: "x"}
	err := bad.Validate()
	for _, name := range []string{"top", "prefixes", "samples", "rate", "db", "read-from"} {
		if err == nil || !strings.Contains(err.Error(), name+" is") {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}
