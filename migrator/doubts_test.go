package migrator

import (
	"errors"
	"strings"
	"testing"

	"surecut/internal/keyspace"
)

// TestNobodyKnowsItsKeys: a command that the target refuses is reported where its keys are not known, and not called repaired.
func TestNobodyKnowsItsKeys(t *testing.T) {
	l := newTestLink(t)
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
		l.ledger.Applied.Add(1)
		if err := l.doubts.add([]failure{{c, errors.New("ERR unknown command")}}); err != nil {
			t.Fatal(err)
		}
		if err := d.copies.settleDoubts(t.Context(), l.doubts.take()); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.ledger.Reported.Load(); n != 2 || l.ledger.Repaired.Load()+l.ledger.Applied.Load() != 0 || len(l.m.problems.All()) != 2 {
		t.Errorf("reported %d, repaired %d, applied %d: %+v", n, l.ledger.Repaired.Load(), l.ledger.Applied.Load(), l.m.problems.All())
	}
}

// TestDoubtsSpread: what is made of a key in doubt is in doubt itself, until the key is copied.
func TestDoubtsSpread(t *testing.T) {
	l := newTestLink(t)
	calls := func(lines ...string) *transaction {
		x := &transaction{}
		for _, line := range lines {
			x.calls = append(x.calls, call{args: strings.Fields(line), commands: 1})
		}
		return x
	}
	doubted := func(x *transaction) (got string) {
		l.doubts.spread([]*transaction{x})
		for _, f := range x.failed {
			if got += " " + strings.Join(f.call.args, " "); f.call.commands != 0 {
				t.Errorf("%v would be counted twice", f.call.args)
			}
		}
		return got
	}
	first := calls("SUNIONSTORE reunion union", "INCR n", "SUNIONSTORE other set")
	first.failed = []failure{{call{args: []string{"SUNIONSTORE", "union", "gone"}}, errExpired}}
	if got, want := doubted(first), " SUNIONSTORE union gone SUNIONSTORE reunion union"; got != want {
		t.Errorf("doubted%s, want%s", got, want)
	}
	if got, want := doubted(calls("RENAME reunion renamed", "COPY x y", "COPY renamed copy")), " RENAME reunion renamed COPY renamed copy"; got != want {
		t.Errorf("later%s, want%s", got, want)
	}
	l.doubts.clean([]keyspace.Key{{Name: "union"}, {Name: "gone"}, {Name: "reunion"}, {Name: "renamed"}, {Name: "copy"}})
	if got := doubted(calls("COPY union z", "SUNIONSTORE z copy")); got != "" || len(l.doubts.tainted) > 0 {
		t.Errorf("after they were copied%s, %v", got, l.doubts.tainted)
	}
}

// TestDoubtsOutlive: what a run could not settle is settled by the next.
func TestDoubtsOutlive(t *testing.T) {
	l := newTestLink(t)
	if err := l.doubts.add([]failure{{call{args: []string{"RENAME", "a", "b"}}, errKeyGone}}); err != nil {
		t.Fatal(err)
	}
	next := &doubts{now: l.doubts.now}
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
