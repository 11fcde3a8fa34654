package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"surecut"
	"surecut/internal/endpoint"
	"surecut/internal/preflight"
	"surecut/internal/profile"
	"surecut/internal/quiet"
	"surecut/migrator"
	"surecut/reports"
	"surecut/verifier"
)

func newMigrateCommand() *cli.Command {
	var o MigrateOptions
	return &cli.Command{
		Name:  "migrate",
		Usage: "copy a live source, or an RDB or AOF file, into a target",
		Description: "The checks run first. A failed check stops the migration, and an alarm must be accepted. Then every shard of the source is copied: first its\n" +
			"snapshot, then the stream of its writes. After the first Ctrl-C or SIGTERM, what the source has written by then is still received and\n" +
			"applied, and the migration stops; a second one aborts at once. In both cases the same command with the same --state resumes the migration.\n" +
			"The source may be files, rdb:PATH or aof:PATH, or a list or pattern of them, one for each shard. Then the migration ends when all of\n" +
			"them are copied.\n" +
			"Exit status: 0 the goal was reached (GO, caught up, all copied, or without --until: stopped with all applied that the source had by then);\n" +
			"3 a check failed, something did not arrive, or NO-GO; 4 an alarm was not accepted, or keys could not be compared; 1 the migration\n" +
			"failed; 130 interrupted before the goal was reached, or by a second signal.",
		Flags: migrateFlags(&o).flags,
		Action: func(c *cli.Context) error {
			if err := o.complete(c); err != nil {
				return err
			}
			return runMigrate(c.Context, o, c.App.Writer, c.App.ErrWriter)
		},
	}
}

// MigrateOptions are the flags of surecut migrate.
type MigrateOptions struct {
	Endpoints    endpoints
	Config       migrator.Config // without Source and Target
	Until        string
	Accept       []string
	AcceptAlarms bool
	Out          string
	Format       string
	Progress     string
	QuietFor     time.Duration // with --until same: how long after the comparison nobody must write to the source
	PauseWrites  time.Duration // with --until same: how long writes to the source are held back at most; 0 for not at all
	Scan         bool
	ScanTo       *profile.Profile // rules against which the stream is checked; nil for none

	flags   *binding
	servers verifier.Servers // of both sides, once they are known
}

// migrateFlags binds the flags to the options, and sets the defaults.
func migrateFlags(o *MigrateOptions) *binding {
	*o = MigrateOptions{Config: migrator.DefaultConfig(), QuietFor: surecut.DefaultQuiet, Format: "table"}
	cfg, b := &o.Config, bind(o, sourceFlags(), targetFlags(), filterFlags())
	cfg.StateDir, o.flags = "surecut-state", b
	b.text("mode", &cfg.Mode, "full+incremental, full (ends when the snapshot is copied) or incremental (continues the migration in --state, without a new snapshot)")
	b.text("capture", &cfg.Capture, "psync; or scan, for a source that cannot be replicated: its keys are scanned and copied, then compared and copied again in rounds until both sides agree. The source's writers must stop for the last round")
	b.text("until", &o.Until, "when to end: caught-up: when the target has caught up; same: after that, compare both sides, check that nobody writes to the source, and end with the gate's verdict (default: run until a signal)")
	b.duration("quiet-for", &o.QuietFor, "with --until same: GO only if nobody writes to the source, and nobody but the migration to the target, from the beginning of the comparison until this long after its end")
	b.duration("pause-writes", &o.PauseWrites, "with --until same: hold back all writes to the source (CLIENT PAUSE, since Redis 6.2) during the comparison and the quiet time after it, for at most this `TIME`")
	b.text("state", &cfg.StateDir, "`DIR` of the spool and the progress of the migration; the same directory again resumes it")
	b.text("read-from", &cfg.ReadFrom, "from which node of a shard of the source to read: replica (if it has one) or primary")
	b.text("on-existing", &cfg.OnExisting, "what to do if the target already holds a key, or a function library, of the snapshot: fail, replace or keep")
	b.number("lanes", &cfg.Lanes, "number of connections that write to the target, for each shard of the source")
	b.bytes("big-value", &cfg.BigValue, "`SIZE` above which a value is written in chunks")
	b.bytes("spool-limit", &cfg.SpoolLimit, "`SIZE` that the snapshot and the stream of one shard may take on disk")
	b.duration("hold-expiry", &cfg.HoldExpiry, "keys that expire within this time are written without their expiry, which they get when the target has caught up")
	b.duration("max-lag", &cfg.MaxLag, "the target has caught up when it lags behind the source by less than this")
	b.duration("retry-for", &cfg.RetryFor, "how long to try to reach a source or target that was lost")
	b.bytes("rate-limit", &cfg.RateBytes, "write at most `SIZE` bytes per second to the target")
	b.add("rate-limit-ops", &cfg.RateOps, &cli.Int64Flag{Name: "rate-limit-ops", Destination: &cfg.RateOps, Usage: "send at most this many commands per second to the target"})
	b.yes("tune-source", &cfg.TuneSource, "set client-output-buffer-limit and repl-diskless-sync on the source, and restore them at the end")
	b.yes("scan", &o.Scan, "also report big keys of the snapshot (bigkeys), and commands of the stream that a target of its kind cannot run (compat)")
	b.flags = append(b.flags, &cli.StringFlag{Name: "scan-to", Usage: "the `KIND` of target for --scan, if it is not the kind of --target: " + strings.Join(profile.Names(), ", ")})
	b.yes("accept-alarms", &o.AcceptAlarms, "accept every alarm of the checks")
	b.words("accept", &o.Accept, "accept the alarms of these checks: `ID,ID`")
	b.text("out", &o.Out, "`DIR` for the reports: check, migrate, and with --until same verify and gate")
	b.text("format", &o.Format, "format of the report on stdout: table, json, markdown, junit or html")
	b.progress(&o.Progress)
	return b
}

// complete fills in the options that need more than the value of one flag, and validates all of them.
func (o *MigrateOptions) complete(c *cli.Context) (err error) {
	if o.Endpoints, err = endpointSpecs(c); err != nil {
		return err
	}
	var errScan, errFilter error
	o.ScanTo, errScan = scanRules(c, o.Endpoints.Target)
	o.Config.Filter, errFilter = filterOf(c)
	o.Config.Filter = o.Config.Filter.From(o.Endpoints.Source.DB)
	if err := errors.Join(errScan, errFilter, o.Validate(), errors.Join(o.flags.wrong...)); err != nil {
		return usageError("%w", err)
	}
	return nil
}

// Validate returns all problems of the options in one error.
func (o MigrateOptions) Validate() error {
	errs := []error{o.Config.Validate(), reports.CheckFormat(o.Format)}
	if o.Until != "" && o.Until != "caught-up" && o.Until != "same" {
		errs = append(errs, fmt.Errorf("--until %q: must be caught-up or same", o.Until))
	}
	if o.Until != "" && o.Config.Mode == migrator.ModeFull {
		errs = append(errs, errors.New("--until: a migration with --mode full ends when its snapshot is copied; leave --until out"))
	}
	if o.QuietFor < 0 {
		errs = append(errs, fmt.Errorf("--quiet-for %v: must be 0 or more", o.QuietFor))
	}
	if o.PauseWrites != 0 && (o.PauseWrites < time.Second || o.Until != "same") {
		errs = append(errs, fmt.Errorf("--pause-writes %v: must be a second or more, and needs --until same, because writes are paused for the comparison", o.PauseWrites))
	} else if o.PauseWrites != 0 && o.PauseWrites < o.QuietFor {
		errs = append(errs, fmt.Errorf("--pause-writes %v: must last for the comparison and the quiet time after it (--quiet-for %v)", o.PauseWrites, o.QuietFor))
	}
	for _, id := range o.Accept {
		if !preflight.Known(id) {
			errs = append(errs, fmt.Errorf("--accept %q: there is no such check; the checks are %v", id, preflight.IDs()))
		}
	}
	if o.Endpoints.Source.IsFile() {
		errs = append(errs, o.validateFile())
	}
	if o.Config.Capture == migrator.CaptureScan {
		errs = append(errs, o.validateScan())
	} else if o.Endpoints.Source.Proxy != "" {
		errs = append(errs, errNoPSYNC(o.Endpoints.Source))
	}
	return errors.Join(append(errs, checkProgress(o.Progress))...)
}

// errNoPSYNC returns the error for a cluster that cannot be replicated, because only its proxy is known.
func errNoPSYNC(source endpoint.Spec) error {
	return fmt.Errorf("--source %s: the proxy does not support PSYNC; name the cluster's nodes instead (redis+cluster://node:port,node:port), or use --capture scan", source)
}

// validateFile returns an error for flags that have no meaning if the source is a file.
func (o MigrateOptions) validateFile() error {
	var errs []error
	source := o.Endpoints.Source
	if o.Config.Mode != migrator.ModeFullIncremental {
		errs = append(errs, fmt.Errorf("--mode %s: the file %s is always copied completely; leave --mode out", o.Config.Mode, source))
	}
	if o.Until != "" {
		errs = append(errs, fmt.Errorf("--until: the migration of %s ends when all of it is copied; leave --until out, and compare an RDB afterwards with surecut verify", source))
	}
	if o.Config.TuneSource {
		errs = append(errs, fmt.Errorf("--tune-source: %s is not a server", source))
	}
	return errors.Join(errs...)
}

// validateScan returns an error for flags that have no meaning if the source is scanned.
func (o MigrateOptions) validateScan() error {
	var errs []error
	if o.Config.Mode != migrator.ModeFullIncremental {
		errs = append(errs, fmt.Errorf("--mode %s: --capture scan has only one mode; leave --mode out", o.Config.Mode))
	}
	if o.Until == "caught-up" {
		errs = append(errs, errors.New("--until caught-up: --capture scan always ends when both sides agree; leave --until out, or use --until same"))
	}
	if o.PauseWrites > 0 {
		errs = append(errs, errors.New("--pause-writes: --capture scan compares in rounds, which would hold writes back for too long; stop the writers yourself"))
	}
	if o.Config.TuneSource {
		errs = append(errs, errors.New("--tune-source: --capture scan does not use replication, so that there is nothing to tune"))
	}
	if o.Scan {
		errs = append(errs, errors.New("--scan: with --capture scan there is no snapshot and no stream to look at; use surecut scan bigkeys and surecut scan compat"))
	}
	if o.Endpoints.Source.IsFile() {
		errs = append(errs, fmt.Errorf("--capture scan: %s is not a server", o.Endpoints.Source))
	}
	return errors.Join(errs...)
}

// runMigrate runs the checks and the migration and, with --until same, also verifies and judges. ctx ends with the first signal.
func runMigrate(ctx context.Context, o MigrateOptions, stdout, stderr io.Writer) error {
	second, stop := secondSignal()
	defer stop()
	source := preflight.ConnectWithin(ctx, o.Endpoints.Source, o.Config.RetryFor, slog.Default())
	target := preflight.ConnectWithin(ctx, o.Endpoints.Target, o.Config.RetryFor, slog.Default())
	defer source.Close()
	defer target.Close()
	o.Config.Log = slog.Default()
	o.Config.Sides = migrator.Sides{Source: source.Deployment, Target: target.Deployment}
	err := migrator.CheckState(ctx, o.Config.StateDir, o.Config.Sides)
	if err := unlessStopped(ctx, err); err != nil {
		return err
	}
	if o.servers, err = serversOf(ctx, source, target); err != nil {
		return err
	}
	checked, err := checkFirst(ctx, o, source, target, stderr)
	if err != nil {
		return err
	}
	if o.PauseWrites > 0 {
		if err := quiet.CanPause(ctx, source.Deployment, o.PauseWrites); err != nil {
			return fmt.Errorf("--pause-writes: %w", err)
		}
	}
	o.Config.AcceptCut = o.AcceptAlarms || slices.Contains(o.Accept, "source_file")
	var scan *streamScan
	if o.Scan {
		scan = newStreamScan(o.ScanTo, target.Deployment)
		o.Config.Observe, o.Config.Snapshots = scan.observe, scan.keys
	}
	run := &migration{stderr: stderr, inputs: []reports.Report{checked}, scan: scan}
	run.show = newMigrateProgress(o.Progress, stderr)
	o.Config.Progress = run.progress
	run.o = o
	if run.m, err = migrator.New(ctx, o.Config); err != nil {
		return err
	}
	run.cutover = &surecut.Cutover{Migration: run.m, QuietFor: o.QuietFor, PauseWrites: o.PauseWrites, MayStayUntold: o.Until != "same",
		Tell: func(sentence string) { fmt.Fprintln(stderr, "surecut: "+sentence) }}
	return run.toTheEnd(ctx, second, stdout)
}

// startRateWindow is how long a new migration measures the rate of writes before it starts, unless the source is at rest. surecut check
// measures for longer.
const startRateWindow = 500 * time.Millisecond

// checkFirst runs the checks. A failed check, or an alarm that was not accepted, stops the migration.
func checkFirst(ctx context.Context, o MigrateOptions, source, target preflight.Side, stderr io.Writer) (*reports.Check, error) {
	cfg := preflight.DefaultConfig()
	cfg.Source, cfg.Target, cfg.OnExisting, cfg.ReadFrom = source, target, o.Config.OnExisting, o.Config.ReadFrom
	cfg.Filter, cfg.StateDir, cfg.BigValue = o.Config.Filter, o.Config.StateDir, o.Config.BigValue
	cfg.Scans = o.Config.Capture == migrator.CaptureScan
	cfg.Accept, cfg.AcceptAlarms, cfg.Resume = o.Accept, o.AcceptAlarms, migrator.StateID(o.Config.StateDir)
	if cfg.RateWindow = startRateWindow; cfg.Resume != "" {
		cfg.RateWindow = 0 // A resumed migration does not wait, since the sooner it goes on, the less it has to catch up.
	}
	result, err := preflight.Run(ctx, cfg)
	if err := unlessStopped(ctx, err); err != nil {
		return nil, err
	}
	report := &reports.Check{Header: o.header(reports.KindCheck), Report: result}
	sayFlags(report)
	if o.Out != "" {
		if _, err := reports.Write(o.Out, report); err != nil {
			return nil, err
		}
	}
	if result.Verdict == preflight.Pass {
		return report, nil
	}
	if err := reports.Render(stderr, report, "table"); err != nil {
		return nil, err
	}
	if result.Verdict == preflight.Fail {
		var failed []string
		for _, c := range result.Checks {
			if c.Result == preflight.Fail {
				failed = append(failed, fmt.Sprintf("%s (%s: %s)", c.ID, c.Subject, c.Found))
			}
		}
		return nil, &statusError{exitDifferent, fmt.Errorf("the migration was not started, because these checks failed: %s", strings.Join(failed, "; "))}
	}
	return nil, &statusError{exitUnchecked, errors.New("the migration was not started: " + howToAccept(result))}
}

func (o MigrateOptions) header(kind string) reports.Header {
	return withServers(reports.NewHeader(kind, Version, o.Endpoints.Source.String(), o.Endpoints.Target.String()), o.servers)
}
