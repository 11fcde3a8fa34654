package main

import (
	"strings"
	"testing"
	"time"

	"surecut/verifier"
)

// TestDisplay: a display shows a new phase and the end at once, everything else when it is due.
func TestDisplay(t *testing.T) {
	event := func() any { return map[string]string{"event": "progress"} }
	snapshot := stand{phase: "snapshot", text: "1 key", event: event}
	last := stand{phase: "snapshot", text: "2 keys", now: true, event: event}
	for kind, want := range map[string]string{
		"none": "",
		"line": "surecut: 1 key\nsurecut: 2 keys\n",
		"json": `{"event":"progress"}` + "\n" + `{"event":"progress"}` + "\n",
	} {
		var out strings.Builder
		d := newDisplay(kind, &out, time.Hour)
		d.show(snapshot)
		d.show(snapshot) // not due yet
		d.show(last)
		d.close()
		if out.String() != want {
			t.Errorf("%s: %q, want %q", kind, out.String(), want)
		}
	}
	var out strings.Builder
	d := newDisplay("line", &out, time.Hour)
	d.show(scanStand("keys", 7, 5)) // a run that takes less time than a line needs shows none
	d.last = time.Now().Add(-6 * time.Second)
	d.show(scanStand("keys", 7, 5))
	if out.String() != "surecut: scanned 7 of 7 keys\n" {
		t.Errorf("a scan: %q", out.String())
	}
}

// TestVerifyStand: keys in doubt have a bar of their own.
func TestVerifyStand(t *testing.T) {
	reading := verifyStand(verifier.Progress{Phase: verifier.PhaseEnumerate, SourceKeys: 3, SourceTotal: 10, TargetKeys: 2, TargetTotal: 10, Seconds: 1})
	if reading.done != 5 || reading.total != 20 || reading.now || !strings.Contains(reading.text, "5 keys/s") {
		t.Errorf("reading: %+v", reading)
	}
	doubts := verifyStand(verifier.Progress{Phase: verifier.PhaseResolve, SourceKeys: 10, SourceTotal: 10, Settled: 1, Suspects: 4, Round: 2})
	if doubts.done != 1 || doubts.total != 4 || !strings.Contains(doubts.text, "round 2: 1 of 4") {
		t.Errorf("in doubt: %+v", doubts)
	}
	if !verifyStand(verifier.Progress{Phase: verifier.PhaseDone}).now {
		t.Error("the end is not shown")
	}
}
