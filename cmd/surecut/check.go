package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"surecut/internal/endpoint"
	"surecut/internal/preflight"
	"surecut/migrator"
	"surecut/reports"
)

func newCheckCommand() *cli.Command {
	var o CheckOptions
	return &cli.Command{
		Name:  "check",
		Usage: "check whether the migration can succeed, and say what to do about each obstacle",
		Description: "Reads from both sides and changes nothing. A check that cannot be made is skipped, and the report says why.\n" +
			"The source may be files (rdb:PATH, aof:PATH): they are read to their end, and the checks that need a\n" +
			"server are skipped.\n" +
			"Exit status: 3 a check failed; 4 an alarm was raised that nobody has accepted; 0 otherwise.",
		Flags: checkFlags(&o).flags,
		Action: func(c *cli.Context) error {
			if err := o.complete(c); err != nil {
				return err
			}
			return runCheck(c.Context, o, c.App.Writer, c.App.ErrWriter)
		},
	}
}

// CheckOptions are the flags of surecut check.
type CheckOptions struct {
	Endpoints endpoints
	Config    preflight.Config // without Source and Target
	Capture   string           // the value that the migration will get
	Out       string
	Format    string
	flags     *binding
}

// checkFlags binds the flags to the options, and sets the defaults.
func checkFlags(o *CheckOptions) *binding {
	*o = CheckOptions{Config: preflight.DefaultConfig(), Capture: migrator.CapturePSYNC, Format: "table"}
	cfg, b := &o.Config, bind(o, sourceFlags(), targetFlags(), filterFlags())
	o.flags = b
	b.text("read-from", &cfg.ReadFrom, "from which node of a shard of the source the migration will read: replica (if it has one) or primary")
	b.text("capture", &o.Capture, "how the migration will read the source: psync or scan")
	b.text("on-existing", &cfg.OnExisting, "what the migration will do if the target already holds a key or a function library: fail, replace or keep")
	b.text("state", &cfg.StateDir, "`DIR` where the migration will keep its spool; to resume a migration, the directory that it already has")
	b.bytes("big-value", &cfg.BigValue, "`SIZE` above which a key is big")
	b.number("sample", &cfg.SampleKeys, "number of `KEYS` of the source that are sampled for big keys and module types")
	b.yes("accept-alarms", &cfg.AcceptAlarms, "accept every alarm")
	b.words("accept", &cfg.Accept, "accept the alarms of these checks: `ID,ID`")
	b.text("out", &o.Out, "`DIR` for the report")
	b.text("format", &o.Format, "format of the report on stdout: table, json, markdown, junit or html")
	return b
}

// complete fills in the options that need more than the value of one flag, and validates all of them.
func (o *CheckOptions) complete(c *cli.Context) (err error) {
	if o.Endpoints, err = endpointSpecs(c); err != nil {
		return err
	}
	cfg := &o.Config
	if cfg.Filter, err = filterOf(c); err != nil {
		return err
	}
	if cfg.Scans = o.Capture == migrator.CaptureScan; !cfg.Scans && o.Capture != migrator.CapturePSYNC {
		return usageError("--capture %q: must be psync or scan", o.Capture)
	}
	if source := o.Endpoints.Source; source.Proxy != "" && !cfg.Scans {
		return usageError("%w", errNoPSYNC(source))
	}
	if cfg.StateDir != "" {
		cfg.Resume = migrator.StateID(cfg.StateDir)
	}
	if err := errors.Join(o.Validate(), errors.Join(o.flags.wrong...)); err != nil {
		return usageError("%w", err)
	}
	return nil
}

// Validate returns all problems of the options in one error.
func (o CheckOptions) Validate() error {
	errs := []error{reports.CheckFormat(o.Format), o.Config.Validate()}
	return errors.Join(errs...)
}

func runCheck(ctx context.Context, o CheckOptions, stdout, stderr io.Writer) error {
	cfg := o.Config
	var wg sync.WaitGroup
	wg.Go(func() {
		cfg.Source = preflight.ConnectWithin(ctx, o.Endpoints.Source, endpoint.Silence, slog.Default())
	})
	wg.Go(func() {
		cfg.Target = preflight.ConnectWithin(ctx, o.Endpoints.Target, endpoint.Silence, slog.Default())
	})
	wg.Wait()
	defer cfg.Source.Close()
	defer cfg.Target.Close()
	if cfg.StateDir != "" {
		if err := migrator.CheckState(ctx, cfg.StateDir, migrator.Sides{}); err != nil { // a damaged state would look like none
			return err
		}
	}
	result, err := preflight.Run(ctx, cfg)
	if err := unlessStopped(ctx, err); err != nil {
		return err
	}
	servers, err := serversOf(ctx, cfg.Source, cfg.Target)
	if err != nil {
		return err
	}
	report := &reports.Check{
		Header: withServers(reports.NewHeader(reports.KindCheck, Version, o.Endpoints.Source.String(), o.Endpoints.Target.String()), servers),
		Report: result,
	}
	if err := publish(report, o.Out, o.Format, stdout, stderr); err != nil {
		return err
	}
	if how := howToAccept(result); how != "" {
		fmt.Fprintln(stderr, "surecut: "+how)
	}
	return verdictStatus(checkStatus(result.Verdict))
}

// howToAccept returns a line with the --accept flag to paste if there are alarms that were not accepted, otherwise "".
func howToAccept(result preflight.Report) string {
	ids := result.Unaccepted()
	if len(ids) == 0 {
		return ""
	}
	return "there are alarms that nobody has accepted; look at each of them, then accept them with: --accept " + strings.Join(ids, ",")
}

// checkStatus returns the exit status for a verdict of the checks.
func checkStatus(v preflight.Result) int {
	switch v {
	case preflight.Pass:
		return exitOK
	case preflight.Alarm:
		return exitUnchecked
	}
	return exitDifferent
}
