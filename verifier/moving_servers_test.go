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

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// A collection that is written while it is scanned is read whole in the end: once, whatever the attempts before have read of it.
func TestCollectionWrittenMeanwhile(t *testing.T) {
	t.Parallel()
	s := servers.Standalone(t, "redis:7.0")
	s.Must("EVAL", "for i=1,5000 do redis.call('HSET','hash',i,string.rep('x',400)) redis.call('SADD','set',i..string.rep('x',400)) end", "0")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	client := s.Client(0)
	wg.Go(func() {
		for ctx.Err() == nil {
			for _, args := range []commands{do("HSET", "hash", "more", "1"), do("SADD", "set", "more"), do("HDEL", "hash", "more"), do("SREM", "set", "more")} {
				client.Do(ctx, client.B().Arbitrary(args[0]...).Build())
			}
		}
	})
	defer func() { cancel(); wg.Wait() }()
	o := configFor(t, s.URL(), s.URL(), nil) // too large to be read at once before scans have failed, and not too large after that
	side, err := newSide(context.Background(), endpoint.Source, o.Source, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer side.close()
	r := side.borrow(side.nodes[0], 0)
	defer side.giveBack(r)
	for range 30 {
		out := make([]reading, 2)
		if err := r.read(context.Background(), []string{"hash", "set"}, out, 0); err != nil {
			t.Fatal(err)
		}
		for i, what := range []string{"hash", "set"} {
			if n := out[i].FP.Length; out[i].Err != nil || n != 5000 && n != 5001 {
				t.Fatalf("%s: %d elements, %v; want 5000 or 5001", what, n, out[i].Err)
			}
		}
	}
}

// A key that moves from a node that has not listed it to one that is past it is in no list. A comparison that may have missed keys must say so.
func TestSlotMovesWhileListed(t *testing.T) {
	t.Parallel()
	source, target := servers.Cluster(t, "redis:7.0", 3, 0), servers.Standalone(t, "redis:7.0")
	from, to := source[1], source[0]
	const slot = keyspace.Slots / 2
	const inSlot = 10_000
	fillSlots := "for i=1,ARGV[1] do redis.call('SET',KEYS[1]..i,'v') end"
	from.Must("EVAL", fillSlots, "1", tagged(slot), strconv.Itoa(inSlot))
	others := []string{tagged(slot + 1), tagged(slot + 2)}
	for _, tag := range others { // what both have, and takes its time
		from.Must("EVAL", fillSlots, "1", tag, "50000")
		target.Must("EVAL", fillSlots, "1", tag, "50000")
	}
	var once sync.Once
	moved := make(chan struct{})
	report, err := Run(context.Background(), configFor(t, source[0].URL(), target.URL(), func(o *Config) {
		o.Workers, o.Interval, o.Rounds = 1, 10*time.Millisecond, 2
		o.Progress = func(p Progress) {
			if p.Phase == "enumerate" && p.SourceKeys > 5_000 {
				once.Do(func() {
					defer close(moved)
					moveSlot(t, from, to, source, slot)
				})
			}
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-moved:
	default:
		t.Fatal("the listing was over before the slot could be moved")
	}
	reasons := strings.Join(report.Reasons, " ")
	t.Logf("%s: %+v, %s", report.Verdict, report.Totals, reasons)
	if report.Totals.Missing != inSlot && !strings.Contains(reasons, "served by another node") {
		t.Errorf("%d of %d missing keys were found, and nothing says that the list was not whole: %s", report.Totals.Missing, inSlot, reasons)
	}
}

// moveSlot moves a slot from one primary to another by hand.
func moveSlot(t *testing.T, from, to *servers.Server, all []*servers.Server, slot int) {
	t.Helper()
	n := strconv.Itoa(slot)
	fromID, toID := from.Must("CLUSTER", "MYID").(string), to.Must("CLUSTER", "MYID").(string)
	to.Must("CLUSTER", "SETSLOT", n, "IMPORTING", fromID)
	from.Must("CLUSTER", "SETSLOT", n, "MIGRATING", toID)
	for {
		keys := from.Must("CLUSTER", "GETKEYSINSLOT", n, "1000").([]any)
		if len(keys) == 0 {
			break
		}
		args := []string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.Port), "", "0", "5000", "KEYS"}
		for _, k := range keys {
			args = append(args, k.(string))
		}
		from.Must(args...)
	}
	for _, s := range append([]*servers.Server{to, from}, all...) {
		s.Must("CLUSTER", "SETSLOT", n, "NODE", toID)
	}
}

// A slot that is on its way when the listing ends may have hidden keys as well.
func TestSlotOnTheMove(t *testing.T) {
	t.Parallel()
	source, target := servers.Cluster(t, "redis:7.0", 2, 0), servers.Standalone(t, "redis:7.0")
	for _, s := range []*servers.Server{source[0], target} {
		s.Must("SET", tagged(5)+"a", "v")
	}
	ids := []string{source[0].Must("CLUSTER", "MYID").(string), source[1].Must("CLUSTER", "MYID").(string)}
	source[1].Must("CLUSTER", "SETSLOT", "7", "IMPORTING", ids[0])
	source[0].Must("CLUSTER", "SETSLOT", "7", "MIGRATING", ids[1])
	r := verify(t, source[0], target, func(o *Config) { o.Rounds = 1 })
	if r.Verdict != Unchecked || !strings.Contains(fmt.Sprint(r.Reasons), "being moved") {
		t.Errorf("%s: %q", r.Verdict, r.Reasons)
	}
	for _, s := range source {
		s.Must("CLUSTER", "SETSLOT", "7", "STABLE")
	}
	if r := verify(t, source[0], target, func(o *Config) { o.Rounds = 1 }); r.Verdict != Same {
		t.Errorf("at rest: %s: %q", r.Verdict, r.Reasons)
	}
}

// The cursor of SCAN means nothing to a server that has been restarted, and writes must not explain what it left out.
func TestRestartedWhileListed(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0", "--appendonly", "yes"), servers.Standalone(t, "redis:7.0")
	fill(source, 20_000)
	fill(target, 20_000)
	var once sync.Once
	report := verify(t, source, target, func(o *Config) {
		o.Workers, o.Interval, o.Patience = 1, 10*time.Millisecond, 30*time.Second
		o.Progress = func(p Progress) {
			if p.Phase == "enumerate" && p.SourceKeys > 2_000 {
				once.Do(func() {
					source.Restart()
					source.Must("EVAL", "for i=1,25000 do redis.call('SET','k1','v1') end", "0") // more changes than keys
				})
			}
		}
	})
	if report.Verdict != Unchecked || !strings.Contains(fmt.Sprint(report.Reasons), "restarted") {
		t.Errorf("%s: %+v, %q", report.Verdict, report.Totals, report.Reasons)
	}
}
