package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"surecut/internal/preflight"
	"surecut/migrator"
	"surecut/reports"
)

func newCheckCommand() *cli.Command {
	def := preflight.DefaultConfig()
	flags := append(sourceFlags(), targetFlags()...)
	flags = append(flags, filterFlags()...)
	return &cli.Command{
		Name:  "check",
		Usage: "check every precondition of the migration, with the remedy of each that is not met",
		Description: "Reads from both sides and changes nothing. What cannot be checked is skipped, with the reason.\n" +
			"The source may be files (rdb:PATH, aof:PATH): they are read to their end; what asks a server is skipped.\n" +
			"Exit status: 3 a check failed; 4 alarms that nobody accepted; 0 otherwise.",
		Flags: append(flags,
			&cli.StringFlag{Name: "read-from", Value: def.ReadFrom, Usage: "replica (where a shard has one) or primary"},
			&cli.StringFlag{Name: "capture", Value: migrator.CapturePSYNC, Usage: "psync, or scan: as the migration will be told"},
			&cli.StringFlag{Name: "on-existing", Value: def.OnExisting, Usage: "what the migration will do with keys that the target has already: fail, replace or keep"},
			&cli.StringFlag{Name: "state", Usage: "`DIR` where the migration will keep its spool; of one that is resumed, its own"},
			&cli.StringFlag{Name: "big-value", Value: "16MiB", Usage: "`SIZE` above which a key is big"},
			&cli.IntFlag{Name: "sample", Value: def.SampleKeys, Usage: "`KEYS` of the source to look at, for big keys and module types"},
			&cli.BoolFlag{Name: "accept-alarms", Usage: "accept every alarm"},
			&cli.StringSliceFlag{Name: "accept", Usage: "accept the alarms of these checks: `ID,ID`"},
			&cli.StringFlag{Name: "out", Usage: "`DIR` for the report"},
			&cli.StringFlag{Name: "format", Value: "table", Usage: "of the report on stdout: table, json, markdown, junit or html"},
		),
		Action: func(c *cli.Context) error {
			opts, err := checkOptions(c)
			if err != nil {
				return err
			}
			return runCheck(c.Context, opts, c.App.Writer, c.App.ErrWriter)
		},
	}
}

// CheckOptions are the flags of surecut check.
type CheckOptions struct {
	Endpoints endpoints
	Config    preflight.Config // without its sides
	Out       string
	Format    string
}

func checkOptions(c *cli.Context) (CheckOptions, error) {
	o := CheckOptions{Config: preflight.DefaultConfig(), Out: c.String("out"), Format: c.String("format")}
	var err error
	if o.Endpoints, err = endpointSpecs(c); err != nil {
		return o, err
	}
	cfg := &o.Config
	if cfg.Filter, err = filterOf(c); err != nil {
		return o, err
	}
	cfg.ReadFrom, cfg.OnExisting, cfg.StateDir = c.String("read-from"), c.String("on-existing"), c.String("state")
	cfg.SampleKeys, cfg.Accept, cfg.AcceptAlarms = c.Int("sample"), c.StringSlice("accept"), c.Bool("accept-alarms")
	var errSize error
	switch capture := c.String("capture"); capture {
	case migrator.CapturePSYNC:
	case migrator.CaptureScan:
		cfg.Scans = true
	default:
		return o, usageError("--capture %q: want psync or scan", capture)
	}
	if source := o.Endpoints.Source; source.Proxy != "" && !cfg.Scans {
		return o, usageError("%w", errNoPSYNC(source))
	}
	if cfg.BigValue, errSize = parseSize(c.String("big-value")); errSize != nil {
		errSize = fmt.Errorf("--big-value: %w", errSize)
	}
	if cfg.StateDir != "" {
		cfg.Resume = migrator.StateID(cfg.StateDir)
	}
	if err := errors.Join(errSize, o.Validate()); err != nil {
		return o, usageError("%w", err)
	}
	return o, nil
}

// Validate joins every problem of the options.
func (o CheckOptions) Validate() error {
	errs := []error{reports.CheckFormat(o.Format), o.Config.Validate()}
	return errors.Join(errs...)
}

func runCheck(ctx context.Context, o CheckOptions, stdout, stderr io.Writer) error {
	cfg := o.Config
	var wg sync.WaitGroup
	wg.Go(func() { cfg.Source = preflight.Connect(ctx, o.Endpoints.Source) })
	wg.Go(func() { cfg.Target = preflight.Connect(ctx, o.Endpoints.Target) })
	wg.Wait()
	defer cfg.Source.Close()
	defer cfg.Target.Close()
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

// howToAccept is the line to paste where alarms are left that nobody has accepted; "" where there are none.
func howToAccept(result preflight.Report) string {
	ids := result.Unaccepted()
	if len(ids) == 0 {
		return ""
	}
	return "alarms that nobody has accepted; look at each, then accept them with: --accept " + strings.Join(ids, ",")
}

// checkStatus is the exit status of a verdict of the checks.
func checkStatus(v preflight.Result) int {
	switch v {
	case preflight.Pass:
		return exitOK
	case preflight.Alarm:
		return exitUnchecked
	}
	return exitDifferent
}
