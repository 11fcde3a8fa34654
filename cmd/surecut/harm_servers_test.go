//go:build servers

package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
)

// observed is what a server was seen to go through.
type observed struct {
	memory, clients int64 // the most at any time
	evicted         int64 // keys, in all
	latencies       []time.Duration
}

// watchServer measures a server until it is told to stop, over connections of its own, and as one of its clients.
func watchServer(t *testing.T, s *servers.Server) (stop func() observed) {
	t.Helper()
	client := s.Client(0)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var o observed
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			text, err := client.Do(ctx, client.B().Info().Section("everything").Build()).ToString()
			if err != nil {
				continue
			}
			number := func(field string) (n int64) {
				_, rest, _ := strings.Cut(text, "\r\n"+field+":")
				line, _, _ := strings.Cut(rest, "\r\n")
				n, _ = strconv.ParseInt(line, 10, 64)
				return n
			}
			o.memory, o.clients, o.evicted = max(o.memory, number("used_memory")), max(o.clients, number("connected_clients")), number("evicted_keys")
			begun := time.Now()
			if client.Do(ctx, client.B().Get().Key("small:1").Build()).NonRedisError() == nil {
				o.latencies = append(o.latencies, time.Since(begun))
			}
			time.Sleep(time.Millisecond)
		}
	})
	return func() observed {
		cancel()
		wg.Wait()
		slices.Sort(o.latencies)
		return o
	}
}

func (o observed) latency(share float64) time.Duration {
	if len(o.latencies) == 0 {
		return 0
	}
	return o.latencies[int(share*float64(len(o.latencies)-1))]
}

// fillTo sends commands in pipelines.
func fillTo(t *testing.T, s *servers.Server, commands [][]string) {
	t.Helper()
	client := s.Client(0)
	for some := range slices.Chunk(commands, 50) {
		built := make([]rueidis.Completed, len(some))
		for i, words := range some {
			built[i] = client.B().Arbitrary(words...).Build()
		}
		for i, reply := range client.DoMulti(t.Context(), built...) {
			if err := reply.Error(); err != nil {
				t.Fatalf("%.60q: %v", some[i], err)
			}
		}
	}
}

// TestLookingDoesNoHarm: check and scan bigkeys on a server at its maxmemory that evicts by use, with large elements and long names. It
// must evict nothing for them, hold no large replies, and open few connections; no key may look used.
func TestLookingDoesNoHarm(t *testing.T) {
	source, target := servers.Standalone(t, "redis:7.0", "--save", ""), servers.Standalone(t, "redis:7.0")
	var commands [][]string
	element := strings.Repeat("x", 500_000)
	for i := range 8 {
		for range 30 {
			commands = append(commands, []string{"RPUSH", fmt.Sprint("large:", i), element})
		}
	}
	for i := range 60 {
		commands = append(commands, []string{"SET", fmt.Sprint("long:", i, ":") + strings.Repeat("n", 1_000_000), "1"})
	}
	for i := range 200 {
		commands = append(commands, []string{"SET", fmt.Sprint("small:", i), "1"})
	}
	fillTo(t, source, commands)
	source.Must("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	used, _ := strconv.ParseInt(source.Info("memory")["used_memory"], 10, 64)
	const room = 12 << 20 // for whatever looking takes
	source.Must("CONFIG", "SET", "maxmemory", strconv.FormatInt(used+room, 10))
	idle := func() int64 { return source.Must("OBJECT", "IDLETIME", "large:1").(int64) }
	for deadline := time.Now().Add(time.Minute); idle() < 2 && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	ends := []string{"--source", source.URL(), "--target", target.URL()}
	for _, args := range [][]string{append([]string{"check"}, ends...), {"scan", "bigkeys", "--source", source.URL(), "--progress", "none"}} {
		before := source.Info("memory", "clients", "stats")
		number := func(field string) int64 { n, _ := strconv.ParseInt(before[field], 10, 64); return n }
		idleBefore, begun := idle(), time.Now()
		quiet := watchServer(t, source)
		time.Sleep(200 * time.Millisecond)
		base := quiet()
		stop := watchServer(t, source)
		var stdout, stderr bytes.Buffer
		status := run(append([]string{"surecut"}, args...), &stdout, &stderr)
		o := stop()
		if status != exitOK {
			t.Errorf("%s: status %d: %s%s", args[0], status, stdout.String(), stderr.String())
		}
		more, clients, evicted := o.memory-number("used_memory"), o.clients-base.clients, o.evicted-number("evicted_keys")
		t.Logf("%v: used_memory +%d KiB, evicted_keys +%d, connected_clients +%d, latency of a client: median %v, 99 %% %v, most %v (median %v without)",
			args[0], more>>10, evicted, clients, o.latency(0.5), o.latency(0.99), o.latency(1), base.latency(0.5))
		if evicted > 0 || more > room || clients > 8 {
			t.Errorf("%v: %d keys were evicted, used_memory grew by %d KiB, and there were %d more connections", args[0], evicted, more>>10, clients)
		}
		if since := int64(time.Since(begun) / time.Second); idle() < idleBefore+since-1 {
			t.Errorf("%v: a key looks used: idle for %d s, %d s before that took %d s", args[0], idle(), idleBefore, since)
		}
	}
}

// TestFewConnections: however many databases there are, a server is asked over a few connections.
func TestFewConnections(t *testing.T) {
	source := servers.Standalone(t, "redis:7.0", "--databases", "700", "--maxclients", "1000")
	target := servers.Standalone(t, "redis:7.0", "--databases", "700", "--maxclients", "1000")
	for _, s := range []*servers.Server{source, target} {
		var commands [][]string
		for db := range 600 {
			commands = append(commands, []string{"SELECT", strconv.Itoa(db)}, []string{"SET", "small:1", "1"})
		}
		conn, release := s.Client(0).Dedicate()
		for _, words := range commands {
			if err := conn.Do(t.Context(), conn.B().Arbitrary(words...).Build()).Error(); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
		release()
	}
	ends := []string{"--on-existing", "replace", "--accept-alarms", "--source", source.URL(), "--target", target.URL()}
	for _, args := range [][]string{append([]string{"check"}, ends...), {"scan", "bigkeys", "--source", source.URL(), "--progress", "none"},
		{"scan", "compat", "--source", source.URL(), "--to", "cluster"}} {
		ofSource, ofTarget := watchServer(t, source), watchServer(t, target)
		var stdout, stderr bytes.Buffer
		run(append([]string{"surecut"}, args...), &stdout, &stderr)
		a, b := ofSource(), ofTarget()
		t.Logf("%v: at most %d connections of the source, %d of the target", args[:2], a.clients, b.clients)
		if a.clients > 16 || b.clients > 16 {
			t.Errorf("%v: %d connections of the source, %d of the target, want few: %s", args[:2], a.clients, b.clients, stderr.String())
		}
	}
}

// TestStoppedServerIsTold: a server that is stopped, and so keeps its connections open and answers nothing, is waited for 30 seconds, and
// is named.
func TestStoppedServerIsTold(t *testing.T) {
	for _, tt := range []struct {
		name   string
		during time.Duration // when it is stopped
		busy   bool          // clients use the source, since nothing is measured of one at rest
		args   func(source, target string) []string
	}{
		{"check, from the beginning", 0, false, func(source, target string) []string {
			return []string{"check", "--source", source, "--target", target}
		}},
		{"check, while rates are measured", time.Second, true, func(source, target string) []string {
			return []string{"check", "--source", source, "--target", target}
		}},
		{"scan bigkeys", 2 * time.Second, false, func(source, _ string) []string {
			return []string{"scan", "bigkeys", "--source", source, "--rate", "100", "--progress", "none"}
		}},
		{"scan compat", 0, false, func(source, _ string) []string {
			return []string{"scan", "compat", "--source", source, "--to", "cluster"}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { // one after the other: the library that reads the flags has a flag for help that all runs share
			source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
			source.Must("DEBUG", "POPULATE", "5000")
			if tt.busy {
				use(t, source)
			}
			stopped := make(chan time.Time, 1)
			go func() {
				time.Sleep(tt.during)
				source.Pause()
				stopped <- time.Now()
			}()
			if tt.during == 0 {
				stopped <- <-stopped
			}
			var stdout, stderr bytes.Buffer
			status := run(append([]string{"surecut"}, tt.args(source.URL(), target.URL())...), &stdout, &stderr)
			took := time.Since(<-stopped)
			source.Resume()
			text := strings.Join(strings.Fields(stdout.String()+stderr.String()), "")
			t.Logf("status %d after %v", status, took.Round(time.Second))
			if status == exitOK || took > 50*time.Second || !strings.Contains(text, source.Addr) {
				t.Errorf("status %d after %v, want the address and a failure after about 30 s:\n%s%s", status, took, stdout.String(), stderr.String())
			}
		})
	}
}

// use has a client send commands to a server until the end of the test, and waits until the server's own figures show it.
func use(t *testing.T, s *servers.Server) {
	t.Helper()
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-over:
				return
			default:
				_ = s.Do("SET", "used", "v") // a server that is stopped does not answer
			}
		}
	}()
	t.Cleanup(func() { close(over); <-ended })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if n, _ := strconv.Atoi(s.Info("stats")["instantaneous_ops_per_sec"]); n > 100 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not show that it is used")
		}
	}
}
