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
