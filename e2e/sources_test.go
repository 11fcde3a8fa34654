//go:build e2e

package e2e

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// TestScanned migrates a source that refuses replication while it is written; once the writers stop, the next round is the last.
func TestScanned(t *testing.T) {
	beside(t, working)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	source := servers.Standalone(t, "redis:7.0", "--rename-command", "PSYNC", "", "--rename-command", "SYNC", "", "--rename-command", "REPLCONF", "")
	target := servers.Standalone(t, "redis:8.0")
	pair := dataset.Pair{Source: open(t, []*servers.Server{source}), Target: open(t, []*servers.Server{target})}
	if _, err := dataset.Fill(t.Context(), pair.Source, dataset.Options{Seed: seed, Keys: 5000, NoShortTTL: true}); err != nil {
		t.Fatal(err)
	}
	traffic := dataset.StartTraffic(t.Context(), pair.Source, dataset.TrafficOptions{Seed: seed, BulkKeys: 5000, Rate: 1000, MaxTime: time.Minute})
	defer traffic.Stop()
	out := t.TempDir()
	s := start(t, "migrate", "--capture", "scan", "--source", source.URL(), "--target", target.URL(), "--accept-alarms", "--state", t.TempDir(), "--out", out)
	deadline := time.Now().Add(time.Minute)
	for !strings.Contains(s.talk(), "round 1:") {
		if time.Now().After(deadline) {
			t.Fatalf("no round: %s", s.talk())
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := traffic.Stop(); err != nil {
		t.Fatal(err)
	}
	s.want(s.end(time.Minute), 0)
	same(t, pair, dataset.CompareOptions{})
	data, err := os.ReadFile(filepath.Join(out, "migrate.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		State, Level string
		Rounds       []struct{ Copied int64 }
	}
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	if report.State != "done" || report.Level != "repaired" || len(report.Rounds) < 2 || report.Rounds[0].Copied == 0 {
		t.Errorf("%+v", report)
	}
	noHalfReport(t, out)
}

// TestFiles migrates a server's RDB and its AOF, compares the target with the RDB, and wants every fault named.
func TestFiles(t *testing.T) {
	beside(t, working)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	source := servers.Standalone(t, "redis:7.0", "--appendonly", "yes")
	pair := dataset.Pair{Source: open(t, []*servers.Server{source})}
	if _, err := dataset.Fill(t.Context(), pair.Source, dataset.Options{Seed: seed, Keys: 2000, NoShortTTL: true}); err != nil {
		t.Fatal(err)
	}
	source.Must("SAVE")
	dir := t.TempDir()
	source.CopyData(dir)
	for name, url := range map[string]string{"rdb": "rdb:" + dir + "/dump.rdb", "aof": "aof:" + dir + "/appendonlydir"} {
		t.Run(name, func(t *testing.T) {
			target := servers.Standalone(t, "redis:8.0")
			migrate := func(url string, more ...string) *surecut {
				return start(t, append([]string{"migrate", "--source", url, "--target", target.URL(), "--state", t.TempDir()}, more...)...)
			}
			s := migrate(url, "--accept", "authentication,big_keys")
			s.want(s.end(time.Minute), 0)
			pair.Target = open(t, []*servers.Server{target})
			same(t, pair, dataset.CompareOptions{})
			verify := func(status int) {
				t.Helper()
				s := start(t, "verify", "--source", "rdb:"+dir+"/dump.rdb", "--target", target.URL(), "--interval", "10ms")
				s.want(s.end(time.Minute), status)
			}
			verify(0)
			target.Must("SET", "seeded:fault", "1")
			verify(3)

			// the same files, cut off
			damaged := t.TempDir()
			source.CopyData(damaged)
			path, status := damaged+"/dump.rdb", 3
			if name == "aof" {
				path, status = damaged+"/appendonlydir/appendonly.aof.1.incr.aof", 4
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, info.Size()-3); err != nil {
				t.Fatal(err)
			}
			s = migrate(strings.Replace(url, dir, damaged, 1), "--accept", "authentication,big_keys,target_empty", "--on-existing", "replace")
			s.want(s.end(time.Minute), status)
			if !strings.Contains(s.talk(), "source_file") {
				t.Errorf("no source_file: %s", s.talk())
			}
		})
	}
}
