//go:build servers

package verifier

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// most follows the number of a server's clients, and returns the highest that was seen.
func most(t *testing.T, s *servers.Server) (stop func() int) {
	t.Helper()
	client := s.Client(0)
	done, gone, highest := make(chan struct{}), make(chan struct{}), 0
	go func() {
		defer close(gone)
		for {
			text, err := client.Do(context.Background(), client.B().Arbitrary("INFO", "clients").Build()).ToString()
			if err == nil {
				_, rest, _ := strings.Cut(text, "connected_clients:")
				n, _ := strconv.Atoi(strings.Fields(rest)[0])
				highest = max(highest, n)
			}
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	return func() int { close(done); <-gone; return highest }
}

// TestConnectionsAreBounded: a server has a limit of clients, and those of the application need it. Every database holds a key that is
// read again and located, too.
func TestConnectionsAreBounded(t *testing.T) {
	const databases = 600
	source, target := servers.Standalone(t, "redis:7.0", "--databases", strconv.Itoa(databases)), servers.Standalone(t, "redis:7.0", "--databases", strconv.Itoa(databases))
	for _, s := range []*servers.Server{source, target} {
		s.Must("EVAL", "for db=0,ARGV[1]-1 do redis.call('SELECT',db) redis.call('SET','k'..db,ARGV[2]) redis.call('SET','same','v') end", "0", strconv.Itoa(databases), s.Addr)
	}
	stops := []func() int{most(t, source), most(t, target)}
	r := verify(t, source, target, func(o *Config) { o.Rounds, o.Interval, o.Workers = 2, 10*time.Millisecond, 3 })
	if r.Totals.Different != databases || r.Totals.Same != databases || r.Verdict != Different {
		t.Errorf("%s: %+v, %q", r.Verdict, r.Totals, r.Reasons)
	}
	for i, stop := range stops {
		n := stop()
		t.Logf("%s: %d clients at most", []string{"source", "target"}[i], n)
		// One of the test, one or two for questions, one that lists the keys, and the workers.
		if limit := 3 + 1 + 1 + 2; n > limit {
			t.Errorf("%s: %d clients, want no more than %d", []string{"source", "target"}[i], n, limit)
		}
	}
}

// pausedRun compares, with a server that is stopped when the run has opened its connections and has not read anything yet.
func pausedRun(t *testing.T, o Config, victim *servers.Server) (r *Report, took time.Duration) {
	t.Helper()
	v, err := newVerification(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	defer v.source.close()
	defer v.target.close()
	victim.Pause()
	defer victim.Resume()
	begun := time.Now()
	if err := v.compare(t.Context()); err != nil {
		t.Fatal(err)
	}
	r = v.report(selectionOf(&o))
	v.leftOut(t.Context())
	return r, time.Since(begun)
}

// TestSilenceEndsTheWait: a server whose process is stopped keeps its connections open. The wait is paid once and not for each batch, and
// the report names the node.
func TestSilenceEndsTheWait(t *testing.T) {
	t.Parallel()
	const silence = 2 * time.Second
	for _, side := range []string{"source", "target"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
			fill(source, 5_000)
			fill(target, 5_000)
			victim := map[string]*servers.Server{"source": source, "target": target}[side]
			r, took := pausedRun(t, configFor(t, source.URL(), target.URL(), func(o *Config) {
				o.Interval, o.Silence = 10*time.Millisecond, silence
			}), victim)
			t.Logf("%v after the pause: %s, %+v, %+v", took, r.Verdict, r.Totals, r.History)
			if r.Verdict != Unchecked || r.Totals.Unchecked == 0 || r.Totals.Different+r.Totals.Missing+r.Totals.Extra != 0 {
				t.Errorf("%s, %+v, want unchecked: no difference was proven", r.Verdict, r.Totals)
			}
			if text := strings.Join(r.Reasons, " "); !strings.Contains(text, victim.Addr+" has not answered for") {
				t.Errorf("the node and its silence must be named: %s", text)
			}
			if len(r.Incomplete) == 0 {
				t.Error("the enumeration was cut short, and the report does not say so")
			}
			if took > 20*silence {
				t.Errorf("it took %v to say so", took)
			}
		})
	}
}

// TestSilentNodeOfSeveral: what the other nodes hold is compared all the same.
func TestSilentNodeOfSeveral(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Cluster(t, "redis:7.0", 3, 0)
	fill(source, 30_000)
	for _, n := range target {
		n.Must("CONFIG", "SET", "cluster-node-timeout", "60000")
	}
	cfg := configFor(t, source.URL(), target[0].URL(), func(o *Config) { o.Interval, o.Silence, o.Rounds = 10*time.Millisecond, 2*time.Second, 2 })
	fillCluster(t, cfg.Target, 30_000)
	r, took := pausedRun(t, cfg, target[1])
	t.Logf("%v after the pause: %s, %+v", took, r.Verdict, r.Totals)
	if r.Verdict != Unchecked || r.Totals.Same < 15_000 || r.Totals.Unchecked < 8_000 || r.Totals.Missing > 0 {
		t.Errorf("%s, %+v, %q", r.Verdict, r.Totals, r.Reasons)
	}
	if text := strings.Join(r.Reasons, " "); !strings.Contains(text, target[1].Addr) {
		t.Errorf("the node must be named: %s", text)
	}
}

// fillCluster writes what fill writes, each key to the node of its slot.
func fillCluster(t *testing.T, d *endpoint.Deployment, keys int) {
	t.Helper()
	commands := map[string]rueidis.Commands{}
	add := func(b rueidis.Builder, args ...string) {
		n, ok := d.PrimaryOf(keyspace.Slot(args[1]))
		if !ok {
			t.Fatalf("nobody serves the slot of %s", args[1])
		}
		commands[n.Addr] = append(commands[n.Addr], b.Arbitrary(args...).Build())
	}
	c, err := d.Client(t.Context(), d.Shards()[0].Primary.Addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= keys; i++ {
		n := strconv.Itoa(i)
		add(c.B(), "SET", "k"+n, "v"+n)
		if i%10 == 0 {
			add(c.B(), "HSET", "h"+n, "f", n)
		}
	}
	for addr, list := range commands {
		c, err := d.Client(t.Context(), addr, 0)
		if err != nil {
			t.Fatal(err)
		}
		for part := range slices.Chunk(list, 1000) {
			for _, r := range c.DoMulti(t.Context(), part...) {
				if err := r.Error(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
