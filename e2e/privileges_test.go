//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// TestLeastPrivileges does all that a migration needs as a user who has exactly the privileges that check prints.
func TestLeastPrivileges(t *testing.T) {
	cells := []cell{{"redis:7.0", "redis:7.0", true, true}}
	for _, image := range servers.Must() {
		cells = append(cells, cell{image, image, false, false})
	}
	for _, c := range cells {
		t.Run(c.String(), func(t *testing.T) {
			beside(t, working)
			leastPrivileges(t, c)
		})
	}
}

func leastPrivileges(t *testing.T, c cell) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	sourceNodes, targetNodes := privileged(t, c.source, c.fromCluster), privileged(t, c.target, c.toClust)
	pair := dataset.Pair{Source: open(t, sourceNodes), Target: open(t, targetNodes)}
	fill := dataset.Options{Seed: seed, Keys: 2_000}
	if _, err := dataset.Fill(t.Context(), pair.Source, fill); err != nil {
		t.Fatal(err)
	}
	as := func(user string) []string {
		url := func(s *servers.Server) string { return strings.Replace(s.URL(), "://", "://"+user+"@", 1) }
		return []string{"--source", url(sourceNodes[0]), "--target", url(targetNodes[0])}
	}
	env := []string{"SURECUT_SOURCE_PASSWORD=" + secret, "SURECUT_TARGET_PASSWORD=" + secret}
	grant(t, env, as("low"), sourceNodes, targetNodes)

	traffic := dataset.StartTraffic(t.Context(), pair.Source, dataset.TrafficOptions{Seed: seed, BulkKeys: fill.Keys, MaxTime: time.Minute})
	defer traffic.Stop()
	run := func(status int, args ...string) {
		t.Helper()
		s := startWith(t, env, append(args, as("surecut")...)...)
		s.want(s.end(time.Minute), status)
	}
	m := startWith(t, env, append([]string{"migrate", "--state", t.TempDir(), "--accept-alarms", "--progress", "json"}, as("surecut")...)...)
	m.waitPhase("caught_up", time.Minute)
	if err := traffic.Stop(); err != nil {
		t.Fatal(err)
	}
	m.waitDrained(30 * time.Second)
	m.want(m.stop(30*time.Second), 0)
	run(0, "verify", "--progress", "none")

	targetNodes[0].Must("SET", "{06S}fault", "only here") // slot 0 is the first node's
	out := t.TempDir()
	run(3, "verify", "--progress", "none", "--out", out)
	run(0, "repair", "--report", filepath.Join(out, "verify.json"), "--apply", "--delete-extra")
	same(t, pair, dataset.CompareOptions{})
	for _, s := range append(sourceNodes, targetNodes...) {
		entries, err := s.Do("ACL", "LOG").ToArray()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if text := e.String(); strings.Contains(text, `"surecut"`) {
				t.Errorf("%s refused something to the user: %.300s", s.Addr, text)
			}
		}
	}
}

// privileged starts servers that have a user who may not do much.
func privileged(t *testing.T, image string, cluster bool) []*servers.Server {
	t.Helper()
	nodes := []*servers.Server{}
	if cluster {
		nodes = servers.Cluster(t, image, 3, 0)
	} else {
		nodes = append(nodes, servers.Standalone(t, image))
	}
	for _, s := range nodes {
		s.Must("ACL", "SETUSER", "low", "on", ">"+secret, "~*", "+@connection", "+info", "+cluster", "+multi", "+discard")
	}
	return nodes
}

// grant runs what check tells to run, in a shell as a person would.
func grant(t *testing.T, env, ends []string, sides ...[]*servers.Server) {
	t.Helper()
	out := t.TempDir()
	s := startWith(t, env, append([]string{"check", "--out", out}, ends...)...)
	s.want(s.end(time.Minute), 3)
	text, err := os.ReadFile(filepath.Join(out, "check.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Checks []struct{ ID, Result, Remedy string }
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	granted := 0
	for _, c := range report.Checks {
		for _, nodes := range sides {
			if c.ID != "permissions" || c.Result != "fail" || !strings.Contains(c.Remedy, port(nodes[0])) {
				continue
			}
			for _, n := range nodes { // of nodes that are alike the first is named
				script := strings.Replace(strings.Replace(c.Remedy, "PASSWORD", secret, 1), port(nodes[0]), port(n), 1)
				if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "OK" {
					t.Fatalf("%s: %s, %v", script, out, err)
				}
			}
			granted++
		}
	}
	if granted != len(sides) {
		t.Fatalf("%d remedies for %d sides: %s", granted, len(sides), text)
	}
}

// port is how redis-cli is told of a server.
func port(s *servers.Server) string { return fmt.Sprintf(" -p %d ", s.Port) }
