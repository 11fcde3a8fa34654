package verifier

import (
	"fmt"
	"testing"

	"surecut/internal/keyspace"
)

// The listed findings are the first in the order of the report, whatever came first; totals count all.
func TestFindingsAreCapped(t *testing.T) {
	t1 := newTally(&rules{}, 10)
	for i := range 5000 {
		d := decision{Settled: true, Verdict: Missing, Why: cause{Reason: AbsentOnTarget}, Pair: pair{Source: text("v")}}
		t1.settle(keyID{name: fmt.Sprintf("{%s}%d", keyspace.SlotTag(uint16(4999-i)), i)}, &d)
	}
	t1.trim()
	if len(t1.findings) != 10 || t1.omitted != 4990 || t1.totals.Missing != 5000 || t1.totals.SourceKeys != 5000 {
		t.Fatalf("%d findings, %d omitted, %+v", len(t1.findings), t1.omitted, t1.totals)
	}
	for i, f := range t1.findings {
		if f.Slot != uint16(i) {
			t.Errorf("finding %d is of slot %d", i, f.Slot)
		}
	}
	if n := len(t1.slotResults()); n != 5000 {
		t.Errorf("%d slots", n)
	}
}

// TestListAtMost: a list that is cut says how much was left out, else the report contradicts its totals.
func TestListAtMost(t *testing.T) {
	for _, tt := range []struct{ n, findings, omitted int }{{5, 3, 7}, {3, 3, 7}, {1, 1, 9}, {0, 0, 10}} {
		r := Report{Findings: make([]Finding, 3), Omitted: 7}
		if r.ListAtMost(tt.n); len(r.Findings) != tt.findings || r.Omitted != tt.omitted {
			t.Errorf("at most %d: %d findings, %d omitted, want %d and %d", tt.n, len(r.Findings), r.Omitted, tt.findings, tt.omitted)
		}
	}
}
