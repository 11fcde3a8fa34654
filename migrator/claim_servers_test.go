//go:build servers

package migrator

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/keyspace"
)

func replaceAll(c *Config) { c.OnExisting = ExistingReplace }

// TestTwoMigrationsAtOnce: of two that begin at the same instant one is refused, by whatever URLs they name the target.
func TestTwoMigrationsAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		second func(url string) string
		target func(t *testing.T) string
	}{
		{"one server", func(url string) string { return url }, func(t *testing.T) string { return servers.Standalone(t, "redis:7.0").URL() }},
		{"one of its databases", func(url string) string { return url + "/3" }, func(t *testing.T) string { return servers.Standalone(t, "redis:7.0").URL() }},
		{"another name of the host", func(url string) string { return strings.Replace(url, "127.0.0.1", "localhost", 1) },
			func(t *testing.T) string { return servers.Standalone(t, "redis:7.0").URL() }},
		{"a cluster", func(url string) string { return url }, func(t *testing.T) string { return servers.Cluster(t, "redis:7.0", 3, 0)[0].URL() }},
		{"through a codis", func(url string) string { return url },
			func(t *testing.T) string {
				return "redis+codis://" + servers.CodisStandIn(t, servers.Standalone(t, "redis:6.0")).Addr
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := "redis:7.0"
			if strings.Contains(c.name, "codis") {
				image = "redis:6.0"
			}
			url := c.target(t)
			var runs []*run
			for i, target := range []string{url, c.second(url)} {
				source := servers.Standalone(t, image)
				source.Must("SET", "who", []string{"first", "second"}[i])
				runs = append(runs, begin(t, urls{source.URL(), target}, t.TempDir(), replaceAll))
			}
			var failed []error
			poll(t, "refusal", func() bool {
				failed = nil
				for _, r := range runs {
					select {
					case <-r.ended:
						failed = append(failed, r.err)
					default:
					}
				}
				return len(failed) > 0
			})
			if len(failed) != 1 || !errors.Is(failed[0], errClaimed) {
				t.Fatalf("%v", failed)
			}
			t.Log(failed[0])
			for _, r := range runs {
				select {
				case <-r.ended:
				default:
					r.caughtUp()
					r.stop()
				}
			}
		})
	}
}

// TestOtherDatabasesMayBeMigrated: two migrations into two databases of one server do not meet.
func TestOtherDatabasesMayBeMigrated(t *testing.T) {
	t.Parallel()
	target := servers.Standalone(t, "redis:7.0")
	var runs []*run
	for _, db := range []string{"/0", "/3", "/4"} {
		source := servers.Standalone(t, "redis:7.0")
		source.Must("SET", "k", db)
		runs = append(runs, begin(t, urls{source.URL(), target.URL() + db}, t.TempDir(), nil))
	}
	for _, r := range runs {
		r.caughtUp()
	}
	for _, r := range runs {
		r.stop()
	}
}

// TestSecondMigrationIsRefused: also one that copies the state of the first, which the lock of the directory does not keep away.
func TestSecondMigrationIsRefused(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	u := urls{source.URL(), target.URL()}
	dir := t.TempDir()
	first := begin(t, u, dir, nil)
	first.caughtUp()
	for name, state := range map[string]string{"another": t.TempDir(), "a copy": copyState(t, dir)} {
		if err := begin(t, u, state, replaceAll).fails(); !errors.Is(err, errClaimed) || !strings.Contains(err.Error(), first.m.state.ID) {
			t.Errorf("%s: %v", name, err)
		}
	}
	first.caughtUp()
	first.stop()
	second := begin(t, u, t.TempDir(), replaceAll) // nobody writes any more
	second.caughtUp()
	second.stop()
	// What the first one has copied may be gone by now, so it does not go on.
	if err := begin(t, u, dir, nil).fails(); !strings.Contains(err.Error(), second.m.state.ID) {
		t.Error(err)
	}
}

// TestKilledBeforeItBegan: a first run that is killed right after it has claimed the target does not keep the next one out until its claim
// ends. One that was refused leaves nothing.
func TestKilledBeforeItBegan(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	u, dir := urls{source.URL(), target.URL()}, t.TempDir()
	first := begin(t, u, dir, nil)
	first.caughtUp()
	first.abort()
	path := filepath.Join(dir, "migration.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	s["begins"] = true // as the file was when the target was claimed
	if data, err = json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := begin(t, u, other, nil).fails(); !errors.Is(err, errClaimed) {
		t.Errorf("another migration: %v", err)
	}
	if id := StateID(other); id != "" {
		t.Errorf("a migration that was refused has left a state, of %s", id)
	}
	source.Must("SET", "k", "v")
	r := begin(t, u, dir, nil)
	r.caughtUp()
	if r.m.Resumed() || r.m.state.ID != first.m.state.ID {
		t.Errorf("resumed %v, ID %s after %s", r.m.Resumed(), r.m.state.ID, first.m.state.ID)
	}
	r.stop()
	equal(t, u, dataset.CompareOptions{})
}

// TestMigrationThatWasThoughtDead: its claim is taken over while it writes as fast as it can. It must end, and nothing of what it sends
// may come after the other one's data.
func TestMigrationThatWasThoughtDead(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"standalone", "cluster"} {
		t.Run(kind, func(t *testing.T) {
			old, source := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb"), servers.Standalone(t, "redis:7.0")
			var target, holder *servers.Server
			if kind == "cluster" {
				nodes := servers.Cluster(t, "redis:7.0", 3, 0)
				target, holder = nodes[0], nodes[int(keyspace.Slot(keyMigration))*3/keyspace.Slots]
			} else {
				target = servers.Standalone(t, "redis:7.0")
				holder = target
			}
			stop := writeTo(t, old, true)
			first := begin(t, urls{old.URL(), target.URL()}, t.TempDir(), nil)
			first.caughtUp()
			u := urls{source.URL(), target.URL()}
			for _, k := range []string{"n", "l", "s", "h", "z", "m", "a", "v"} { // keys that the first one writes
				for i := range 50 {
					source.Must("SET", k+":"+strconv.Itoa(i), "of the second")
				}
			}
			// The second run takes a claim for given up that has not been renewed for a lease.
			var second *run
			poll(t, "claim of the second", func() bool {
				holder.Must("HSET", keyMigration, "seen_ms", "1", "heartbeat_ms", "1")
				second = begin(t, u, t.TempDir(), replaceAll)
				for {
					select {
					case <-second.ended: // the first one has renewed its claim in between
						return false
					case <-time.After(20 * time.Millisecond):
						if id := holder.Must("HGET", keyMigration, "id"); id == second.m.state.ID {
							return true
						}
					}
				}
			})
			if err := first.fails(); !errors.Is(err, errClaimed) || !strings.Contains(err.Error(), second.m.state.ID) {
				t.Fatal(err)
			}
			stop()
			second.caughtUp()
			addsUp(t, second.stop())
			equal(t, u, dataset.CompareOptions{})
		})
	}
}

// copyState copies what a resume needs of a state directory.
func copyState(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "migration.json"))
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := os.WriteFile(filepath.Join(to, "migration.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}
