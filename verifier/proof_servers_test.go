//go:build servers

package verifier

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
)

// count increments a counter so many times a second until the returned function is called.
func count(t *testing.T, s *servers.Server, key string, perSecond int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	client := s.Client(0)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(max(time.Second/time.Duration(perSecond), 10*time.Millisecond))
		defer tick.Stop()
		for begun, done := time.Now(), 0; ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			var cmds rueidis.Commands
			for due := int(time.Since(begun).Seconds() * float64(perSecond)); done < due; done++ {
				cmds = append(cmds, client.B().Incr().Key(key).Build())
			}
			client.DoMulti(ctx, cmds...)
		}
	})
	await(t, "the counter is there", func() bool { n, _ := s.Do("EXISTS", key).AsInt64(); return n == 1 })
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	t.Cleanup(stop)
	return stop
}

// A counter that is off by one for good is never called the same, however often it is incremented; beside a migration it is different
// each time.
func TestCounterOffByOne(t *testing.T) {
	t.Parallel()
	for _, rate := range []int{20, 500, 5000} {
		for _, off := range []string{"1", "-1"} {
			t.Run(fmt.Sprintf("%d a second, %s", rate, off), func(t *testing.T) {
				t.Parallel()
				source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
				f := follow(t, source, target)
				fill(source, 200)
				count(t, source, "ctr", rate)
				f.catchUp(t, source)
				target.Must("INCRBY", "ctr", off)
				for range 2 {
					r := verify(t, source, target, func(o *Config) { o.Applier = f })
					if r.Verdict != Different || r.Totals.Different != 1 || r.Totals.Unchecked != 0 || r.Proof != "offset" {
						t.Errorf("beside the migration: %s by %s: %+v, %q", r.Verdict, r.Proof, r.Totals, r.Reasons)
					}
				}
				r := verify(t, source, target, func(o *Config) { o.Rounds = 2 })
				if r.Verdict == Same || r.Totals.Unchecked+r.Totals.Different != 1 {
					t.Errorf("without: %s by %s: %+v, %q", r.Verdict, r.Proof, r.Totals, r.Reasons)
				}
				if r.Writes.KnownBy != ByReplication || !r.Writes.Written {
					t.Errorf("writes: %+v", r.Writes)
				}
			})
		}
	}
}

// A source is told of its writes by what costs it nothing: without a backlog it is never asked for its stream, which would have it
// make a snapshot.
func TestHowWritesAreKnown(t *testing.T) {
	t.Parallel()
	for _, image := range servers.Must() {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			source, target := servers.Standalone(t, image), servers.Standalone(t, image)
			fill(source, 200)
			fill(target, 200)
			idle := func(want KnownBy) {
				r := verify(t, source, target, nil)
				if r.Verdict != Same || r.Writes.KnownBy != want || r.Writes.Written || r.Writes.Clients != ClientsNone || r.Proof != "offset" {
					t.Errorf("at rest: %s by %s, %+v, %q", r.Verdict, r.Proof, r.Writes, r.Reasons)
				}
			}
			idle(ByTracking)
			if stats := source.Info("stats"); stats["sync_full"] != "0" || stats["sync_partial_ok"] != "0" || stats["latest_fork_usec"] != "0" {
				t.Errorf("the source was asked for its stream: %v", stats)
			}
			if got := source.Info("replication")["repl_backlog_active"]; got != "0" {
				t.Errorf("repl_backlog_active is %q", got)
			}
			stop := count(t, source, "ctr", 200)
			r := verify(t, source, target, func(o *Config) { o.Rounds = 2 })
			if r.Verdict == Same || !r.Writes.Written || r.Writes.Keys < 1 || r.Writes.Clients != ClientsSome || r.Totals.Same < 200 {
				t.Errorf("written: %s, %+v, %+v, %q", r.Verdict, r.Totals, r.Writes, r.Reasons)
			}
			stop()
			target.Must("SET", "ctr", source.Must("GET", "ctr").(string))

			source.Must("SET", "soon", "v", "PX", "1200")
			if r = verify(t, source, target, nil); r.Writes.Clients != ClientsNone {
				t.Errorf("a key that expires is nobody's write: %+v", r.Writes)
			}
			servers.Replica(t, source)
			before := source.Info("stats")["sync_full"]
			idle(ByReplication)
			if after := source.Info("stats"); after["sync_full"] != before {
				t.Errorf("sync_full went from %s to %s", before, after["sync_full"])
			}
			await(t, "the source forgets us", func() bool { return source.Info("replication")["connected_slaves"] == "1" })
		})
	}
}

// A user who may neither replicate nor track: the counters say whether anything was written, and where something was, keys are read
// again.
func TestNothingTells(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	fill(source, 200)
	fill(target, 200)
	source.Must("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-psync", "-sync", "-client|tracking")
	url := strings.Replace(source.URL(), "redis://", "redis://reader:secret@", 1)
	run := func(change func(*Config)) *Report {
		r, err := Run(context.Background(), configFor(t, url, target.URL(), change))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := run(nil); r.Verdict != Same || r.Writes.KnownBy != ByRest || r.Proof != "offset" {
		t.Errorf("at rest: %s by %s, %+v", r.Verdict, r.Proof, r.Writes)
	}
	target.Must("SET", "ctr", "1000000")
	count(t, source, "ctr", 100)
	r := run(func(o *Config) { o.Rounds = 2 })
	if r.Verdict == Same || r.Writes.KnownBy != ByRereading || r.Proof != "rounds" || r.Totals.Same < 200 || r.Totals.Unchecked != 1 {
		t.Errorf("written: %s by %s, %+v, %+v", r.Verdict, r.Proof, r.Totals, r.Writes)
	}
	if len(r.Findings) != 1 || r.Findings[0].Code != KeptChanging {
		t.Errorf("%+v, want one of %s", r.Findings, KeptChanging)
	}
	if !strings.Contains(strings.Join(r.Reasons, " "), "read again") && !strings.Contains(strings.Join(r.Reasons, " "), "It was not known") {
		t.Errorf("the limit is not said: %q", r.Reasons)
	}
}

// An expiry that the target has lost is found while the source's key expires: the target keeps what must go.
func TestExpiryLostOfAKeyThatExpires(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	for i, left := range []int{200, 1500, 2500, 3500, 4800, 7000} {
		key := "k" + strconv.Itoa(i)
		source.Must("SET", key, "v", "PX", strconv.Itoa(left))
		target.Must("SET", key, "v")
	}
	at := strconv.FormatInt(time.Now().Add(2500*time.Millisecond).UnixMilli(), 10)
	source.Must("SET", "right", "v", "PXAT", at)
	target.Must("SET", "right", "v", "PXAT", at)
	r := verify(t, source, target, nil)
	if r.Totals.Different+r.Totals.Extra != 6 || r.Totals.Unchecked != 0 || len(r.Findings) != 6 {
		t.Errorf("%s: %+v, %+v", r.Verdict, r.Totals, r.Findings)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}
