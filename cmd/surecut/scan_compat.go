package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"surecut/internal/endpoint"
	"surecut/internal/profile"
	"surecut/reports"
	"surecut/scanner"
	"surecut/scanner/compat"
)

func newScanCompatCommand() *cli.Command {
	return &cli.Command{
		Name:  "compat",
		Usage: "find commands that a target of this kind cannot run, in a live endpoint, a MONITOR file, an AOF or source code",
		Description: "A live --source is asked for its statistics (INFO commandstats of every node, databases, clients, functions). With --monitor its calls are\n" +
			"watched for that long, in windows of 2 s with a rest of 2 s before each, so that the cost of MONITOR can be measured. It is printed, and MONITOR\n" +
			"ends early if the server becomes slow. Files are read instead of a source or in addition to it. Nothing is written to the\n" +
			"source. With --trial, every call that MONITOR or a file shows is also sent to that cluster, which must be empty.\n" +
			"Exit status: 3 incompatible; 4 risky or unproven; 0 compatible, as far as the evidence goes.",
		Flags: append(append(sourceFlags(), endpointFlags("trial", "")...),
			&cli.StringFlag{Name: "to", Usage: "`KIND` of the target: " + strings.Join(profile.Names(), ", ")},
			&cli.StringFlag{Name: "to-version", Usage: "`VERSION` of the target's servers, as in 7.0 or valkey-8.1 (default: the rules of all versions apply)"},
			&cli.StringFlag{Name: "hash-tag", Value: "{}", Usage: "for twemproxy: the two characters of the pool's hash_tag, or none"},
			&cli.DurationFlag{Name: "monitor", Usage: "watch the calls of a live source by MONITOR, for this long in total on each node"},
			&cli.StringSliceFlag{Name: "monitor-file", Usage: "`FILE` that redis-cli MONITOR wrote, of one server"},
			&cli.StringSliceFlag{Name: "aof", Usage: "`PATH` of an AOF whose commands are examined"},
			&cli.StringSliceFlag{Name: "code", Usage: "`DIR` of an application's source code in Go, Java, Python, JavaScript, PHP, Ruby and Lua"},
			&cli.StringFlag{Name: "sizes", Usage: "measure how the proposed hash tags would distribute the keys: source (every key is scanned) or rdb:PATH"},
			&cli.StringFlag{Name: "out", Usage: "`DIR` for compat.json, compat.html, compat.md and compat.xml"},
			&cli.StringFlag{Name: "format", Value: "table", Usage: "format of the report on stdout: table, json, markdown, junit or html"},
		),
		Action: func(c *cli.Context) error {
			opts, err := scanCompatOptions(c)
			if err != nil {
				return err
			}
			return runScanCompat(c.Context, opts, c.App.Writer, c.App.ErrWriter)
		},
	}
}

// ScanCompatOptions are the flags of surecut scan compat.
type ScanCompatOptions struct {
	Source       *endpoint.Spec // nil if only files are scanned
	To           *profile.Profile
	Version      int    // of the target's servers; 0 for any
	Valkey       bool   // Version is a version of Valkey
	Tag          string // the two delimiters of a hash tag, or ""
	Monitor      time.Duration
	MonitorFiles []string
	AOFs         []string
	Code         []string
	Trial        *endpoint.Spec // nil for none
	Sizes        string         // "", "source", or "rdb:PATH"
	Out, Format  string
}

func scanCompatOptions(c *cli.Context) (ScanCompatOptions, error) {
	const help = "%w; see surecut scan compat --help"
	o := ScanCompatOptions{Monitor: c.Duration("monitor"), MonitorFiles: c.StringSlice("monitor-file"), AOFs: c.StringSlice("aof"), Code: c.StringSlice("code"),
		Tag: c.String("hash-tag"), Sizes: c.String("sizes"), Out: c.String("out"), Format: c.String("format")}
	if o.Tag == "none" {
		o.Tag = ""
	}
	var errs []error
	if c.String("to") == "" {
		errs = append(errs, fmt.Errorf("--to is missing; name the kind of the target: %s", strings.Join(profile.Names(), ", ")))
	} else if p, err := profile.Get(c.String("to")); err != nil {
		errs = append(errs, fmt.Errorf("--to: %w", err))
	} else {
		o.To = p
	}
	if v := c.String("to-version"); v != "" {
		var err error
		if o.Version, o.Valkey, err = compat.ParseVersion(v); err != nil {
			errs = append(errs, fmt.Errorf("--to-version: %w", err))
		}
	}
	if c.String("source") != "" || c.IsSet("source-nodes") {
		source, err := endpointSpec(c, "source")
		if err != nil {
			return o, usageError(help, err)
		}
		if source.Kind == endpoint.AOF {
			o.AOFs = append(o.AOFs, source.Path)
		} else {
			o.Source = &source
		}
	}
	if c.String("trial") != "" {
		spec, err := endpointSpec(c, "trial")
		if err != nil {
			errs = append(errs, err)
		} else {
			o.Trial = &spec
		}
	}
	if err := errors.Join(append(errs, o.Validate())...); err != nil {
		return o, usageError(help, err)
	}
	return o, nil
}

// Validate returns all problems of the options in one error.
func (o ScanCompatOptions) Validate() error {
	var errs []error
	bad := func(when bool, text string) {
		if when {
			errs = append(errs, errors.New(text))
		}
	}
	bad(o.Source == nil && len(o.MonitorFiles)+len(o.AOFs)+len(o.Code) == 0, "there is nothing to examine; give --source, --monitor-file, --aof or --code")
	bad(o.Source != nil && o.Source.Kind == endpoint.RDB, "--source: an RDB file contains no calls; give a live endpoint, --monitor-file or --aof")
	bad(o.Monitor < 0, "--monitor: a time cannot be negative")
	bad(o.Monitor > 0 && o.Source == nil, "--monitor needs a live --source")
	bad(len(o.Tag) != 0 && len(o.Tag) != 2, "--hash-tag: must be two characters, as in {}, or none")
	bad(o.Sizes != "" && o.Sizes != "source" && !strings.HasPrefix(o.Sizes, "rdb:"), "--sizes: must be source or rdb:PATH")
	bad(o.Trial != nil && o.Trial.Kind != endpoint.Cluster, "--trial: must be a cluster, redis+cluster://host:port")
	bad(o.Trial != nil && o.To != nil && o.To.Kind != "cluster", "--trial can only be used with --to cluster")
	bad(o.Trial != nil && o.Monitor == 0 && len(o.MonitorFiles)+len(o.AOFs) == 0, "--trial: there are no calls to send; give --monitor, --monitor-file or --aof")
	bad(o.Sizes == "source" && o.Source == nil, "--sizes source needs a live --source")
	return errors.Join(append(errs, reports.CheckFormat(o.Format))...)
}

func runScanCompat(ctx context.Context, o ScanCompatOptions, stdout, stderr io.Writer) error {
	result, err := scanCompat(ctx, o, stderr)
	if err := unlessStopped(ctx, err); err != nil {
		return err
	}
	report := &reports.Compat{Header: reports.NewHeader(reports.KindCompat, Version, o.subject(), ""), Result: *result}
	if err := publish(report, o.Out, o.Format, stdout, stderr); err != nil {
		return err
	}
	return verdictStatus(compatStatus(result.Verdict))
}

// subject returns what was scanned: the URL of the source, otherwise the files.
func (o ScanCompatOptions) subject() string {
	if o.Source != nil {
		return o.Source.String()
	}
	var names []string
	for _, path := range o.MonitorFiles {
		names = append(names, "monitor-file:"+path)
	}
	for _, path := range o.AOFs {
		names = append(names, "aof:"+path)
	}
	for _, path := range o.Code {
		names = append(names, "code:"+path)
	}
	return strings.Join(names, ",")
}

// compatStatus returns the exit status for a verdict.
func compatStatus(v compat.Verdict) int {
	switch v {
	case compat.Compatible:
		return exitOK
	case compat.Incompatible:
		return exitDifferent
	}
	return exitUnchecked
}

func scanCompat(ctx context.Context, o ScanCompatOptions, stderr io.Writer) (*compat.Result, error) {
	opts := compat.Config{Profile: o.To, Version: o.Version, Valkey: o.Valkey, Tag: o.Tag}
	var d *endpoint.Deployment
	if o.Source != nil {
		var err error
		if d, err = endpoint.Open(ctx, *o.Source); err != nil {
			return nil, err
		}
		defer d.Close()
		opts.Module = compat.Modules(ctx, d)
	}
	t := compat.NewTally(opts)
	if d != nil {
		if err := t.Static(ctx, d); err != nil {
			return nil, err
		}
	}
	if o.Trial != nil {
		spare, err := endpoint.Open(ctx, *o.Trial)
		if err != nil {
			return nil, err
		}
		defer spare.Close()
		if err := t.Trial(ctx, spare); err != nil {
			return nil, err
		}
	}
	if o.Monitor > 0 {
		window := min(compat.DefaultWindow, o.Monitor)
		fmt.Fprintf(stderr, "surecut: MONITOR is on for %v of about %v\n", o.Monitor, 2*o.Monitor)
		if err := t.Monitor(ctx, d, compat.MonitorConfig{Total: o.Monitor, Window: window}); err != nil {
			return nil, err
		}
	}
	for _, path := range o.MonitorFiles {
		if err := t.Capture(ctx, path); err != nil {
			return nil, err
		}
	}
	for _, path := range o.AOFs {
		if err := t.AOF(ctx, path); err != nil {
			return nil, err
		}
	}
	for _, dir := range o.Code {
		if err := t.Code(ctx, dir); err != nil {
			return nil, err
		}
	}
	if err := t.End(); err != nil {
		return nil, err
	}
	result := t.Result()
	return result, measureTags(ctx, o, d, result)
}

// measureTags counts every key for the groups of the result, with a scan of big keys.
func measureTags(ctx context.Context, o ScanCompatOptions, d *endpoint.Deployment, result *compat.Result) error {
	if o.Sizes == "" || len(result.KeyGroups) == 0 {
		return nil
	}
	m := result.Measure("bigkeys")
	scan := scanner.DefaultConfig()
	scan.Each = func(_ int, name string, bytes int64) { m.Add(name, bytes) }
	var err error
	if path, ok := strings.CutPrefix(o.Sizes, "rdb:"); ok {
		_, err = scanner.ScanRDB(ctx, path, scan)
	} else {
		_, err = scanner.ScanLive(ctx, d, scan)
	}
	if err != nil {
		return fmt.Errorf("measure the keys for --sizes: %w", err)
	}
	m.Apply(result)
	return nil
}
