package scanner

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

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
		{"ev:01ARZ3NDEKTSV4RRFFQ69G5FAV:x", "ev:*:x", "a ULID"},
		{"tok:q7Zk29Pm41Xv83Lw", "tok:*", "an identifier in base 62"},
		{"tok:rq7Zkabm41XvhJ3LwYt+QmHb", "tok:*", "one in base 64"},
		{"userProfileCache2024Archive", "userProfileCache#Archive", "camel case with a number in it"},
		{"getUserProfileByIdFromCache", "getUserProfileByIdFromCache", "camel case"},
		{"sessionstore2024archive", "sessionstore#archive", "words with a number in them"},
		{"{user:1}:x", "{user:#}:x", "a hash tag"},
		{"k:" + strings.Repeat("x", 100), "k:" + strings.Repeat("x", keyspace.TemplatePart) + "*", "long parts are cut"},
		{"\x00\xff:1", "\x00\xff:#", "bytes"},
	}
	for _, tt := range tests {
		if got := string(keyspace.AppendTemplate(nil, []byte(tt.name), prefixDepth)); got != tt.want {
			t.Errorf("prefix of %q = %q, want %q (%s)", tt.name, got, tt.want, tt.why)
		}
	}
}

func FuzzPrefix(f *testing.F) {
	f.Add([]byte("user:1:550e8400-e29b-41d4-a716-446655440000"))
	f.Fuzz(func(t *testing.T, name []byte) {
		p := keyspace.AppendTemplate(nil, name, prefixDepth)
		if len(p) > (prefixDepth+1)*(keyspace.TemplatePart+2) {
			t.Fatalf("prefix of %d bytes", len(p))
		}
		for _, r := range keyspace.Printable(string(p)) {
			if r < 0x20 || r == 0x7f {
				t.Fatalf("printable left %q", r)
			}
		}
	})
}

func TestPrefixesStayBounded(t *testing.T) {
	ty := newTally(Config{Top: 10})
	for i := range 5 * prefixLimit {
		name := "rare" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/26/26%26)) + string(rune('a'+i/26/26/26%26))
		ty.add(&reading{name: []byte(name), typ: keyspace.String, bytes: 10, elements: 1, ttlMs: -1})
		ty.add(&reading{name: []byte("common:1"), typ: keyspace.String, bytes: 5, elements: 1, ttlMs: 1})
		if n := len(ty.prefixes.byName); n > 2*prefixLimit {
			t.Fatalf("%d prefixes are held", n)
		}
	}
	b := ty.result(Config{Prefixes: 20})
	checkSums(t, b)
	if len(b.ByPrefix) != 21 || b.ByPrefix[0].Name != "common:#" || b.ByPrefix[0].Keys != 5*prefixLimit || b.ByPrefix[20].Name != otherGroup {
		t.Errorf("%d prefixes, the first %+v, the last %+v", len(b.ByPrefix), b.ByPrefix[0], b.ByPrefix[len(b.ByPrefix)-1])
	}
	if len(b.Notes) != 1 {
		t.Errorf("notes %q, want one on prefixes folded away", b.Notes)
	}
}

// TestNamesStayBounded: there are as many names as slots, and of those that are written often, whatever their length.
func TestNamesStayBounded(t *testing.T) {
	ty, h := newTally(Config{Top: 1}), hitters{}
	long := []byte(strings.Repeat("x", 1<<16))
	for i := range 100 {
		name := append([]byte(fmt.Sprintf("{%d}", i)), long...)
		ty.add(&reading{name: name, typ: keyspace.String, bytes: 10, elements: 1, ttlMs: -1})
		h.add(0, name, 10)
	}
	h.add(0, []byte("short"), 10)
	held := 0
	for _, name := range ty.largest {
		held += cap(name)
	}
	if held > 100*2*shownName || len(h) != 1 {
		t.Errorf("%d bytes of names are held, and %d keys that are written", held, len(h))
	}
	if s := ty.result(Config{Prefixes: 1, TargetShards: 1}).TargetShards[0]; !strings.HasPrefix(s.LargestKey, "{") || len(s.LargestKey) != shownName {
		t.Errorf("the largest key is shown as %.20q... of %d bytes", s.LargestKey, len(s.LargestKey))
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
		top := newTopKeys(50, rankings[0])
		for _, r := range all {
			top.add(&r, 0, "n")
			top.add(&r, 0, "n") // SCAN may give a key twice
		}
		lists[i] = top.sorted()
	}
	if !slices.EqualFunc(lists[0], lists[1], func(a, b topKey) bool { return a.compare(b) == 0 }) {
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
		k := topKey{reading: r, name: keepName(r.name), rank: r.bytes, node: "n"}
		if k.compare(smallest) < 0 && !slices.ContainsFunc(lists[0], func(o topKey) bool { return k.compare(o) == 0 }) {
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
		memory    int64
		want      []string
	}{
		{name: "small", why: "no verdict without evidence", key: reading{bytes: 1000, elements: 1, ttlMs: -1}},
		{name: "packed", why: "32 MiB are dumped in 84 ms", key: reading{bytes: 32 * mib, encoding: "quicklist", elements: 1_000_000, ttlMs: 1}},
		{name: "bytes", why: "64 MiB are not", key: reading{bytes: 64 * mib, encoding: "raw", elements: 1, ttlMs: 1}, want: []string{"DUMP blocks the source for about 170ms (64.0 MiB"}},
		{name: "forever", why: "and it never goes away", key: reading{bytes: 65 * mib, ttlMs: -1}, want: []string{"DUMP blocks", "never expires"}},
		{name: "strings", why: "each takes its time", key: reading{bytes: 20 * mib, encoding: "hashtable", elements: 150_000, ttlMs: 1}, want: []string{"DUMP blocks the source for about 170ms (20.0 MiB in 150000 elements"}},
		{name: "many elements", why: "DEL frees each", key: reading{bytes: mib, elements: 1_000_001, ttlMs: 1}, want: []string{"DUMP blocks", "DEL blocks a server for about 500ms (1000001 elements"}},
		{name: "payload", why: "RESTORE takes one argument", key: reading{bytes: 513 * mib, serialized: 513 * mib, elements: 3, ttlMs: 1}, want: []string{"a payload of 513.0 MiB exceeds proto-max-bulk-len", "DUMP blocks"}},
		{name: "string", why: "SET too", key: reading{typ: keyspace.String, bytes: 514 * mib, length: 513 * mib, ttlMs: 1}, want: []string{"a string of 513.0 MiB exceeds proto-max-bulk-len", "DUMP blocks"}},
		{name: "share", why: "a cluster spreads slots, not keys", key: reading{bytes: 30 * mib, ttlMs: 1}, others: 200, want: []string{"13.0 % of all bytes"}},
		{name: "few keys", why: "shares say nothing", key: reading{bytes: 30 * mib, ttlMs: 1}, others: 50},
		{name: "slot", why: "the heaviest of a heavy slot", key: reading{bytes: 5 * mib, ttlMs: 1}, others: 200, want: []string{"100.0 % of slot 866, which holds 2.4 % of all bytes"}},
		{name: "no share", why: "an even one", key: reading{bytes: mib, ttlMs: 1}, others: 200},
		{name: "target", why: "a shard is not for one key", key: reading{bytes: 11 * mib, ttlMs: 1}, memory: 100 * mib, want: []string{"11.0 % of the memory of one shard of the target"}},
		{name: "target has room", why: "a tenth is allowed", key: reading{bytes: 10 * mib, ttlMs: 1}, memory: 100 * mib},
	}
	for _, tt := range tests {
		o := Config{Top: 1000, Prefixes: 10, Block: 100 * time.Millisecond, TargetMemory: tt.memory, TargetShare: 10}
		ty := newTally(o)
		if tt.key.name = []byte("bar{hello}"); tt.key.typ == keyspace.None {
			tt.key.typ = keyspace.Hash
		}
		ty.add(&tt.key)
		for i := range tt.others {
			ty.add(&reading{name: fmt.Appendf(nil, "other%d", i), typ: keyspace.Hash, bytes: mib, ttlMs: 1})
		}
		var got []string
		for _, k := range ty.result(o).Top {
			if len(k.Risks) != len(k.Remedies) {
				t.Errorf("%s: %d risks, %d remedies", tt.name, len(k.Risks), len(k.Remedies))
			}
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

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	bad := Config{Samples: -1, Rate: -1, DBs: []int{-1}, ReadFrom: "x", Cutover: -1, Block: -1, TargetMemory: -1}
	err := bad.Validate()
	for _, name := range []string{"Config.Top", "Config.Prefixes", "Config.Samples", "Config.Rate", "Config.DBs", "Config.ReadFrom",
		"Config.Cutover", "Config.Block", "Config.TargetMemory", "Config.TargetShare", "Config.CopyRate"} {
		if err == nil || !strings.Contains(err.Error(), name+" ") {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

func TestTargetShards(t *testing.T) {
	o := Config{Top: 10, Prefixes: 10, TargetShards: 3, TargetMemory: 10_000, TargetShare: 100}
	ty := newTally(o)
	for i := range 300 {
		ty.add(&reading{name: fmt.Appendf(nil, "key:%d", i), typ: keyspace.Hash, bytes: 50, ttlMs: -1})
	}
	ty.add(&reading{name: []byte("bar{hello}"), typ: keyspace.Hash, bytes: 9_000, ttlMs: -1}) // slot 866
	b := ty.result(o)
	checkSums(t, b)
	var spans []string
	for _, s := range b.TargetShards {
		spans = append(spans, fmt.Sprintf("%d-%d", s.FirstSlot, s.LastSlot))
	}
	if got := strings.Join(spans, " "); got != "0-5460 5461-10922 10923-16383" {
		t.Errorf("slots of three shards: %s", got)
	}
	first := b.TargetShards[0]
	if first.LargestKey != "bar{hello}" || !strings.Contains(first.Risk, "more than the 9.8 KiB of a shard") || !strings.Contains(first.Remedy, "its largest key alone has") {
		t.Errorf("the full shard: %+v", first)
	}
	if second := b.TargetShards[1]; second.Risk != "" || second.Load > 1 {
		t.Errorf("a shard with room: %+v", second)
	}
	o.TargetMemory = 0
	if s := ty.shards(o)[0]; !strings.Contains(s.Risk, "times the mean") {
		t.Errorf("a skewed shard: %+v", s)
	}
}

func TestTallyMerges(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	o := DefaultConfig()
	o.Top, o.TargetShards = 20, 4
	whole, parts := newTally(o), []*tally{newTally(o), newTally(o)}
	for i := range 3000 {
		r := reading{db: i % 3, name: fmt.Appendf(nil, "p%d:%d", i%7, i), typ: keyspace.Type(1 + i%6), encoding: []string{"raw", "listpack"}[i%2], bytes: rnd.Int64N(1e6), serialized: rnd.Int64N(1e6), elements: rnd.Int64N(50), largest: rnd.Int64N(5000), ttlMs: rnd.Int64N(1e9) - 5e8}
		part := parts[rnd.IntN(2)]
		whole.from(fmt.Sprint(i % 2))
		part.from(fmt.Sprint(i % 2))
		whole.add(&r)
		part.add(&r)
	}
	parts[0].merge(parts[1])
	want, got := whole.result(o), parts[0].result(o)
	checkSums(t, got)
	if !reflect.DeepEqual(want, got) {
		t.Errorf("merged: %+v\nat once: %+v", got.Totals, want.Totals)
	}
}

func TestBufferReckons(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name, setting     string
		rate, snapshot    int64
		needed            int64
		risk, remedy, why string
	}{
		{name: "idle", setting: "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", snapshot: 10 << 30, why: "nothing is written"},
		{name: "fits", setting: "normal 0 0 0 replica 268435456 0 0", rate: mib, snapshot: 100 * mib, needed: 10 * mib, why: "10 s at 1 MiB/s"},
		{name: "hard", setting: "normal 0 0 0 replica 268435456 0 0", rate: 10 * mib, snapshot: 1000 * mib, needed: 1000 * mib, risk: "needs an output buffer of 1000.0 MiB, which is over the hard limit of 256.0 MiB", remedy: "slave 1572864000 0 0", why: "100 s at 10 MiB/s"},
		{name: "soft", setting: "slave 0 67108864 60", rate: 2 * mib, snapshot: 1000 * mib, needed: 200 * mib, risk: "the soft limit of 64.0 MiB for more than 60 s", remedy: "slave", why: "over it from second 32 to 100"},
		{name: "soft, not for long", setting: "slave 0 67108864 90", rate: 2 * mib, snapshot: 1000 * mib, needed: 200 * mib, why: "68 s only"},
		{name: "no limit", setting: "slave 0 0 0", rate: 100 * mib, snapshot: 1000 * mib, needed: 10000 * mib, why: "never cut off"},
		{name: "not told", rate: 10 * mib, snapshot: 1000 * mib, needed: 1000 * mib, risk: "the default; the server does not report its setting", remedy: "slave", why: "CONFIG is refused"},
	}
	for _, tt := range tests {
		b := Buffer{WriteRate: tt.rate, Snapshot: tt.snapshot, CopyRate: 10 * mib}
		b.reckon(tt.setting)
		if b.Needed != tt.needed || (b.Risk == "") != (tt.risk == "") || !strings.Contains(b.Risk, tt.risk) || !strings.Contains(b.Remedy, tt.remedy) {
			t.Errorf("%s: %+v; want %d needed, risk %q (%s)", tt.name, b, tt.needed, tt.risk, tt.why)
		}
	}
}
