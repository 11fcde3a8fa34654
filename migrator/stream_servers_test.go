//go:build servers

package migrator

import (
	"math/rand/v2"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// TestCrashes ends a migration abruptly again and again, in the snapshot and in the stream, under commands that show
// whether one was applied twice or never.
func TestCrashes(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"standalone", "cluster"} {
		t.Run(to, func(t *testing.T) {
			source := servers.Standalone(t, "redis:7.0")
			var target *servers.Server
			if to == "cluster" {
				target = servers.Cluster(t, "redis:7.0", 3, 0)[0]
			} else {
				target = servers.Standalone(t, "redis:7.0")
			}
			u := urls{source.URL(), target.URL()}
			fill(t, source, 20000)
			stop := writeTo(t, source, false)
			dir := t.TempDir()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 2))
			for range 8 {
				r := begin(t, u, dir, nil)
				time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
				r.abort()
			}
			r := begin(t, u, dir, nil)
			r.caughtUp()
			stop()
			r.caughtUp()
			addsUp(t, r.stop())
			equal(t, u, dataset.CompareOptions{})
		})
	}
}
