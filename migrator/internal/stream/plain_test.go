package stream

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/internal/resp"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/target"
)

// sourceOf returns a command as the parser does.
func sourceOf(t *testing.T, db int, words ...string) sourceCommand {
	t.Helper()
	p := &parser{r: resp.NewReader(strings.NewReader(string(resp.AppendCommand(nil, words...)))), filter: &keyspace.Filter{}, received: func() int64 { return 1 }, offset: 100, db: db}
	g, err := p.next()
	if err != nil || len(g.commands) != 1 {
		t.Fatalf("%q: %v, %d commands", words, err, len(g.commands))
	}
	return g.commands[0]
}

// callOf returns what a command becomes in a series.
func callOf(t *testing.T, d *dispatcher, c sourceCommand) (target.Call, bool) {
	t.Helper()
	to, ok := d.planner.plain(&c)
	if !ok {
		return target.Call{}, false
	}
	clear(d.ready)
	d.sendPlain(&group{start: 100, end: c.end, commands: []sourceCommand{c}}, to)
	n := d.lane(to.slot)
	it := d.ready[n.id][0]
	x := &target.Transaction{Calls: it.calls}
	x.Expand()
	if len(x.Calls) != 1 || it.end != c.end || it.commands != 1 || it.slot != d.Target.Slot(x.Calls[0].Key.Name) || it.absolute != x.Calls[0].Absolute {
		t.Errorf("%q became an item of %d calls up to %d", c.args, len(x.Calls), it.end)
	}
	return x.Calls[0], true
}

// TestPlainIsWhatPlanSays: a command that goes in a series is the very call that plan would have made of it, whatever command it is.
func TestPlainIsWhatPlanSays(t *testing.T) {
	count, d := 0, newTestDispatcher(newTestStream(t), nil)
	for _, s := range command.All() {
		if s.Class == command.Keyless {
			continue
		}
		for extra := range 5 {
			words := strings.Fields(s.Name)
			for len(words) < max(s.Arity, -s.Arity)+extra {
				words = append(words, []string{"k", "1", "m", "2", "v", "3", "w"}[len(words)%7])
			}
			for _, last := range []string{"", "KEEPTTL", "NX", "CH"} {
				if last != "" {
					words[len(words)-1] = last
				}
				got, ok := callOf(t, d, sourceOf(t, 3, words...))
				if !ok {
					continue
				}
				count++
				comparePlan(t, d, got, words...)
			}
		}
	}
	if count < 100 {
		t.Errorf("only %d commands were plain", count)
	}
	words := []string{"SET", "k", "v", "PXAT", "99999999999999"}
	got, _ := callOf(t, d, sourceOf(t, 3, words...))
	comparePlan(t, d, got, words...)
}

// comparePlan compares the call that a command became in a series with the plan for the command.
func comparePlan(t *testing.T, d *dispatcher, got target.Call, words ...string) {
	t.Helper()
	c := sourceOf(t, 3, words...)
	p, err := d.planner.plan(&c, 1)
	if err != nil || p.act != nil || len(p.pieces) != 1 || p.pieces[0].commands != 1 {
		t.Fatalf("%q is plain, and the plan has %d pieces, %v", words, len(p.pieces), err)
	}
	want := p.pieces[0].call
	want.Commands = 1
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("%q\nis planned as    %+v\nin a series it is %+v", words, want, got)
	}
}

// TestPlainExpiryIsNoted: a command that reads the key of an expiry which comes soon is no longer plain: the target is asked for the key.
func TestPlainExpiryIsNoted(t *testing.T) {
	d := newTestDispatcher(newTestStream(t), nil)
	at := strconv.FormatInt(time.Now().UnixMilli()+1000, 10)
	if _, ok := callOf(t, d, sourceOf(t, 0, "SET", "k", "v", "PXAT", at)); !ok {
		t.Fatal("SET with an expiry is not plain")
	}
	for name, want := range map[string]bool{"k": false, "other": true} {
		c := sourceOf(t, 0, "APPEND", name, "x")
		if _, got := d.planner.plain(&c); got != want {
			t.Errorf("APPEND %s: plain %v, want %v", name, got, want)
		}
	}
}

// TestPlain: what is plain, and what keeps a command from being so.
func TestPlain(t *testing.T) {
	for _, c := range []struct {
		name, why, command string
		change             func(l *testStream, d *dispatcher)
		want               bool
	}{
		{name: "SET", command: "SET k v", want: true},
		{name: "not absolute", command: "RPUSH k v w", want: true},
		{name: "lower case", command: "hset k f v", want: true},
		{name: "one key of a command for several", command: "DEL k", want: true},
		{name: "several keys", command: "DEL k l"},
		{name: "an expiry", why: "it is noted", command: "SET k v PXAT 99999999999999", want: true},
		{name: "a relative expiry", why: "it becomes absolute", command: "SET k v PX 1000"},
		{name: "an expiry with a condition", command: "SET k v XX PXAT 99999999999999"},
		{name: "an expiry for an older target", command: "SET k v PXAT 99999999999999", change: func(l *testStream, _ *dispatcher) { l.Target.Dialect = command.DialectOf(60000, 0) }},
		{name: "an expiry that may be held", command: "SET k v PXAT 99999999999999", change: func(l *testStream, _ *dispatcher) { l.hold(t, ledger.HeldFirst) }},
		{name: "KEEPTTL", command: "SET k v KEEPTTL", want: true},
		{name: "an expiry alone", command: "PEXPIREAT k 99999999999999"},
		{name: "a reply that matters", command: "LPUSHX k v"},
		{name: "unknown", command: "NEVERHEARD k v"},
		{name: "without a key", command: "PUBLISH k v"},
		{name: "a script", command: "EVAL x 1 k"},
		{name: "malformed", command: "HSET"},
		{name: "filtered", command: "SET k v", change: func(l *testStream, _ *dispatcher) { l.Scope.Exclude = []string{"k"} }},
		{name: "another database", command: "SET k v", change: func(l *testStream, _ *dispatcher) { l.Scope.DBs = []int{1} }},
		{name: "a database that the target lacks", command: "SET k v", change: func(l *testStream, _ *dispatcher) { l.Scope.DBMap, l.Scope.Target.Count = map[int]int{0: 20}, 16 }},
		{name: "a cluster", command: "SET k v", change: func(l *testStream, _ *dispatcher) { l.Target.Cluster = true }},
		{name: "a proxy", command: "SET k v", change: func(l *testStream, _ *dispatcher) { l.Target.Can.Transactions = false }},
		{name: "an older target", why: "it takes one field", command: "HSET k f v g w", change: func(l *testStream, _ *dispatcher) { l.Target.Dialect = command.DialectOf(30000, 0) }},
		{name: "a target that knows the form", command: "HSET k f v", want: true, change: func(l *testStream, _ *dispatcher) { l.Target.Dialect = command.DialectOf(30000, 0) }},
		{name: "applied by an earlier run", command: "SET k v", change: func(_ *testStream, d *dispatcher) { d.ahead.resumedEnd = 1 << 40 }},
		{name: "a copied key", why: "the copy has it", command: "SET k v", change: func(_ *testStream, d *dispatcher) { d.ahead.fences[keyspace.Key{Name: "k"}] = 1 << 40 }},
		{name: "in doubt", command: "SET k v", change: func(_ *testStream, d *dispatcher) { d.planner.doubtEnd = 1 << 40 }},
		{name: "keys are asked for", command: "SET k v", change: func(l *testStream, _ *dispatcher) { l.hold(t, ledger.HeldAgain) }},
		{name: "expiries are held", command: "SET k v", want: true, change: func(l *testStream, _ *dispatcher) { l.hold(t, ledger.HeldFirst) }},
		{name: "expiries are not known", command: "SET k v", change: func(l *testStream, _ *dispatcher) { l.Target.Expiring.Forget() }},
		{name: "the key may have expired", command: "APPEND k v", change: func(l *testStream, _ *dispatcher) { l.Target.Expiring.Note(0, "k", 1) }},
		{name: "and nothing depends on it", command: "SET k v", want: true, change: func(l *testStream, _ *dispatcher) { l.Target.Expiring.Note(0, "k", 1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestStream(t)
			d := newTestDispatcher(l, nil)
			if c.change != nil {
				c.change(l, d)
			}
			if _, got := callOf(t, d, sourceOf(t, 0, strings.Fields(c.command)...)); got != c.want {
				t.Errorf("%s: plain %v, want %v", c.why, got, c.want)
			}
		})
	}
}

// TestSeriesOfALane: what comes together keeps its order, and a series takes no more than its bounds.
func TestSeriesOfALane(t *testing.T) {
	d := newTestDispatcher(newTestStream(t), nil)
	send := func(db int, words ...string) {
		t.Helper()
		c := sourceOf(t, db, words...)
		if err := d.step(t.Context(), group{start: 100, end: 200, commands: []sourceCommand{c}}); err != nil {
			t.Fatal(err)
		}
	}
	send(0, "SET", "{k}", "1")
	send(0, "SET", "{k}2", "2")
	send(0, "PEXPIREAT", "{k}", "99999999999999")
	send(0, "SET", "{k}", "3")
	send(1, "SET", "{k}", "4")
	send(1, "SET", "{k}", strings.Repeat("x", mostPlainBytes))
	send(1, "SET", "{k}", "5")
	var sizes []int
	for _, it := range d.ready[d.lane(d.Target.Slot("{k}")).id] {
		sizes = append(sizes, it.size())
	}
	if fmt.Sprint(sizes) != "[2 1 1 2 1]" {
		t.Errorf("items of %v commands", sizes)
	}
	for range mostPlain + 1 {
		send(2, "SET", "{k}", "x")
	}
	items := d.ready[d.lane(d.Target.Slot("{k}")).id]
	if a, b := items[len(items)-2].size(), items[len(items)-1].size(); a != mostPlain || b != 1 {
		t.Errorf("the last items have %d and %d commands", a, b)
	}
}

// TestLargeIsNotPlain: a command that the target may not take goes to the writer as a call, which can be left out.
func TestLargeIsNotPlain(t *testing.T) {
	d := newTestDispatcher(newTestStream(t), nil)
	for size, want := range map[int]bool{10: true, 1 << 20: false} {
		if _, ok := callOf(t, d, sourceOf(t, 0, "SET", "k", strings.Repeat("x", size))); ok != want {
			t.Errorf("a command of %d bytes is plain: %v", size, ok)
		}
	}
}
