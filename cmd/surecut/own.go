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
	kind   string   // of the report that says how the run ended; "" where the run writes only what it was given
	clears []string // kinds of reports that it writes itself, or that would be out of date once it has run
	source string   // as a report may show it
	target string
}

// owned gives each command that writes into --out its directory for itself, and makes it say there how it ended.
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

// migrationKinds are the kinds of reports that a migration writes or puts out of date, its own first.
var migrationKinds = []string{reports.KindMigrate, reports.KindCheck, reports.KindVerify, reports.KindGate}

// outKinds names the kinds of earlier reports that a command moves out of --out before it begins, its own first; false for a command
// that does not write there.
//
// A check is where a migration begins, so what followed an earlier one goes with it. A migration makes a check of its own, and changes
// what an earlier comparison has compared. Every command voids the gate's verdict, which rests on all the others. The scans speak
// of the source alone, so only another scan of the same kind puts them out of date.
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
	case "repair": // without --apply it compares nothing, and has nothing to report
		return []string{reports.KindVerify, reports.KindGate}, c.Bool("apply")
	case "scan bigkeys":
		return []string{reports.KindBigKeys, reports.KindGate}, true
	case "scan compat":
		return []string{reports.KindCompat, reports.KindGate}, true
	case "gate":
		return []string{reports.KindGate}, !c.Bool("print-policy")
	case "report": // it renders again what lies there
		return nil, true
	}
	return nil, false
}

// hold takes the directory for the time of the work, and leaves there how the work ended unless the work has said so itself.
func (r outRun) hold(stderr io.Writer, work func(*outdir.Dir) error) error {
	dir, err := outdir.Take(r.out, r.clears...)
	switch {
	case errors.Is(err, outdir.ErrGo), errors.Is(err, outdir.ErrBusy):
		return usageError("--out %w", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("--out: there is no room for a report: %w; make room, or give --out another directory", err)
	case err != nil:
		return usageError("--out: no report can be written there: %v", err)
	}
	defer dir.Close()
	if dir.Moved() != "" {
		fmt.Fprintf(stderr, "surecut: reports of an earlier run were moved to %s\n", dir.Moved())
	}
	err = work(dir)
	if err == nil || err.Error() == "" || r.kind == "" || dir.Has(r.kind) {
		return err // a verdict without a message has its report
	}
	return errors.Join(err, r.leave(err))
}

// leave writes the report of a run that ended before it had one.
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

// orCrash leaves a report of a crash before it goes on crashing.
func (r outRun) orCrash(work func() error) func() error {
	return func() error {
		defer func() {
			if p := recover(); p != nil {
				if r.kind != "" {
					_ = r.leave(fmt.Errorf("surecut crashed: %v", p)) // there is nobody left to tell
				}
				panic(p)
			}
		}()
		return work()
	}
}

// named says which command a signal has ended, where nothing better is known than that the context was cancelled.
func named(path string, work func() error) func() error {
	return func() error {
		err := work()
		if s := (*statusError)(nil); err == nil || errors.As(err, &s) || !errors.Is(err, context.Canceled) {
			return err
		}
		return interrupted("%s was interrupted by a signal before it had a result; nothing was judged, run it again", path)
	}
}

// interrupted ends a command that a signal has kept from its goal.
func interrupted(format string, args ...any) error {
	return &statusError{exitInterrupted, fmt.Errorf(format, args...)}
}

// oneLine is an error's text as the user reads it: on one line, where joined errors have several, and with flags for settings.
func oneLine(err error) string { return inFlags(strings.ReplaceAll(err.Error(), "\n", "; ")) }

// followReport lets repair read the findings of a report that the run itself has just moved out of its way.
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

// shownSide is an endpoint of the command line as a report may show it, also where it cannot be read.
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

// freshDir is the directory itself, or where that holds the record of a GO, one beside it with a number.
func freshDir(dir string) string {
	for n := 2; outdir.HoldsGo(dir); n++ {
		dir = fmt.Sprintf("%s-%d", strings.TrimSuffix(filepath.Clean(dir), fmt.Sprintf("-%d", n-1)), n)
	}
	return dir
}
