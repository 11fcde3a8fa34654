//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
)

// TestKilled kills the migration with SIGKILL in its snapshot, in its stream and while it catches up, each time runs the same command
// again, and wants every write on the target exactly once: increments and pushes show a write that was applied twice
// as well as one that is missing.
func TestKilled(t *testing.T) {
	for _, c := range []struct {
		image   string
		toClust bool
	}{{"redis:6.0", false}, {"redis:7.0", true}, {"redis:8.0", false}, {"valkey/valkey:8.1", true}} {
		t.Run(fmt.Sprintf("%s to cluster %v", c.image, c.toClust), func(t *testing.T) {
			beside(t, working)
			killed(t, c.image, c.toClust)
		})
	}
}

func killed(t *testing.T, image string, toCluster bool) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	source, targetNodes := servers.Standalone(t, image, "--repl-backlog-size", "256mb"), deployment(t, image, toCluster)
	pair := dataset.Pair{Source: open(t, []*servers.Server{source}), Target: open(t, targetNodes)}
	fill := dataset.Options{Seed: seed, Keys: 20_000, BigKeys: 1}
	if _, err := dataset.Fill(t.Context(), pair.Source, fill); err != nil {
		t.Fatal(err)
	}
	traffic := dataset.StartTraffic(t.Context(), pair.Source, dataset.TrafficOptions{Seed: seed, BulkKeys: fill.Keys, Rate: 3000, MaxTime: time.Duration(factor()) * 8 * time.Minute})
	defer traffic.Stop()
	counted := count(t, source)
	defer counted.stop()

	state := t.TempDir()
	run := func(more ...string) *surecut {
		return start(t, append([]string{"migrate", "--source", source.URL(), "--target", targetNodes[0].URL(),
			"--accept-alarms", "--progress", "json", "--state", state}, more...)...)
	}
	kill := func(s *surecut) {
		if err := s.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-s.done
	}

	s := run("--rate-limit", "2MiB") // slow enough that the snapshot is still under way
	s.waitFor("keys of the snapshot", 0, time.Minute, func(p progress) bool {
		return p.Phase == "snapshot" && len(p.Links) > 0 && p.Links[0].Keys > 0
	})
	kill(s)
	t.Log("killed in the snapshot")

	for range kills(3) {
		s = run()
		s.waitFor("stream", 0, 2*time.Minute, func(p progress) bool { return p.Phase == "streaming" || p.Phase == "caught_up" })
		time.Sleep(time.Duration(rand.IntN(700)) * time.Millisecond) // any moment will do
		kill(s)
		t.Log("killed in the stream")
	}

	s = run()
	s.waitPhase("caught_up", 4*time.Minute)
	time.Sleep(2 * time.Second) // so that keys expire on the target by themselves
	kill(s)
	t.Log("killed when it had caught up")
	time.Sleep(3 * time.Second) // what expires on the target now, the source may have renewed, changed or read before

	s = run()
	s.waitPhase("caught_up", 4*time.Minute)
	time.Sleep(time.Second)
	increments, pushes := counted.stop()
	if err := traffic.Stop(); err != nil {
		t.Fatal(err)
	}
	s.waitDrained(time.Minute)
	s.want(s.stop(2*time.Minute), 0)

	result := same(t, pair, dataset.CompareOptions{})
	t.Logf("%v; %d increments, %d pushes, %d other writes", result, increments, pushes, traffic.Writes.Load())
	var sum int64
	for i := range counters {
		n := readInt(t, pair, counterKey(i))
		sum += n
	}
	if sum != increments {
		t.Errorf("the target counted %d increments, the source was sent %d", sum, increments)
	}
}

// counted increments counters and pushes to lists on one server, and knows how often it did.
type counted struct {
	quit chan struct{}
	once sync.Once
	wg   sync.WaitGroup

	increments, pushes int64 // written by the goroutine, read after it
}

const counters = 20

func counterKey(i int) string { return "counted:" + strconv.Itoa(i) }

func count(t *testing.T, s *servers.Server) *counted {
	c := &counted{quit: make(chan struct{})}
	client := s.Client(0)
	ctx := t.Context()
	c.wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-c.quit:
				return
			case <-time.After(time.Millisecond):
			}
			key := counterKey(n % counters)
			if err := client.Do(ctx, client.B().Incr().Key(key).Build()).Error(); err != nil {
				t.Errorf("INCR: %v", err)
				return
			}
			c.increments++
			if err := client.Do(ctx, client.B().Lpush().Key("pushed:"+key).Element(strconv.Itoa(n)).Build()).Error(); err != nil {
				t.Errorf("LPUSH: %v", err)
				return
			}
			c.pushes++
		}
	})
	return c
}

func (c *counted) stop() (increments, pushes int64) {
	c.once.Do(func() { close(c.quit) })
	c.wg.Wait()
	return c.increments, c.pushes
}

func readInt(t *testing.T, p dataset.Pair, key string) int64 {
	t.Helper()
	n, err := p.Target.Int(t.Context(), key)
	if err != nil {
		t.Fatalf("GET %s: %v", key, err)
	}
	return n
}
