package main

import (
	"fmt"
	"testing"

	"surecut/reports"
	"surecut/verifier"
)

// TestStatusIsThatOfTheGoal is the table of all goals of a migration and all the ways to end. Each row changes one thing of a run that
// has reached its goal.
func TestStatusIsThatOfTheGoal(t *testing.T) {
	whole := map[goal]ending{
		untilStopped:  {signalled: true, copied: true, settled: true},
		untilCopied:   {copied: true, settled: true},
		untilCaughtUp: {copied: true, settled: true, caughtUp: true},
		untilAgreed:   {copied: true, settled: true, verdict: verifier.Same},
		untilGo:       {copied: true, settled: true, verdict: verifier.Same, gate: reports.Go},
	}
	order := []goal{untilStopped, untilCopied, untilCaughtUp, untilAgreed, untilGo}
	tests := []struct {
		name, why string
		change    func(*ending)
		want      [5]int // in that order
	}{
		{"done", "the goal was reached", func(*ending) {}, [5]int{0, 0, 0, 0, 0}},
		{"one signal in the snapshot", "less is there than was asked for", func(e *ending) {
			*e = ending{goal: e.goal, signalled: true}
		}, [5]int{130, 130, 130, 130, 130}},
		{"one signal while it catches up", "what the source had by then is applied; that is all that a run without a goal was asked for", func(e *ending) {
			*e = ending{goal: e.goal, signalled: true, copied: true, settled: true}
		}, [5]int{0, 130, 130, 130, 130}},
		{"one signal while keys are held without their expiry", "the target holds keys that will never expire", func(e *ending) {
			*e = ending{goal: e.goal, signalled: true, copied: true}
		}, [5]int{130, 130, 130, 130, 130}},
		{"one signal while the source is ahead, or does not say how far it has come", "writes may be missing from the target", func(e *ending) {
			*e = ending{goal: e.goal, signalled: true, copied: true}
		}, [5]int{130, 130, 130, 130, 130}},
		{"caught up, and then the source is ahead, or does not say how far it has come", "writes may be missing from the target", func(e *ending) {
			*e = ending{goal: e.goal, caughtUp: true, copied: true}
		}, [5]int{130, 0, 130, 130, 130}},
		{"one signal while it verifies, or in the quiet time", "there is no verdict", func(e *ending) {
			e.signalled, e.verdict, e.gate, e.caughtUp = true, "", "", false
		}, [5]int{0, 130, 130, 130, 130}},
		{"one signal after the verdict", "the goal was reached before", func(e *ending) { e.signalled = e.goal != untilCopied }, [5]int{0, 0, 0, 0, 0}},
		{"two signals, whenever", "nobody knows what the second one has cut off", func(e *ending) { e.signalled, e.aborted = true, true }, [5]int{130, 130, 130, 130, 130}},
		{"two signals, which break connections", "the errors are those of the abort", func(e *ending) { e.signalled, e.aborted, e.failed = true, true, true }, [5]int{130, 130, 130, 130, 130}},
		{"source or target lost", "the run failed", func(e *ending) {
			*e = ending{goal: e.goal, failed: true, copied: true}
		}, [5]int{1, 1, 1, 1, 1}},
		{"a signal, then the target lost", "what was received could not be applied", func(e *ending) {
			*e = ending{goal: e.goal, failed: true, signalled: true, copied: true}
		}, [5]int{1, 1, 1, 1, 1}},
		{"spool full", "the run failed", func(e *ending) {
			*e = ending{goal: e.goal, failed: true}
		}, [5]int{1, 1, 1, 1, 1}},
		{"disk of the reports full", "a verdict without its record is none", func(e *ending) { e.unwritten = true }, [5]int{1, 1, 1, 1, 1}},
		{"something did not arrive", "it is a difference that was told", func(e *ending) {
			if e.reported = true; e.gate != "" {
				e.gate = reports.NoGo
			}
		}, [5]int{3, 3, 3, 3, 3}},
		{"NO-GO over a source that is written", "GO means that the writers are off", func(e *ending) {
			if e.gate != "" {
				e.gate = reports.NoGo
			}
		}, [5]int{0, 0, 0, 0, 3}},
		{"whether the source is written cannot be told", "agreement of a source in use speaks of the past", func(e *ending) {
			if e.unknown = true; e.gate != "" {
				e.gate = reports.NoGo
			}
		}, [5]int{0, 0, 0, 4, 3}},
		{"different", "the goal is that both sides are the same", func(e *ending) {
			if e.verdict != "" {
				e.verdict = verifier.Different
			}
			if e.gate != "" {
				e.gate = reports.NoGo
			}
		}, [5]int{0, 0, 0, 3, 3}},
		{"unchecked", "not known is not the same", func(e *ending) {
			if e.verdict != "" {
				e.verdict = verifier.Unchecked
			}
			if e.gate != "" {
				e.gate = reports.NoGo
			}
		}, [5]int{0, 0, 0, 4, 4}},
		{"ended by itself before the snapshot was in", "no error is no success", func(e *ending) { *e = ending{goal: e.goal} }, [5]int{130, 130, 130, 130, 130}},
	}
	t.Logf("%-55s %22s", "", fmt.Sprint(order))
	for _, tt := range tests {
		var got [5]int
		for i, g := range order {
			e := whole[g]
			e.goal = g
			tt.change(&e)
			got[i] = e.status()
		}
		t.Logf("%-55s %v", tt.name, got)
		if got != tt.want {
			t.Errorf("%s (%s): %v, want %v", tt.name, tt.why, got, tt.want)
		}
	}
}

// TestOnlyTheGoalGivesZero goes through every ending there can be: 0 means that the goal was reached, nothing failed and no second
// signal came; and GO alone gives 0 where GO was asked for.
func TestOnlyTheGoalGivesZero(t *testing.T) {
	both := []bool{false, true}
	n := 0
	for _, g := range []goal{untilStopped, untilCopied, untilCaughtUp, untilAgreed, untilGo} {
		for _, verdict := range []verifier.Verdict{"", verifier.Same, verifier.Different, verifier.Unchecked} {
			for _, gate := range []string{"", reports.Go, reports.NoGo} {
				for bits := range 1 << 9 {
					on := func(i int) bool { return both[bits>>i&1] }
					e := ending{goal: g, verdict: verdict, gate: gate, signalled: on(0), aborted: on(1), failed: on(2), unwritten: on(3),
						copied: on(4), settled: on(5), caughtUp: on(6), reported: on(7), unknown: on(8)}
					n++
					status := e.status()
					if status == exitOK && (e.aborted || e.failed || e.unwritten || !e.reached() || g == untilGo && gate != reports.Go || g != untilGo && e.reported || g == untilAgreed && e.unknown) {
						t.Fatalf("0 for %+v", e)
					}
					if e.aborted && status != exitInterrupted {
						t.Fatalf("%d for %+v", status, e)
					}
				}
			}
		}
	}
	t.Logf("%d endings", n)
}
