package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"surecut/internal/endpoint"
	"surecut/reports"
	"surecut/scanner"
)

func newScanCommand() *cli.Command {
	return &cli.Command{
		Name:        "scan",
		Usage:       "find what would break the move",
		Subcommands: []*cli.Command{newScanBigKeysCommand()},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError("unknown scan %q; see surecut scan --help", c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

func newScanBigKeysCommand() *cli.Command {
	def := scanner.DefaultOptions()
	return &cli.Command{
		Name:  "bigkeys",
		Usage: "sizes by key, type, prefix, slot and time to live; from a live endpoint or an RDB file",
		Description: "A live endpoint is read by SCAN and MEMORY USAGE; --source rdb:/path reads a file and touches no server.\n" +
			"Exits 0 when the scan is complete, whatever it found; gate judges the report.",
		Flags: append(sourceFlags(),
			&cli.IntFlag{Name: "top", Value: def.Top, Usage: "list the `N` largest keys"},
			&cli.IntFlag{Name: "samples", Value: def.Samples, Usage: "elements of a collection that MEMORY USAGE looks at; 0: all, exact and slow for the server"},
			&cli.StringFlag{Name: "read-from", Value: def.ReadFrom, Usage: "replica (where a cluster's shard has one) or primary"},
			&cli.IntFlag{Name: "rate", Usage: "read at most `N` keys a second; 0: as fast as the servers answer"},
			&cli.IntSliceFlag{Name: "db", Usage: "databases, as in 0,3 (default: all, or the one in the URL)"},
			&cli.StringFlag{Name: "out", Usage: "`DIR` for bigkeys.json, bigkeys.html, bigkeys.md and bigkeys.xml"},
			&cli.StringFlag{Name: "format", Value: "table", Usage: "on stdout: table, json, markdown, junit or html"},
			progressFlag(),
		),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError("scan bigkeys takes no arguments, found %q", c.Args().First())
			}
			source, err := sourceSpec(c)
			if err != nil {
				return err
			}
			opts := ScanBigKeysOptions{Source: source, Scan: def, Out: c.String("out"), Format: c.String("format"), Progress: c.String("progress")}
			opts.Scan.Top, opts.Scan.Samples = c.Int("top"), c.Int("samples")
			opts.Scan.ReadFrom, opts.Scan.Rate, opts.Scan.DBs = c.String("read-from"), c.Int("rate"), c.IntSlice("db")
			if err := opts.Validate(); err != nil {
				return usageError("%w; see surecut scan bigkeys --help", err)
			}
			return runScanBigKeys(c.Context, opts, c.App.Writer, c.App.ErrWriter)
		},
	}
}

// ScanBigKeysOptions are the flags of surecut scan bigkeys.
type ScanBigKeysOptions struct {
	Source      endpoint.Spec
	Scan        scanner.Options
	Out, Format string
	Progress    string // bar, line, json, none; "": as stderr is
}

// Validate names what is wrong with the options.
func (o ScanBigKeysOptions) Validate() error {
	var errFile error
	if o.Source.Kind == endpoint.AOF {
		errFile = errors.New("--source: scan bigkeys reads a live endpoint or an RDB file, no AOF")
	}
	return errors.Join(o.Scan.Validate(), reports.CheckFormat(o.Format), checkProgress(o.Progress), errFile)
}

func runScanBigKeys(ctx context.Context, o ScanBigKeysOptions, stdout, stderr io.Writer) error {
	if err := probeDir(o.Out); err != nil {
		return err
	}
	result, err := scanBigKeys(ctx, o, stderr)
	if err != nil {
		return err
	}
	for _, note := range result.Notes {
		fmt.Fprintln(stderr, "note:", note)
	}
	report := &reports.BigKeys{Header: reports.NewHeader(reports.KindBigKeys, Version, o.Source.String(), ""), BigKeys: *result}
	return publish(report, o.Out, o.Format, stdout, stderr)
}

func scanBigKeys(ctx context.Context, o ScanBigKeysOptions, stderr io.Writer) (*scanner.BigKeys, error) {
	unit := "keys"
	if o.Source.Kind == endpoint.RDB {
		unit = "bytes"
	}
	p := newScanProgress(o.Progress, unit, stderr)
	defer p.close()
	o.Scan.Progress = p.show
	if o.Source.Kind == endpoint.RDB {
		return scanner.ScanRDB(ctx, o.Source.Path, o.Scan)
	}
	d, err := endpoint.Open(ctx, o.Source)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return scanner.ScanLive(ctx, d, o.Scan)
}
