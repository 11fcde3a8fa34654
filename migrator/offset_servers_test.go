//go:build servers

package migrator

import (
	"testing"

	"surecut/e2e/servers"
	"surecut/internal/rdb/fixtures"
)

// TestReplicasOwnStream: before 4.0 a replica sends a stream with offsets of its own, and tells those of its primary by ROLE. A link
// that took these for the replica's would wait for an offset that never comes, or take what it copies for older than it is.
func TestReplicasOwnStream(t *testing.T) {
	target := servers.Standalone(t, "redis:7.0")
	for _, f := range fixtures.All(t) {
		if f.Number >= 40000 {
			continue
		}
		t.Run(f.Version, func(t *testing.T) {
			target.Must("FLUSHALL")
			p := serving(t, &primary{f: f, replica: true})
			r := begin(t, urls{"redis://" + p.l.Addr().String(), target.URL()}, t.TempDir(), func(c *Config) { c.HoldExpiry = 0 })
			r.caughtUp()
			if at, err := r.m.links[0].source.Position(t.Context()); err != nil || at != p.end() {
				t.Errorf("the source stands at %d, %v, want %d", at, err, p.end())
			}
			addsUp(t, r.stop())
			compareFinal(t, target, f, nil)
		})
	}
}
