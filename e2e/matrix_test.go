//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// cell is one migration of the matrix.
type cell struct {
	source, target       string // images
	fromCluster, toClust bool
}

func (c cell) String() string {
	kind := map[bool]string{false: "standalone", true: "cluster"}
	return fmt.Sprintf("%s %s -> %s %s", c.source, kind[c.fromCluster], c.target, kind[c.toClust])
}

// pairs are the versions that every run covers, from and to, in all topologies.
var pairs = [][2]string{
	{"redis:6.0", "redis:6.0"}, {"redis:7.0", "redis:7.0"}, {"redis:8.0", "redis:8.0"}, {"valkey/valkey:8.1", "valkey/valkey:8.1"},
	{"redis:6.0", "redis:7.0"}, {"redis:7.0", "redis:8.0"}, {"redis:7.0", "valkey/valkey:8.1"},
}

// downwards are standalone migrations to an older version, with load.
var downwards = [][2]string{{"redis:7.0", "redis:6.0"}, {"redis:8.0", "redis:7.0"}}

// cells lists the matrix. The images of servers.May each go to 7.0, from 7.0 and to the next version of their line.
func cells() []cell {
	var all []cell
	add := func(c cell) {
		if !slices.Contains(all, c) && (!c.fromCluster || servers.HasCluster(c.source)) && (!c.toClust || servers.HasCluster(c.target)) {
			all = append(all, c)
		}
	}
	for _, p := range pairs {
		for _, kinds := range [][2]bool{{false, false}, {false, true}, {true, false}, {true, true}} {
			add(cell{p[0], p[1], kinds[0], kinds[1]})
		}
	}
	for _, p := range downwards {
		add(cell{source: p[0], target: p[1]})
	}
	const middle = "redis:7.0"
	lines := servers.Lines()
	for _, image := range servers.May() {
		for _, cluster := range []bool{false, true} {
			add(cell{image, middle, cluster, cluster})
			add(cell{middle, image, cluster, cluster})
			for _, line := range lines {
				if i := slices.Index(line, image); i >= 0 && i+1 < len(line) {
					add(cell{image, line[i+1], cluster, cluster})
				}
			}
		}
	}
	return all
}

func TestMatrix(t *testing.T) {
	for _, c := range cells() {
		if absent := c.absent(); len(absent) > 0 {
			note("cell: %s: not run (no image %s)", c, strings.Join(absent, ", "))
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			beside(t, working)
			began := time.Now()
			outcome := "FAILED"
			defer func() { note("cell: %s: %s, %.0f s", c, outcome, time.Since(began).Seconds()) }()
			outcome = "passed, " + c.run(t)
		})
	}
}

// absent lists the images of a cell that need not exist, and do not.
func (c cell) absent() []string {
	var absent []string
	for _, image := range []string{c.source, c.target} {
		if slices.Contains(servers.May(), image) && !servers.Exists(image) {
			absent = append(absent, image)
		}
	}
	return absent
}

// run migrates a full data set under load and gives what the comparison said.
func (c cell) run(t *testing.T) string {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	sourceNodes, targetNodes := deployment(t, c.source, c.fromCluster), deployment(t, c.target, c.toClust)
	pair := dataset.Pair{Source: open(t, sourceNodes), Target: open(t, targetNodes)}
	fill := dataset.Options{Seed: seed, Keys: 20_000, BigKeys: 1, To: pair.Target}
	load := dataset.TrafficOptions{Seed: seed, BulkKeys: fill.Keys, MaxTime: 5 * time.Minute, To: pair.Target,
		KeepPending: pair.Source.Number < 70000 && pair.Target.Number >= 70000}
	if !c.fromCluster && !c.toClust {
		fill.DBs, load.DBs, load.Whole = []int{0, 1, 5, 15}, []int{0, 1, 5}, []int{8, 9}
	}
	if _, err := dataset.Fill(t.Context(), pair.Source, fill); err != nil {
		t.Fatal(err)
	}
	traffic := dataset.StartTraffic(t.Context(), pair.Source, load)
	defer traffic.Stop()

	out, state := t.TempDir(), t.TempDir()
	source, target := sourceNodes[0].URL(), targetNodes[0].URL()
	check := start(t, "check", "--source", source, "--target", target)
	if status := check.end(time.Minute); status != 0 {
		check.want(status, 4) // alarms: some pairs raise some, such as a target of another release, or commands that a cluster cannot run
	}
	m := start(t, "migrate", "--source", source, "--target", target,
		"--accept-alarms", "--progress", "json", "--state", state, "--out", out)
	defer m.tellIfFailed()
	m.waitPhase("caught_up", 2*time.Minute)
	began := time.Now()
	// While the load goes on: what is on its way must be settled at offsets, and never be a difference.
	live := start(t, append(verifying(pair, source, target), "--state", state)...)
	live.want(live.end(2*time.Minute), 0)
	time.Sleep(time.Until(began.Add(3 * time.Second))) // live load on the stream is what this is about
	if err := traffic.Stop(); err != nil {
		t.Fatal(err)
	}
	m.waitDrained(time.Minute)
	m.want(m.stop(2*time.Minute), 0)

	result := same(t, pair, dataset.CompareOptions{Later: lateness(pair)})
	if result.Keys < int64(fill.Keys)*3/4 {
		t.Fatalf("only %d keys were there to compare", result.Keys)
	}
	countersAddUp(t, filepath.Join(out, "migrate.json"))
	v := start(t, verifying(pair, source, target)...)
	v.want(v.end(2*time.Minute), 0)
	mend(t, pair, source, target)
	return fmt.Sprintf("%d keys, 0 differences, %d live writes", result.Keys, traffic.Writes.Load())
}

// lateness is how much later than on the source keys may expire on the target. Sources before 7.0 send relative expiries, which count from when
// they are received: on a busy machine that may be seconds after the source ran them.
func lateness(pair dataset.Pair) time.Duration {
	if pair.Source.Number < 70000 {
		return 10 * time.Second
	}
	return 0
}

// verifying returns the arguments of a verification that takes the lateness of expiries into account.
func verifying(pair dataset.Pair, source, target string) []string {
	args := []string{"verify", "--source", source, "--target", target, "--progress", "none"}
	if late := lateness(pair); late > 0 {
		args = append(args, "--ttl-tolerance", late.String())
	}
	return args
}

// mend damages the target: verify must find every fault, and repair mend it.
func mend(t *testing.T, pair dataset.Pair, source, target string) {
	t.Helper()
	client, err := pair.Target.Client(0)
	if err != nil {
		t.Fatal(err)
	}
	faults := [][]string{
		{"DEL", "k:str:raw"}, {"SET", "k:str:embstr", "other"}, {"LPUSH", "k:list:small", "more"}, {"SREM", "k:set:table", "member:77"},
		{"ZADD", "k:zset:small", "3.5", "m1"}, {"HSET", "k:hash:pack", "f1", "other"}, {"PERSIST", "k:ttl:hour"}, {"DEL", "k:ttl:list"},
		{"SET", "surplus", "1"}, {"SETRANGE", "k:str:appended", "2", "E"}, {"LSET", "k:list:quick", "2500", "other"},
	}
	different := 8
	if pair.Source.Number >= 50000 && pair.Target.Number >= 50000 {
		faults = append(faults, []string{"XDEL", "k:stream:one", "1-1"}, []string{"XGROUP DESTROY", "k:stream:groups", "late"})
		different += 2
	}
	for _, f := range faults {
		if err := client.Do(t.Context(), client.B().Arbitrary(strings.Fields(f[0])...).Keys(f[1]).Args(f[2:]...).Build()).Error(); err != nil {
			t.Fatalf("%v on the target: %v", f, err)
		}
	}
	out := t.TempDir()
	v := start(t, append(verifying(pair, source, target), "--interval", "100ms", "--out", out)...)
	v.want(v.end(time.Minute), 3)
	report := filepath.Join(out, "verify.json")
	var found struct {
		Totals struct{ Different, Missing, Extra int }
	}
	readJSON(t, report, &found)
	if n := found.Totals; n.Different != different || n.Missing != 2 || n.Extra != 1 {
		t.Errorf("verify counted %+v of %d different keys, 2 missing and 1 extra", n, different)
	}
	r := start(t, "repair", "--source", source, "--target", target, "--report", report, "--apply", "--delete-extra", "--interval", "100ms")
	r.want(r.end(time.Minute), 0)
	same(t, pair, dataset.CompareOptions{Later: lateness(pair)})
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func deployment(t *testing.T, image string, cluster bool) []*servers.Server {
	t.Helper()
	if !cluster {
		return []*servers.Server{servers.Standalone(t, image)}
	}
	return servers.Cluster(t, image, 3, 1)
}

// countersAddUp reads migrate.json: every key and command must have ended as something.
func countersAddUp(t *testing.T, path string) {
	t.Helper()
	var report struct {
		Schema   string           `json:"schema"`
		Level    string           `json:"level"`
		Counters map[string]int64 `json:"counters"`
	}
	readJSON(t, path, &report)
	if report.Schema != "surecut.migrate/1" || report.Level != "exactly_once" {
		t.Errorf("migrate.json: schema %q, level %q", report.Schema, report.Level)
	}
	n := report.Counters
	if n["snapshot_keys"] == 0 || n["snapshot_keys"] != n["snapshot_applied"]+n["snapshot_filtered"]+n["snapshot_kept"]+n["snapshot_expired"]+n["snapshot_empty"]+n["snapshot_reported"] {
		t.Errorf("the keys of the snapshot do not add up: %v", n)
	}
	if n["commands"] == 0 || n["commands"] != n["commands_applied"]+n["commands_filtered"]+n["commands_control"]+n["commands_repaired"]+n["commands_reported"] {
		t.Errorf("the commands do not add up: %v", n)
	}
}
