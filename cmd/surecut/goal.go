package main

import (
	"surecut/migrator"
	"surecut/reports"
	"surecut/verifier"
)

// goal is what a run of surecut migrate was asked to reach.
type goal string

const (
	untilStopped  goal = "until it is stopped" // without --until
	untilCopied   goal = "the copy is in"      // --mode full, or a source of files
	untilCaughtUp goal = "caught up"           // --until caught-up
	untilAgreed   goal = "both sides agree"    // --capture scan
	untilGo       goal = "GO"                  // --until same
)

// ending is how a run of surecut migrate ended, and what it had reached by then.
type ending struct {
	goal      goal
	signalled bool // a signal had come by the end of the run
	aborted   bool // a second signal aborted the work
	failed    bool // an error occurred that no signal explains
	unwritten bool // a report could not be written

	copied   bool             // every snapshot is in the target, and for files everything that they contain
	settled  bool             // everything that the source had when the run was told to end is applied, and every key has its true expiry
	caughtUp bool             // --until caught-up was reached
	verdict  verifier.Verdict // of the comparison; "" if there was none
	gate     string           // GO or NO-GO; "" if nothing was judged
	reported bool             // something did not arrive as it was sent
	unknown  bool             // it is not known whether the source is still being written to
}

// status returns the exit status, which is 0 only if the goal was reached. A second signal always counts as an interruption, since
// nobody knows what it has cut off.
func (e ending) status() int {
	switch {
	case e.aborted:
		return exitInterrupted
	case e.failed, e.unwritten:
		return exitFailed
	case !e.reached():
		return exitInterrupted
	case e.goal == untilGo && e.gate == reports.Go:
		return exitOK
	case e.verdict == verifier.Unchecked, e.goal == untilAgreed && e.verdict == verifier.Same && e.unknown && !e.reported:
		return exitUnchecked
	case e.goal == untilGo, e.verdict == verifier.Different, e.reported:
		return exitDifferent
	}
	return exitOK
}

// reached says whether the run reached its goal. A comparison has reached its goal with any verdict.
func (e ending) reached() bool {
	switch e.goal {
	case untilGo:
		return e.gate != ""
	case untilAgreed:
		return e.verdict != ""
	case untilCaughtUp:
		return e.caughtUp && e.copied && e.settled
	case untilCopied:
		return e.copied && !e.signalled
	}
	return e.copied && e.settled
}

// cameToItsEnd says, before the gate has judged, whether the run completed. If the goal is GO, this means that both sides were
// compared.
func (e ending) cameToItsEnd() bool {
	if e.goal == untilGo {
		return e.verdict != ""
	}
	return e.reached()
}

// goalOf returns the goal that the options ask for.
func goalOf(o MigrateOptions) goal {
	switch {
	case o.Until == "same":
		return untilGo
	case o.Until == "caught-up":
		return untilCaughtUp
	case o.Config.Capture == migrator.CaptureScan:
		return untilAgreed
	case o.Config.Mode == migrator.ModeFull, o.Endpoints.Source.IsFile():
		return untilCopied
	}
	return untilStopped
}
