//go:build servers

package migrator

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/migrator/internal/target"
)

// TestResumeAfterAnotherMigration: a target that was given to another migration since is not gone on with. What the other one has written
// over would never be copied again, and both would say that all is well.
func TestResumeAfterAnotherMigration(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, of string
		change   func(*Config)
	}{
		{name: "stopped", change: replaceAll},
		{name: "ended", change: func(c *Config) { c.OnExisting, c.Mode = ExistingReplace, ModeFull }},
		{name: "in another database", of: "/3", change: replaceAll},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, second, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
			first.Must("SET", "k", "first")
			second.Must("SET", "k", "second")
			dir := t.TempDir()
			r := begin(t, urls{first.URL(), target.URL()}, dir, replaceAll)
			r.caughtUp()
			r.stop()
			other := begin(t, urls{second.URL() + strings.Replace(tt.of, "3", "0", 1), target.URL() + tt.of}, t.TempDir(), tt.change)
			if tt.name == "ended" {
				other.wait()
			} else {
				other.caughtUp()
				other.stop()
			}
			refused(t, begin(t, urls{first.URL(), target.URL()}, dir, replaceAll))
			if tt.of == "" && target.Must("GET", "k") != "second" {
				t.Error("the refused run has written")
			}
		})
	}
}

// TestResumeBesideOlderMigration: a record that is older than the migration speaks of nothing that came after it.
func TestResumeBesideOlderMigration(t *testing.T) {
	t.Parallel()
	first, second, target, dir := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0"), t.TempDir()
	first.Must("SET", "k", "v")
	r := begin(t, urls{first.URL() + "/0", target.URL() + "/3"}, t.TempDir(), nil)
	r.caughtUp()
	r.stop()
	for range 2 {
		r = begin(t, urls{second.URL(), target.URL()}, dir, replaceAll)
		r.caughtUp()
		r.stop()
	}
}

// refused waits for a run that ends since the target is not its migration's any more.
func refused(t *testing.T, r *run) {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(30 * time.Second):
		t.Error("the migration goes on")
		r.m.Finish()
	}
	r.wait()
	if !errors.Is(r.err, target.ErrGivenAway) {
		t.Fatalf("ended with: %v", r.err)
	}
	t.Log(r.err)
}

// TestResumeAtTargetThatWasFilledAgain: a node that has lost what it was given and holds other keys since is not copied to again, since that
// would delete them.
func TestResumeAtTargetThatWasFilledAgain(t *testing.T) {
	t.Parallel()
	x := newLossTest(t)
	r := begin(t, x.u, x.dir, nil)
	r.caughtUp()
	r.stop()
	for _, n := range x.nodes {
		n.Must("FLUSHALL")
	}
	for i := range 30 {
		for _, n := range x.nodes {
			_ = n.Do("SET", "others:"+strings.Repeat("x", i), "v") // the nodes that do not own the key refuse it
		}
	}
	r = begin(t, x.u, x.dir, nil)
	r.wait()
	if !errors.Is(r.err, target.ErrLost) || !strings.Contains(r.err.Error(), "holds keys again") {
		t.Errorf("ended with: %v", r.err)
	}
	var n int
	for _, node := range x.nodes {
		n += len(node.Must("KEYS", "others:*").([]any))
	}
	if n != 30 {
		t.Errorf("%d of 30 keys of somebody else are left", n)
	}
}

// TestStateOfOtherServers: the state directory is that of its servers, and not of those that a URL happens to lead to today.
func TestStateOfOtherServers(t *testing.T) {
	t.Parallel()
	source, target, other := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	dir := t.TempDir()
	u := urls{source.URL(), target.URL()}
	r := begin(t, u, dir, nil)
	r.caughtUp()
	r.stop()
	path := filepath.Join(dir, "migration.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []struct {
		name  string
		u     urls
		addr  string
		wants string
	}{{"source", urls{other.URL(), u.target}, source.Addr, "another source"}, {"target", urls{u.source, other.URL()}, target.Addr, "another target"}} {
		// The same URL has led to the other server when the migration began.
		moved := strings.ReplaceAll(string(data), "redis://"+side.addr, "redis://"+other.Addr)
		if err := os.WriteFile(path, []byte(moved), 0o600); err != nil {
			t.Fatal(err)
		}
		sides := Sides{Source: openSide(t, side.u.source), Target: openSide(t, side.u.target)}
		err := CheckState(t.Context(), dir, sides)
		cfg := DefaultConfig()
		cfg.Sides, cfg.StateDir = sides, dir
		_, errNew := New(t.Context(), cfg)
		for _, err := range []error{err, errNew} {
			if err == nil || !strings.Contains(err.Error(), side.wants) || !strings.Contains(err.Error(), side.addr) || !strings.Contains(err.Error(), other.Addr) {
				t.Errorf("another %s: %v", side.name, err)
			}
		}
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	source.Must("SAVE")
	source.Restart()
	target.Must("SAVE")
	target.Restart()
	if err := CheckState(t.Context(), dir, Sides{Source: openSide(t, u.source), Target: openSide(t, u.target)}); err != nil {
		t.Errorf("servers that were restarted: %v", err)
	}
}
