//go:build servers

package migrator

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/rdb/fixtures"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// writer of an AOF, in a form that its image knows.
func aofServer(t *testing.T, image string, args ...string) *servers.Server {
	return servers.Standalone(t, image, append([]string{"--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"}, args...)...)
}

// rewrite makes the server begin its AOF anew, with an RDB or commands as its base.
func rewrite(t *testing.T, s *servers.Server) {
	t.Helper()
	s.Must("BGREWRITEAOF")
	poll(t, "rewritten AOF", func() bool {
		info := s.Info("persistence")
		return info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0"
	})
}

// aofOf names the AOF below a copied data directory.
func aofOf(dir string) string { return "aof:" + filepath.Join(dir, "appendonly.aof") }

func dataOf(t *testing.T, s *servers.Server) string {
	dir := t.TempDir()
	s.CopyData(dir)
	return dir
}

func (r *run) done() Report {
	r.t.Helper()
	r.wait()
	if r.err != nil {
		r.t.Fatal(r.err)
	}
	report := r.m.Report()
	if report.State != "done" {
		r.t.Fatalf("state %q", report.State)
	}
	addsUp(r.t, report)
	return report
}

// TestAOF loads what real servers have written, and compares with the server that wrote it.
func TestAOF(t *testing.T) {
	cases := []struct {
		image, why string
		args       []string
	}{
		{"redis:6.0", "one file with an RDB before the commands", nil},
		{"redis:6.0", "one file of commands", []string{"--aof-use-rdb-preamble", "no"}},
		{"redis:7.0", "a directory", nil},
		{"redis:7.0", "a directory whose base is commands, with annotations", []string{"--aof-use-rdb-preamble", "no", "--aof-timestamp-enabled", "yes"}},
		{"redis:8.0", "a directory", nil},
		{"valkey/valkey:8.1", "a directory", nil},
	}
	for _, c := range cases {
		t.Run(strings.NewReplacer("/", "-", ":", "-", " ", "-").Replace(c.image+" "+c.why), func(t *testing.T) {
			servers.Require(t, c.image)
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			source := aofServer(t, c.image, c.args...)
			side, err := dataset.Open(t.Context(), []string{source.Addr}, "")
			if err != nil {
				t.Fatal(err)
			}
			defer side.Close()
			if _, err := dataset.Fill(t.Context(), side, dataset.Options{Seed: seed, Keys: 300, DBs: []int{0, 3}}); err != nil {
				t.Fatal(err)
			}
			rewrite(t, source)
			traffic := dataset.StartTraffic(t.Context(), side, dataset.TrafficOptions{Seed: seed, MaxWrites: 4000, DBs: []int{0, 3}, BulkKeys: 300, KeepPending: true})
			poll(t, "traffic", func() bool { return traffic.Writes.Load() >= 4000 })
			if err := traffic.Stop(); err != nil {
				t.Fatal(err)
			}
			u := urls{source: source.URL(), target: servers.Standalone(t, c.image).URL()}
			began := time.Now()
			r := begin(t, urls{aofOf(dataOf(t, source)), u.target}, t.TempDir(), nil)
			report := r.done()
			late := map[string]bool{}
			for _, p := range report.Problems {
				// A slow machine loads the file after the first field has expired, which is reported: of the field, or of what renews or persists it.
				passed := strings.HasPrefix(p.Reason, "fields of this hash have already expired")
				if renewed := p.Command == "HPEXPIREAT" && strings.Contains(p.Reason, target.ErrKeyGone.Error()); !passed && !renewed && !late[p.Key] {
					t.Errorf("problem: %v", p)
				}
				late[p.Key] = true
			}
			if len(late) > 20 {
				t.Errorf("%d keys were late", len(late))
			}
			if report.Counters.Commands < 1000 {
				t.Errorf("%d commands", report.Counters.Commands)
			}
			source.Must("DEBUG", "LOADAOF") // what a server makes of the file; a relative expiry in it counts from when it is loaded
			equal(t, u, dataset.CompareOptions{Later: time.Since(began), Without: late})
		})
	}
}

// TestRDBFiles loads the dumps of a cluster's shards into another cluster and into one server.
func TestRDBFiles(t *testing.T) {
	source := servers.Cluster(t, "redis:7.0", 3, 0)
	side, err := dataset.Open(t.Context(), []string{source[0].Addr}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	if _, err := dataset.Fill(t.Context(), side, dataset.Options{Seed: seed, Keys: 1000, NoShortTTL: true}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for i, s := range source {
		s.Must("SAVE")
		s.CopyData(filepath.Join(dir, strconv.Itoa(i)))
	}
	for name, target := range map[string]*servers.Server{"cluster": servers.Cluster(t, "redis:7.0", 2, 0)[0], "standalone": servers.Standalone(t, "redis:8.0")} {
		t.Run(name, func(t *testing.T) {
			report := begin(t, urls{"rdb:" + dir + "/*/dump.rdb", target.URL()}, t.TempDir(), nil).done()
			if len(report.Links) != 3 || len(report.Problems) > 0 {
				t.Errorf("%d links, problems %v", len(report.Links), report.Problems)
			}
			equal(t, urls{source[0].URL(), target.URL()}, dataset.CompareOptions{})
			if n := strings.Join(own(t, target), " "); n != "" {
				t.Errorf("left behind: %s", n)
			}
		})
	}
}

func own(t *testing.T, s *servers.Server) []string {
	t.Helper()
	names, err := s.Do("KEYS", "__surecut*").AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// writeAOF writes commands, each a line of words, as a server does.
func writeAOF(t *testing.T, path string, lines ...string) {
	t.Helper()
	var b strings.Builder
	for _, line := range lines {
		words := strings.Fields(line)
		fmt.Fprintf(&b, "*%d\r\n", len(words))
		for _, w := range words {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
		}
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAOFExpiries loads expiries that have passed when the file is read: a server applies the whole file first.
func TestAOFExpiries(t *testing.T) {
	for _, image := range []string{"redis:6.0", "redis:8.0"} {
		t.Run(strings.ReplaceAll(image, ":", "-"), func(t *testing.T) {
			t.Parallel()
			target := servers.Standalone(t, image)
			path := filepath.Join(t.TempDir(), "appendonly.aof")
			later := time.Now().Add(time.Hour).UnixMilli()
			at := strconv.FormatInt(later, 10)
			writeAOF(t, path, "SELECT 0",
				"SET gone 1", "PEXPIREAT gone 1000",
				"SET moved 1", "PEXPIREAT moved 1000", "RENAME moved kept", "PERSIST kept",
				"SET carried 1", "PEXPIREAT carried 1000", "RENAME carried expired",
				"SET renewed 1", "PEXPIREAT renewed 1000", "PEXPIREAT renewed "+at,
				"SET written 1", "EXPIREAT written 1", "SET written 2",
				"SETEX relative 100 1",
				"SELECT 2", "SET other 1", "PEXPIREAT other 0", "SET stays 1", "PEXPIREAT stays "+at)
			report := begin(t, urls{"aof:" + path, target.URL()}, t.TempDir(), nil).done()
			if len(report.Problems) > 0 {
				t.Errorf("problems: %v", report.Problems)
			}
			for _, c := range []struct {
				db   int
				key  string
				ttl  int64 // ms, about; -1: no expiry; -2: gone
				why  string
				near int64
			}{
				{0, "gone", -2, "its expiry has passed", 0},
				{0, "kept", -1, "it was made persistent under its new name", 0},
				{0, "expired", -2, "a new name keeps the expiry", 0},
				{0, "renewed", 3600_000, "a later expiry wins", 60_000},
				{0, "written", -1, "SET takes the expiry away", 0},
				{0, "relative", 100_000, "a server counts from when it loads", 60_000},
				{2, "other", -2, "0 is the year 1970", 0},
				{2, "stays", 3600_000, "in another database", 60_000},
			} {
				ttl, err := target.Client(c.db).Do(t.Context(), target.Client(c.db).B().Pttl().Key(c.key).Build()).AsInt64()
				if err != nil || ttl > c.ttl || ttl < c.ttl-c.near {
					t.Errorf("%s: PTTL %d, want %d: %s (%v)", c.key, ttl, c.ttl, c.why, err)
				}
			}
		})
	}
}

// TestAOFFieldExpiries reports fields that have expired since, in the RDB of an AOF and in its commands: the file might renew them.
func TestAOFFieldExpiries(t *testing.T) {
	source, target := aofServer(t, "redis:8.0"), servers.Standalone(t, "redis:8.0")
	source.Must("DEBUG", "SET-ACTIVE-EXPIRE", "0")
	source.Must("HSET", "snapshot", "a", "1", "b", "2")
	source.Must("HSET", "alive", "a", "1")
	source.Must("HPEXPIRE", "alive", "900000", "FIELDS", "1", "a")
	source.Must("HPEXPIRE", "snapshot", "300", "FIELDS", "1", "a")
	rewrite(t, source)
	source.Must("HSET", "command", "a", "1", "b", "2")
	source.Must("HPEXPIRE", "command", "300", "FIELDS", "1", "a")
	path := aofOf(dataOf(t, source))
	time.Sleep(400 * time.Millisecond) // until both have expired
	report := begin(t, urls{path, target.URL()}, t.TempDir(), nil).done()
	var keys []string
	for _, p := range report.Problems {
		keys = append(keys, p.Key)
	}
	if !slices.Equal(keys, []string{"snapshot", "command"}) {
		t.Errorf("%+v", report.Problems)
	}
	if n := target.Must("HLEN", "alive"); n != int64(1) {
		t.Errorf("%v fields", n)
	}
}

// TestAOFResumes kills a migration in the middle of the file, several times; INCR shows what is applied twice or not at all.
func TestAOFResumes(t *testing.T) {
	for _, kind := range []string{"standalone", "cluster"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "appendonly.aof")
			const keys, rounds = 50, 2000
			// A stop in good order applies what has been parsed. So the file is longer than that, by long names.
			name := func(i int) string {
				return "n:" + strconv.Itoa(i) + strings.Repeat("x", 4*stream.ParsedBytes/(keys*rounds))
			}
			lines := []string{"SELECT 0"}
			for i := range keys * rounds {
				key := name(i % keys)
				lines = append(lines, "INCR "+key)
				if i%997 == 0 {
					lines = append(lines, "PEXPIREAT "+key+" 1000", "PERSIST "+key, "MULTI", "INCR "+key, "DECR "+key, "EXEC")
				}
			}
			writeAOF(t, path, lines...)
			var target *servers.Server
			if kind == "cluster" {
				target = servers.Cluster(t, "redis:7.0", 2, 0)[0]
			} else {
				target = servers.Standalone(t, "redis:7.0")
			}
			u, state := urls{"aof:" + path, target.URL()}, t.TempDir()
			slow := func(c *Config) { c.RateOps = 40_000 }
			last := int64(0)
			for n := range 3 {
				r := begin(t, u, state, slow)
				poll(t, "progress", func() bool {
					select {
					case <-r.ended:
						return true
					default:
					}
					return len(r.m.Report().Links) > 0 && r.m.Report().Links[0].AppliedOffset > last+stream.ParsedBytes/4
				})
				if n == 1 {
					if report := r.stop(); report.State != "stopped" || r.m.Snapshotted() {
						t.Errorf("state %q, whole: %v", report.State, r.m.Snapshotted())
					}
				} else {
					r.abort()
				}
				last = r.m.Report().Links[0].AppliedOffset
			}
			if last == 0 {
				t.Fatal("no progress")
			}
			if report := begin(t, u, state, nil).done(); len(report.Problems) > 0 {
				t.Errorf("problems: %v", report.Problems)
			}
			side, err := dataset.Open(t.Context(), []string{target.Addr}, "")
			if err != nil {
				t.Fatal(err)
			}
			defer side.Close()
			for i := range keys {
				if n, err := side.Int(t.Context(), name(i)); err != nil || n != rounds {
					t.Errorf("n:%d is %d, want %d (%v)", i, n, rounds, err)
				}
			}
		})
	}
}

// TestAOFToCluster reports what a cluster cannot run and no server can be asked for.
func TestAOFToCluster(t *testing.T) {
	t.Parallel()
	target := servers.Cluster(t, "redis:7.0", 2, 0)[0]
	path := filepath.Join(t.TempDir(), "appendonly.aof")
	writeAOF(t, path, "SELECT 0", "MSET a 1 b 2 c 3", "DEL a b", "SADD s 1", "SUNIONSTORE u s x", "RENAME c d", "SET {t}1 x", "RENAME {t}1 {t}2")
	r := begin(t, urls{"aof:" + path, target.URL()}, t.TempDir(), nil)
	report := r.done()
	if n := report.Counters.CommandsReported; n != 2 || len(report.Problems) != 2 {
		t.Errorf("%d reported: %+v", n, report.Problems)
	}
	for i, want := range []string{"SUNIONSTORE", "RENAME"} {
		if i < len(report.Problems) && report.Problems[i].Command != want {
			t.Errorf("problem %d is of %s, want %s", i, report.Problems[i].Command, want)
		}
	}
}

// TestAOFCut drops a tail that is no whole command only where that was accepted.
func TestAOFCut(t *testing.T) {
	t.Parallel()
	target := servers.Standalone(t, "redis:7.0")
	path := filepath.Join(t.TempDir(), "appendonly.aof")
	writeAOF(t, path, "SELECT 0", "SET a 1", "MULTI", "SET b 1")
	u, state := urls{"aof:" + path, target.URL()}, t.TempDir()
	r := begin(t, u, state, nil)
	if err := r.fails(); !strings.Contains(err.Error(), "Config.AcceptCut") {
		t.Errorf("error %q", err)
	}
	report := begin(t, u, state, func(c *Config) { c.AcceptCut = true }).done()
	if report.Links[0].CutBytes != int64(len("*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n1\r\n")) {
		t.Errorf("%d bytes cut off", report.Links[0].CutBytes)
	}
	if n := target.Must("EXISTS", "a", "b"); n != int64(1) {
		t.Errorf("%v keys", n)
	}
}

// TestRecordedAOFs loads what eleven servers sent to a replica as the AOF that it also is: an RDB with commands behind it.
func TestRecordedAOFs(t *testing.T) {
	t.Parallel()
	target := servers.Standalone(t, "redis:8.0")
	for _, f := range fixtures.All(t) {
		t.Run(f.Version, func(t *testing.T) {
			target.Must("FLUSHALL")
			target.Must("FUNCTION", "FLUSH")
			path := filepath.Join(t.TempDir(), "appendonly.aof")
			if err := os.WriteFile(path, append(slices.Clone(f.RDB()), f.Stream()...), 0o600); err != nil {
				t.Fatal(err)
			}
			report := begin(t, urls{"aof:" + path, target.URL()}, t.TempDir(), nil).done()
			for _, problem := range report.Problems {
				t.Errorf("%+v", problem)
			}
			compareFinal(t, target, f, nil)
		})
	}
}
