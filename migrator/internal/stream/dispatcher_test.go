package stream

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
)

// TestResumedUnits: what an earlier run has applied to a lane is not applied again, the rest is.
func TestResumedUnits(t *testing.T) {
	l := newTestStream(t)
	byLane := map[int]string{}
	for i := 0; len(byLane) < 3; i++ {
		k := "k" + strconv.Itoa(i)
		byLane[int(keyspace.Slot(k))%3] = k
	}
	d := newTestDispatcher(l, &target.Checkpoint{Offset: 100, Units: map[target.Unit]int64{0: 200, 1: 50}, Fences: map[keyspace.Key]int64{{Name: "old"}: 90, {Name: "new"}: 300}})
	for lane, want := range map[int]bool{0: false, 1: true, 2: true} {
		if got := d.ahead.wanted(&sourceCommand{end: 150}, byLane[lane], keyspace.Slot(byLane[lane])); got != want {
			t.Errorf("lane %d: %v", lane, got)
		}
	}
	if len(d.ahead.fences) != 1 || d.ahead.fences[keyspace.Key{Name: "new"}] != 300 {
		t.Errorf("fences %v", d.ahead.fences)
	}
	d.prune(200)
	if d.ahead.resumedEnd != 0 || d.ahead.applied(0, 150) {
		t.Error("what lies behind is not forgotten")
	}
	d.prune(300)
	lane := d.lane(keyspace.Slot("new"))
	if got := lane.forget[target.Unit(lane.id)]; len(d.ahead.fences) != 0 || len(got) != 1 || got[0] != (pastFence{"f:0:new", 300}) {
		t.Errorf("fences %v, to be forgotten %v", d.ahead.fences, got)
	}
	lane.keepFence(target.Unit(lane.id), keyspace.Key{Name: "new"})
	if got := lane.forget[target.Unit(lane.id)]; len(got) != 0 {
		t.Errorf("a fence that is set again would be forgotten: %v", got)
	}
}

// TestFenceForgotten: an item that was queued before a fence was passed must not take the fence away: after a crash, what
// lies between the two would be applied to a copy that holds it.
func TestFenceForgotten(t *testing.T) {
	l := newTestStream(t)
	d := newTestDispatcher(l, nil)
	k := keyspace.Key{Name: "k"}
	slot := keyspace.Slot(k.Name)
	n := d.lane(slot)
	d.ahead.fences[k] = 300
	d.prune(310) // dispatched, while the lane still has older items
	for _, c := range []struct {
		end  int64
		want string
	}{{299, "[]"}, {300, "[f:0:k]"}, {301, "[]"}} {
		if x := n.transaction(&item{slot: slot, end: c.end}); fmt.Sprint(x.Forget) != c.want {
			t.Errorf("up to %d: fences %q are forgotten, want %s", c.end, x.Forget, c.want)
		}
	}
}

// TestQuiet: servers before 6.0 send MULTI and EXEC of a transaction that only reads, and ROLE in it gives an offset between them.
func TestQuiet(t *testing.T) {
	for _, c := range []struct {
		name, why string
		stream    []string
		offset    int64 // behind the first 100 bytes of the stream
		passed    bool
	}{
		{"the end", "all is applied", []string{"SET a 1"}, 27, false},
		{"a boundary behind", "a command follows it", []string{"SET a 1", "SET a 2"}, 27, true},
		{"inside a command", "the source never says so", []string{"SET a 1"}, 26, true},
		{"empty transaction", "nothing was written between MULTI and EXEC", []string{"SET a 1", "MULTI", "EXEC"}, 27 + 15, false},
		{"before an empty transaction", "", []string{"SET a 1", "MULTI", "EXEC"}, 27, false},
		{"expired keys", "a read deletes them in the transaction, before ROLE", []string{"MULTI", "DEL a", "EXEC"}, 15 + 20, false},
		{"a write follows", "it is another's transaction", []string{"MULTI", "DEL a", "DEL b", "EXEC"}, 15 + 20, true},
		{"keep-alive", "PING changes nothing", []string{"SET a 1", "PING", "PING"}, 27 + 14, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			groups, err := groupsOf(t, spoolOf(t, encode(c.stream...), 1000), 0)
			if err != nil {
				t.Fatal(err)
			}
			d := newTestDispatcher(newTestStream(t), &target.Checkpoint{Offset: 100})
			for _, g := range groups {
				if err := d.step(t.Context(), g); err != nil {
					t.Fatal(err)
				}
			}
			if passed := 100+c.offset < d.quiet; passed != c.passed {
				t.Errorf("%s: offset %d is passed: %v, quiet from %d", c.why, 100+c.offset, passed, d.quiet)
			}
		})
	}
}

// TestAbsoluteItems: what a lane applies at once is absolute if each part of it is one command of its own.
func TestAbsoluteItems(t *testing.T) {
	for name, c := range map[string]struct {
		groups []string // commands, those of a MULTI separated by "; "
		want   bool
	}{
		"one":               {[]string{"SET {a} 1"}, true},
		"several":           {[]string{"SET {a} 1", "HSET {a}h f v", "DEL {a}", "PEXPIREAT {a}h 99999999999999"}, true},
		"one that counts":   {[]string{"SET {a} 1", "INCR {a}", "SET {a} 2"}, false},
		"of a MULTI":        {[]string{"SET {a} 1; SET {a}b 2"}, false},
		"keys of one slot":  {[]string{"MSET {a} 1 {a}b 2"}, true},
		"a removed element": {[]string{"HDEL {a}h f"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDispatcher(newTestStream(t), nil)
			for i, line := range c.groups {
				g := group{start: int64(100 + 10*i), end: int64(110 + 10*i)}
				for _, text := range strings.Split(line, "; ") {
					var args [][]byte
					for _, w := range strings.Fields(text) {
						args = append(args, []byte(w))
					}
					g.commands = append(g.commands, sourceCommand{end: g.end, args: args})
				}
				if err := errors.Join(d.step(t.Context(), g), d.handOver(t.Context())); err != nil {
					t.Fatal(err)
				}
			}
			n := d.lane(d.Target.Slot("{a}"))
			if txs, _ := n.transactions(n.take()); len(txs) != 1 || txs[0].Absolute != c.want {
				t.Errorf("%d transactions, absolute %v, want %v", len(txs), txs[0].Absolute, c.want)
			}
		})
	}
}

// streamed dispatches commands to the lanes of a link whose target is in memory, and waits until they have stopped: at the end of the
// commands, or with an error of a lane.
func streamed(t *testing.T, l *testStream, cp *target.Checkpoint, commands ...string) error {
	t.Helper()
	d := newTestDispatcher(l, cp)
	g, ctx := errgroup.WithContext(t.Context())
	for _, n := range d.lanes {
		g.Go(func() error { return n.run(ctx) })
	}
	l.Positions.follow(d.lanes)
	errEnd := errors.New("the end of the commands")
	g.Go(func() error {
		for i, line := range commands {
			end := int64(101 + i)
			c := sourceCommand{end: end, args: bytes.Fields([]byte(line))}
			if err := errors.Join(d.step(ctx, group{start: end - 1, end: end, commands: []sourceCommand{c}}), d.handOver(ctx)); err != nil {
				return err
			}
		}
		if err := d.meet(ctx, d.lanes, func() error { return nil }); err != nil {
			return err
		}
		return errEnd
	})
	if err := g.Wait(); !errors.Is(err, errEnd) {
		return err
	}
	return nil
}

// TestSwapOntoItself: a source sends SWAPDB of a database with itself on, and nothing happens by it, at any target.
func TestSwapOntoItself(t *testing.T) {
	for _, cluster := range []bool{false, true} {
		l := newTestStream(t)
		l.Target.Cluster = cluster
		if err := streamed(t, l, &target.Checkpoint{Offset: 100}, "SET a 1", "SWAPDB 0 0", "APPEND a 2"); err != nil {
			t.Fatal(err)
		}
		if got, n := l.memory.Text("a"), l.Ledger.Applied.Load(); got != "12" || n != 3 {
			t.Errorf("a holds %q, %d commands were applied", got, n)
		}
	}
}

// TestSwapWithKeyInDoubt: the target refuses a command, and SWAPDB takes its key to another database before the key is copied.
func TestSwapWithKeyInDoubt(t *testing.T) {
	for _, resumed := range []bool{false, true} {
		l := newTestStream(t)
		l.Writer = l.newWriter()
		cp := &target.Checkpoint{Offset: 100}
		if resumed { // behind what an earlier run has applied, the key is in doubt since then
			cp.Units = map[target.Unit]int64{0: 200, 1: 200, 2: 200}
			if err := l.Doubts.AddInterrupted([]keyspace.Key{{DB: 0, Name: "a"}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := streamed(t, l, cp, "SET a 1", "RPUSH a x", "SWAPDB 0 1"); err != nil {
			t.Fatal(err)
		}
		dbs := map[int]bool{}
		for _, f := range l.Doubts.take() {
			dbs[f.Call.Key.DB] = true
		}
		if !dbs[0] || !dbs[1] {
			t.Errorf("resumed %v: the key is in doubt in the databases %v, want 0 and 1", resumed, dbs)
		}
	}
}

// TestStreamToMemory: from the plan over the lanes to the writer, every command arrives once, in the order of its key.
func TestStreamToMemory(t *testing.T) {
	l := newTestStream(t)
	m := l.memory
	if err := streamed(t, l, &target.Checkpoint{Offset: 100}, "SET a 1", "SET b x", "APPEND a 2", "RENAME a c", "APPEND c 3", "DEL b", "SET a new"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "new", "b": "", "c": "123"} {
		if got := m.Text(name); got != want {
			t.Errorf("key %s holds %q, want %q", name, got, want)
		}
	}
	if n := l.Ledger.Applied.Load(); n != 7 {
		t.Errorf("%d commands count as applied", n)
	}
	for u, end := range m.Ends {
		if got := l.Positions.Acknowledged(u); got != end {
			t.Errorf("unit %d: %d is acknowledged, and its checkpoint stands at %d", u, got, end)
		}
	}
}

// TestStreamGoesOnBehindCheckpoint: what a lane has applied is not sent to it again; other lanes get what they lack.
func TestStreamGoesOnBehindCheckpoint(t *testing.T) {
	l := newTestStream(t)
	m := l.memory
	ahead := l.Target.UnitOf(l.Target.Slot("a"))
	other := "b"
	for i := 0; l.Target.UnitOf(l.Target.Slot(other)) == ahead; i++ {
		other = fmt.Sprint("b", i)
	}
	cp := &target.Checkpoint{Offset: 100, Units: map[target.Unit]int64{ahead: 102}}
	if err := streamed(t, l, cp, "APPEND a 1", "APPEND a 2", "APPEND a 3", "APPEND "+other+" 4"); err != nil {
		t.Fatal(err)
	}
	if a, b := m.Text("a"), m.Text(other); a != "3" || b != "4" {
		t.Errorf("%q and %q arrived, want 3 and 4", a, b)
	}
}

// TestRefusalIsDoubted: a command that the target refuses leaves its key in doubt, and holds up nothing else.
func TestRefusalIsDoubted(t *testing.T) {
	l := newTestStream(t)
	m := l.memory
	if err := streamed(t, l, &target.Checkpoint{Offset: 100}, "SET a 1", "RPUSH a x", "APPEND a 2"); err != nil {
		t.Fatal(err)
	}
	doubts := l.Doubts.take()
	if len(doubts) != 1 || doubts[0].Call.Key.Name != "a" || m.Text("a") != "12" {
		t.Errorf("in doubt: %+v; the key holds %q", doubts, m.Text("a"))
	}
}

// TestFullTargetEndsStream: what is not applied is not called so.
func TestFullTargetEndsStream(t *testing.T) {
	l := newTestStream(t)
	l.memory.Full = target.ErrTargetFull
	if err := streamed(t, l, &target.Checkpoint{Offset: 100}, "SET a 1", "SET b 1"); !errors.Is(err, target.ErrTargetFull) {
		t.Errorf("ended with %v", err)
	}
	if n := l.Ledger.Applied.Load(); n != 0 || l.Positions.Applied().Offset > 100 {
		t.Errorf("%d commands count as applied, up to %d", n, l.Positions.Applied().Offset)
	}
}
