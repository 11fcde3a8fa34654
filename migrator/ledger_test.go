package migrator

import (
	"fmt"
	"log/slog"
	"testing"

	"surecut/internal/keyspace"
)

func testLedger(names *keyspace.Filter) *ledger {
	return newLedger(slog.New(slog.DiscardHandler), names, func() string { return "a:1" }, &problems{}, Counters{})
}

func TestLedgerReports(t *testing.T) {
	b := testLedger(&keyspace.Filter{DBPrefix: map[int]string{3: "p:"}})
	b.reportKey(keyspace.Key{DB: 3, Name: "p:a"}, "too large")
	b.problem(0, "b\n", "EVAL", "no keys")
	b.note(0, "", "FUNCTION LOAD", "no functions")
	want := []Problem{
		{Shard: "a:1", DB: 3, Key: "a", Reason: "too large"}, // by the name that the source knows
		{Shard: "a:1", Key: keyspace.PrintableShort("b\n"), Command: "EVAL", Reason: "no keys"},
		{Shard: "a:1", Command: "FUNCTION LOAD", Reason: "no functions"},
	}
	if got := b.problems.all(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("listed %+v, want %+v", got, want)
	}
	if got := b.thisRun(); got != (Counters{SnapshotReported: 1, CommandsReported: 1}) {
		t.Errorf("counted %+v", got)
	}
	for range 2 * mostProblems {
		b.problem(0, "", "EVAL", "no keys")
	}
	if n := len(b.problems.all()); n != mostProblems || b.reported.Load() != 2*mostProblems+1 {
		t.Errorf("%d problems are listed and %d counted", n, b.reported.Load())
	}
}

func TestLedgerForgets(t *testing.T) {
	b := testLedger(&keyspace.Filter{})
	b.earlier = Counters{SnapshotKeys: 5, SnapshotApplied: 5, Commands: 7, CommandsApplied: 7}
	b.snapshotKeys.Store(2)
	b.snapshotKept.Store(1)
	b.snapshotFiltered.Store(1)
	b.commands.Store(10)
	b.applied.Store(3)
	b.repaired.Store(1)
	if n := b.keysDone(); n != 2 {
		t.Errorf("%d keys are done", n)
	}
	b.forgetSnapshot()
	b.forgetUnsettled()
	if got, want := b.allRuns(), (Counters{Commands: 11, CommandsApplied: 10, CommandsRepaired: 1}); got != want {
		t.Errorf("all runs have counted %+v, want %+v", got, want)
	}
}
