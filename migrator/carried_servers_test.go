//go:build servers

package migrator

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/redis/rueidis"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/endpoint"

	"surecut/migrator/internal/receive"
)

// TestDatabasesOfTheTarget: what the source writes into a database that the target lacks is reported; it must not end up in
// another one.
func TestDatabasesOfTheTarget(t *testing.T) {
	t.Parallel()
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
					if err := c.Do(t.Context(), endpoint.Arbitrary(c, "SET", strconv.Itoa(i), "v")).Error(); err != nil {
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
			// Beside these there are keys of surecut's own: each database that is written to gets a witness within seconds.
			c := target.Client(18)
			arrived, err := c.Do(t.Context(), endpoint.Arbitrary(c, "KEYS", "[^_]*")).AsStrSlice()
			if err != nil || len(arrived) != 3 || len(target.Must("KEYS", "[^_]*").([]any)) > 0 {
				t.Errorf("the target holds %v (database 18: %v, %v)", target.Info("keyspace"), arrived, err)
			}
		})
	}
}

// TestSortByOtherKeys: the keys that a SORT reads beside those that it names are written by other lanes.
func TestSortByOtherKeys(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb"), servers.Standalone(t, "redis:7.0")
	u := urls{source.URL(), target.URL()}
	for i := range 20 {
		source.Must("RPUSH", "list", strconv.Itoa(i))
	}
	r := begin(t, u, t.TempDir(), nil)
	r.caughtUp()
	stop := writeTo(t, source, false)
	c := source.Client(0)
	for i := range 500 {
		cmds := []rueidis.Completed{endpoint.Arbitrary(c, "SET", "w_"+strconv.Itoa(rand.IntN(20)), strconv.Itoa(rand.IntN(1000))),
			endpoint.Arbitrary(c, "SORT", "list", "BY", "w_*", "GET", "#", "GET", "w_*", "STORE", "sorted:"+strconv.Itoa(i))}
		for _, res := range c.DoMulti(t.Context(), cmds...) {
			if err := res.Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, u, dataset.CompareOptions{})
}

// TestRenamedCommand: what the source has renamed arrives under the name that it had before.
func TestRenamedCommand(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0", "--rename-command", "INCRBY", "ADDTO"), servers.Standalone(t, "redis:7.0")
	u := urls{source.URL(), target.URL()}
	r := begin(t, u, t.TempDir(), nil)
	r.caughtUp()
	source.Must("ADDTO", "k", "7")
	r.caughtUp()
	report := r.stop()
	addsUp(t, report)
	if c := report.Counters; c.CommandsReported+c.CommandsRepaired != 0 || len(report.Problems) > 0 {
		t.Errorf("%+v, %v", c, report.Problems)
	}
	equal(t, u, dataset.CompareOptions{})
}

// TestUnknownCommandRefused: nobody knows the keys of a command that is unknown to surecut and to the target, and that the source does not
// describe.
func TestUnknownCommandRefused(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0", "--rename-command", "INCRBY", "ADDTO", "--rename-command", "COMMAND", ""), servers.Standalone(t, "redis:7.0")
	r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), nil)
	r.caughtUp()
	source.Must("ADDTO", "k", "7")
	r.caughtUp()
	report := r.stop()
	addsUp(t, report)
	if c := report.Counters; c.CommandsReported != 1 || c.CommandsRepaired != 0 || len(report.Problems) != 1 || report.Problems[0].Command != "ADDTO" {
		t.Errorf("%+v, %v", c, report.Problems)
	}
}

// TestSnapshotCutOff: what was loaded of a snapshot that was cut off is taken back before the next one, which may lack it.
func TestSnapshotCutOff(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	u := urls{source.URL(), target.URL()}
	fill(t, source, 20000)
	source.Must("CONFIG", "SET", "repl-diskless-sync", "yes")
	source.Must("CONFIG", "SET", "repl-diskless-sync-delay", "0")
	source.Must("CONFIG", "SET", "rdb-key-save-delay", "200") // µs
	dir := t.TempDir()
	r := begin(t, u, dir, nil)
	poll(t, "part of the snapshot", func() bool { return r.m.Report().Counters.SnapshotApplied > 5000 })
	source.Must("CLIENT", "KILL", "TYPE", "replica")
	if err := r.fails(); !errors.Is(err, receive.ErrCut) {
		t.Fatal(err)
	}
	source.Must("CONFIG", "SET", "rdb-key-save-delay", "0")
	for _, k := range target.Must("KEYS", "fill:*").([]any)[:3000] { // deleted, and in no stream
		source.Must("DEL", k.(string))
	}
	r = begin(t, u, dir, nil)
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, u, dataset.CompareOptions{})
}
