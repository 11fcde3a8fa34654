package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"surecut/internal/endpoint"
	"surecut/reports"
	"surecut/reports/outdir"
)

// outRun is a run that has a directory of its own for its reports.
type outRun struct {
	out    string
	kind   string   // of the report that says how the run ended; "" if the run only renders reports that it was given
	clears []string // kinds of reports that the run writes itself, or that are outdated once it has run
	source string   // as a report may show it, without a password
	target string
}

// owned reserves the directory of --out for a command that writes there, and leaves a report there if the command ends without one.
func owned(path string, c *cli.Context, work func() error) error {
	clears, writes := outKinds(path, c)
	if !writes || c.String("out") == "" {
		return orAbandon(c.Context, named(path, work))
	}
	r := outRun{out: c.String("out"), clears: clears, source: shownSide(c, "source"), target: shownSide(c, "target")}
	if len(clears) > 0 {
		r.kind = clears[0]
	}
	return r.hold(c.App.ErrWriter, func(dir *outdir.Dir) error {
		if err := followReport(c, dir); err != nil {
			return err
		}
		return orAbandon(c.Context, named(path, r.orCrash(work)))
	})
}

// migrationKinds are the kinds of reports that a migration writes or makes outdated, with its own kind first.
var migrationKinds = []string{reports.KindMigrate, reports.KindCheck, reports.KindVerify, reports.KindGate}

// outKinds returns the kinds of earlier reports that a command moves out of --out before it begins, with its own kind first. It
// returns false for a command that does not write there.
//
// A migration begins with a check, so a new check makes the reports that followed an earlier one outdated. A migration runs its own
// check, and changes the data that an earlier comparison has compared. Every command makes the verdict of the gate outdated, since
// that rests on all other reports. The scans are about the source only, so only another scan of the same kind makes them outdated.
func outKinds(path string, c *cli.Context) (kinds []string, writes bool) {
	switch path {
	case "check":
		return []string{reports.KindCheck, reports.KindMigrate, reports.KindVerify, reports.KindGate}, true
	case "migrate":
		if c.Bool("scan") {
			return append(slices.Clone(migrationKinds), reports.KindBigKeys, reports.KindCompat), true
		}
		return migrationKinds, true
	case "verify":
		return []string{reports.KindVerify, reports.KindGate}, true
	case "repair": // Without --apply, repair compares nothing and has nothing to report.
		return []string{reports.KindVerify, reports.KindGate}, c.Bool("apply")
	case "scan bigkeys":
		return []string{reports.KindBigKeys, reports.KindGate}, true
	case "scan compat":
		return []string{reports.KindCompat, reports.KindGate}, true
	case "gate":
		return []string{reports.KindGate}, !c.Bool("print-policy")
	case "report": // report renders the reports that are there.
		return nil, true
	}
	return nil, false
}

// hold reserves the directory while the work runs. If the work fails without having written its report, hold leaves a report there
// that says how the work ended.
func (r outRun) hold(stderr io.Writer, work func(*outdir.Dir) error) error {
	dir, err := outdir.Take(r.out, r.clears...)
	switch {
	case errors.Is(err, outdir.ErrGo), errors.Is(err, outdir.ErrBusy):
		return usageError("--out %w", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("--out: there is not enough room on the disk for a report: %w; make room, or choose another directory", err)
	case err != nil:
		return usageError("--out: a report cannot be written there: %v", err)
	}
	defer dir.Close()
	if dir.Moved() != "" {
		fmt.Fprintf(stderr, "surecut: reports of an earlier run were moved to %s\n", dir.Moved())
	}
	err = work(dir)
	if err == nil || err.Error() == "" || r.kind == "" || dir.Has(r.kind) {
		return err // An error without a message carries a verdict, which has its report.
	}
	return errors.Join(err, r.leave(err))
}

// leave writes the report of a run that ended before it had written one.
func (r outRun) leave(why error) error {
	ended := reports.Failed
	if exitCode(why) == exitInterrupted {
		ended = reports.Interrupted
	}
	h := reports.NewHeader(r.kind, Version, r.source, r.target)
	if _, err := reports.Write(r.out, reports.Unfinished(h, ended, oneLine(why))); err != nil {
		return fmt.Errorf("say in %s how the run ended: %w", r.out, err)
	}
	return nil
}

// orCrash makes work leave a report if it panics, before the panic goes on.
func (r outRun) orCrash(work func() error) func() error {
	return func() error {
		defer func() {
			if p := recover(); p != nil {
				if r.kind != "" {
					_ = r.leave(fmt.Errorf("surecut crashed: %v", p)) // The process crashes, so the error cannot be handled any more.
				}
				panic(p)
			}
		}()
		return work()
	}
}

// named replaces the bare error of a cancelled context by one that says which command a signal has ended.
func named(path string, work func() error) func() error {
	return func() error {
		err := work()
		if s := (*statusError)(nil); err == nil || errors.As(err, &s) || !errors.Is(err, context.Canceled) {
			return err
		}
		return interrupted("%s was interrupted by a signal before it had a result, so this report says nothing about the data; run it again", path)
	}
}

// interrupted returns the error of a command that a signal has kept from its goal.
func interrupted(format string, args ...any) error {
	return &statusError{exitInterrupted, fmt.Errorf(format, args...)}
}

// oneLine returns the text of an error as users read it: joined errors on one line, and flags in place of fields.
func oneLine(err error) string { return inFlags(strings.ReplaceAll(err.Error(), "\n", "; ")) }

// followReport lets repair read the findings from a report that this run has just moved away.
func followReport(c *cli.Context, dir *outdir.Dir) error {
	given := c.String("report")
	if given == "" || dir.Moved() == "" {
		return nil
	}
	moved, ok := dir.Followed(given)
	if !ok {
		return nil
	}
	return c.Set("report", moved)
}

// shownSide returns an endpoint of the command line as a report may show it, without a password, even if it cannot be parsed.
func shownSide(c *cli.Context, side string) string {
	raw := c.String(side)
	if raw == "" {
		return ""
	}
	spec, err := endpoint.Parse(raw)
	if err != nil {
		return endpoint.Shown(raw)
	}
	return spec.String()
}

// freshDir returns the directory or, if it holds the record of a GO, a numbered one next to it.
func freshDir(dir string) string {
	for n := 2; outdir.HoldsGo(dir); n++ {
		dir = fmt.Sprintf("%s-%d", strings.TrimSuffix(filepath.Clean(dir), fmt.Sprintf("-%d", n-1)), n)
	}
	return dir
}
