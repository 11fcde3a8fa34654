package migrator

import (
	"errors"
	"strings"
	"testing"

	"surecut/internal/keyspace"
)

// TestNobodyKnowsItsKeys: a command that the target refuses is reported where its keys are not known, and not called repaired.
func TestNobodyKnowsItsKeys(t *testing.T) {
	l := newTestStream(t)
	d := newTestDispatcher(l, nil)
	for _, line := range []string{"FROBNICATE a", "EVALSHA 0123456789012345678901234567890123456789 0"} {
		var args [][]byte
		for _, w := range strings.Fields(line) {
			args = append(args, []byte(w))
		}
		p, err := d.planner.plan(&sourceCommand{end: 9, args: args}, 0)
		if err != nil || len(p.pieces) != 1 || !p.pieces[0].all {
			t.Fatalf("%s: %+v, %v", line, p, err)
		}
		c := p.pieces[0].call
		c.commands = 1
		l.Ledger.Applied.Add(1)
		if err := l.Doubts.add([]failure{{call: c, reply: errors.New("ERR unknown command")}}); err != nil {
			t.Fatal(err)
		}
		if err := d.copies.settleDoubts(t.Context(), l.Doubts.take()); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.Ledger.Reported.Load(); n != 2 || l.Ledger.Repaired.Load()+l.Ledger.Applied.Load() != 0 || len(l.problems.All()) != 2 {
		t.Errorf("reported %d, repaired %d, applied %d: %+v", n, l.Ledger.Repaired.Load(), l.Ledger.Applied.Load(), l.problems.All())
	}
}

// TestDoubtsSpread: what is made of a key in doubt is in doubt itself, until the key is copied.
func TestDoubtsSpread(t *testing.T) {
	l := newTestStream(t)
	calls := func(lines ...string) *transaction {
		x := &transaction{}
		for _, line := range lines {
			x.calls = append(x.calls, call{args: strings.Fields(line), commands: 1})
		}
		return x
	}
	doubted := func(x *transaction) (got string) {
		l.Doubts.spread([]*transaction{x})
		for _, f := range x.failed {
			if got += " " + strings.Join(f.call.args, " "); f.call.commands != 0 {
				t.Errorf("%v would be counted twice", f.call.args)
			}
		}
		return got
	}
	first := calls("SUNIONSTORE reunion union", "INCR n", "SUNIONSTORE other set")
	first.failed = []failure{{call: call{args: []string{"SUNIONSTORE", "union", "gone"}}, reply: errExpired}}
	if got, want := doubted(first), " SUNIONSTORE union gone SUNIONSTORE reunion union"; got != want {
		t.Errorf("doubted%s, want%s", got, want)
	}
	if got, want := doubted(calls("RENAME reunion renamed", "COPY x y", "COPY renamed copy")), " RENAME reunion renamed COPY renamed copy"; got != want {
		t.Errorf("later%s, want%s", got, want)
	}
	l.Doubts.clean([]keyspace.Key{{Name: "union"}, {Name: "gone"}, {Name: "reunion"}, {Name: "renamed"}, {Name: "copy"}})
	if got := doubted(calls("COPY union z", "SUNIONSTORE z copy")); got != "" || len(l.Doubts.tainted) > 0 {
		t.Errorf("after they were copied%s, %v", got, l.Doubts.tainted)
	}
}

// TestDoubtsOutlive: what a run could not settle is settled by the next.
func TestDoubtsOutlive(t *testing.T) {
	l := newTestStream(t)
	if err := l.Doubts.add([]failure{{call: call{args: []string{"RENAME", "a", "b"}}, reply: errKeyGone}}); err != nil {
		t.Fatal(err)
	}
	next := &doubts{now: l.Doubts.now}
	if err := next.resume(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range next.take() {
		got = append(got, sprintKeys(f.call.keys()))
	}
	if strings.Join(got, "") != "[{0 a}][{0 b}]" {
		t.Errorf("resumed with %q", got)
	}
	if err := next.settled(); err != nil || !next.now.Empty() {
		t.Errorf("settled doubts stay: %v", err)
	}
}

// TestCopiesSinceRecord: after a node was replaced, only those keys are copied again whose copies may be lost.
func TestCopiesSinceRecord(t *testing.T) {
	d := newTestStream(t).Doubts
	copyKeys := func(names ...string) {
		var keys []keyspace.Key
		for _, name := range names {
			keys = append(keys, keyspace.Key{Name: name})
		}
		d.remember(keys)
		if err := d.settled(); err != nil {
			t.Fatal(err)
		}
	}
	rewound := func(older bool) string {
		if err := d.rewind(older); err != nil {
			t.Fatal(err)
		}
		d.reset()
		if err := d.resume(); err != nil {
			t.Fatal(err)
		}
		var got string
		for _, f := range d.take() {
			got += f.call.key.Name
		}
		if err := d.settled(); err != nil {
			t.Fatal(err)
		}
		return got
	}
	copyKeys("a", "b")
	before := d.copies()
	copyKeys("c")
	d.saved(before)
	if got := rewound(false); got != "c" {
		t.Errorf("copied again since the record: %q, want c", got)
	}
	copyKeys("c")
	if got := rewound(true); got != "abc" {
		t.Errorf("copied again after an older state: %q, want abc", got)
	}
	d.remember(make([]keyspace.Key, mostCopied+1)) // too many to be remembered
	if err := d.settled(); err != nil {
		t.Fatal(err)
	}
	if d.knowsCopies(false) || d.knowsCopies(true) {
		t.Error("copies are known that were dropped")
	}
	d.saved(d.copies())
	if !d.knowsCopies(false) || d.knowsCopies(true) {
		t.Error("since the record nothing was copied, and before it too much")
	}
}
