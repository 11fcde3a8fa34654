//go:build servers

package migrator

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// These tests move slots between the shards of a source cluster. A migration cannot follow that yet: it must stop with an error that
// names slot and nodes, and it must not have deleted anything that the source still holds.

// clusterTest is a migration from a cluster of three shards, all of which hold keys.
type clusterTest struct {
	t      *testing.T
	nodes  []*servers.Server
	target *servers.Server
	ids    []string
	u      urls
	dir    string
}

const keysPerCluster = 3000

func newClusterTest(t *testing.T) *clusterTest {
	t.Helper()
	nodes := servers.Cluster(t, "redis:7.0", 3, 0, "--repl-backlog-size", "64mb")
	c := &clusterTest{t: t, nodes: nodes, target: servers.Standalone(t, "redis:7.0"), dir: t.TempDir()}
	c.u = urls{nodes[0].URL(), c.target.URL()}
	for _, n := range nodes {
		c.ids = append(c.ids, n.Must("CLUSTER", "MYID").(string))
	}
	for i := range keysPerCluster {
		name := "key:" + strconv.Itoa(i)
		nodes[c.shard(keyspace.Slot(name))].Must("SET", name, "v")
	}
	for i, slot := range []uint16{0, 5461, 10923} { // the first slot of each shard holds a key, too
		nodes[i].Must("SET", "{"+keyspace.SlotTag(slot)+"}first", "v")
	}
	return c
}

// shard is the one that a slot belonged to at first.
func (c *clusterTest) shard(slot uint16) int { return min(int(slot)*3/16384, 2) }

// beginMove makes a slot ready to be moved.
func (c *clusterTest) beginMove(slot uint16, from, to int) {
	c.t.Helper()
	c.nodes[to].Must("CLUSTER", "SETSLOT", strconv.Itoa(int(slot)), "IMPORTING", c.ids[from])
	c.nodes[from].Must("CLUSTER", "SETSLOT", strconv.Itoa(int(slot)), "MIGRATING", c.ids[to])
}

// move moves a slot with its keys, as redis-cli does.
func (c *clusterTest) move(slot uint16, from, to int) {
	c.t.Helper()
	number := strconv.Itoa(int(slot))
	c.beginMove(slot, from, to)
	for {
		keys, err := c.nodes[from].Do("CLUSTER", "GETKEYSINSLOT", number, "100").AsStrSlice()
		if err != nil {
			c.t.Fatal(err)
		}
		if len(keys) == 0 {
			break
		}
		c.nodes[from].Must(append([]string{"MIGRATE", "127.0.0.1", strconv.Itoa(c.nodes[to].Port), "", "0", "5000", "KEYS"}, keys...)...)
	}
	for _, n := range []int{to, from, 3 - from - to} {
		c.nodes[n].Must("CLUSTER", "SETSLOT", number, "NODE", c.ids[to])
	}
}

// stopsFor waits until the migration stops over slots that moved, and sees that the reason names what it must.
func (c *clusterTest) stopsFor(r *run, names ...string) {
	c.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(30 * time.Second):
		c.t.Error("the migration goes on")
		r.m.Finish()
	}
	r.wait()
	c.named(r.err, names...)
}

// named sees that an error tells of slots that moved.
func (c *clusterTest) named(err error, names ...string) {
	c.t.Helper()
	if err == nil {
		c.t.Error("the migration ended as if all was well")
		return
	}
	if !errors.Is(err, errResharded) {
		c.t.Errorf("another reason: %v", err)
	}
	for _, name := range names {
		if !strings.Contains(err.Error(), name) {
			c.t.Errorf("%q does not name %s", err, name)
		}
	}
	c.t.Logf("stopped: %v", err)
}

// holds sees that the target lacks no key that the source holds, but for those of slots that were moved.
func (c *clusterTest) holds(moved ...uint16) {
	c.t.Helper()
	lost := 0
	for i := range keysPerCluster {
		name := "key:" + strconv.Itoa(i)
		if slot := keyspace.Slot(name); !contains(moved, slot) && c.target.Must("EXISTS", name) == int64(0) {
			lost++
		}
	}
	if lost > 0 {
		c.t.Errorf("%d of %d keys are gone from the target", lost, keysPerCluster)
	}
}

func contains(slots []uint16, slot uint16) bool {
	for _, s := range slots {
		if s == slot {
			return true
		}
	}
	return false
}

// traffic counts up keys on all shards until the function that it returns is called.
func (c *clusterTest) traffic() (stop func()) {
	c.t.Helper()
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			default:
			}
			for _, node := range c.nodes {
				client := node.Client(0)
				cmds := make([]rueidis.Completed, 30)
				for i := range cmds {
					cmds[i] = endpoint.Arbitrary(client, "INCR", fmt.Sprintf("n:%d", (n*30+i)%5000)) // a third of them are the node's own
				}
				client.DoMulti(c.t.Context(), cmds...)
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return func() { close(over); <-done }
}

// TestSlotMovesOnSource: a link must not take the node that a slot went to for its own shard's promoted replica.
func TestSlotMovesOnSource(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		slot uint16
		load bool
	}{
		{"the first of its shard, idle", 0, false},
		{"the first of its shard, under load", 0, true},
		{"one in the middle, idle", 5426, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newClusterTest(t)
			r := begin(t, x.u, x.dir, nil)
			r.caughtUp()
			if c.load {
				defer x.traffic()()
			}
			x.move(c.slot, 0, 1)
			x.stopsFor(r, "slot "+strconv.Itoa(int(c.slot)), x.nodes[0].Addr, x.nodes[1].Addr)
			x.holds(c.slot)
		})
	}
}

// TestSlotBeginsToMoveOnSource: keys may follow at any moment.
func TestSlotBeginsToMoveOnSource(t *testing.T) {
	t.Parallel()
	x := newClusterTest(t)
	r := begin(t, x.u, x.dir, nil)
	r.caughtUp()
	x.beginMove(100, 0, 1)
	x.stopsFor(r, "slot 100", "began to move", x.nodes[0].Addr, x.nodes[1].Addr)
	x.holds()
}

// TestSlotMovesWhileStopped: a run that resumes compares the source with what it was before it writes anything.
func TestSlotMovesWhileStopped(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"one slot", "one slot, there and back", "the first slot of every shard in turn"} {
		t.Run(how, func(t *testing.T) {
			x := newClusterTest(t)
			r := begin(t, x.u, x.dir, nil)
			r.caughtUp()
			r.stop()
			var moved []uint16
			switch how {
			case "one slot":
				moved = []uint16{5426}
				x.move(5426, 0, 1)
			case "one slot, there and back":
				moved = []uint16{0}
				x.move(0, 0, 1)
				x.move(0, 1, 0)
			default: // each shard's first slot now belongs to the next one
				moved = []uint16{0, 5461, 10923}
				x.move(0, 0, 1)
				x.move(5461, 1, 2)
				x.move(10923, 2, 0)
			}
			cfg := DefaultConfig()
			cfg.Sides = Sides{Source: openSide(t, x.u.source), Target: openSide(t, x.u.target)}
			cfg.StateDir = x.dir
			m, err := New(t.Context(), cfg)
			if err == nil { // what the stream alone tells of is found when it is read
				ended := make(chan error, 1)
				go func() { ended <- m.Run(t.Context()) }()
				select {
				case err = <-ended:
				case <-time.After(30 * time.Second):
					m.Finish()
					t.Error("the migration goes on")
					err = <-ended
				}
			}
			cfg.Sides.Source.Close()
			cfg.Sides.Target.Close()
			x.named(err, "slot")
			x.holds(moved...)
		})
	}
}

// TestSlotMovesInSnapshot: keys that move while the snapshots are made are in two of them, or in none.
func TestSlotMovesInSnapshot(t *testing.T) {
	t.Parallel()
	x := newClusterTest(t)
	r := begin(t, x.u, x.dir, func(c *Config) { c.RateOps = 300 })
	poll(t, "part of the snapshot", func() bool { return r.m.Report().Counters.SnapshotApplied > 100 })
	x.move(0, 0, 1)
	x.stopsFor(r, "slot 0", x.nodes[0].Addr, x.nodes[1].Addr)
}

// TestSlotMovesInFullCopy: a copy without a stream ends with the last snapshot, and must not end well either.
func TestSlotMovesInFullCopy(t *testing.T) {
	t.Parallel()
	x := newClusterTest(t)
	r := begin(t, x.u, x.dir, func(c *Config) { c.Mode, c.RateOps = ModeFull, 1500 })
	poll(t, "part of the snapshot", func() bool { return r.m.Report().Counters.SnapshotApplied > 100 })
	x.move(5426, 0, 1)
	x.stopsFor(r, "slot 5426", x.nodes[0].Addr, x.nodes[1].Addr)
}

// TestSlotMovesInScan: nor is a source followed that is scanned, in its first pass or when keys are copied again.
func TestSlotMovesInScan(t *testing.T) {
	t.Parallel()
	x := newClusterTest(t)
	r := begin(t, x.u, x.dir, func(c *Config) { c.Capture, c.RateOps = CaptureScan, 1000 })
	poll(t, "part of the scan", func() bool { return r.m.Report().Counters.SnapshotApplied > 100 })
	x.move(5426, 0, 1)
	x.stopsFor(r, "slot 5426", x.nodes[0].Addr, x.nodes[1].Addr)

	x = newClusterTest(t)
	r = begin(t, x.u, x.dir, func(c *Config) { c.Capture = CaptureScan })
	<-r.ended
	if r.err != nil {
		t.Fatal(r.err)
	}
	x.move(0, 0, 1)
	_, err := r.m.CopyAgain(t.Context(), []Outdated{{Key: keyspace.Key{Name: "key:1"}}})
	x.named(err, "slot 0", x.nodes[0].Addr, x.nodes[1].Addr)
}

// TestSlotMovesBeforeStop: an order to stop that follows at once finds out as well.
func TestSlotMovesBeforeStop(t *testing.T) {
	t.Parallel()
	x := newClusterTest(t)
	r := begin(t, x.u, x.dir, nil)
	r.caughtUp()
	x.move(5426, 0, 1)
	r.m.Finish()
	x.stopsFor(r, "slot 5426", x.nodes[0].Addr, x.nodes[1].Addr)
	x.holds(5426)
}

// TestSlotMovesUnderReads: keys are read at the source while their slot moves, and the reply is MOVED.
func TestSlotMovesUnderReads(t *testing.T) {
	t.Parallel()
	x := newClusterTest(t)
	r := begin(t, x.u, x.dir, nil)
	r.caughtUp()
	tag := "{" + keyspace.SlotTag(5426) + "}"
	x.nodes[0].Must("SADD", tag+"a", "1")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2000 { // each is refused by the target, and copied from the source
			if x.nodes[0].Do("SADD", tag+"a", "2").Error() != nil {
				return
			}
			x.target.Do("SET", tag+"a", "of another type")
			x.nodes[0].Do("SREM", tag+"a", "2")
		}
	}()
	poll(t, "key that is copied from the source", func() bool { return r.m.Report().Counters.CommandsRepaired > 0 })
	x.move(5426, 0, 1)
	x.stopsFor(r, "slot 5426", x.nodes[0].Addr, x.nodes[1].Addr)
	<-done
}

// TestShardIsMerged: all slots of a shard go to another one, which leaves a primary without slots.
func TestShardIsMerged(t *testing.T) {
	t.Parallel()
	x := newClusterTest(t)
	r := begin(t, x.u, x.dir, nil)
	r.caughtUp()
	x.nodes[2].Must("FLUSHALL")             // a slot with keys cannot be given away at once
	x.nodes[0].Must("CLUSTER", "BUMPEPOCH") // or what the shard says of itself before it is told would take the slots back
	for _, n := range []int{0, 2, 1} {
		client := x.nodes[n].Client(0)
		var cmds []rueidis.Completed
		for slot := 10923; slot < 16384; slot++ {
			cmds = append(cmds, endpoint.Arbitrary(client, "CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", x.ids[0]))
		}
		for _, res := range client.DoMulti(t.Context(), cmds...) {
			if err := res.Error(); err != nil && !strings.Contains(err.Error(), "my slots") {
				t.Fatal(err)
			}
		}
	}
	x.stopsFor(r, "slots 10923-16383", x.nodes[2].Addr, x.nodes[0].Addr)
}
