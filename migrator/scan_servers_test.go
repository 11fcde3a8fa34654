//go:build servers

package migrator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/reread"
)

// closedReplication is a server as some services offer it.
var closedReplication = []string{"--rename-command", "PSYNC", "", "--rename-command", "SYNC", "", "--rename-command", "REPLCONF", ""}

// TestScan copies sources that cannot be replicated, and what has changed since.
func TestScan(t *testing.T) {
	for _, c := range []struct {
		name, why string
		source    func(t *testing.T) *servers.Server
		target    func(t *testing.T) *servers.Server
		dbs       []int
	}{
		{"standalone", "an older source, several databases",
			func(t *testing.T) *servers.Server { return servers.Standalone(t, "redis:6.0", closedReplication...) },
			func(t *testing.T) *servers.Server { return servers.Standalone(t, "redis:8.0") }, []int{0, 3}},
		{"cluster", "several shards, functions, an older target",
			func(t *testing.T) *servers.Server { return servers.Cluster(t, "redis:8.0", 3, 0)[0] },
			func(t *testing.T) *servers.Server { return servers.Cluster(t, "redis:8.0", 2, 0)[0] }, []int{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			source, target := c.source(t), c.target(t)
			side, err := dataset.Open(t.Context(), []string{source.Addr}, "")
			if err != nil {
				t.Fatal(err)
			}
			defer side.Close()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			if _, err := dataset.Fill(t.Context(), side, dataset.Options{Seed: seed, Keys: 2000, DBs: c.dbs, BigKeys: 1, BigElements: 3000}); err != nil {
				t.Fatal(err)
			}
			u, state := urls{source.URL(), target.URL()}, t.TempDir()
			scans := func(cfg *Config) { cfg.Capture, cfg.BigValue = CaptureScan, 64<<10 }
			killed := begin(t, u, state, func(cfg *Config) { scans(cfg); cfg.RateOps = 2000 })
			poll(t, "progress", func() bool { return killed.m.Report().Counters.SnapshotKeys > 100 })
			killed.abort()

			r := begin(t, u, state, scans)
			<-r.ended
			if r.err != nil {
				t.Fatal(r.err)
			}
			report := r.m.Report()
			addsUp(t, report)
			if report.Level != "repaired" || report.State != "done" || len(report.Problems) > 0 {
				t.Errorf("level %s, state %s, problems %v", report.Level, report.State, report.Problems)
			}
			equal(t, u, dataset.CompareOptions{})

			cmd := func(args ...string) {
				t.Helper()
				client := r.sides.Source
				n, _ := client.PrimaryOf(keyspace.Slot(args[1]))
				conn, err := client.Client(t.Context(), n.Addr, 0)
				if err != nil {
					t.Fatal(err)
				}
				if err := conn.Do(t.Context(), endpoint.Arbitrary(conn, args...)).Error(); err != nil {
					t.Fatal(err)
				}
			}
			cmd("SET", "changed", "1", "PX", "900000")
			cmd("SET", "added", "1")
			outdated := []Outdated{{Key: keyspace.Key{Name: "changed"}}, {Key: keyspace.Key{Name: "added"}}}
			copied, err := r.m.CopyAgain(t.Context(), outdated)
			if err != nil || copied != (Recopied{Copied: 2}) {
				t.Errorf("%+v, %v", copied, err)
			}
			equal(t, u, dataset.CompareOptions{})
			cmd("DEL", "added")
			cmd("SET", "changed", "2")
			outdated[1].Extra = true
			if copied, err = r.m.CopyAgain(t.Context(), outdated); err != nil || copied != (Recopied{Copied: 1, Deleted: 1}) {
				t.Errorf("%+v, %v", copied, err)
			}
			equal(t, u, dataset.CompareOptions{})
			if err := r.m.Forget(context.Background()); err != nil {
				t.Fatal(err)
			}
			if n := own(t, target); len(n) > 0 {
				t.Errorf("left behind: %s", strings.Join(n, " "))
			}
		})
	}
}

// TestScanWithoutDump copies sources that refuse DUMP as well: all types, in pieces and at once, and what has changed since.
func TestScanWithoutDump(t *testing.T) {
	withoutDump := append(slices.Clone(closedReplication), "--rename-command", "DUMP", "")
	for _, c := range []struct{ name, source, target string }{
		{"fields that expire", "redis:8.0", "redis:8.0"}, {"before 7.0", "redis:6.0", "redis:7.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			source, target := servers.Standalone(t, c.source, withoutDump...), servers.Standalone(t, c.target)
			side, err := dataset.Open(t.Context(), []string{source.Addr}, "")
			if err != nil {
				t.Fatal(err)
			}
			defer side.Close()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			if _, err := dataset.Fill(t.Context(), side, dataset.Options{Seed: seed, Keys: 1000, DBs: []int{0, 3}, BigKeys: 1, BigElements: 3000}); err != nil {
				t.Fatal(err)
			}
			for _, db := range []int{0, 3} { // no command makes a pending entry of a message that was deleted
				client := source.Client(db)
				for _, args := range [][]string{{"XACK", "k:stream:emptied", "g", "7-7"}, {"XACK", "k:stream:groups", "workers", "1001-1", "1002-3"},
					{"ZREM", "k:zset:scores", "negative zero"}} { // 7.0 and later keep -0 as 0
					if n, err := client.Do(t.Context(), endpoint.Arbitrary(client, args...)).AsInt64(); err != nil || n == 0 {
						t.Fatalf("%v: %d, %v", args, n, err)
					}
				}
			}
			// a stream that is full to its last ID, in whole pages: what comes behind it is not its beginning
			source.Must("EVAL", `for i=1,ARGV[1]-1 do redis.call('XADD',KEYS[1],i..'-1','f','v') end
				redis.call('XADD',KEYS[1],'18446744073709551615-18446744073709551615','f','v')`, "1", "stream:used up", fmt.Sprint(reread.PageElements))
			u := urls{source.URL(), target.URL()}
			r := begin(t, u, t.TempDir(), func(cfg *Config) { cfg.Capture = CaptureScan })
			<-r.ended
			if r.err != nil {
				t.Fatal(r.err)
			}
			report := r.m.Report()
			addsUp(t, report)
			if report.State != "done" || len(report.Problems) > 0 {
				t.Errorf("state %s, problems %v", report.State, report.Problems)
			}
			for _, db := range []int{0, 3} { // when its messages were delivered is known to about 1 ms
				const key = "k:stream:groups"
				var got [2]string
				for i, s := range []*servers.Server{source, target} {
					client := s.Client(db)
					pending, err := client.Do(t.Context(), endpoint.Arbitrary(client, "XPENDING", key, "workers")).ToAny()
					if err != nil {
						t.Fatal(err)
					}
					got[i] = fmt.Sprint(pending)
					if err := client.Do(t.Context(), endpoint.Arbitrary(client, "DEL", key)).Error(); err != nil {
						t.Fatal(err)
					}
				}
				if got[0] != got[1] || !strings.Contains(got[0], "alice") {
					t.Errorf("pending in database %d: %s on the source, %s on the target", db, got[0], got[1])
				}
			}
			equal(t, u, dataset.CompareOptions{})

			source.Must("RPUSH", "changed", "1", "2")
			source.Must("DEL", "k:str:raw")
			source.Must("XADD", "changed:stream", "*", "f", "v")
			source.Must("DEL", "k:zset:small")
			source.Must("SET", "k:zset:small", "a string now")
			outdated := []Outdated{{Key: keyspace.Key{Name: "changed"}}, {Key: keyspace.Key{Name: "k:str:raw"}}, {Key: keyspace.Key{Name: "changed:stream"}}, {Key: keyspace.Key{Name: "k:zset:small"}}}
			copied, err := r.m.CopyAgain(t.Context(), outdated)
			if err != nil || copied != (Recopied{Copied: 3, Deleted: 1}) {
				t.Errorf("%+v, %v", copied, err)
			}
			equal(t, u, dataset.CompareOptions{})
		})
	}
}

// TestFieldExpiriesWithoutDump: that one key's slot is another node's, and that a user may not ask, says nothing of whether fields expire.
func TestFieldExpiriesWithoutDump(t *testing.T) {
	withoutDump := append(slices.Clone(closedReplication), "--rename-command", "DUMP", "")
	scan := func(t *testing.T, u urls) *run {
		r := begin(t, u, t.TempDir(), func(cfg *Config) { cfg.Capture = CaptureScan })
		<-r.ended
		return r
	}
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		source, target := servers.Cluster(t, "redis:8.0", 3, 0, withoutDump...), servers.Standalone(t, "redis:8.0")
		u := urls{source[0].URL(), target.URL()}
		for _, s := range source {
			made := false
			for i := 0; !made; i++ { // the node has a slot of one of these names
				name := fmt.Sprint("h:", i)
				made = s.Do("HSET", name, "f", "v", "g", "w").Error() == nil
				if made {
					s.Must("HPEXPIRE", name, "900000", "FIELDS", "1", "f")
				}
			}
		}
		if r := scan(t, u); r.err != nil {
			t.Fatal(r.err)
		}
		equal(t, u, dataset.CompareOptions{})
	})
	for name, args := range map[string][]string{"forbidden": nil, "renamed": {"--rename-command", "HPEXPIRETIME", ""}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, target := servers.Standalone(t, "redis:8.0", slices.Concat(withoutDump, args)...), servers.Standalone(t, "redis:8.0")
			source.Must("HSET", "h", "f", "v")
			source.Must("HPEXPIRE", "h", "900000", "FIELDS", "1", "f")
			source.Must("ACL", "SETUSER", "scanner", "on", ">pw", "~*", "&*", "+@all")
			if args == nil {
				source.Must("ACL", "SETUSER", "scanner", "-hpexpiretime")
			}
			r := scan(t, urls{strings.Replace(source.URL(), "redis://", "redis://scanner:pw@", 1), target.URL()})
			if r.err == nil || !strings.Contains(strings.ToLower(r.err.Error()), "hpexpiretime") {
				t.Errorf("ended with %v, though the expiry of a field is not known", r.err)
			}
		})
	}
}

// TestScanKeepsForeign deletes nothing on a target that held keys before.
func TestScanKeepsForeign(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	source.Must("SET", "a", "1")
	target.Must("SET", "foreign", "1")
	r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), func(c *Config) { c.Capture, c.OnExisting = CaptureScan, ExistingReplace })
	<-r.ended
	copied, err := r.m.CopyAgain(t.Context(), []Outdated{{Key: keyspace.Key{Name: "foreign"}, Extra: true}})
	if err != nil || copied != (Recopied{Left: 1}) || target.Must("EXISTS", "foreign") != int64(1) {
		t.Errorf("%+v, %v", copied, err)
	}
}

// TestWatch copies keys as the source tells of them, by either kind of channel.
func TestWatch(t *testing.T) {
	for _, flags := range []string{"AE", "AK", "E"} {
		t.Run(flags, func(t *testing.T) {
			t.Parallel()
			source := servers.Standalone(t, "redis:7.0", append([]string{"--notify-keyspace-events", flags}, closedReplication...)...)
			target := servers.Standalone(t, "redis:7.0")
			r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), func(c *Config) { c.Capture = CaptureScan })
			<-r.ended
			w, err := r.m.Watch(t.Context())
			if flags == "E" {
				if err == nil || !strings.Contains(err.Error(), "notify-keyspace-events") {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			poll(t, "subscription", func() bool {
				source.Must("SET", "probe", "1")
				return w.Seen() > 0
			})
			poll(t, "copied probe", func() bool { return target.Must("EXISTS", "probe") == int64(1) })
			source.Must("SET", "a", "1")
			poll(t, "copied key", func() bool { return target.Must("EXISTS", "a") == int64(1) })
			seen := w.Seen()
			source.Must("RENAME", "a", "b")
			poll(t, "renamed key", func() bool { return target.Must("EXISTS", "b") == int64(1) && target.Must("EXISTS", "a") == int64(0) })
			poll(t, "counted copies", func() bool { return w.Seen() > seen && w.Copied() >= 3 })
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestScanReturnsAKeyTwice: a server does so while it resizes its table of keys. The key is not taken for one of the target's own.
func TestScanReturnsAKeyTwice(t *testing.T) {
	t.Parallel()
	source, target := endpointtest.Serve(t, "7.0.15"), servers.Standalone(t, "redis:7.0")
	for _, k := range []string{"a", "b", "c"} {
		source.Put(k, &keyspace.Value{Type: keyspace.String, Str: []byte(k)})
	}
	page := func(cursor string, names ...string) string {
		text := fmt.Sprintf("*2\r\n$%d\r\n%s\r\n*%d\r\n", len(cursor), cursor, len(names))
		for _, n := range names {
			text += fmt.Sprintf("$%d\r\n%s\r\n", len(n), n)
		}
		return text
	}
	source.Once("SCAN", page("7", "a", "b"), page("9", "b", "c"), page("0", "a"))
	r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), func(cfg *Config) { cfg.Capture = CaptureScan })
	<-r.ended
	if r.err != nil {
		t.Fatal(r.err)
	}
	if report := r.m.Report(); report.State != "done" || len(report.Problems) > 0 {
		t.Errorf("state %s, problems %v", report.State, report.Problems)
	}
	for _, k := range []string{"a", "b", "c"} {
		if got := target.Must("GET", k); got != k {
			t.Errorf("%s: %v", k, got)
		}
	}
}
