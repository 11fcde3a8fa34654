//go:build servers

package migrator

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
)

// These tests take data away from a target that was acknowledged. It must be noticed: what may be copied again is, and everything else ends
// the migration with an error that names the node.

// lossTest is a migration to a cluster of three nodes, which all hold keys.
type lossTest struct {
	t      *testing.T
	source *servers.Server
	nodes  []*servers.Server
	u      urls
	dir    string
}

func newLossTest(t *testing.T) *lossTest {
	t.Helper()
	x := &lossTest{t: t, source: servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb"), nodes: servers.Cluster(t, "redis:7.0", 3, 0), dir: t.TempDir()}
	x.u = urls{x.source.URL(), x.nodes[0].URL()}
	fill(t, x.source, 3000)
	return x
}

// whole sees that the target holds what the source holds, once the migration has mended it.
func (x *lossTest) whole(r *run) {
	x.t.Helper()
	r.poll("keys of all nodes", func() bool {
		var n int64
		for _, node := range x.nodes {
			n += int64(len(node.Must("KEYS", "fill:*").([]any)))
		}
		return n == 3000
	})
	r.caughtUp()
	addsUp(x.t, r.stop())
	equal(x.t, x.u, dataset.CompareOptions{})
}

// TestTargetNodeLosesItsKeys: of a cluster whose keys all come from the migration, what a node has lost is copied again.
func TestTargetNodeLosesItsKeys(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"flushed while idle", "flushed under load", "flushed while stopped", "flushed while killed", "restarted empty while stopped"} {
		t.Run(how, func(t *testing.T) {
			x := newLossTest(t)
			r := begin(t, x.u, x.dir, nil)
			r.caughtUp()
			switch how {
			case "flushed while idle":
				x.nodes[1].Must("FLUSHALL")
			case "flushed under load":
				stop := writeTo(t, x.source, true)
				r.caughtUp()
				x.nodes[1].Must("FLUSHALL")
				stop()
			case "flushed while killed":
				r.abort()
				x.nodes[1].Must("FLUSHALL")
				r = begin(t, x.u, x.dir, nil)
			case "flushed while stopped":
				r.stop()
				x.nodes[1].Must("FLUSHALL")
				r = begin(t, x.u, x.dir, nil)
			default:
				r.stop()
				x.nodes[1].Kill()
				x.nodes[1].Restart()
				poll(t, "cluster", func() bool {
					text, err := x.nodes[0].Do("CLUSTER", "INFO").ToString()
					return err == nil && strings.Contains(text, "cluster_state:ok")
				})
				poll(t, "node", func() bool { return x.nodes[1].Do("GET", "{"+keyspace.SlotTag(6000)+"}").NonRedisError() == nil })
				r = begin(t, x.u, x.dir, nil)
			}
			x.whole(r)
		})
	}
}

// TestTargetNodeLosesKeysOfOthers: where keys of the target are not the migration's own, nothing tells what was lost, and it ends.
func TestTargetNodeLosesKeysOfOthers(t *testing.T) {
	t.Parallel()
	x := newLossTest(t)
	x.nodes[0].Must("SET", "{"+keyspace.SlotTag(5)+"}own", "v")
	r := begin(t, x.u, x.dir, func(c *Config) { c.OnExisting = ExistingReplace })
	r.caughtUp()
	x.nodes[1].Must("FLUSHALL")
	loses(t, r, x.nodes[1].Addr)
	// Nor is it taken for whole afterwards.
	r = begin(t, x.u, x.dir, func(c *Config) { c.OnExisting = ExistingReplace })
	loses(t, r, x.nodes[1].Addr)
}

// loses waits until a run ends because its target has lost keys.
func loses(t *testing.T, r *run, node string) {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(30 * time.Second):
		t.Error("the migration goes on")
		r.m.Finish()
	}
	r.wait()
	if !errors.Is(r.err, target.ErrRegressed) || !strings.Contains(r.err.Error(), node) {
		t.Fatalf("ended with: %v", r.err)
	}
	t.Log(r.err)
}

// TestTargetSlotsMoveWithWitness: slots of the target may move, and the keys that tell of a loss move with them.
func TestTargetSlotsMoveWithWitness(t *testing.T) {
	t.Parallel()
	x := newLossTest(t)
	r := begin(t, x.u, x.dir, nil)
	r.caughtUp()
	moveSlot(t, x.nodes[0], x.nodes[1], x.nodes, int(r.m.witnesses()[0].Slot))
	x.source.Must("SET", "after", "v")
	r.poll("witness of the node that lost its own", func() bool { return len(r.m.witnesses()) == 4 })
	r.caughtUp()
	if !r.m.links[0].standing.stage().inTarget() || r.m.links[0].st.Again {
		t.Error("a slot that moved was taken for a loss")
	}
	x.nodes[0].Must("FLUSHALL")
	x.whole(r)
}

// TestTargetFlushedBeforeStop: one server that was emptied is noticed even if it is the last thing that happens.
func TestTargetFlushedBeforeStop(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"FLUSHALL", "FLUSHDB", "FLUSHDB of another database", "SWAPDB 0 3", "SWAPDB 3 4", "restarted empty", "DEBUG RELOAD NOSAVE NOFLUSH"} {
		t.Run(how, func(t *testing.T) {
			source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0", "--enable-debug-command", "local")
			fill(t, source, 100)
			three := source.Client(3)
			if err := three.Do(t.Context(), endpoint.Arbitrary(three, "SET", "k", "v")).Error(); err != nil {
				t.Fatal(err)
			}
			r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), nil)
			r.caughtUp()
			r.poll("witnesses", func() bool { return len(r.m.witnesses()) == 2 })
			switch how {
			case "FLUSHDB of another database":
				client := target.Client(3)
				if err := client.Do(t.Context(), endpoint.Arbitrary(client, "FLUSHDB")).Error(); err != nil {
					t.Fatal(err)
				}
			case "restarted empty":
				target.Kill()
				target.Restart()
			case "DEBUG RELOAD NOSAVE NOFLUSH": // there is no file: it comes back with nothing
				target.Must("FLUSHALL")
				_ = target.Do("DEBUG", "RELOAD", "NOSAVE")
			default:
				target.Must(strings.Fields(how)...)
			}
			r.m.Finish()
			loses(t, r, target.Addr)
		})
	}
}

// TestTargetFlushedWhileIdle: nobody writes, and nobody stops anything.
func TestTargetFlushedWhileIdle(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	fill(t, source, 100)
	r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), nil)
	r.caughtUp()
	target.Must("FLUSHALL")
	loses(t, r, target.Addr)
}

// TestTargetBehindProxyFlushed: the servers behind a proxy do not show themselves; the names are spread over them.
func TestTargetBehindProxyFlushed(t *testing.T) {
	t.Parallel()
	source := servers.Standalone(t, "redis:6.0")
	backends := []*servers.Server{servers.Standalone(t, "redis:6.0"), servers.Standalone(t, "redis:6.0")}
	proxy := servers.Twemproxy(t, nil, backends[0].Addr+":1 one", backends[1].Addr+":1 two")
	fill(t, source, 100)
	r := begin(t, urls{source.URL(), "redis+twemproxy://" + proxy.Addr + "?via=proxy&config=" + proxy.Config}, t.TempDir(), nil)
	r.caughtUp()
	backends[1].Must("FLUSHALL")
	r.m.Finish()
	loses(t, r, proxy.Addr)
}

// TestTargetFlushedInFullCopy: what was lost while the snapshot was loaded is loaded again.
func TestTargetFlushedInFullCopy(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	fill(t, source, 20000)
	u := urls{source.URL(), target.URL()}
	r := begin(t, u, t.TempDir(), func(c *Config) { c.Mode, c.RateOps = ModeFull, 5000 })
	poll(t, "part of the snapshot", func() bool { return r.m.Report().Counters.SnapshotApplied > 3000 })
	target.Must("FLUSHALL")
	r.wait()
	if r.err != nil {
		t.Fatal(r.err)
	}
	equal(t, u, dataset.CompareOptions{})
}

// TestSentinelTargetLosesItsKeys: the primary that the sentinels name holds nothing any more.
func TestSentinelTargetLosesItsKeys(t *testing.T) {
	t.Parallel()
	source, g := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb"), newGroup(t, "redis:7.0")
	fill(t, source, 1000)
	r := begin(t, urls{source.URL(), g.url()}, t.TempDir(), nil)
	r.caughtUp()
	now := g.primary(t)
	now.Must("FLUSHALL")
	r.poll("keys", func() bool { return now.Must("EXISTS", "fill:1", "fill:"+strconv.Itoa(999)) == int64(2) })
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, urls{source.URL(), now.URL()}, dataset.CompareOptions{})
}
