//go:build e2e

package e2e

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// killRounds is how often TestKilledAgain kills a migration that had caught up once.
const killRounds = 8

// kills returns how often a test kills a migration: n times, or a multiple of that as SURECUT_KILLS says.
func kills(n int) int { return n * factor() }

func factor() int {
	n, err := strconv.Atoi(os.Getenv("SURECUT_KILLS"))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// TestKilledAgain kills a migration at random moments after it had caught up, mostly while it is on its way to do so again: what a
// run had noted of keys and not yet written down, the next one has to find out by itself.
func TestKilledAgain(t *testing.T) {
	for _, c := range []struct {
		image     string
		toCluster bool
		pace      int // of the writes, relative: a cluster is slower where keys have to be copied
	}{{"redis:7.0", false, 4}, {"valkey/valkey:8.1", true, 1}} {
		t.Run(c.image, func(t *testing.T) {
			beside(t, working)
			killedAgain(t, c.image, c.toCluster, c.pace)
		})
	}
}

func killedAgain(t *testing.T, image string, toCluster bool, pace int) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 7))
	source, targetNodes := servers.Standalone(t, image, "--repl-backlog-size", "256mb"), deployment(t, image, toCluster)
	pair := dataset.Pair{Source: open(t, []*servers.Server{source}), Target: open(t, targetNodes)}
	fill := dataset.Options{Seed: seed, Keys: 2000}
	if _, err := dataset.Fill(t.Context(), pair.Source, fill); err != nil {
		t.Fatal(err)
	}
	changes := changeOnce(t, source, seed, 12*time.Millisecond/time.Duration(pace))
	defer changes.stop()
	traffic := dataset.StartTraffic(t.Context(), pair.Source, dataset.TrafficOptions{Seed: seed, BulkKeys: fill.Keys, Rate: 120 * pace, MaxTime: time.Duration(factor()) * 20 * time.Minute})
	defer traffic.Stop()

	state := t.TempDir()
	run := func() *surecut {
		return start(t, "migrate", "--source", source.URL(), "--target", targetNodes[0].URL(), "--accept-alarms", "--progress", "json", "--state", state)
	}
	s := killAgain(t, rng, run)
	changed := changes.stop()
	if err := traffic.Stop(); err != nil {
		t.Fatal(err)
	}
	s.waitDrained(time.Minute)
	s.waitFor("caught_up", len(s.seen())+1, time.Minute, func(p progress) bool { return p.Phase == "caught_up" })
	s.want(s.stop(4*time.Minute), 0)
	t.Logf("%v; %d keys changed once, %d other writes", same(t, pair, dataset.CompareOptions{}), changed, traffic.Writes.Load())
}

// killAgain runs a migration until it has caught up, then kills it again and again and runs it anew, and returns the last run, which has
// caught up.
func killAgain(t *testing.T, rng *rand.Rand, run func() *surecut) *surecut {
	t.Helper()
	s := run()
	s.waitPhase("caught_up", 4*time.Minute)
	for range kills(killRounds) {
		if rng.IntN(3) > 0 { // on its way
			s.waitFor("stream", 0, 4*time.Minute, func(p progress) bool { return p.Phase == "streaming" || p.Phase == "caught_up" })
		}
		time.Sleep(time.Duration(rng.IntN(600)) * time.Millisecond)
		if err := s.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-s.done
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		s = run()
	}
	s.waitPhase("caught_up", 4*time.Minute)
	return s
}

// TestKilledThroughProxy kills a migration that writes through nutcracker again and again under load: there are no transactions, so what it
// had on its way is copied again.
func TestKilledThroughProxy(t *testing.T) {
	beside(t, working)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	source, pool := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "256mb"), newPool(t, "redis:7.0", 1)
	pair := dataset.Pair{Source: open(t, []*servers.Server{source}), Target: open(t, pool.servers)}
	fill := dataset.Options{Seed: seed, Keys: 2000}
	if _, err := dataset.Fill(t.Context(), pair.Source, fill); err != nil {
		t.Fatal(err)
	}
	load := startLoad(t, source.Addr, seed, 2*time.Millisecond) // of commands that nutcracker knows
	defer load.stop()
	state := t.TempDir()
	s := killAgain(t, rand.New(rand.NewPCG(seed, 9)), func() *surecut {
		return start(t, "migrate", "--source", source.URL(), "--target", pool.url("&via=proxy"), "--accept-alarms", "--progress", "json", "--state", state)
	})
	increments := load.stop()
	s.waitDrained(time.Minute)
	s.waitFor("caught_up", len(s.seen())+1, time.Minute, func(p progress) bool { return p.Phase == "caught_up" })
	s.want(s.stop(4*time.Minute), 3) // the pool takes no function libraries, which every run says again
	t.Logf("%v; %d increments", same(t, pair, dataset.CompareOptions{NoFunctions: true}), increments)
}

// changed changes keys that expire some day, each once, so that whatever is forgotten of one is not made good by its next change.
type changed struct {
	quit chan struct{}
	once sync.Once
	wg   sync.WaitGroup
	n    int // written by the goroutine, read after it
}

// onceKeys is how many there are; a second takes some hundreds.
const onceKeys = 60_000

func onceKey(i int) string { return "once:{" + strconv.Itoa(i) + "}" }

func changeOnce(t *testing.T, s *servers.Server, seed uint64, every time.Duration) *changed {
	t.Helper()
	client, rng := s.Client(0), rand.New(rand.NewPCG(seed, 8))
	var cmds []rueidis.Completed
	for i := range 50 {
		cmds = append(cmds, client.B().Rpush().Key("once").Element(onceKey(i)[len("once:"):]).Build())
	}
	for i := range onceKeys {
		cmds = append(cmds, client.B().Set().Key(onceKey(i)).Value("5").ExSeconds(int64(600+rng.IntN(9000))).Build())
	}
	for _, r := range client.DoMulti(t.Context(), cmds...) {
		if err := r.Error(); err != nil {
			t.Fatal(err)
		}
	}
	c := &changed{quit: make(chan struct{})}
	c.wg.Go(func() {
		for ; c.n < onceKeys; c.n++ {
			select {
			case <-c.quit:
				return
			case <-time.After(every):
			}
			key := onceKey(c.n)
			ways := [][]string{{"INCR", key}, {"APPEND", key, "6"}, {"SETRANGE", key, "1", "7"}, {"RENAME", key, "re" + key}, {"COPY", key, "co" + key},
				{"PERSIST", key}, {"EXPIRE", key, "5000"}, {"SET", key, "8", "KEEPTTL"}}
			args := ways[rng.IntN(len(ways))]
			if c.n%100 == 0 {
				args = []string{"SORT", "once", "BY", "once:*", "STORE", "sorted:" + key}
			}
			if err := client.Do(t.Context(), client.B().Arbitrary(args...).Build()).Error(); err != nil && !rueidis.IsRedisNil(err) {
				t.Errorf("change %s: %v", key, err)
				return
			}
		}
	})
	return c
}

func (c *changed) stop() int {
	c.once.Do(func() { close(c.quit) })
	c.wg.Wait()
	return c.n
}
