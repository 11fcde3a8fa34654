//go:build servers

package migrator

import (
	"strconv"
	"strings"
	"testing"

	"surecut/e2e/servers"
)

// TestDatabasesOfTheTarget: what the source writes into a database that the target lacks is reported; it must not end up in
// another one.
func TestDatabasesOfTheTarget(t *testing.T) {
	for _, config := range []string{"", "refused"} {
		t.Run("CONFIG "+config, func(t *testing.T) {
			source, target := servers.Standalone(t, "redis:7.0", "--databases", "40"), servers.Standalone(t, "redis:7.0", "--databases", "19")
			u := urls{source.URL(), target.URL()}
			if config == "refused" {
				target.Must("ACL", "SETUSER", "default", "-config")
			}
			r := begin(t, u, t.TempDir(), nil)
			r.caughtUp()
			for _, db := range []int{18, 19, 32} {
				c := source.Client(db)
				for i := range 3 {
					if err := c.Do(t.Context(), arbitrary(c, "SET", strconv.Itoa(i), "v")).Error(); err != nil {
						t.Fatal(err)
					}
				}
			}
			source.Must("SET", "moved", "v")
			source.Must("MOVE", "moved", "20")
			r.caughtUp()
			report := r.stop()
			addsUp(t, report)
			if n := report.Counters.CommandsReported; n != 6 || len(report.Problems) != 7 {
				t.Errorf("%d commands are reported: %v", n, report.Problems)
			}
			if info := target.Info("keyspace"); !strings.HasPrefix(info["db18"], "keys=3,") || len(target.Must("KEYS", "[^_]*").([]any)) > 0 {
				t.Errorf("the target holds %v", info)
			}
		})
	}
}
