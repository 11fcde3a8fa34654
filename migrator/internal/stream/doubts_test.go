package stream

import (
	"errors"
	"strings"
	"testing"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
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
		c.Commands = 1
		l.Ledger.Applied.Add(1)
		if err := l.Doubts.add([]target.Failure{{Call: c, Reply: errors.New("ERR unknown command")}}); err != nil {
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
	calls := func(lines ...string) *target.Transaction {
		x := &target.Transaction{}
		for _, line := range lines {
			x.Calls = append(x.Calls, target.Call{Args: strings.Fields(line), Commands: 1})
		}
		return x
	}
	doubted := func(x *target.Transaction) (got string) {
		l.Doubts.spread([]*target.Transaction{x})
		for _, f := range x.Failed {
			if got += " " + strings.Join(f.Call.Args, " "); f.Call.Commands != 0 {
				t.Errorf("%v would be counted twice", f.Call.Args)
			}
		}
		return got
	}
	first := calls("SUNIONSTORE reunion union", "INCR n", "SUNIONSTORE other set")
	first.Failed = []target.Failure{{Call: target.Call{Args: []string{"SUNIONSTORE", "union", "gone"}}, Reply: target.ErrExpired}}
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
	if err := l.Doubts.add([]target.Failure{{Call: target.Call{Args: []string{"RENAME", "a", "b"}}, Reply: target.ErrKeyGone}}); err != nil {
		t.Fatal(err)
	}
	next := &Doubts{now: l.Doubts.now}
	if err := next.Resume(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range next.take() {
		got = append(got, sprintKeys(f.Call.Keys()))
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
		if err := d.Rewind(older); err != nil {
			t.Fatal(err)
		}
		d.Reset()
		if err := d.Resume(); err != nil {
			t.Fatal(err)
		}
		var got string
		for _, f := range d.take() {
			got += f.Call.Key.Name
		}
		if err := d.settled(); err != nil {
			t.Fatal(err)
		}
		return got
	}
	copyKeys("a", "b")
	before := d.Copies()
	copyKeys("c")
	d.Saved(before)
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
	if d.KnowsCopies(false) || d.KnowsCopies(true) {
		t.Error("copies are known that were dropped")
	}
	d.Saved(d.Copies())
	if !d.KnowsCopies(false) || d.KnowsCopies(true) {
		t.Error("since the record nothing was copied, and before it too much")
	}
}
