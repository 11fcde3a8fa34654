//go:build servers

package verifier

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// What servers do not tell their own replicas is no difference: after the whole data set and the whole load, nothing may be found
// between a primary and its native replica, of the same version or of a later one.
func TestNativeReplicas(t *testing.T) {
	t.Parallel()
	var pairs [][2]string
	for _, image := range servers.Images() {
		pairs = append(pairs, [2]string{image, image})
	}
	pairs = append(pairs, [2]string{"redis:6.0", "redis:7.0"}, [2]string{"redis:7.0", "redis:8.0"}, [2]string{"redis:7.0", "valkey/valkey:8.1"})
	for _, p := range pairs {
		t.Run(p[0]+" to "+p[1], func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			source, replica := servers.Standalone(t, p[0]), servers.Standalone(t, p[1])
			side, err := dataset.Open(t.Context(), []string{source.Addr}, "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(side.Close)
			dbs := []int{0, 1, 5}
			if _, err := dataset.Fill(t.Context(), side, dataset.Options{Seed: seed, Keys: 3000, DBs: dbs, BigKeys: 1, BigElements: 2000}); err != nil {
				t.Fatal(err)
			}
			replica.Must("SLAVEOF", "127.0.0.1", fmt.Sprint(source.Port))
			waitFor(t, "link", func() bool { return replica.Info("replication")["master_link_status"] == "up" })
			load := dataset.StartTraffic(t.Context(), side, dataset.TrafficOptions{Seed: seed, DBs: dbs, BulkKeys: 3000, MaxWrites: 20_000,
				KeepPending: p[0] == "redis:6.0" && p[1] != p[0]})
			waitFor(t, "load", func() bool { return load.Writes.Load() >= 20_000 })
			if err := load.Stop(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "offset", func() bool { // before 4.0 a replica's own is another one
				return replica.Info("replication")["slave_repl_offset"] == source.Info("replication")["master_repl_offset"]
			})
			r := verify(t, source, replica, func(o *Config) { o.Rounds, o.Interval = 2, 100*time.Millisecond })
			if r.Verdict != Same || r.Totals.Same < 3000 {
				t.Errorf("%s: %+v, %q, %+v", r.Verdict, r.Totals, r.Reasons, r.Findings)
			}
		})
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within five minutes", what)
		}
	}
}
