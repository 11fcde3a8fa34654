package ledger

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"surecut/internal/keyspace"
)

func testLedger(names *keyspace.Filter) *Ledger {
	return New(slog.New(slog.DiscardHandler), names, func() string { return "a:1" }, &Problems{}, Counters{})
}

func TestLedgerReports(t *testing.T) {
	b := testLedger(&keyspace.Filter{DBPrefix: map[int]string{3: "p:"}})
	b.ReportKey(keyspace.Key{DB: 3, Name: "p:a"}, "too large")
	b.ReportCommand(0, "b\n", "EVAL", "no keys")
	b.Note(0, "", "FUNCTION LOAD", "no functions")
	want := []Problem{
		{Shard: "a:1", DB: 3, Key: "a", Reason: "too large"}, // by the name that the source knows
		{Shard: "a:1", Key: keyspace.PrintableShort("b\n"), Command: "EVAL", Reason: "no keys"},
		{Shard: "a:1", Command: "FUNCTION LOAD", Reason: "no functions"},
	}
	if got := b.problems.All(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("listed %+v, want %+v", got, want)
	}
	if got := b.ThisRun(); got != (Counters{SnapshotReported: 1, CommandsReported: 1}) {
		t.Errorf("counted %+v", got)
	}
	for range 2 * mostProblems {
		b.ReportCommand(0, "", "EVAL", "no keys")
	}
	if n := len(b.problems.All()); n != mostProblems || b.Reported.Load() != 2*mostProblems+1 {
		t.Errorf("%d problems are listed and %d counted", n, b.Reported.Load())
	}
}

func TestLedgerForgets(t *testing.T) {
	b := testLedger(&keyspace.Filter{})
	b.earlier = Counters{SnapshotKeys: 5, SnapshotApplied: 5, Commands: 7, CommandsApplied: 7}
	b.SnapshotKeys.Store(2)
	b.SnapshotKept.Store(1)
	b.SnapshotFiltered.Store(1)
	b.Commands.Store(10)
	b.Applied.Store(3)
	b.Repaired.Store(1)
	if n := b.KeysDone(); n != 2 {
		t.Errorf("%d keys are done", n)
	}
	b.ForgetSnapshot()
	b.ForgetUnsettled()
	if got, want := b.AllRuns(), (Counters{Commands: 11, CommandsApplied: 10, CommandsRepaired: 1}); got != want {
		t.Errorf("all runs have counted %+v, want %+v", got, want)
	}
}

// TestEveryCounterCounts: a counter that is left out of a sum would have keys vanish from the books.
func TestEveryCounterCounts(t *testing.T) {
	fields := reflect.TypeFor[Counters]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		var one, sum Counters
		reflect.ValueOf(&one).Elem().Field(i).SetInt(3)
		one.AddTo(&sum)
		one.AddTo(&sum)
		if got := reflect.ValueOf(sum).Field(i).Int(); got != 6 {
			t.Errorf("%s: 3 and 3 are %d", name, got)
		}
		kept := one
		if kept.ForgetSnapshot(); (kept == Counters{}) != strings.HasPrefix(name, "Snapshot") {
			t.Errorf("%s: a snapshot that is loaded again leaves %+v", name, kept)
		}
	}
	b := testLedger(&keyspace.Filter{})
	for i, n := range []interface{ Store(int64) }{&b.SnapshotKeys, &b.SnapshotApplied, &b.SnapshotFiltered, &b.SnapshotKept, &b.SnapshotExpired, &b.SnapshotEmpty, &b.SnapshotReported,
		&b.Commands, &b.Applied, &b.Filtered, &b.Control, &b.Repaired, &b.Reported} {
		n.Store(int64(i + 1))
	}
	if got, want := b.ThisRun(), (Counters{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}); got != want {
		t.Errorf("this run has counted %+v, want %+v", got, want)
	}
	if got := b.KeysDone(); got != 2+3+4+5+6+7 {
		t.Errorf("%d keys are done", got)
	}
}
