package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"surecut"
	"surecut/internal/keyspace"
	"surecut/migrator"
	"surecut/reports"
	"surecut/verifier"
)

// migration is one run of surecut migrate after its checks.
type migration struct {
	o       MigrateOptions
	m       *migrator.Migration
	stderr  io.Writer
	inputs  []reports.Report // for the gate
	scan    *streamScan      // nil without --scan
	show    *migrateProgress
	cutover *surecut.Cutover

	reached atomic.Bool // the goal of --until was reached
	stopped atomic.Bool // a first signal came, or the goal turned out not to be reached
	aborted atomic.Bool // a second signal came
}

// toTheEnd runs the migration, follows it to its goal, and reports. ctx ends with the first signal.
func (r *migration) toTheEnd(ctx context.Context, second <-chan struct{}, stdout io.Writer) error {
	work, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abort(nil)
	control, err := r.m.Listen()
	if err != nil {
		return err
	}
	defer control.Close()
	over, obeyed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(obeyed)
		r.obey(ctx, second, abort, over)
	}()
	failed := make(chan error, 1)
	running, ended := context.WithCancel(ctx) // A comparison has no meaning after its migration has ended.
	defer ended()
	go func() {
		err := r.m.Run(work)
		failed <- err
		ended()
	}()

	verified, goalErr := r.reachGoal(running)
	runErr := <-failed
	r.show.close()
	if goalErr == nil && runErr == nil && r.o.Config.Capture == migrator.CaptureScan && ctx.Err() == nil {
		verified, goalErr = r.verified(r.cutover.Agree(ctx))
	}
	close(over)
	<-obeyed
	return r.report(ctx, stdout, verified, r.failure(ctx, goalErr, runErr))
}

// obey turns the first signal into an orderly stop, and the second one into an abort.
func (r *migration) obey(ctx context.Context, second <-chan struct{}, abort context.CancelCauseFunc, over <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-over:
		return
	}
	fmt.Fprintln(r.stderr, "surecut: stopping after what the source has written by now is received and applied; a second signal aborts at once")
	r.stopped.Store(true)
	r.m.Finish()
	select {
	case <-second:
		r.aborted.Store(true)
		abort(context.Canceled)
	case <-over:
	}
}

// failure returns the error that no signal explains. If the migration has failed, then the error of a comparison that was cancelled
// for this reason is left out.
func (r *migration) failure(ctx context.Context, goalErr, runErr error) error {
	brokenOff := ctx.Err() != nil || runErr != nil
	if errors.Is(goalErr, context.Canceled) && brokenOff {
		goalErr = nil
	}
	if errors.Is(runErr, context.Canceled) && ctx.Err() != nil {
		runErr = nil
	}
	return errors.Join(goalErr, runErr)
}

// progress shows the progress of the migration.
func (r *migration) progress(now migrator.Report) { r.show.report(r.named(now)) }

// named returns a report of the migration in which a run that was ended before its goal is stopped, and not done.
func (r *migration) named(now migrator.Report) migrator.Report {
	if now.State == "done" && r.stopped.Load() && !r.reached.Load() {
		now.State = "stopped"
	}
	return now
}

// reachGoal waits until the goal of --until is reached, and then ends the migration. Without a goal it waits for the migration's
// own end.
func (r *migration) reachGoal(ctx context.Context) (*reports.Verify, error) {
	if r.o.Until == "" || r.o.Config.Capture == migrator.CaptureScan || r.m.AwaitCaughtUp(ctx) != nil {
		return nil, nil
	}
	defer r.m.Finish()
	if r.o.Until == "caught-up" {
		r.reached.Store(true)
		return nil, nil
	}
	verified, err := r.verified(r.cutover.Compare(ctx))
	if err == nil && r.cutover.Ready(&verified.Report) {
		r.reached.Store(true)
	} else {
		r.stopped.Store(true)
	}
	return verified, err
}

// verified returns the report of a comparison, which may exist together with an error.
func (r *migration) verified(found *verifier.Report, err error) (*reports.Verify, error) {
	if found == nil {
		return nil, err
	}
	return newVerifyReport(found), err
}

// report writes all reports of the run, and returns an error with its exit status.
func (r *migration) report(ctx context.Context, stdout io.Writer, verified *reports.Verify, failed error) error {
	end := r.ending(ctx, verified, failed)
	migrated := r.migrated(end, verified, failed)
	outputs := []reports.Report{migrated}
	if r.scan != nil {
		outputs = append(outputs, r.scan.reports(r.o, r.m.Report().Selection, r.stderr)...)
	}
	if verified != nil {
		outputs = append(outputs, verified)
	}
	if verified != nil && r.o.Until == "same" && !end.aborted && !end.failed {
		gate := r.judge(verified, migrated)
		outputs, end.gate = append(outputs, gate), gate.Verdict
	}
	var unwritten error
	for _, out := range outputs {
		if unwritten != nil && out.Kind() == reports.KindGate {
			break // A verdict must not be published without the reports that it rests on.
		}
		unwritten = errors.Join(unwritten, publish(out, r.o.Out, r.o.Format, stdout, r.stderr))
	}
	end.unwritten = unwritten != nil
	return r.end(ctx, end, errors.Join(failed, unwritten))
}

// migrated returns the report of the migration itself, including how the run ended.
func (r *migration) migrated(end ending, verified *reports.Verify, failed error) *reports.Migrate {
	report := reports.NewMigrate(r.m, r.cutover.Quiet)
	report.Version, report.Report, report.Rounds = Version, r.named(report.Report), r.cutover.Rounds
	same := verified != nil && verified.Verdict == verifier.Same
	switch {
	case failed != nil && !end.aborted:
		report.State, report.Error = "failed", failed.Error()
	case end.aborted, r.o.Config.Capture == migrator.CaptureScan && report.State == "done" && !same:
		report.State, report.Error = "stopped", ""
	}
	sayFlags(report)
	switch {
	case end.failed && !end.aborted:
		report.Ended, report.EndedWhy = reports.Failed, oneLine(failed)
	case end.aborted, !end.cameToItsEnd():
		report.Ended, report.EndedWhy = reports.Interrupted, r.interruption(end)
	}
	return report
}

// ending returns how the run ended.
func (r *migration) ending(ctx context.Context, verified *reports.Verify, failed error) ending {
	result := r.m.Report()
	e := ending{goal: goalOf(r.o), signalled: ctx.Err() != nil, aborted: r.aborted.Load(), failed: failed != nil,
		copied: r.m.Snapshotted(), settled: r.m.Settled(), caughtUp: r.reached.Load(),
		reported: result.AllRuns.Counters.SnapshotReported+result.AllRuns.Counters.CommandsReported+int64(len(result.Problems)) > 0}
	if verified != nil {
		e.verdict = verified.Verdict
	}
	e.unknown = r.cutover.Quiet != nil && !r.cutover.Quiet.Quiet
	return e
}

// end returns an error with the exit status. If the run ended with GO, or with both sides agreeing, it also removes surecut's keys
// from the target and the state.
func (r *migration) end(ctx context.Context, e ending, err error) error {
	status := e.status()
	switch {
	case status == exitInterrupted:
		return interrupted("%s", r.interruption(e))
	case err != nil:
		return err
	case status == exitOK && (e.goal == untilGo || e.goal == untilAgreed):
		if err := r.m.Forget(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintf(r.stderr, "surecut: the goal is reached, but surecut's own keys on the target (%s*) or its state on disk could not be removed: %s\n", keyspace.Prefix, oneLine(err))
		}
	}
	return verdictStatus(status)
}

// interruption describes how far a run that was ended by a signal had come, and how to continue it.
func (r *migration) interruption(e ending) string {
	c := r.m.Report().Counters
	where := "before the snapshot was copied"
	switch {
	case e.aborted && e.copied:
		where = "by a second signal, which aborts at once"
	case e.aborted:
		where = "by a second signal, which aborts at once, " + where
	case !e.copied:
	case !e.settled:
		where = "before the target had everything from the source: " + strings.Join(r.m.Unsettled(), "; ")
	case e.goal == untilGo, e.goal == untilAgreed:
		where = "before source and target were compared and the source was found to be no longer written"
	case e.goal == untilCaughtUp:
		where = "before the target had caught up"
	case e.goal == untilCopied:
		where = "before the copy was complete"
	}
	return fmt.Sprintf("interrupted %s (%d keys of the snapshot and %d commands were applied in this run); the same command with the same --state goes on from there",
		where, c.SnapshotApplied, c.CommandsApplied)
}

func (r *migration) judge(verified *reports.Verify, migrated *reports.Migrate) *reports.Gate {
	policy := reports.DefaultPolicy()
	policy.Selection = migrated.Selection // The selection comes from the flags of this run.
	gate := reports.Judge(policy, append(r.inputs, verified, migrated)...)
	gate.Version = Version
	return gate
}
