package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/reports"
	"surecut/scanner"
)

func newScanCommand() *cli.Command {
	return &cli.Command{
		Name:        "scan",
		Usage:       "find what would break the move",
		Subcommands: []*cli.Command{newScanBigKeysCommand(), newScanCompatCommand()},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand("scan", c.Args().First(), c.Command.Subcommands, "surecut scan")
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
		Description: "A live endpoint is read by SCAN and MEMORY USAGE, without making keys look used; --source rdb:/path reads a file and\n" +
			"touches no server: sizes are then what MEMORY USAGE would say, by a model of the encodings.\n" +
			"Exits 0 when the scan is complete, whatever it found; gate judges the report.",
		Flags: append(sourceFlags(),
			&cli.IntFlag{Name: "top", Value: def.Top, Usage: "list the `N` largest keys, by bytes, by elements and by their largest element"},
			&cli.IntFlag{Name: "samples", Value: def.Samples, Usage: "elements of a collection that MEMORY USAGE looks at, at most 10000, so that no server is held up; 0: as many as that"},
			&cli.StringFlag{Name: "read-from", Value: def.ReadFrom, Usage: "replica (where a cluster's shard has one) or primary"},
			&cli.IntFlag{Name: "rate", Usage: "read at most `N` keys a second; 0: as fast as the servers answer"},
			&cli.IntSliceFlag{Name: "db", Usage: "databases, as in 0,3 (default: all, or the one in the URL)"},
			&cli.BoolFlag{Name: "touch", Usage: "count elements also where that makes keys look used: before 7.2, on primaries that evict by use"},
			&cli.StringFlag{Name: "slots", Usage: "of an RDB file: the slots that its node owned, as in 0-5460,10923; keys of others are not counted"},
			&cli.DurationFlag{Name: "cutover", Value: def.Cutover, Usage: "sum what will have expired after this time"},
			&cli.DurationFlag{Name: "block", Value: def.Block, Usage: "a DUMP or DEL that blocks a server for longer is a risk"},
			&cli.IntFlag{Name: "target-shards", Usage: "show how the keys would lie on a cluster of `N` shards"},
			&cli.StringFlag{Name: "target-memory", Usage: "`SIZE` of the memory of one shard of the target"},
			&cli.Float64Flag{Name: "target-share", Value: def.TargetShare, Usage: "per cent of --target-memory that one key may take"},
			&cli.StringFlag{Name: "copy-rate", Value: "50MiB", Usage: "`SIZE` per second that a full phase is taken to move: how long writes pile up in the source's output buffer"},
			&cli.StringFlag{Name: "out", Usage: "`DIR` for bigkeys.json, bigkeys.html, bigkeys.md, bigkeys.xml and bigkeys.csv"},
			&cli.StringFlag{Name: "format", Value: "table", Usage: "on stdout: table, json, markdown, junit, html or csv"},
			progressFlag(),
		),
		Action: func(c *cli.Context) error {
			source, err := sourceSpec(c)
			if err != nil {
				return err
			}
			opts := ScanBigKeysOptions{Source: source, Out: c.String("out"), Format: c.String("format"), Progress: c.String("progress")}
			var errOptions error
			opts.Scan, errOptions = bigKeysOptions(c)
			if err := errors.Join(errOptions, opts.Validate()); err != nil {
				return usageError("%w; see surecut scan bigkeys --help", err)
			}
			return runScanBigKeys(c.Context, opts, c.App.Writer, c.App.ErrWriter)
		},
	}
}

// bigKeysOptions reads the flags of the scan itself.
func bigKeysOptions(c *cli.Context) (o scanner.Options, err error) {
	o = scanner.DefaultOptions()
	o.Top, o.Samples, o.Touch = c.Int("top"), c.Int("samples"), c.Bool("touch")
	o.ReadFrom, o.Rate, o.DBs = c.String("read-from"), c.Int("rate"), c.IntSlice("db")
	o.Cutover, o.Block = c.Duration("cutover"), c.Duration("block")
	o.TargetShards, o.TargetShare = c.Int("target-shards"), c.Float64("target-share")
	var errs []error
	if o.Slots, err = keyspace.ParseSlots(c.String("slots")); err != nil {
		errs = append(errs, fmt.Errorf("--slots: %w", err))
	}
	for name, to := range map[string]*int64{"target-memory": &o.TargetMemory, "copy-rate": &o.CopyRate} {
		if text := c.String(name); text != "" {
			if *to, err = parseSize(text); err != nil {
				errs = append(errs, fmt.Errorf("--%s: %w", name, err))
			}
		}
	}
	return o, errors.Join(errs...)
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
	if len(o.Scan.Slots) > 0 && o.Source.Kind != endpoint.RDB {
		errFile = errors.Join(errFile, errors.New("--slots: a live server says itself which slots it owns; leave it out"))
	}
	var errFormat error
	if o.Format != reports.CSV {
		errFormat = reports.CheckFormat(o.Format)
	}
	return errors.Join(o.Scan.Validate(), errFormat, checkProgress(o.Progress), errFile)
}

func runScanBigKeys(ctx context.Context, o ScanBigKeysOptions, stdout, stderr io.Writer) error {
	result, err := scanBigKeys(ctx, o, stderr)
	if err := unlessStopped(ctx, err); err != nil {
		return ofFile(err)
	}
	for _, note := range result.Notes {
		fmt.Fprintln(stderr, "note:", inFlags(note))
	}
	report := &reports.BigKeys{Header: reports.NewHeader(reports.KindBigKeys, Version, o.Source.String(), ""), BigKeys: *result}
	return publish(report, o.Out, o.Format, stdout, stderr)
}

// ofFile says what to do about an RDB file that is damaged, or none.
func ofFile(err error) error {
	var format *rdb.FormatError
	if errors.As(err, &format) {
		return fmt.Errorf("%w; copy the file from its server again, or look at it with redis-check-rdb", err)
	}
	return err
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
