//go:build servers

package dataset_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

func open(t *testing.T, s ...*servers.Server) *dataset.Side {
	t.Helper()
	addrs := make([]string, len(s))
	for i := range s {
		addrs[i] = s[i].Addr
	}
	side, err := dataset.Open(t.Context(), addrs, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(side.Close)
	return side
}

func seed(t *testing.T) uint64 {
	s := rand.Uint64()
	t.Logf("seed %d", s)
	return s
}

// A native replica is the model of a copy: under the whole data set and the whole load the comparison must find
// nothing there, or it would blame migrations for what it got wrong itself. The same for the replicas of another
// version that servers accept.
func TestNativeReplicaCompares(t *testing.T) {
	var pairs [][2]string
	for _, image := range servers.Images() {
		pairs = append(pairs, [2]string{image, image})
	}
	pairs = append(pairs, [2]string{"redis:6.0", "redis:7.0"}, [2]string{"redis:7.0", "redis:8.0"}, [2]string{"redis:7.0", "valkey/valkey:8.1"})
	for _, p := range pairs {
		t.Run(p[0]+" to "+p[1], func(t *testing.T) {
			source, replica := servers.Standalone(t, p[0]), servers.Standalone(t, p[1])
			pair := dataset.Pair{Source: open(t, source), Target: open(t, replica)}
			attach := func() {
				replica.Must("SLAVEOF", "127.0.0.1", fmt.Sprint(source.Port))
				waitForLink(t, replica)
			}
			// The data set goes over as a stream within a version. Across versions it goes as a snapshot: 7.0 takes
			// ZADD -0 of 6.0's stream for 0, and keeps the sign in a snapshot.
			if p[0] == p[1] {
				attach()
			}
			seed := seed(t)
			stats, err := dataset.Fill(t.Context(), pair.Source, dataset.Options{Seed: seed, Keys: 5000, DBs: []int{0, 1, 5}, BigKeys: 1, BigElements: 2000})
			if err != nil {
				t.Fatal(err)
			}
			if p[0] != p[1] {
				attach()
			}
			traffic := dataset.StartTraffic(t.Context(), pair.Source, dataset.TrafficOptions{Seed: seed, DBs: []int{0, 1, 5}, BulkKeys: 5000, Whole: []int{8, 9}, MaxTime: 2 * time.Minute, KeepPending: p[0] == "redis:6.0" && p[1] != p[0]})
			for deadline := time.Now().Add(90 * time.Second); traffic.Writes.Load() < 15_000 && time.Now().Before(deadline); {
				time.Sleep(20 * time.Millisecond) // the load itself is what is waited for
			}
			if err := traffic.Stop(); err != nil {
				t.Fatal(err)
			}
			t.Logf("filled by %d commands in %v, %d live writes of %d commands", stats.Commands, stats.Elapsed, traffic.Writes.Load(), len(traffic.Counts()))
			if n := traffic.Writes.Load(); n < 10_000 {
				t.Errorf("%d live writes in 90 s", n)
			}
			waitForOffset(t, source, replica)
			result, err := dataset.Compare(t.Context(), pair, dataset.CompareOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(result)
			if result.Count != 0 || result.Keys < 5000 {
				t.Error(result)
			}
		})
	}
}

func waitForLink(t *testing.T, replica *servers.Server) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); replica.Info("replication")["master_link_status"] != "up"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the replica did not synchronize")
		}
	}
}

func waitForOffset(t *testing.T, source, replica *servers.Server) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		want, have := source.Info("replication")["master_repl_offset"], replica.Info("replication")["slave_repl_offset"]
		if want == have {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("replica at %s of %s", have, want)
		}
	}
}

func TestLoadOnCluster(t *testing.T) {
	for _, image := range servers.Clusters() {
		t.Run(image, func(t *testing.T) {
			side := open(t, servers.Cluster(t, image, 3, 0)...)
			seed := seed(t)
			if _, err := dataset.Fill(t.Context(), side, dataset.Options{Seed: seed, Keys: 2000}); err != nil {
				t.Fatal(err)
			}
			traffic := dataset.StartTraffic(t.Context(), side, dataset.TrafficOptions{Seed: seed, BulkKeys: 2000})
			time.Sleep(2 * time.Second)
			if err := traffic.Stop(); err != nil {
				t.Fatal(err)
			}
			result, err := dataset.Compare(t.Context(), dataset.Pair{Source: side, Target: side}, dataset.CompareOptions{})
			if err != nil || result.Count != 0 || result.Keys < 2000 {
				t.Fatal(result, err)
			}
		})
	}
}

// Each change of the copy must be found.
func TestCompareFinds(t *testing.T) {
	source := servers.Standalone(t, "redis:8.0")
	target := servers.Replica(t, source)
	pair := dataset.Pair{Source: open(t, source), Target: open(t, target)}
	options := dataset.Options{Seed: seed(t), Keys: 500, NoShortTTL: true}
	if _, err := dataset.Fill(t.Context(), pair.Source, options); err != nil {
		t.Fatal(err)
	}
	waitForOffset(t, source, target)
	target.Must("REPLICAOF", "NO", "ONE")
	for _, c := range []struct {
		name    string
		command string
		want    string
	}{
		{"missing", "DEL k:str:raw", `"k:str:raw": missing`},
		{"extra", "SET surplus 1", `"surplus": extra`},
		{"a byte", "SETRANGE k:str:1mb 500000 ########", `"k:str:1mb"`},
		{"type", "SET k:list:one x", `"k:list:one": list on the source, string`},
		{"an element", "LSET k:list:quick 2500 other", `"k:list:quick"`},
		{"order", "LMOVE k:list:small k:list:small LEFT RIGHT", `"k:list:small"`},
		{"a member", "SREM k:set:table member:77", `"k:set:table"`},
		{"a score", "ZADD k:zset:scores 3 odd", `"k:zset:scores"`},
		{"a sign", "ZADD k:zset:scores 0 negative", `"k:zset:scores"`},
		{"a field", "HSET k:hash:table field:9 other", `"k:hash:table"`},
		{"a field's expiry", "HPERSIST k:hash:ttl:small FIELDS 1 long", `"k:hash:ttl:small": field "long": expires`},
		{"an expiry dropped", "PERSIST k:ttl:hour", `"k:ttl:hour": expires`},
		{"an expiry moved", "PEXPIRE k:ttl:far 1000000", `"k:ttl:far": expires`},
		{"an entry", "XDEL k:stream:groups 1200-1", `"k:stream:groups"`},
		{"a group", "XGROUP DESTROY k:stream:groups late", `"k:stream:groups"`},
		{"a pending entry", "XACK k:stream:groups workers 1000-3", `"k:stream:groups"`},
		{"a last ID", "XSETID k:stream:one 8-8", `"k:stream:one"`},
		{"a function", "FUNCTION DELETE surecut_echo", `function library "surecut_echo"`},
		{"the tool's own key", "SET __surecut:x 1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			target.Must(strings.Fields(c.command)...)
			defer restore(t, source, target)
			result, err := dataset.Compare(context.Background(), pair, dataset.CompareOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" && result.Count == 0 {
				return
			}
			if result.Count != 1 || !strings.Contains(fmt.Sprint(result.Differences), c.want) {
				t.Fatalf("%v, want one difference with %s", result, c.want)
			}
		})
	}
}

// restore makes the target a copy again.
func restore(t *testing.T, source, target *servers.Server) {
	t.Helper()
	target.Must("REPLICAOF", "127.0.0.1", fmt.Sprint(source.Port))
	waitForLink(t, target)
	waitForOffset(t, source, target)
	target.Must("REPLICAOF", "NO", "ONE")
}
