//go:build servers

package migrator

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// slotCluster is a source cluster whose slots are moved between its shards, and the target of its migration. Methods that return an error may
// be called by any goroutine; the others end the test, and belong to the test's own.
type slotCluster struct {
	t       *testing.T
	shape   clusterShape
	targets []*servers.Server // one, or those of a cluster
	to      *slotCluster      // a target whose slots move as well, in place of targets; may be nil
	dir     string

	keysMoved, slotsMoved atomic.Int64
	ending                sync.RWMutex // held for writing while somebody is promoted, for reading while a slot changes hands

	mu      sync.Mutex
	shards  [][]*servers.Server       // the nodes that belonged to each shard when it was made; guarded by mu
	down    map[*servers.Server]bool  // killed, or removed from the cluster; guarded by mu
	clients map[string]rueidis.Client // by address; guarded by mu
}

// clusterShape says how the servers of a test are set up.
type clusterShape struct {
	image    string   // "": redis:7.0
	replicas int      // of each shard of the source
	targets  int      // primaries of the target cluster; 0: the target is one server
	args     []string // further options of the source's servers
	alone    bool     // it is a target itself
}

// sourceShards is how many shards a source has at first. Slots are spread evenly over them.
const sourceShards = 3

func newSlotCluster(t *testing.T, shape clusterShape) *slotCluster {
	t.Helper()
	if shape.image == "" {
		shape.image = "redis:7.0"
	}
	shape.args = append([]string{"--repl-backlog-size", "64mb"}, shape.args...)
	c := &slotCluster{t: t, shape: shape, dir: t.TempDir(), shards: make([][]*servers.Server, sourceShards),
		down: map[*servers.Server]bool{}, clients: map[string]rueidis.Client{}}
	for i, n := range servers.Cluster(t, shape.image, sourceShards, shape.replicas, shape.args...) {
		c.shards[i%sourceShards] = append(c.shards[i%sourceShards], n)
	}
	switch {
	case shape.alone:
	case shape.targets > 0:
		c.targets = servers.Cluster(t, shape.image, shape.targets, 0)
	default:
		c.targets = []*servers.Server{servers.Standalone(t, shape.image)}
	}
	t.Cleanup(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, client := range c.clients {
			client.Close()
		}
	})
	return c
}

// must ends the test over an error.
func (c *slotCluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// live lists the nodes that are up and in the cluster.
func (c *slotCluster) live() (nodes []*servers.Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, shard := range c.shards {
		for _, n := range shard {
			if !c.down[n] {
				nodes = append(nodes, n)
			}
		}
	}
	return nodes
}

// shard lists the nodes of one shard that are up.
func (c *slotCluster) shard(i int) []*servers.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.shards[i]), func(n *servers.Server) bool { return c.down[n] })
}

func (c *slotCluster) setDown(n *servers.Server, down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down[n] = down
}

// url names all nodes that are up, as the source of a migration.
func (c *slotCluster) url() string {
	var addrs []string
	for _, n := range c.live() {
		addrs = append(addrs, n.Addr)
	}
	return "redis+cluster://" + strings.Join(addrs, ",")
}

// targetURL names the target of a migration.
func (c *slotCluster) targetURL() string {
	if c.to != nil {
		return c.to.url()
	}
	return c.targets[0].URL()
}

// client returns the client of one node, which outlives failures of the node.
func (c *slotCluster) client(addr string) (rueidis.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if client := c.clients[addr]; client != nil {
		return client, nil
	}
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true,
		DisableRetry: true, AlwaysRESP2: true, PipelineMultiplex: -1, ConnWriteTimeout: time.Minute, Dialer: net.Dialer{Timeout: 5 * time.Second}})
	if err == nil {
		c.clients[addr] = client
	}
	return client, err
}

// ask runs a command on one node.
func (c *slotCluster) ask(n *servers.Server, args ...string) (any, error) {
	client, err := c.client(n.Addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	reply, err := client.Do(ctx, endpoint.Arbitrary(client, args...)).ToAny()
	if err != nil && !rueidis.IsRedisNil(err) {
		return nil, fmt.Errorf("%s: %.100q: %w", n.Addr, args, err)
	}
	return reply, nil
}

// sees returns the nodes of the cluster as one of them sees them.
func (c *slotCluster) sees(n *servers.Server) ([]endpoint.ClusterNode, error) {
	text, err := c.ask(n, "CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	return endpoint.ParseClusterNodes(text.(string), n.Addr)
}

// self returns what a node says of itself.
func (c *slotCluster) self(n *servers.Server) (endpoint.ClusterNode, error) {
	nodes, err := c.sees(n)
	if err != nil {
		return endpoint.ClusterNode{}, err
	}
	i := slices.IndexFunc(nodes, func(n endpoint.ClusterNode) bool { return n.Has("myself") })
	if i < 0 {
		return endpoint.ClusterNode{}, fmt.Errorf("%s does not list itself", n.Addr)
	}
	return nodes[i], nil
}

// primary returns the primary of a shard: of those that say they are one, the latest that was made it.
func (c *slotCluster) primary(shard int) (*servers.Server, error) {
	var found *servers.Server
	epoch := int64(-1)
	for _, n := range c.shard(shard) {
		if self, err := c.self(n); err == nil && self.Has("master") && self.Epoch > epoch {
			found, epoch = n, self.Epoch
		}
	}
	if found == nil {
		return nil, fmt.Errorf("shard %d has no primary now", shard)
	}
	return found, nil
}

// owner returns the node that says it owns a slot: the one with the latest claim.
func (c *slotCluster) owner(slot uint16) (*servers.Server, error) {
	var found *servers.Server
	epoch := int64(-1)
	for _, n := range c.live() {
		if self, err := c.self(n); err == nil && self.Has("master") && self.Slots.Has(slot) && self.Epoch > epoch {
			found, epoch = n, self.Epoch
		}
	}
	if found == nil {
		return nil, fmt.Errorf("slot %d has no owner now", slot)
	}
	return found, nil
}

// primaries lists the nodes that say they are one.
func (c *slotCluster) primaries() (found []*servers.Server) {
	for _, n := range c.live() {
		if self, err := c.self(n); err == nil && self.Has("master") {
			found = append(found, n)
		}
	}
	return found
}

// settle waits until all nodes agree on the owner of every slot, and none is about to give or take one.
func (c *slotCluster) settle() {
	c.t.Helper()
	c.until("agreement of the source", func() error {
		var first string
		for _, n := range c.live() {
			nodes, err := c.sees(n)
			if err != nil {
				return err
			}
			shown := ""
			slices.SortFunc(nodes, func(a, b endpoint.ClusterNode) int { return strings.Compare(a.ID, b.ID) })
			for _, o := range nodes {
				if len(o.Migrating)+len(o.Importing) > 0 {
					return fmt.Errorf("%s still moves slots: %v, %v", n.Addr, o.Migrating, o.Importing)
				}
				if len(o.Slots) > 0 {
					shown += o.ID + " " + o.Slots.String() + "\n"
				}
			}
			if first == "" {
				first = shown
			}
			if shown != first {
				self, _ := c.self(n)
				return fmt.Errorf("%s (%v) shows other slots than its peers:\n%s\n%s", n.Addr, self.Flags, shown, first)
			}
		}
		return nil
	})
}

// until waits until there is no error any more, for as long as a busy machine may need.
func (c *slotCluster) until(what string, try func() error) {
	c.t.Helper()
	c.must(patient(what, try))
}

func patient(what string, try func() error) error { return within(2*time.Minute, what, try) }

func within(most time.Duration, what string, try func() error) error {
	deadline := time.Now().Add(most)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no %s in time: %w", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// begin starts the migration, or resumes it. A source in the middle of a failover may not answer yet.
func (c *slotCluster) begin(change func(*Config)) *run {
	c.t.Helper()
	var r *run
	c.until("start of the migration", func() (err error) {
		r, err = tryBegin(c.t, urls{c.url(), c.targetURL()}, c.dir, func(cfg *Config) {
			cfg.RetryFor = 2 * time.Minute
			if change != nil {
				change(cfg)
			}
		})
		return err
	})
	return r
}

// caughtUp waits until the migration has caught up with everything that the source holds, of which no slot moves any more.
func (c *slotCluster) caughtUp(r *run) {
	c.t.Helper()
	c.settle()
	var report Report
	err := patient("state caught_up", func() error {
		select {
		case <-r.ended:
			c.t.Fatalf("the migration has ended: %v", r.err)
		default:
		}
		want, err := c.offsets() // each time: a primary takes another ID when its first replica comes
		if err != nil {
			return err
		}
		if report = r.m.Report(); report.State != phaseCaughtUp {
			return fmt.Errorf("it is %s", report.State)
		}
		for id, at := range want {
			if at == 0 { // it has never had a slot, so that it has no link
				continue
			}
			if !slices.ContainsFunc(report.Links, func(l Link) bool { return l.ReplID == id && l.AppliedOffset >= at }) {
				return fmt.Errorf("no link has applied %s up to %d", id, at)
			}
		}
		return nil
	})
	if err != nil {
		c.t.Fatalf("%v: %+v", err, report.Links)
	}
}

// offsets returns where the streams of all shards stand, by their replication IDs. A shard without slots need not be received.
func (c *slotCluster) offsets() (map[string]int64, error) {
	at := map[string]int64{}
	for _, n := range c.primaries() {
		if self, err := c.self(n); err != nil || len(self.Slots) == 0 {
			continue
		}
		text, err := c.ask(n, "INFO", "replication")
		if err != nil {
			return nil, err
		}
		info := endpoint.ParseInfo(text.(string))
		if at[info["master_replid"]], err = strconv.ParseInt(info["master_repl_offset"], 10, 64); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// finish ends a migration that has followed everything, and compares both sides. Nobody writes any more.
func (c *slotCluster) finish(r *run) {
	c.t.Helper()
	c.caughtUp(r)
	report := r.stop()
	if why := r.m.Unsettled(); len(why) > 0 {
		c.t.Errorf("not settled: %q", why)
	}
	addsUp(c.t, report)
	if len(report.Problems) > 0 {
		c.t.Errorf("%d problems, the first: %+v", len(report.Problems), report.Problems[0])
	}
	c.equal()
}

func (c *slotCluster) equal() {
	c.t.Helper()
	target := c.targetURL()
	if c.to != nil {
		target = c.to.live()[0].URL()
	}
	equal(c.t, urls{c.live()[0].URL(), target}, dataset.CompareOptions{})
}

// filledSlots is in how many slots fill puts its keys, evenly spread over all shards.
const filledSlots = 60

// filledKey names one of the keys that fill writes, and its slot.
func filledKey(i int) (slot uint16, name string) {
	slot = uint16(i%filledSlots*16384/filledSlots + 40)
	return slot, fmt.Sprintf("key:{%s}%d", keyspace.SlotTag(slot), i)
}

// fill writes keys of several types, some of which will expire, and one to each of the given slots.
func (c *slotCluster) fill(keys int, slots ...uint16) {
	c.t.Helper()
	var ops []slotOp
	for i := range keys {
		slot, name := filledKey(i)
		n, cmd := strconv.Itoa(i), []string{"SET", name, "v"}
		switch i % 5 {
		case 0:
			cmd = []string{"HSET", name, "f", n, "g", n}
		case 1:
			cmd = []string{"RPUSH", name, n, n}
		case 2:
			cmd = []string{"SET", name, n, "EX", "7200"}
		}
		ops = append(ops, slotOp{slot, [][]string{cmd}})
	}
	for _, slot := range slots {
		ops = append(ops, slotOp{slot, [][]string{{"SET", "{" + keyspace.SlotTag(slot) + "}first", "v"}}})
	}
	router := newSlotRouter(c)
	for part := range slices.Chunk(ops, 300) {
		for _, err := range router.runAll(part) {
			c.must(err)
		}
	}
}
