//go:build servers

package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/endpoint"
)

// urls are the two sides of a test's migration.
type urls struct{ source, target string }

// run is one run of a migration within the test.
type run struct {
	t      testing.TB
	m      *Migration
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // once ended is closed
	sides  Sides
}

func openSide(t testing.TB, url string) *endpoint.Deployment {
	t.Helper()
	d, err := tryOpen(t, url)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func tryOpen(t testing.TB, url string) (*endpoint.Deployment, error) {
	spec, err := endpoint.Parse(url)
	if err != nil {
		return nil, err
	}
	return endpoint.Open(t.Context(), spec)
}

// begin starts a migration; change may adjust its configuration.
func begin(t testing.TB, u urls, dir string, change func(*Config)) *run {
	t.Helper()
	r, err := tryBegin(t, u, dir, change)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tryBegin is begin for servers that may not answer yet.
func tryBegin(t testing.TB, u urls, dir string, change func(*Config)) (*run, error) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Log = slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	source, err := tryOpen(t, u.source)
	if err != nil {
		return nil, err
	}
	target, err := tryOpen(t, u.target)
	if err != nil {
		source.Close()
		return nil, err
	}
	cfg.Sides = Sides{Source: source, Target: target}
	cfg.StateDir = dir
	cfg.RetryFor = 20 * time.Second
	if change != nil {
		change(&cfg)
	}
	m, err := New(t.Context(), cfg)
	if err != nil {
		source.Close()
		target.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{t: t, m: m, cancel: cancel, ended: make(chan struct{}), sides: cfg.Sides}
	go func() {
		defer close(r.ended)
		r.err = m.Run(ctx)
	}()
	t.Cleanup(func() { r.abort() })
	return r, nil
}

// testLog keeps the log of a failed test; what comes after the test's end is dropped by the handler's owner.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	if l.t.Context().Err() != nil {
		return io.Discard.Write(p)
	}
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// abort ends a run as a crash would, as far as one process can show that.
func (r *run) abort() {
	r.cancel()
	r.wait()
}

func (r *run) wait() {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(2 * time.Minute):
		debug.SetTraceback("all") // where it stands is what one wants to know
		panic("the migration does not end")
	}
	r.sides.Source.Close()
	r.sides.Target.Close()
}

// stop ends a run in good order.
func (r *run) stop() Report {
	r.t.Helper()
	r.m.Finish()
	r.wait()
	if r.err != nil {
		r.t.Fatalf("stop: %v", r.err)
	}
	return r.m.Report()
}

// fails waits for the run's end by an error.
func (r *run) fails() error {
	r.t.Helper()
	r.wait()
	if r.err == nil {
		r.t.Fatal("the migration ended without an error")
	}
	return r.err
}

func poll(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("no %s in time", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// caughtUp waits until the target holds what the source held when it was called.
func (r *run) caughtUp() {
	r.t.Helper()
	offsets := make([]int64, len(r.m.links))
	for i, l := range r.m.links {
		poll(r.t, "position of the source", func() (ok bool) { // a failover ends connections
			var err error
			offsets[i], err = l.source.Position(context.Background())
			return err == nil
		})
	}
	defer func() {
		if r.t.Failed() {
			r.t.Logf("waited for the offsets %d: %+v", offsets, r.m.Report().Links)
		}
	}()
	poll(r.t, "end of the lag", func() bool {
		select {
		case <-r.ended:
			r.t.Fatalf("the migration has ended: %v", r.err)
		default:
		}
		report := r.m.Report()
		for i, l := range report.Links {
			if l.AppliedOffset < offsets[i] || l.Phase != "caught_up" {
				return false
			}
		}
		return true
	})
}

// equal compares both sides key by key.
func equal(t testing.TB, u urls, o dataset.CompareOptions) {
	t.Helper()
	source, err := dataset.Open(t.Context(), []string{addrOf(u.source)}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	target, err := dataset.Open(t.Context(), []string{addrOf(u.target)}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	r, err := dataset.Compare(t.Context(), dataset.Pair{Source: source, Target: target}, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Count > 0 {
		t.Fatalf("%v", r)
	}
	t.Logf("%v", r)
}

// adds up: each key and command has one end.
func addsUp(t testing.TB, r Report) {
	t.Helper()
	c := r.Counters
	if got := c.SnapshotApplied + c.SnapshotFiltered + c.SnapshotKept + c.SnapshotExpired + c.SnapshotEmpty + c.SnapshotReported; got != c.SnapshotKeys {
		t.Errorf("%d keys of the snapshot, %d accounted for: %+v", c.SnapshotKeys, got, c)
	}
	if got := c.CommandsApplied + c.CommandsFiltered + c.CommandsControl + c.CommandsRepaired + c.CommandsReported; got != c.Commands {
		t.Errorf("%d commands, %d accounted for: %+v", c.Commands, got, c)
	}
}

// writeTo writes commands whose repetition or loss shows, until the function that it gives is called. Most rounds hold only commands that
// surecut sends without a checkpoint, to the same keys as the others.
func writeTo(t testing.TB, s *servers.Server, oneSlot bool) (stop func()) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr}, ForceSingleClient: true, DisableCache: true, AlwaysRESP2: true, DisableRetry: true})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var over atomic.Bool
	var written atomic.Int64
	tag := ""
	if oneSlot {
		tag = "{t}"
	}
	go func() {
		defer close(done)
		defer client.Close()
		for n := 0; !over.Load(); n++ {
			cmds := make([]rueidis.Completed, 0, 64)
			add := func(args ...string) { cmds = append(cmds, client.B().Arbitrary(args...).Build()) }
			absolute := rng.IntN(4) > 0
			for range 16 {
				k := strconv.Itoa(rng.IntN(50))
				if absolute {
					add(absoluteCommand(rng, k, n)...)
					continue
				}
				switch rng.IntN(8) {
				case 0, 1, 2:
					add("INCR", "n:"+k)
				case 3, 4:
					add("RPUSH", "l:"+k, strconv.Itoa(n))
				case 5:
					add("APPEND", "s:"+k, "x")
				case 6:
					add("HINCRBY", "h:"+k, "f"+strconv.Itoa(rng.IntN(5)), "1")
				default:
					add("ZINCRBY", "z:"+k, "1", strconv.Itoa(rng.IntN(9)))
				}
			}
			if tag == "" && !absolute {
				add("MULTI")
				add("INCR", "m:"+strconv.Itoa(rng.IntN(50)))
				add("INCR", "m:"+strconv.Itoa(rng.IntN(50)))
				add("EXEC")
			}
			for _, r := range client.DoMulti(context.Background(), cmds...) {
				if err := r.NonRedisError(); err != nil && !errors.Is(err, rueidis.ErrClosing) {
					time.Sleep(10 * time.Millisecond)
					break
				}
			}
			written.Add(int64(len(cmds)))
			time.Sleep(time.Millisecond)
		}
	}()
	poll(t, "traffic", func() bool { return written.Load() > 100 })
	return func() {
		over.Store(true)
		<-done
		t.Logf("%d commands of traffic", written.Load())
	}
}

// absoluteCommand is one of those that may be applied again, with a value that occurs once.
func absoluteCommand(rng *rand.Rand, k string, n int) []string {
	value, field := strconv.Itoa(n), "f"+strconv.Itoa(rng.IntN(5))
	switch rng.IntN(10) {
	case 0:
		return []string{"DEL", []string{"h:", "z:", "s:", "v:", "n:"}[rng.IntN(5)] + k}
	case 1, 2:
		return []string{"HSET", "h:" + k, field, value}
	case 3:
		return []string{"ZADD", "z:" + k, value, strconv.Itoa(rng.IntN(9))}
	case 4:
		return []string{"SADD", "a:" + k, value}
	case 5:
		return []string{"SETRANGE", "s:" + k, strconv.Itoa(rng.IntN(8)), value}
	case 6:
		return []string{"PEXPIRE", []string{"h:", "z:", "v:", "n:"}[rng.IntN(4)] + k, strconv.Itoa(10_000_000 + n)}
	case 7:
		return []string{"PERSIST", []string{"h:", "z:", "v:", "n:"}[rng.IntN(4)] + k}
	case 8:
		return []string{"SET", "n:" + k, value}
	}
	return []string{"SET", "v:" + k, value, "PX", strconv.Itoa(10_000_000 + n)}
}

func image(v string) string {
	if strings.HasPrefix(v, "valkey") {
		return "valkey/" + v
	}
	return "redis:" + v
}

func fill(t testing.TB, s *servers.Server, n int) {
	t.Helper()
	c := s.Client(0)
	for i := 0; i < n; i += 1000 {
		cmds := make([]rueidis.Completed, 0, 1000)
		for j := i; j < min(i+1000, n); j++ {
			cmds = append(cmds, c.B().Arbitrary("SET", "fill:"+strconv.Itoa(j), fmt.Sprintf("value of %d, which is long enough to take some bytes", j)).Build())
		}
		for _, r := range c.DoMulti(t.Context(), cmds...) {
			if err := r.Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func addrOf(url string) string { return url[strings.LastIndex(url, "/")+1:] }
