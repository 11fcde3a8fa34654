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
		Usage: "copy a live source, or its RDB or AOF, into a target",
		Description: "The checks run first: a failed one stops the migration, an alarm must be accepted. Then one link per source shard\n" +
			"copies the snapshot and follows the stream. The first Ctrl-C or SIGTERM applies what was received and stops cleanly;\n" +
			"the same command with the same --state resumes. The second one aborts at once; that is resumable too.\n" +
			"The source may be files, rdb:PATH or aof:PATH (or a list or pattern of them, one per shard): then the copy ends when\n" +
			"all of them are in.\n" +
			"Exit status: 0 the goal was reached: GO, caught up, the copy is in, or without --until stopped with all applied; 3 a check\n" +
			"failed, something did not arrive, or NO-GO; 4 alarms that nobody accepted, or keys that stayed unchecked; 1 the\n" +
			"migration failed; 130 interrupted before the goal, or by a second signal.",
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
	b.text("mode", &cfg.Mode, "full+incremental, full (ends when the snapshot is in) or incremental (continues what --state holds)")
	b.text("capture", &cfg.Capture, "psync; or scan, for a source that cannot be replicated: its keys are copied, and compared and copied again in rounds until both sides agree, for which its writers must stop in the end")
	b.text("until", &o.Until, "caught-up: end when the target has caught up; same: then also verify, see that nobody writes to the source, and end with the gate's verdict")
	b.duration("quiet-for", &o.QuietFor, "with --until same: GO only if nobody has written to the source from the beginning of the comparison until this long after its end")
	b.duration("pause-writes", &o.PauseWrites, "with --until same: hold back all writes to the source (CLIENT PAUSE, since 6.2) while it is compared, for this `TIME` at most, and let them go at the end")
	b.text("state", &cfg.StateDir, "`DIR` of spool and progress; giving it again resumes")
	b.text("read-from", &cfg.ReadFrom, "replica (where a shard has one) or primary")
	b.text("on-existing", &cfg.OnExisting, "a key of the snapshot that the target has already: fail, replace or keep")
	b.number("lanes", &cfg.Lanes, "connections per link that write to the target")
	b.bytes("big-value", &cfg.BigValue, "`SIZE` above which a value is written in chunks")
	b.bytes("spool-limit", &cfg.SpoolLimit, "`SIZE` that snapshot and stream may take on disk, per link")
	b.duration("hold-expiry", &cfg.HoldExpiry, "keys that expire within this time are held without expiry until the target has caught up")
	b.duration("max-lag", &cfg.MaxLag, "the target has caught up once it lags by less than this")
	b.duration("retry-for", &cfg.RetryFor, "how long a lost source or target is tried again")
	b.bytes("rate-limit", &cfg.RateBytes, "`SIZE` per second written to the target, at most")
	b.add("rate-limit-ops", &cfg.RateOps, &cli.Int64Flag{Name: "rate-limit-ops", Destination: &cfg.RateOps, Usage: "commands per second written to the target, at most"})
	b.yes("tune-source", &cfg.TuneSource, "set client-output-buffer-limit and repl-diskless-sync on the source, and put them back at the end")
	b.yes("scan", &o.Scan, "also look at what passes through: big keys of the snapshot, and commands of the stream that the target's kind cannot run; reports bigkeys and compat")
	b.flags = append(b.flags, &cli.StringFlag{Name: "scan-to", Usage: "`KIND` that --scan holds them against, where it is not that of the target: " + strings.Join(profile.Names(), ", ")})
	b.yes("accept-alarms", &o.AcceptAlarms, "accept every alarm of the checks")
	b.words("accept", &o.Accept, "accept the alarms of these checks: `ID,ID`")
	b.text("out", &o.Out, "`DIR` for the reports: check, migrate, and with --until same verify and gate")
	b.text("format", &o.Format, "of the report on stdout: table, json, markdown, junit or html")
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
		errs = append(errs, fmt.Errorf("--until %q: want caught-up or same", o.Until))
	}
	if o.Until != "" && o.Config.Mode == migrator.ModeFull {
		errs = append(errs, errors.New("--until: a full copy ends when its snapshot is in"))
	}
	if o.QuietFor < 0 {
		errs = append(errs, fmt.Errorf("--quiet-for %v: want 0 or more", o.QuietFor))
	}
	if o.PauseWrites != 0 && (o.PauseWrites < time.Second || o.Until != "same") {
		errs = append(errs, fmt.Errorf("--pause-writes %v: want a second or more, and --until same, since it serves the comparison", o.PauseWrites))
	}
	for _, id := range o.Accept {
		if !preflight.Known(id) {
			errs = append(errs, fmt.Errorf("--accept %q: there is no check of this name; the checks are %v", id, preflight.IDs()))
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
	return fmt.Errorf("--source %s: the proxy passes no PSYNC on: name the cluster's nodes instead, redis+cluster://node:port,node:port, or say --capture scan", source)
}

// validateFile returns an error for flags that have no meaning if the source is a file.
func (o MigrateOptions) validateFile() error {
	var errs []error
	source := o.Endpoints.Source
	if o.Config.Mode != migrator.ModeFullIncremental {
		errs = append(errs, fmt.Errorf("--mode %s: %s is always copied to its end; leave --mode out", o.Config.Mode, source))
	}
	if o.Until != "" {
		errs = append(errs, fmt.Errorf("--until: the copy of %s ends when all of it is in; surecut verify compares an RDB afterwards", source))
	}
	if o.Config.TuneSource {
		errs = append(errs, fmt.Errorf("--tune-source: %s is no server", source))
	}
	return errors.Join(errs...)
}

// validateScan returns an error for flags that have no meaning if the source is scanned.
func (o MigrateOptions) validateScan() error {
	var errs []error
	if o.Config.Mode != migrator.ModeFullIncremental {
		errs = append(errs, fmt.Errorf("--mode %s: --capture scan has no modes; leave --mode out", o.Config.Mode))
	}
	if o.Until == "caught-up" {
		errs = append(errs, errors.New("--until caught-up: --capture scan ends when both sides agree"))
	}
	if o.PauseWrites > 0 {
		errs = append(errs, errors.New("--pause-writes: --capture scan compares in rounds, which take longer than writes should wait; stop the writers yourself"))
	}
	if o.Config.TuneSource {
		errs = append(errs, errors.New("--tune-source: --capture scan does not replicate"))
	}
	if o.Scan {
		errs = append(errs, errors.New("--scan: --capture scan has no snapshot and no stream to look at; use surecut scan bigkeys and scan compat"))
	}
	if o.Endpoints.Source.IsFile() {
		errs = append(errs, fmt.Errorf("--capture scan: %s is no server", o.Endpoints.Source))
	}
	return errors.Join(errs...)
}

// runMigrate runs the checks and the migration and, with --until same, also verifies and judges. ctx ends with the first signal.
func runMigrate(ctx context.Context, o MigrateOptions, stdout, stderr io.Writer) error {
	second, stop := secondSignal()
	defer stop()
	source, target := preflight.Connect(ctx, o.Endpoints.Source), preflight.Connect(ctx, o.Endpoints.Target)
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
		if err := quiet.CanPause(ctx, source.Deployment); err != nil {
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

// startRateWindow is how long a new migration measures the rate of writes before it starts. surecut check measures for longer.
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
		return nil, &statusError{exitDifferent, fmt.Errorf("the migration was not started: failed: %s", strings.Join(failed, "; "))}
	}
	return nil, &statusError{exitUnchecked, errors.New("the migration was not started: " + howToAccept(result))}
}

func (o MigrateOptions) header(kind string) reports.Header {
	return withServers(reports.NewHeader(kind, Version, o.Endpoints.Source.String(), o.Endpoints.Target.String()), o.servers)
}
