//go:build servers

package migrator

import (
	"testing"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
)

// TestSweepOfNamedDatabase: what a failover has lost is deleted from the database that the target's URL names, and from no other.
func TestSweepOfNamedDatabase(t *testing.T) {
	t.Parallel()
	g, target := newGroup(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	r := begin(t, urls{g.url(), target.URL() + "/5"}, t.TempDir(), func(c *Config) { c.ReadFrom, c.Filter.DBs = "primary", []int{0} })
	g.nodes[0].Must("SET", "stays", "1")
	r.caughtUp()
	g.writeAlone(r, func(int) {})
	in := func(db int, args ...string) any {
		t.Helper()
		client := target.Client(db)
		reply, err := client.Do(t.Context(), endpoint.Arbitrary(client, args...)).ToAny()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return reply
	}
	in(4, "SET", "lost:599", "foreign")
	g.failOverAlone(r, func() bool { return in(5, "EXISTS", "after") == int64(1) })
	r.caughtUp()
	if in(5, "EXISTS", "lost:599") != int64(0) || in(5, "EXISTS", "stays") != int64(1) {
		t.Error("the target holds a key that the source has lost, or lacks one that it has")
	}
	if in(4, "EXISTS", "lost:599") != int64(1) {
		t.Error("a key of another database of the target was deleted")
	}
	r.stop()
}
