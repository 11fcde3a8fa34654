//go:build servers

package migrator

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"surecut/internal/keyspace"
)

// These tests move slots between the shards of a source cluster, while clients write to them. Afterwards the target must hold what the source
// holds, and nothing else.

// followTest is a migration whose source moves slots.
type followTest struct {
	*slotCluster
	r    *run
	load *slotLoad // nil: nobody writes
}

// writtenSlots are the slots to which a load writes: the first, the last and some others of each shard.
var writtenSlots = []uint16{0, 1, 100, 5426, 5460, 5461, 8000, 10922, 10923, 16000, 16383}

// fewKeys is how many keys lie in all the other slots.
const fewKeys = 2000

// moveCase is one way in which slots move during a migration.
type moveCase struct {
	name, why string
	shape     clusterShape
	change    func(*Config)
	rate      int    // operations of the load in a second; 0: nobody writes
	only      opKind // of the load; nil: of all kinds
	early     bool   // do begins while the snapshots are loaded
	do        func(x *followTest)
}

// run runs the migration of a case, and compares both sides in the end.
func (c moveCase) run(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	x := &followTest{slotCluster: newSlotCluster(t, c.shape)}
	x.fill(fewKeys, writtenSlots...)
	if c.rate > 0 {
		x.load = x.slotCluster.load(seed, writtenSlots, c.rate, c.only)
		t.Cleanup(x.load.stop) // before the servers end
	}
	x.r = x.begin(c.change)
	if c.early {
		x.r.poll("part of the snapshot", func() bool { return x.r.m.Report().Counters.SnapshotApplied > 100 })
	} else {
		x.r.poll("start of following", func() bool { return x.r.m.Report().State == phaseCaughtUp })
	}
	c.do(x)
	if x.load != nil {
		x.load.stop()
	}
	x.finish(x.r)
	t.Logf("%d slots and %d keys moved", x.slotsMoved.Load(), x.keysMoved.Load())
}

// to moves slots to a shard, one after the other.
func (x *followTest) to(shard int, slots ...uint16) {
	x.t.Helper()
	for _, slot := range slots {
		x.must(x.move(slot, shard, 10, time.Millisecond))
	}
}

// noticed waits until the migration no longer says that it has caught up, since slots move.
func (x *followTest) noticed() {
	x.t.Helper()
	x.r.poll("notice of the move", func() bool { return x.r.m.Report().State != phaseCaughtUp })
}

// written waits until the load has been told so often to ask the node to which a slot moves, so that it has written on both sides.
func (x *followTest) written(times int64) {
	x.t.Helper()
	before := x.load.asked.Load()
	poll(x.t, "writes on both sides", func() bool { return x.load.asked.Load() >= before+times })
}

// again begins the migration again.
func (x *followTest) again(change func(*Config)) { x.r = x.begin(change) }

func withRate(ops int64) func(*Config) { return func(c *Config) { c.RateOps = ops } }

var replicated = clusterShape{replicas: 1}

// TestSlotMovesOnSource: the migration follows one slot, and several, wherever they go.
func TestSlotMovesOnSource(t *testing.T) {
	t.Parallel()
	for _, c := range []moveCase{
		{name: "the first of its shard, idle", why: "the new owner is not the promoted replica of the old one", do: func(x *followTest) { x.to(1, 0) }},
		{name: "the first of its shard", rate: 1000, do: func(x *followTest) { x.to(1, 0) }},
		{name: "the first of its shard, to a cluster", shape: clusterShape{targets: 3}, rate: 1000, do: func(x *followTest) { x.to(1, 0) }},
		{name: "one in the middle, idle", do: func(x *followTest) { x.to(1, 5426) }},
		{name: "one in the middle", rate: 1000, do: func(x *followTest) { x.to(2, 100) }},
		{name: "one without keys", why: "no stream shows it", do: func(x *followTest) { x.to(2, 7777, 3, 12000) }},
		{name: "one without keys, which gets some at once", rate: 500, do: func(x *followTest) {
			x.to(2, 7777)
			x.load.write(7777, "RPUSH", "{"+keyspace.SlotTag(7777)+"}new", "a")
		}},
		{name: "on and on", rate: 1000, do: func(x *followTest) { x.to(1, 0); x.to(2, 0) }},
		{name: "there and back", why: "two looks at the cluster show the same", rate: 1000, do: func(x *followTest) { x.to(1, 0); x.to(0, 0) }},
		{name: "there and back, idle", do: func(x *followTest) { x.to(1, 0); x.to(0, 0) }},
		{name: "there and back, to a cluster", shape: clusterShape{targets: 3}, rate: 1000, do: func(x *followTest) { x.to(1, 0); x.to(0, 0) }},
		{name: "the first of each shard, in a ring", rate: 1000, do: func(x *followTest) { x.to(1, 0); x.to(2, 5461); x.to(0, 10923) }},
		{name: "many at once", why: "they settle together", rate: 1000, do: func(x *followTest) {
			for i := range filledSlots / sourceShards {
				slot, _ := filledKey(i)
				x.to(1, slot)
			}
		}},
		{name: "read from replicas", shape: replicated, change: func(c *Config) { c.ReadFrom = "replica" }, rate: 1000, do: func(x *followTest) { x.to(1, 0); x.to(2, 5461) }},
		{name: "read from primaries", shape: replicated, change: func(c *Config) { c.ReadFrom = "primary" }, rate: 1000, do: func(x *followTest) { x.to(1, 0); x.to(2, 5461) }},
		{name: "in transactions", why: "their keys are in both streams", rate: 800, only: transactionOp, do: func(x *followTest) {
			x.half(0, 1)
			x.to(1, 0, 1)
		}},
		{name: "Valkey", shape: clusterShape{image: "valkey/valkey:8.1", replicas: 1}, rate: 1000, do: func(x *followTest) { x.to(1, 0); x.to(2, 5461) }},
		{name: "Redis 8", shape: clusterShape{image: "redis:8.0"}, rate: 1000, do: func(x *followTest) { x.to(1, 0); x.to(2, 5461) }},
		{name: "Redis 6", shape: clusterShape{image: "redis:6.0"}, rate: 1000, do: func(x *followTest) { x.to(1, 0); x.to(2, 5461) }},
	} {
		t.Run(c.name, c.run)
	}
}

// TestSlotHalfMoved: keys of one slot are on two shards, for as long as somebody likes.
func TestSlotHalfMoved(t *testing.T) {
	t.Parallel()
	for _, c := range []moveCase{
		{name: "idle", do: func(x *followTest) {
			from, dest := x.half(0, 1)
			x.noticed()
			x.to(1, 0)
			x.must(x.end(0, from, dest)) // twice is once
		}},
		{name: "under load", rate: 1000, do: func(x *followTest) {
			x.half(0, 1)
			x.noticed()
			x.written(20)
			x.to(1, 0)
		}},
		{name: "begun and put back", why: "no slot changes hands", rate: 1000, do: func(x *followTest) {
			from, to := x.half(0, 1)
			x.written(20)
			x.putBack(0, from, to)
		}},
		{name: "begun and put back, idle", do: func(x *followTest) {
			from, to := x.half(0, 1)
			x.noticed()
			x.putBack(0, from, to)
		}},
		{name: "begun without a key and put back", do: func(x *followTest) {
			from, err := x.owner(0)
			x.must(err)
			to, err := x.primary(2)
			x.must(err)
			x.until("beginning of the move", func() error { return x.open(0, from, to) })
			x.noticed()
			x.putBack(0, from, to)
		}},
		{name: "several in different directions", shape: clusterShape{targets: 3}, rate: 1000, do: func(x *followTest) {
			x.half(0, 1)
			x.half(5461, 2)
			x.half(10923, 0)
			x.half(8000, 0)
			x.written(20)
			x.to(0, 10923, 8000)
			x.to(1, 0)
			x.to(2, 5461)
		}},
		{name: "while the same slot of the target moves", shape: clusterShape{targets: 3}, rate: 800, do: func(x *followTest) {
			x.half(0, 1)
			x.noticed()
			moveSlot(x.t, x.targets[0], x.targets[1], x.targets, 0)
			x.to(1, 0)
		}},
		{name: "while another moves there and back", rate: 1000, do: func(x *followTest) {
			x.half(0, 1)
			x.to(2, 100)
			x.to(0, 100)
			x.to(1, 0)
		}},
	} {
		t.Run(c.name, c.run)
	}
}

// TestKeysChangeWhileTheirSlotMoves: keys go, or are written by what names none of them.
func TestKeysChangeWhileTheirSlotMoves(t *testing.T) {
	t.Parallel()
	flush := func(shard int) func(x *followTest) {
		return func(x *followTest) {
			x.half(0, 1)
			x.noticed()
			n, err := x.primary(shard)
			x.must(err)
			_, err = x.ask(n, "FLUSHALL")
			x.must(err)
			x.to(1, 0)
		}
	}
	for _, c := range []moveCase{
		{name: "deleted and expired", do: goneWhileMoving},
		{name: "deleted and expired, to a cluster", shape: clusterShape{targets: 3}, rate: 500, do: goneWhileMoving},
		{name: "FLUSHALL where the slot leaves", why: "it names no keys", rate: 500, do: flush(0)},
		{name: "FLUSHALL where the slot leaves, idle", do: flush(0)},
		{name: "FLUSHALL where the slot arrives", rate: 500, do: flush(1)},
		{name: "FLUSHALL of another shard, to a cluster", shape: clusterShape{targets: 3}, rate: 500, do: flush(2)},
		{name: "copied from the source at that time", why: "the node that is asked answers MOVED or ASK", rate: 300, do: refusedWhileMoving},
	} {
		t.Run(c.name, c.run)
	}
}

// goneWhileMoving lets keys of a slot end on either side, in each way.
func goneWhileMoving(x *followTest) {
	router := newSlotRouter(x.slotCluster)
	const keys = 120
	key := func(i int) string { return fmt.Sprintf("gone:{%s}%d", keyspace.SlotTag(1), i) }
	for i := range keys {
		router.write(1, "SET", key(i), "v")
		if i%3 == 0 {
			router.write(1, "PEXPIRE", key(i), strconv.Itoa(500+i*20))
		}
	}
	from, dest := x.half(1, 1)
	for i := range keys {
		switch i % 3 {
		case 1:
			router.write(1, "DEL", key(i))
		case 2:
			// RENAME would have to find both keys at one node, so the key is made under another name, as RENAME does at a replica.
			router.write(1, "SET", key(i+1000), "v")
			router.write(1, "DEL", key(i))
		}
	}
	x.noticed()
	for i := range keys / 2 {
		router.write(1, "UNLINK", key(i+1000))
	}
	for _, n := range []string{from.Addr, dest.Addr} {
		x.t.Logf("the slot is spread over %s", n)
	}
	x.to(1, 1)
	for i := keys / 2; i < keys; i += 2 {
		router.write(1, "DEL", key(i+1000))
	}
}

// refusedWhileMoving makes the target refuse commands, so that their keys are copied from the source, while their slot moves.
func refusedWhileMoving(x *followTest) {
	key := "refused:{" + keyspace.SlotTag(5426) + "}"
	router := newSlotRouter(x.slotCluster)
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			router.runAll([]slotOp{{5426, [][]string{{"SADD", key, "1", "2"}}}})
			x.targets[0].Do("SET", key, "of another type")
			router.runAll([]slotOp{{5426, [][]string{{"SREM", key, "2"}}}})
			select {
			case <-over:
				return
			default:
			}
		}
	}()
	x.r.poll("key that is copied from the source", func() bool { return x.r.m.Report().Counters.CommandsRepaired > 0 })
	x.to(1, 5426)
	x.to(2, 5426)
	close(over)
	<-done
	router.write(5426, "DEL", key)
}
