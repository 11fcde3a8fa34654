//go:build servers

package migrator

import (
	"slices"
	"strings"
	"testing"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
)

// TestFlushThroughProxy carries FLUSHDB and FLUSHALL to a proxy that has neither: what came from the source goes, by the
// servers' own lists.
func TestFlushThroughProxy(t *testing.T) {
	t.Parallel()
	source := servers.Standalone(t, "redis:7.0")
	behind := []*servers.Server{servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")}
	u := urls{source.URL(), "redis+codis://" + servers.CodisStandIn(t, behind...).Addr}
	in := func(db int, args ...string) {
		t.Helper()
		client := source.Client(db)
		if err := client.Do(t.Context(), endpoint.Arbitrary(client, args...)).Error(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range strings.Fields("a b c d e f") {
		in(0, "SET", name, "1")
		in(3, "SET", name, "1")
	}
	held := func(db int) string {
		t.Helper()
		var all []string
		for _, s := range behind {
			client := s.Client(db)
			names, err := client.Do(t.Context(), endpoint.Arbitrary(client, "KEYS", "*")).AsStrSlice()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "__surecut") })...)
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	dir := t.TempDir()
	r := begin(t, u, dir, nil)
	r.caughtUp()
	behind[0].Must("SET", "astray{stray}", "where the proxy does not look for it")
	behind[1].Must("SET", "astray{stray}", "where the proxy does not look for it")
	in(0, "SET", "late", "1")
	in(0, "FLUSHDB")
	in(0, "SET", "new", "1")
	r.caughtUp()
	if zero, three := held(0), held(3); zero != "astray{stray} new" || three != "a b c d e f" {
		t.Errorf("after FLUSHDB: %q in 0, %q in 3", zero, three)
	}
	r.abort()
	in(3, "FLUSHALL")
	in(3, "SET", "last", "1")
	r = begin(t, u, dir, nil)
	r.caughtUp()
	if zero, three := held(0), held(3); zero != "astray{stray}" || three != "last" {
		t.Errorf("after FLUSHALL: %q in 0, %q in 3", zero, three)
	}
	addsUp(t, r.stop())

	// A server that cannot be asked what it holds ends the run, and says how to go on.
	r = begin(t, u, dir, nil)
	r.caughtUp()
	in(0, "SET", "x", "1")
	r.caughtUp()
	behind[0].Kill()
	in(0, "FLUSHALL")
	if err := r.fails(); !strings.Contains(err.Error(), "the servers behind the proxy") {
		t.Errorf("ended by %v", err)
	}
}
