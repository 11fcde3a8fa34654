//go:build servers

package migrator

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/internal/keyspace"
)

// These tests move slots of a source cluster while the migration begins, ends, is killed or does not run.

// TestSlotMovesWhileStopped: a run that resumes finds slots elsewhere, or moving.
func TestSlotMovesWhileStopped(t *testing.T) {
	t.Parallel()
	stopped := func(do func(x *followTest)) func(x *followTest) {
		return func(x *followTest) {
			x.r.stop()
			do(x)
			x.again(nil)
		}
	}
	for _, c := range []moveCase{
		{name: "one", rate: 1000, do: stopped(func(x *followTest) { x.to(1, 5426) })},
		{name: "one, idle", do: stopped(func(x *followTest) { x.to(1, 5426) })},
		{name: "there and back", why: "only the streams show it", rate: 1000, do: stopped(func(x *followTest) { x.to(1, 0); x.to(0, 0) })},
		{name: "the first of every shard in turn", rate: 1000, shape: clusterShape{targets: 3}, do: stopped(func(x *followTest) { x.to(1, 0); x.to(2, 5461); x.to(0, 10923) })},
		{name: "half, and the rest later", rate: 1000, do: func(x *followTest) {
			x.r.stop()
			x.half(0, 1)
			x.written(10)
			x.again(nil)
			x.written(10)
			x.to(1, 0)
		}},
		{name: "killed with half of it moved", rate: 1000, do: func(x *followTest) {
			x.half(0, 1)
			x.noticed()
			x.r.abort()
			x.to(1, 0)
			x.to(2, 0)
			x.again(nil)
		}},
		{name: "killed again and again", rate: 1000, do: killedAgain},
		{name: "killed again and again, to a cluster", shape: clusterShape{targets: 3}, rate: 1000, do: killedAgain},
	} {
		t.Run(c.name, c.run)
	}
}

// killedAgain ends runs at random instants while slots move about.
func killedAgain(x *followTest) {
	seed := rand.Uint64()
	x.t.Logf("seed of the kills: %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	over, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 1; ; n++ {
			select {
			case <-over:
				done <- nil
				return
			default:
			}
			if err := x.move([]uint16{0, 100, 5461}[n%3], n/3%sourceShards, 5, 5*time.Millisecond); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 6 {
		time.Sleep(time.Duration(rng.IntN(2500)) * time.Millisecond) // settling takes a second or more
		x.r.abort()
		x.again(nil)
	}
	close(over)
	x.must(<-done)
}

// TestSlotMovesInSnapshot: keys that move while the snapshots are made are in two of them, or in none.
func TestSlotMovesInSnapshot(t *testing.T) {
	t.Parallel()
	for _, c := range []moveCase{
		{name: "idle", change: withRate(600), early: true, do: func(x *followTest) { x.to(1, 0, 1, 100) }},
		{name: "under load", change: withRate(3000), early: true, rate: 500, do: func(x *followTest) { x.to(1, 0); x.to(0, 5461); x.to(2, 0) }},
		{name: "there and back, to a cluster", shape: clusterShape{targets: 3}, change: withRate(3000), early: true, rate: 500, do: func(x *followTest) { x.to(1, 0); x.to(0, 0) }},
		{name: "half, until it is loaded", change: withRate(3000), early: true, rate: 500, do: func(x *followTest) {
			x.half(0, 1)
			x.r.poll("end of the snapshots", func() bool {
				for _, l := range x.r.m.Report().Links {
					if l.Phase == "snapshot" || l.Phase == "handshake" {
						return false
					}
				}
				return true
			})
			x.to(1, 0)
		}},
		{name: "half, and killed", change: withRate(1500), early: true, rate: 300, do: func(x *followTest) {
			x.half(0, 1)
			x.r.abort()
			x.written(10)
			x.again(withRate(3000))
			x.to(1, 0)
		}},
		{name: "keys that are held without their expiries", early: true, rate: 500,
			change: func(c *Config) { c.RateOps, c.MaxLag = 1500, time.Millisecond },
			do: func(x *followTest) {
				for i := range 600 {
					slot := writtenSlots[i%len(writtenSlots)]
					x.load.write(slot, "SET", fmt.Sprintf("held:{%s}%d", keyspace.SlotTag(slot), i), "v", "PX", strconv.Itoa(2000+i*2000))
				}
				x.to(1, 0, 100)
				x.to(2, 5461)
				x.r.abort() // what was held gets its expiries in the next run
				x.to(0, 0)
				x.again(nil)
			}},
	} {
		t.Run(c.name, c.run)
	}
}

// TestSlotMovesBeforeStop: a run that is told to stop at once settles first. If it cannot, it says so, and the next one goes on.
func TestSlotMovesBeforeStop(t *testing.T) {
	t.Parallel()
	t.Run("moved", func(t *testing.T) {
		moveCase{rate: 1000, do: func(x *followTest) {
			x.to(1, 5426)
			x.load.stop()
			x.r.stop()
			x.equal()
			x.again(nil)
		}}.run(t)
	})
	t.Run("moves", func(t *testing.T) {
		moveCase{rate: 1000, change: func(c *Config) { c.RetryFor = 3 * time.Second }, do: func(x *followTest) {
			x.half(5426, 1)
			x.noticed()
			x.r.m.Finish()
			x.r.wait()
			if why := fmt.Sprint(x.r.m.Unsettled()); x.r.err != nil || x.r.m.Settled() || !strings.Contains(why, "5426") {
				x.t.Errorf("%v, unsettled: %s", x.r.err, why)
			}
			x.to(1, 5426)
			x.again(nil)
		}}.run(t)
	})
}

// TestFlushWhileSlotsMoveToTargetInUse: which keys of the slot are the migration's cannot be told, so it stops and deletes nothing.
func TestFlushWhileSlotsMoveToTargetInUse(t *testing.T) {
	t.Parallel()
	c := newSlotCluster(t, clusterShape{})
	c.fill(fewKeys, writtenSlots...)
	foreign := "foreign:{" + keyspace.SlotTag(0) + "}"
	c.targets[0].Must("SET", foreign, "v")
	x := &followTest{slotCluster: c, r: c.begin(replaceAll)}
	x.r.poll("start of following", func() bool { return x.r.m.Report().State == phaseCaughtUp })
	from, _ := x.half(0, 1)
	x.noticed()
	_, err := x.ask(from, "FLUSHALL")
	x.must(err)
	x.to(1, 0)
	t.Logf("stopped: %v", x.r.fails())
	if c.targets[0].Must("EXISTS", foreign) != int64(1) {
		t.Error("a key that is not the migration's was deleted")
	}
}

// TestSlotMovesWithoutStream: a copy that ends with the snapshots, or that scans, does not follow slots. It must not end well.
func TestSlotMovesWithoutStream(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"snapshots only", func(c *Config) { c.Mode, c.RateOps = ModeFull, 1000 }},
		{"scan", func(c *Config) { c.Capture, c.RateOps = CaptureScan, 1000 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := newSlotCluster(t, clusterShape{})
			x.fill(fewKeys, writtenSlots...)
			r := x.begin(c.change)
			r.poll("part of the keys", func() bool { return r.m.Report().Counters.SnapshotApplied > 100 })
			x.must(x.move(5426, 1, 10, 0))
			stopsOverSlot(t, r.fails(), 5426)
		})
	}
	t.Run("keys that are copied again", func(t *testing.T) {
		t.Parallel()
		x := newSlotCluster(t, clusterShape{})
		x.fill(fewKeys, writtenSlots...)
		r := x.begin(func(c *Config) { c.Capture = CaptureScan })
		<-r.ended
		x.must(r.err)
		x.must(x.move(0, 1, 10, 0))
		_, name := filledKey(1)
		_, err := r.m.CopyAgain(t.Context(), []Outdated{{Key: keyspace.Key{Name: name}}})
		stopsOverSlot(t, err, 0)
	})
}

func stopsOverSlot(t *testing.T, err error, slot uint16) {
	t.Helper()
	if !errors.Is(err, errResharded) || !strings.Contains(err.Error(), "slot "+strconv.Itoa(int(slot))) {
		t.Errorf("ended by %v", err)
	}
}
