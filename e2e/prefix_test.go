//go:build e2e

package e2e

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// TestDatabasePrefix migrates three databases under load into the one of a cluster, each with names of its own.
func TestDatabasePrefix(t *testing.T) {
	beside(t, working)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	sourceNode, targetNodes := servers.Standalone(t, "redis:7.0"), servers.Cluster(t, "redis:7.0", 3, 0)
	pair := dataset.Pair{Source: open(t, []*servers.Server{sourceNode}), Target: open(t, targetNodes)}
	fill := dataset.Options{Seed: seed, Keys: 4000, DBs: []int{3, 0, 5}, To: pair.Target}
	if _, err := dataset.Fill(t.Context(), pair.Source, fill); err != nil {
		t.Fatal(err)
	}
	traffic := dataset.StartTraffic(t.Context(), pair.Source, dataset.TrafficOptions{Seed: seed, BulkKeys: fill.Keys, DBs: fill.DBs, MaxTime: 5 * time.Minute, To: pair.Target})
	defer traffic.Stop()

	out, state := t.TempDir(), t.TempDir()
	between := []string{"--source", sourceNode.URL(), "--target", targetNodes[0].URL()}
	prefixes := []string{"--db-prefix", "3:app3:,5:{five}:"}
	run := func(command string, args ...string) *surecut {
		return start(t, append(append([]string{command}, between...), args...)...)
	}
	m := run("migrate", append(prefixes, "--accept-alarms", "--progress", "json", "--state", state, "--out", out)...)
	m.waitPhase("caught_up", 2*time.Minute)
	live := run("verify", append(prefixes, "--state", state, "--progress", "none")...)
	live.want(live.end(2*time.Minute), 0)
	if err := traffic.Stop(); err != nil {
		t.Fatal(err)
	}
	three := sourceNode.Client(3)
	do := func(args ...string) {
		t.Helper()
		if err := three.Do(t.Context(), three.B().Arbitrary(args...).Build()).Error(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	do("RPUSH", "pre:list", "a", "b")
	do("MSET", "pre:w:a", "2", "pre:w:b", "1", "pre:moved", "m", "pre:copied", "c")
	do("SORT", "pre:list", "BY", "pre:w:*", "ALPHA", "STORE", "pre:sorted")
	do("RENAME", "pre:list", "pre:renamed")
	do("MOVE", "pre:moved", "0")
	do("COPY", "pre:copied", "pre:copy", "DB", "5")
	do("EVAL", "return redis.call('SET', KEYS[1], ARGV[1])", "1", "pre:script", "s")
	m.waitDrained(time.Minute)

	want := map[string][]string{ // by the name on the target; no answer: absent
		"app3:pre:renamed": {"LRANGE", "0", "-1"}, "app3:pre:list": nil, "app3:pre:moved": nil, "pre:moved": {"GET"},
		"app3:pre:copied": {"GET"}, "{five}:pre:copy": {"GET"}, "app3:pre:script": {"GET"}, "app3:pre:sorted": {"LRANGE", "0", "-1"},
		"pre:copied": nil, "pre:script": nil,
	}
	held := map[string]string{}
	for name, read := range want {
		client, err := pair.Target.Client(0)
		if err != nil {
			t.Fatal(err)
		}
		if read == nil {
			read = []string{"EXISTS"}
		}
		message, err := client.Do(t.Context(), client.B().Arbitrary(read[0]).Keys(name).Args(read[1:]...).Build()).ToAny()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		switch v := message.(type) {
		case int64:
			if v != 0 {
				t.Errorf("%s is on the target", name)
			}
		case string:
			held[name] = v
		case []any:
			held[name] = strings.TrimSpace(strings.Join([]string{v[0].(string), v[1].(string)}, " "))
		}
	}
	for name, value := range map[string]string{"app3:pre:renamed": "a b", "pre:moved": "m", "app3:pre:copied": "c", "{five}:pre:copy": "c", "app3:pre:script": "s", "app3:pre:sorted": "b a"} {
		if held[name] != value {
			t.Errorf("%s on the target is %q, want %q", name, held[name], value)
		}
	}
	do("FLUSHDB") // of one database among those that share the target's
	m.waitDrained(time.Minute)
	v := run("verify", append(prefixes, "--progress", "none")...)
	v.want(v.end(2*time.Minute), 0)
	if _, err := dataset.Fill(t.Context(), pair.Source, dataset.Options{Seed: seed, DBs: []int{3}, Keys: 100, To: pair.Target}); err != nil {
		t.Fatal(err)
	}
	m.waitDrained(time.Minute)
	m.want(m.stop(2*time.Minute), 0)
	countersAddUp(t, filepath.Join(out, "migrate.json"))
	other := run("migrate", "--accept-alarms", "--on-existing", "keep", "--state", state, "--progress", "none", "--db-prefix", "3:other:,5:{five}:")
	other.want(other.end(time.Minute), 1)
	if !strings.Contains(other.talk(), "the migration began with --db-prefix") {
		t.Errorf("resumed with another prefix: %s", other.talk())
	}
	mendPrefixed(t, pair, run, prefixes)
	collide(t, sourceNode, targetNodes[0])
}

// mendPrefixed damages the target: verify must find every fault, and repair mend it by the report alone.
func mendPrefixed(t *testing.T, pair dataset.Pair, run func(string, ...string) *surecut, prefixes []string) {
	t.Helper()
	client, err := pair.Target.Client(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range [][]string{{"DEL", "app3:k:str:raw"}, {"SET", "{five}:k:str:embstr", "other"}, {"SET", "k:str:embstr", "other"}, {"SET", "app3:surplus", "1"}} {
		if err := client.Do(t.Context(), client.B().Arbitrary(f[0]).Keys(f[1]).Args(f[2:]...).Build()).Error(); err != nil {
			t.Fatalf("%v on the target: %v", f, err)
		}
	}
	out := t.TempDir()
	v := run("verify", append(prefixes, "--progress", "none", "--interval", "100ms", "--out", out)...)
	v.want(v.end(time.Minute), 3)
	report := filepath.Join(out, "verify.json")
	var found struct {
		Findings []struct {
			DB        int
			TargetDB  int `json:"target_db"`
			Key       string
			TargetKey string `json:"target_key"`
			Verdict   string
		}
	}
	readJSON(t, report, &found)
	got := map[string]bool{}
	for _, f := range found.Findings {
		got[strings.Join([]string{string(rune('0' + f.DB)), f.Key, f.TargetKey, f.Verdict}, " ")] = true
	}
	for _, line := range []string{"3 k:str:raw app3:k:str:raw missing", "5 k:str:embstr {five}:k:str:embstr different", "0 k:str:embstr  different", "3 surplus app3:surplus extra"} {
		if !got[line] {
			t.Errorf("no finding %q among %v", line, got)
		}
	}
	r := run("repair", "--report", report, "--apply", "--delete-extra", "--interval", "100ms")
	r.want(r.end(time.Minute), 0)
	v = run("verify", append(prefixes, "--progress", "none")...)
	v.want(v.end(time.Minute), 0)
}

// collide lets two keys of the source have one name on the target: the check, the migration and the comparison must say so.
func collide(t *testing.T, source, target *servers.Server) {
	t.Helper()
	source.Must("FLUSHALL")
	source.Must("SET", "app3:x", "of 0")
	three := source.Client(3)
	if err := three.Do(t.Context(), three.B().Set().Key("x").Value("of 3").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	args := []string{"--source", source.URL(), "--target", target.URL(), "--db-prefix", "3:app3:"}
	check := start(t, append([]string{"check"}, args...)...)
	check.want(check.end(time.Minute), 3)
	if out := check.stdout.String(); !strings.Contains(out, `"app3:x"`) {
		t.Errorf("check does not name the keys:\n%s", out)
	}
	v := start(t, append([]string{"verify", "--exclude", "k:*", "--progress", "none", "--rounds", "1", "--format", "json"}, args...)...)
	v.end(time.Minute)
	if out := v.stdout.String(); !strings.Contains(out, "several keys of the source have this name on the target") {
		t.Errorf("verify does not tell of the collision:\n%.2000s", out)
	}

	// The check sees the collision in the snapshot, so that it has to come with the stream.
	source.Must("DEL", "app3:x")
	m := start(t, append([]string{"migrate", "--accept-alarms", "--on-existing", "replace", "--progress", "json", "--state", t.TempDir()}, args...)...)
	m.waitPhase("caught_up", 2*time.Minute)
	source.Must("SET", "app3:x", "of 0")
	m.want(m.end(time.Minute), 1)
	if talk := m.talk(); !strings.Contains(talk, "key app3:x of database 0 and key x of database 3 would both become app3:x on the target") {
		t.Errorf("the migration ended without naming both keys: %s", talk)
	}
}
