//go:build servers

package migrator

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/rdb/fixtures"
)

// downPairs are the migrations to older servers: those between the images that every run has, and those of others that
// exist.
func downPairs() [][2]string {
	pairs := [][2]string{{"redis:8.0", "redis:7.0"}, {"redis:7.0", "redis:6.0"}, {"redis:8.0", "redis:6.0"},
		{"valkey/valkey:8.1", "redis:7.0"}, {"valkey/valkey:8.1", "redis:6.0"}, {"redis:8.0", "valkey/valkey:8.1"}}
	images := servers.Images()
	for _, p := range [][2]string{{"redis:7.4", "redis:7.2"}, {"redis:7.2", "redis:7.0"}, {"redis:7.0", "redis:6.2"}, {"redis:7.0", "redis:5.0"},
		{"redis:7.0", "redis:4.0"}, {"redis:7.0", "redis:3.2"}, {"redis:7.0", "redis:3.0"}, {"redis:7.0", "redis:2.8"},
		{"redis:8.0", "redis:2.8"}, {"redis:5.0", "redis:4.0"}} {
		if slices.Contains(images, p[0]) && slices.Contains(images, p[1]) {
			pairs = append(pairs, p)
		}
	}
	return pairs
}

// TestDown migrates every kind of value to an older server, in the snapshot by RESTORE alone and afterwards by copies.
// What the older one has no type for is reported, key by key.
func TestDown(t *testing.T) {
	for _, p := range downPairs() {
		t.Run(strings.NewReplacer("/", "-", ":", "-").Replace(p[0]+" to "+p[1]), func(t *testing.T) {
			source, target := servers.Standalone(t, p[0]), servers.Standalone(t, p[1])
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			fillDown(t, source, seed)
			u := urls{source.URL(), target.URL()}
			r := begin(t, u, t.TempDir(), nil)
			r.caughtUp()
			report := r.m.Report()
			addsUp(t, report)
			reported := map[string]bool{}
			for _, problem := range report.Problems {
				reported[strings.Trim(problem.Key, `"`)] = true
			}
			refused := cannotHold(t, source, target.Number())
			if got, want := slices.Sorted(maps.Keys(reported)), slices.Sorted(maps.Keys(refused)); !slices.Equal(got, want) {
				t.Errorf("reported %q,\nwant     %q", got, want)
			}
			wantNoCommands(t, target)
			for k := range refused {
				for _, db := range []int{0, 3} {
					c := source.Client(db)
					c.Do(t.Context(), endpoint.Arbitrary(c, "DEL", k))
				}
			}
			restored := restoreOnSource(t, source)
			r.caughtUp()
			poll(t, "copies", func() bool { return r.m.Report().Counters.CommandsRepaired >= int64(restored) })
			r.caughtUp()
			poll(t, "end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
			addsUp(t, r.stop())
			if n := target.Number(); n >= 50000 && n < 60000 { // it has streams, and no command that shows them whole
				equalDumps(t, source, target)
				return
			}
			equal(t, u, dataset.CompareOptions{NoFunctions: true})
		})
	}
}

// equalDumps compares what DUMP gives on both sides.
func equalDumps(t *testing.T, source, target *servers.Server) {
	t.Helper()
	for _, db := range []int{0, 3} {
		from, to := source.Client(db), target.Client(db)
		keys, err := from.Do(t.Context(), endpoint.Arbitrary(from, "KEYS", "*")).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := to.Do(t.Context(), endpoint.Arbitrary(to, "KEYS", "[^_]*")).AsStrSlice(); err != nil || len(n) != len(slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == "" })) {
			t.Errorf("database %d: %d keys, want %d, %v", db, len(n), len(keys), err)
		}
		for _, k := range keys {
			want, errSource := dumpOf(from, k)
			got, errTarget := dumpOf(to, k)
			if errSource != nil || errTarget != nil {
				t.Errorf("database %d, %q: %v, %v", db, k, errSource, errTarget)
				continue
			}
			fixtures.DropCounters(&want, &got)
			if d := fixtures.Diff(want, got); d != "" {
				t.Errorf("database %d, %q: %s", db, k, d)
			}
		}
	}
}

func dumpOf(c rueidis.Client, key string) (keyspace.Value, error) {
	payload, err := c.Do(context.Background(), endpoint.Arbitrary(c, "DUMP", key)).ToString()
	if err != nil {
		return keyspace.Value{}, err
	}
	return rdb.DecodeDump([]byte(payload))
}

func fillDown(t *testing.T, s *servers.Server, seed uint64) {
	t.Helper()
	side, err := dataset.Open(t.Context(), []string{s.Addr}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	if _, err := dataset.Fill(t.Context(), side, dataset.Options{Seed: seed, Keys: 2000, NoShortTTL: true, DBs: []int{0, 3}}); err != nil {
		t.Fatal(err)
	}
}

// cannotHold names the keys of the source that a target of this version has no type for; "" stands for its functions.
func cannotHold(t *testing.T, s *servers.Server, target int) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, db := range []int{0, 3} {
		c := s.Client(db)
		keys, err := c.Do(context.Background(), endpoint.Arbitrary(c, "KEYS", "*")).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			kind, _ := c.Do(context.Background(), endpoint.Arbitrary(c, "TYPE", k)).ToString()
			ttls, _ := c.Do(context.Background(), endpoint.Arbitrary(c, "HPTTL", k, "FIELDS", "6", "long", "field:1", "a", "b", "keep", "field:700")).AsIntSlice()
			expires := slices.ContainsFunc(ttls, func(n int64) bool { return n >= 0 })
			if kind == "stream" && target < 50000 || kind == "hash" && expires && target < 70400 {
				names[strings.Trim(keyspace.PrintableShort(k), `"`)] = true
			}
		}
	}
	if n, err := s.Do("FUNCTION", "LIST").ToArray(); err == nil && len(n) > 0 && target < 70000 {
		names[""] = true
	}
	return names
}

// wantNoCommands fails where a value was built by commands.
func wantNoCommands(t *testing.T, target *servers.Server) {
	t.Helper()
	info := target.Info("commandstats")
	for _, name := range []string{"rpush", "sadd", "zadd", "xadd", "append", "rename", "renamenx"} {
		_, text, _ := strings.Cut(info["cmdstat_"+name], "calls=")
		text, _, _ = strings.Cut(text, ",")
		if calls, _ := strconv.Atoi(text); calls > 2 { // what the target knows of a command is asked by it
			t.Errorf("%s was sent %d times", name, calls)
		}
	}
	if info["cmdstat_restore"] == "" {
		t.Error("RESTORE was not used")
	}
}

// restoreOnSource gives the stream payloads that an older target refuses, so that the keys are copied.
func restoreOnSource(t *testing.T, s *servers.Server) int {
	t.Helper()
	n := 0
	for _, k := range s.Must("KEYS", "k:*").([]any) {
		if s.Must("PTTL", k.(string)).(int64) != -1 { // it may be gone before it is dumped
			continue
		}
		s.Must("RESTORE", "copy:"+k.(string), "0", s.Must("DUMP", k.(string)).(string))
		n++
	}
	return n
}

// TestModuleValueOfOldTarget: servers before 6.2 end their process over a value of a module that they have not loaded.
func TestModuleValueOfOldTarget(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:8.0"), servers.Standalone(t, "redis:6.0")
	source.Must("VADD", "vectors", "VALUES", "3", "1", "2", "3", "a")
	source.Must("SET", "s", "v")
	u := urls{source.URL(), target.URL()}
	r := begin(t, u, t.TempDir(), nil)
	r.caughtUp()
	source.Must("VADD", "later", "VALUES", "3", "1", "2", "3", "a")
	poll(t, "report of both", func() bool { return len(r.m.Report().Problems) >= 2 })
	report := r.stop()
	addsUp(t, report)
	for i, want := range [][2]string{{"vectors", "module"}, {"later", "vector sets"}} {
		if p := report.Problems[i]; !strings.Contains(p.Key, want[0]) || !strings.Contains(p.Reason, want[1]) {
			t.Errorf("problem %d: %+v, want key %s", i, p, want)
		}
	}
	if report.Counters.CommandsReported != 1 || report.Counters.SnapshotReported != 1 {
		t.Errorf("%+v", report.Counters)
	}
	if target.Must("GET", "s") != "v" {
		t.Error("the other key did not arrive")
	}
}

// TestCompressedValueGrows: a value that is small in the snapshot and large in the target's encoding is written in chunks.
func TestCompressedValueGrows(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:8.0"), servers.Standalone(t, "redis:6.0")
	for i := range 300 {
		source.Must("RPUSH", "zeros", strings.Repeat("0", 5000), strconv.Itoa(i))
	}
	payload, err := source.Do("DUMP", "zeros").ToString()
	if err != nil || len(payload) > 200<<10 {
		t.Fatalf("the payload has %d bytes, %v", len(payload), err)
	}
	u := urls{source.URL(), target.URL()}
	r := begin(t, u, t.TempDir(), func(c *Config) { c.BigValue = 300 << 10 })
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, u, dataset.CompareOptions{})
	if target.Info("commandstats")["cmdstat_rpush"] == "" {
		t.Error("the value was not written in chunks")
	}
}

// TestAgesGoDown: idle times and frequencies travel on where RESTORE takes them (since 5.0).
func TestAgesGoDown(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"allkeys-lru", "allkeys-lfu"} {
		source := servers.Standalone(t, "redis:8.0", "--maxmemory-policy", policy)
		target := servers.Standalone(t, "redis:6.0", "--maxmemory-policy", policy)
		members := []string{"a", "b", "1"}
		dump := rdb.AppendDump(nil, rdb.TypeSet, append([]byte{3}, "\x01a\x01b\x011"...), 9)
		age := []string{"IDLETIME", "5000"}
		if policy == "allkeys-lfu" {
			age = []string{"FREQ", "77"}
		}
		source.Must(append([]string{"RESTORE", "aged", "0", string(dump)}, age...)...)
		r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), func(c *Config) { c.Mode = ModeFull })
		r.wait()
		if r.err != nil {
			t.Fatal(r.err)
		}
		if policy == "allkeys-lfu" {
			if freq := target.Must("OBJECT", "FREQ", "aged").(int64); freq != 77 {
				t.Errorf("frequency %d", freq)
			}
		} else if idle := target.Must("OBJECT", "IDLETIME", "aged").(int64); idle < 4990 || idle > 5200 {
			t.Errorf("idle time %d", idle)
		}
		if n := target.Must("SCARD", "aged").(int64); n != int64(len(members)) {
			t.Errorf("%d members", n)
		}
	}
}
