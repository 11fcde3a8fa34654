//go:build servers

package migrator

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
)

// These tests change the shards of a source cluster: some get other primaries while slots move, some join, some leave.

// promote makes a replica of a shard its primary and waits until it is. how is "" for a handover in good order, TAKEOVER for one that asks
// nobody and may lose writes, or KILL for the end of the primary, which the others vote on.
func (c *slotCluster) promote(shard int, how string) error {
	c.ending.Lock()
	defer c.ending.Unlock()
	old, err := c.primary(shard)
	if err != nil {
		return err
	}
	if how == "KILL" {
		old.Kill()
		c.setDown(old, true)
		return patient("election", func() error { _, err := c.primary(shard); return err })
	}
	var replica *servers.Server
	order := strings.Fields("CLUSTER FAILOVER " + how)
	return patient("promotion", func() error {
		if replica == nil {
			if replica, err = c.replica(shard); err != nil {
				return err
			}
		}
		if self, err := c.self(replica); err == nil && self.Has("master") {
			return nil
		}
		_, err := c.ask(replica, order...) // may be refused while the replica is not up to date, and may time out
		return fmt.Errorf("%s is still a replica (%w)", replica.Addr, err)
	})
}

// replica returns a replica of a shard. A former primary that has lost its slots to several others may have stayed one, and is then told whom
// to follow.
func (c *slotCluster) replica(shard int) (*servers.Server, error) {
	primary, err := c.primary(shard)
	if err != nil {
		return nil, err
	}
	now, err := c.self(primary)
	if err != nil {
		return nil, err
	}
	for _, n := range c.shard(shard) {
		self, err := c.self(n)
		switch {
		case err != nil || n == primary:
		case self.Has("slave"):
			return n, nil
		case len(self.Slots) == 0 && len(now.Slots) > 0:
			if _, err := c.ask(n, "CLUSTER", "REPLICATE", now.ID); err != nil {
				return nil, err
			}
		}
	}
	return nil, fmt.Errorf("shard %d has no replica now", shard)
}

// revive starts killed nodes again, which become replicas of whoever has replaced them.
func (c *slotCluster) revive() {
	c.t.Helper()
	for i := range c.shards {
		for _, n := range c.shards[i] {
			c.mu.Lock()
			down := c.down[n]
			c.mu.Unlock()
			if !down {
				continue
			}
			n.Restart()
			c.setDown(n, false)
			c.until("replica of the new primary", func() error { _, err := c.replica(i); return err })
		}
	}
}

// join adds a shard without slots and returns its number. Its one node knows the others, and they know it.
func (c *slotCluster) join() int {
	c.t.Helper()
	args := append([]string{"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "5000",
		"--repl-ping-replica-period", "1"}, c.shape.args...)
	joined := servers.Standalone(c.t, c.shape.image, args...)
	self, err := c.self(joined)
	c.must(err)
	for _, n := range c.live() {
		_, err := c.ask(joined, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(n.Port))
		c.must(err)
	}
	c.until("acquaintance", func() error {
		for _, n := range c.live() {
			nodes, err := c.sees(n)
			if err != nil {
				return err
			}
			known := false
			for _, o := range nodes {
				known = known || o.ID == self.ID && !o.Has("handshake")
			}
			if !known {
				return fmt.Errorf("%s does not know %s", n.Addr, joined.Addr)
			}
		}
		text, err := c.ask(joined, "CLUSTER", "INFO")
		if err == nil && !strings.Contains(text.(string), "cluster_slots_assigned:16384") {
			return nil // failovers during moves have left a slot without an owner, and whoever moves it next will give it one
		}
		if err != nil || !strings.Contains(text.(string), "cluster_state:ok") {
			return fmt.Errorf("state of %s: %v (%w)", joined.Addr, text, err)
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shards = append(c.shards, []*servers.Server{joined})
	return len(c.shards) - 1
}

// remove takes a shard without slots out of the cluster. killed says how its nodes end: otherwise they go on alone, and empty.
func (c *slotCluster) remove(shard int, killed bool) {
	c.t.Helper()
	for _, gone := range c.shard(shard) {
		self, err := c.self(gone)
		c.must(err)
		c.setDown(gone, true)
		if killed {
			gone.Kill()
		}
		c.until("forgetting", func() error { // gossip may bring it back as long as anybody knows it
			for _, n := range c.live() {
				if _, err := c.ask(n, "CLUSTER", "FORGET", self.ID); err != nil && !strings.Contains(err.Error(), "Unknown node") {
					return err
				}
			}
			return nil
		})
		if !killed {
			_, err := c.ask(gone, "CLUSTER", "RESET", "HARD")
			c.must(err)
		}
	}
}

// TestShardLeaves: a shard loses all its slots, after which its node becomes a replica of the shard that got the last one, or stays an empty
// primary, or leaves the cluster.
func TestShardLeaves(t *testing.T) {
	t.Parallel()
	stays := clusterShape{args: []string{"--cluster-allow-replica-migration", "no"}}
	staysCluster := clusterShape{args: stays.args, targets: 3}
	leaves := func(killed bool) func(x *followTest) {
		return func(x *followTest) {
			x.moveAll(2, 0, writtenSlots)
			x.remove(2, killed)
		}
	}
	for _, c := range []moveCase{
		{name: "becomes a replica", why: "its node is then in another shard", rate: 500, do: func(x *followTest) { x.moveAll(2, 0, writtenSlots) }},
		{name: "becomes a replica, idle", do: func(x *followTest) { x.moveAll(2, 0, nil) }},
		{name: "the first shard becomes a replica", why: "the links are in the order of the shards", rate: 500, do: func(x *followTest) { x.moveAll(0, 1, writtenSlots) }},
		{name: "its replicas, too", shape: clusterShape{replicas: 1}, rate: 500, do: func(x *followTest) { x.moveAll(2, 0, writtenSlots) }},
		{name: "stays without slots", shape: stays, rate: 500, do: func(x *followTest) { x.moveAll(2, 0, writtenSlots) }},
		{name: "stays, and gets a slot back", shape: stays, rate: 500, do: func(x *followTest) { x.moveAll(2, 0, writtenSlots); x.to(2, 16383) }},
		{name: "is reset", shape: stays, rate: 500, do: leaves(false)},
		{name: "is killed", shape: staysCluster, rate: 500, do: leaves(true)},
		{name: "is killed before its stream was read", why: "what was deleted there last cannot be known", shape: stays, rate: 500, do: func(x *followTest) {
			x.r.abort()
			x.moveAll(2, 0, writtenSlots)
			x.remove(2, true)
			x.again(nil)
		}},
		{name: "becomes a replica while nobody runs", rate: 500, do: func(x *followTest) {
			x.r.stop()
			x.moveAll(2, 0, writtenSlots)
			x.again(nil)
		}},
	} {
		t.Run(c.name, c.run)
	}
}

// TestShardJoins: a primary that the migration has not known gets slots.
func TestShardJoins(t *testing.T) {
	t.Parallel()
	for _, c := range []moveCase{
		{name: "with one slot", rate: 1000, do: func(x *followTest) { x.to(x.join(), 0) }},
		{name: "with one slot, idle", do: func(x *followTest) { x.to(x.join(), 0) }},
		{name: "with slots of all shards, to a cluster", shape: clusterShape{targets: 3}, rate: 1000, do: func(x *followTest) { x.to(x.join(), 0, 5461, 10923, 16383) }},
		{name: "without slots", why: "nothing of it need be read", rate: 500, do: func(x *followTest) { x.join() }},
		{name: "while nobody runs", rate: 500, do: func(x *followTest) {
			x.r.stop()
			x.to(x.join(), 0, 100)
			x.again(nil)
		}},
		{name: "while the snapshots are loaded", change: withRate(3000), early: true, rate: 500, do: func(x *followTest) { x.to(x.join(), 0, 100) }},
		{name: "and is killed for", why: "the new link begins in one run and goes on in another", rate: 500, do: func(x *followTest) {
			x.to(x.join(), 0, 100)
			x.r.abort()
			x.again(nil)
			x.to(sourceShards, 5461)
		}},
		{name: "and gives its slots away again", shape: clusterShape{args: []string{"--cluster-allow-replica-migration", "no"}}, rate: 500, do: func(x *followTest) {
			shard := x.join()
			x.to(shard, 0, 100)
			x.noticed()
			x.to(0, 0)
			x.to(1, 100)
			x.remove(shard, true)
		}},
		{name: "and gives its slots away after it was followed", rate: 500, do: func(x *followTest) {
			shard := x.join()
			x.to(shard, 0, 100)
			x.noticed()
			x.r.poll("link of the new shard", func() bool { r := x.r.m.Report(); return r.State == phaseCaughtUp && len(r.Links) == 4 })
			x.to(0, 0)
			x.to(1, 100) // as the last one: its node becomes a replica
		}},
	} {
		t.Run(c.name, c.run)
	}
}

// TestShardFailsOverWhileSlotsMove: a new primary knows nothing of a slot that its predecessor was about to give or take, and clients write to
// the slot where they are sent meanwhile.
func TestShardFailsOverWhileSlotsMove(t *testing.T) {
	t.Parallel()
	midway := func(shard int, how string) func(x *followTest) {
		return func(x *followTest) {
			x.half(0, 1)
			x.noticed()
			x.must(x.promote(shard, how))
			x.to(1, 0)
			x.tidy()
		}
	}
	for _, c := range []moveCase{
		{name: "the one that gives", shape: replicated, rate: 800, do: midway(0, "")},
		{name: "the one that takes", shape: replicated, rate: 800, do: midway(1, "")},
		{name: "another one, to a cluster", shape: clusterShape{replicas: 1, targets: 3}, rate: 800, do: midway(2, "")},
		{name: "the one that gives, by a takeover", shape: replicated, rate: 800, do: midway(0, "TAKEOVER")},
		{name: "the one that takes, by a takeover", shape: replicated, rate: 800, do: midway(1, "TAKEOVER")},
		{name: "the one that gives is killed", shape: replicated, rate: 800, do: midway(0, "KILL")},
		{name: "the one that takes is killed", shape: replicated, rate: 800, do: midway(1, "KILL")},
		{name: "killed, and read from primaries", shape: replicated, rate: 800, change: func(c *Config) { c.ReadFrom = "primary" }, do: midway(0, "KILL")},
		{name: "given up by the failover", why: "half of the keys stay behind on a node that does not own them", shape: replicated, rate: 800, do: func(x *followTest) {
			x.half(0, 1)
			x.noticed()
			x.must(x.promote(0, ""))
			x.tidy()
		}},
		{name: "while nobody runs", shape: replicated, rate: 800, do: func(x *followTest) {
			x.half(0, 1)
			x.r.abort()
			x.must(x.promote(0, ""))
			x.to(1, 0)
			x.must(x.promote(1, ""))
			x.tidy()
			x.again(nil)
		}},
	} {
		t.Run(c.name, c.run)
	}
}

// TestMigrationBeginsAfterSlotsMoved: what a source has been through before is no matter.
func TestMigrationBeginsAfterSlotsMoved(t *testing.T) {
	t.Parallel()
	x := newSlotCluster(t, clusterShape{replicas: 1, targets: 3})
	x.fill(fewKeys, writtenSlots...)
	load := x.load(1, writtenSlots, 500, nil)
	t.Cleanup(load.stop)
	for _, slot := range []uint16{0, 1, 5461} {
		x.must(x.move(slot, 2, 10, time.Millisecond))
	}
	from, to := x.half(10923, 0)
	x.until("writes on both sides", func() error {
		if load.asked.Load() == 0 {
			return fmt.Errorf("nobody was told to ask %s", to.Addr)
		}
		return nil
	})
	x.putBack(10923, from, to)
	x.half(100, 1)
	x.must(x.promote(0, ""))
	x.must(x.move(100, 1, 10, 0))
	x.must(x.promote(1, "KILL"))
	x.revive()
	shard := x.join()
	x.must(x.move(8000, shard, 10, 0))
	x.moveAll(2, 0, writtenSlots)
	x.tidy()
	load.stop()
	x.finish(x.begin(func(c *Config) { c.ReadFrom = "primary" })) // replicas that have gone over to another shard are not what this is about
	t.Logf("%d slots and %d keys moved", x.slotsMoved.Load(), x.keysMoved.Load())
}
