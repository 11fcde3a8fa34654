//go:build servers

package migrator

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"surecut/e2e/servers"
)

// TestSlotsMoveAtRandom moves slots in all directions at once, while clients write to them, shards fail over, one joins, connections are cut,
// servers stand still for up to 40 seconds, and the migration is killed and resumed. The same befalls a target that is a cluster. Failovers in the middle of moves may take a cluster apart in ways that no test can foresee, so that it is run by
// make torture alone: SURECUT_RESHARD_FOR says how long ("10m"). SURECUT_RESHARD_SEED repeats the choices of an earlier run, though not its
// timing.
func TestSlotsMoveAtRandom(t *testing.T) {
	t.Parallel()
	lasts := fromEnvironment(t, "SURECUT_RESHARD_FOR", 0, time.ParseDuration)
	if lasts == 0 {
		t.Skip("run by make torture, which sets SURECUT_RESHARD_FOR")
	}
	for i, shape := range []clusterShape{{}, {targets: 3}} {
		name := "to one server"
		if shape.targets > 0 {
			name = "to a cluster"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newRandomTest(t, shape, uint64(i)).run(lasts)
		})
	}
}

// fromEnvironment reads a variable that need not be set.
func fromEnvironment[T any](t *testing.T, name string, otherwise T, parse func(string) (T, error)) T {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	value, err := parse(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return value
}

// randomTest is a migration whose source does not rest.
type randomTest struct {
	*slotCluster
	r     *run
	load  *slotLoad
	rng   *rand.Rand
	seed  uint64
	slots []uint16 // that are written to, and moved

	crashes, promotions, lapses, stills, cuts int
}

// randomSlots is how many slots the load writes to; each has some 40 keys.
const randomSlots = 80

func newRandomTest(t *testing.T, shape clusterShape, salt uint64) *randomTest {
	t.Helper()
	seed := fromEnvironment(t, "SURECUT_RESHARD_SEED", rand.Uint64(), func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) })
	t.Logf("SURECUT_RESHARD_SEED=%d", seed)
	x := &randomTest{seed: seed, rng: rand.New(rand.NewPCG(seed, salt))}
	images := []string{"redis:7.0", "redis:8.0", "valkey/valkey:8.1"}
	shape.image, shape.replicas = images[x.rng.IntN(len(images))], min(x.rng.IntN(3), 1)
	shape.args = []string{"--cluster-allow-replica-migration", "no"} // a shard stays one without slots
	if shape.targets > 0 {
		shape.alone = true
		to := newSlotCluster(t, clusterShape{image: shape.image, replicas: 1, args: shape.args, alone: true})
		x.slotCluster = newSlotCluster(t, shape)
		x.to = to
	} else {
		x.slotCluster = newSlotCluster(t, shape)
	}
	t.Logf("%s, %d replicas", shape.image, shape.replicas)
	for len(x.slots) < randomSlots {
		x.slots = append(x.slots, uint16(x.rng.IntN(16384)))
	}
	return x
}

func (x *randomTest) run(lasts time.Duration) {
	x.fill(fewKeys, x.slots...)
	x.load = x.slotCluster.load(x.seed, x.slots, 2000, nil)
	x.t.Cleanup(x.load.stop)
	change := func(c *Config) {
		if x.rng.IntN(2) == 0 {
			c.ReadFrom = "primary"
		}
	}
	x.r = x.begin(change)
	end := time.Now().Add(lasts)
	moving := x.slotCluster.startMovers(x.seed, x.slots, moversAtOnce, end)
	var others *movers
	if x.to != nil {
		others = x.to.startMovers(x.seed, x.slots, 1, end)
	}
	joins := time.Now().Add(lasts / 4)
	for time.Now().Before(end) {
		if joins.Before(time.Now()) {
			moving.shard(x.join())
			joins = end
		}
		switch x.rng.IntN(10) {
		case 0, 1:
			x.crash(change)
		case 2, 3:
			x.failOver(x.slotCluster)
			x.promotions++
		case 4:
			x.failOver(x.to)
			x.lapses++
		case 5:
			x.standStill()
		case 6:
			x.cut()
		default:
			time.Sleep(time.Duration(x.rng.IntN(1500)) * time.Millisecond)
		}
		x.alive()
	}
	x.must(moving.wait())
	x.tidy()
	x.revive()
	x.load.stop()
	x.t.Logf("source: %d slots and %d keys moved, %d failovers", x.slotsMoved.Load(), x.keysMoved.Load(), x.promotions)
	if x.to != nil {
		x.must(others.wait())
		x.to.tidy()
		x.to.revive()
		x.to.settle()
		x.t.Logf("target: %d slots and %d keys moved, %d failovers", x.to.slotsMoved.Load(), x.to.keysMoved.Load(), x.lapses)
	}
	x.t.Logf("%d kills of the migration, %d nodes stood still, %d times all connections of a node were cut", x.crashes, x.stills, x.cuts)
	x.finish(x.r)
}

// nodes lists all servers that are up: of the source, and of the target.
func (x *randomTest) nodes() []*servers.Server {
	all := x.live()
	if x.to != nil {
		return append(all, x.to.live()...)
	}
	return append(all, x.targets...)
}

// standStill stops a server, mostly for less than it takes the others to replace it, and at times for up to 40 seconds. Then it goes on, and
// may take itself for the primary until it hears better.
func (x *randomTest) standStill() {
	all := x.nodes()
	n := all[x.rng.IntN(len(all))]
	still := time.Duration(x.rng.IntN(3000)) * time.Millisecond
	if x.rng.IntN(6) == 0 {
		still = time.Duration(5+x.rng.IntN(36)) * time.Second
	}
	n.Pause()
	time.Sleep(still)
	n.Resume()
	x.stills++
}

// cut ends all connections of a server with its clients, or with its replicas, of which the migration is one.
func (x *randomTest) cut() {
	all := x.nodes()
	kind := []string{"normal", "replica"}[x.rng.IntN(2)]
	_, _ = x.ask(all[x.rng.IntN(len(all))], "CLIENT", "KILL", "TYPE", kind) // it may stand still, or its client may be one of those that are cut
	x.cuts++
}

// alive ends the test when the migration has ended by itself.
func (x *randomTest) alive() {
	x.t.Helper()
	select {
	case <-x.r.ended:
		x.t.Fatalf("the migration has ended: %v", x.r.err)
	default:
	}
}

func (x *randomTest) crash(change func(*Config)) {
	x.t.Helper()
	x.r.abort()
	if x.rng.IntN(2) == 0 {
		time.Sleep(time.Duration(x.rng.IntN(1000)) * time.Millisecond)
	}
	x.r = x.begin(change)
	x.crashes++
}

// failOver promotes a replica of a cluster, and starts what was killed for it again once the cluster knows.
func (x *randomTest) failOver(c *slotCluster) {
	x.t.Helper()
	if c == nil || c.shape.replicas == 0 {
		return
	}
	how := []string{"", "", "", "TAKEOVER", "KILL"}[x.rng.IntN(5)]
	x.must(c.promote(x.rng.IntN(sourceShards), how)) // the shard that joins has no replica
	c.revive()
}

// movers move slots of a cluster, each one slot after the other.
type movers struct {
	c      *slotCluster
	slots  []uint16 // that are written to
	atOnce int
	wg     sync.WaitGroup
	errs   chan error

	mu     sync.Mutex
	shards int // guarded by mu
}

const moversAtOnce = 3

func (c *slotCluster) startMovers(seed uint64, slots []uint16, atOnce int, end time.Time) *movers {
	m := &movers{c: c, slots: slots, atOnce: atOnce, errs: make(chan error, atOnce), shards: sourceShards}
	for i := range atOnce {
		rng := rand.New(rand.NewPCG(seed, uint64(100+i)))
		m.wg.Go(func() {
			for time.Now().Before(end) {
				if err := m.moveOne(rng, i); err != nil {
					m.errs <- err
					return
				}
			}
		})
	}
	return m
}

// moveOne moves one of the slots that are a mover's own, or now and then one that hardly anybody uses. Some go on to another shard at once.
func (m *movers) moveOne(rng *rand.Rand, mover int) error {
	slot := m.slots[rng.IntN(len(m.slots))]
	if rng.IntN(10) == 0 {
		slot = uint16(rng.IntN(16384))
	}
	if int(slot)%m.atOnce != mover {
		return nil
	}
	time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
	for range 1 + rng.IntN(3)/2 {
		m.mu.Lock()
		to := rng.IntN(m.shards)
		m.mu.Unlock()
		pause := time.Duration(rng.IntN(20)) * time.Millisecond
		if err := m.c.move(slot, to, 1+rng.IntN(20), pause); err != nil {
			return fmt.Errorf("mover %d: %w", mover, err)
		}
	}
	return nil
}

// shard tells the movers of one more shard.
func (m *movers) shard(number int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shards = number + 1
}

func (m *movers) wait() error {
	m.wg.Wait()
	close(m.errs)
	return <-m.errs
}
