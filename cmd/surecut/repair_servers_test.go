//go:build servers

package main

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/preflight"
)

// Repair writes where nothing else writes at the moment, and never to what its report calls the source.
func TestRepairRefuses(t *testing.T) {
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	source.Must("SET", "k", "v")
	out := t.TempDir()
	call := func(want int, args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if status := run(append([]string{"surecut"}, args...), &stdout, &stderr); status != want {
			t.Errorf("%q: exit %d, want %d: %s%s", args, status, want, stderr.String(), stdout.String())
		}
		return stderr.String()
	}
	call(3, "verify", "--source", source.URL(), "--target", target.URL(), "--rounds", "1", "--progress", "none", "--out", out)
	repair := func(want int, from, to string, more ...string) string {
		t.Helper()
		return call(want, append([]string{"repair", "--source", from, "--target", to, "--report", filepath.Join(out, "verify.json"), "--rounds", "1"}, more...)...)
	}
	if said := repair(5, target.URL(), source.URL(), "--apply", "--delete-extra"); !strings.Contains(said, "in the wrong direction") {
		t.Errorf("the sides are swapped: %s", said)
	}
	migration := func(state string, age time.Duration) {
		target.Must("HSET", preflight.MigrationKey, "id", "abc", "host", "h", "state", state, "heartbeat_ms", strconv.FormatInt(time.Now().Add(-age).UnixMilli(), 10))
	}
	migration("running", 0)
	if said := repair(1, source.URL(), target.URL(), "--apply"); !strings.Contains(said, "--state") || target.Must("EXISTS", "k") != int64(0) {
		t.Errorf("a migration writes to the target: %s", said)
	}
	repair(0, source.URL(), target.URL()) // says what it would do
	migration("running", time.Minute)
	if said := repair(0, source.URL(), target.URL(), "--apply"); !strings.Contains(said, "is resumed") {
		t.Errorf("a migration may go on: %s", said)
	}
	if got := target.Must("GET", "k"); got != "v" {
		t.Errorf("k is %v on the target", got)
	}
}
