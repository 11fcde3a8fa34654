package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

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
		Usage:       "find big keys, and commands that the target cannot run",
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
	var o ScanBigKeysOptions
	return &cli.Command{
		Name:  "bigkeys",
		Usage: "find big keys of a live endpoint or an RDB file; sums by type, prefix, slot and time to live",
		Description: "A live endpoint is read by SCAN and MEMORY USAGE, without changing when keys were last used. --source rdb:/path reads a file and\n" +
			"asks no server: sizes are then computed by a model of the encodings, as MEMORY USAGE would return them.\n" +
			"Exit status: 0 when the scan is complete, whatever it found. surecut gate judges the report.",
		Flags: bigKeysFlags(&o).flags,
		Action: func(c *cli.Context) error {
			err := o.complete(c)
			if err := errors.Join(err, o.Validate(), errors.Join(o.flags.wrong...)); err != nil {
				return usageError("%w; see surecut scan bigkeys --help", err)
			}
			return runScanBigKeys(c.Context, o, c.App.Writer, c.App.ErrWriter)
		},
	}
}

// bigKeysFlags binds the flags to the options, and sets the defaults.
func bigKeysFlags(o *ScanBigKeysOptions) *binding {
	*o = ScanBigKeysOptions{Scan: scanner.DefaultConfig(), Format: "table"}
	s, b := &o.Scan, bind(o, sourceFlags())
	o.flags = b
	b.number("top", &s.Top, "list the `N` largest keys, by bytes, by elements and by their largest element")
	b.number("samples", &s.Samples, "number of elements of a collection that MEMORY USAGE looks at: at most 10000, so that no server is blocked; 0 stands for 10000")
	b.text("read-from", &s.ReadFrom, "from which node of a shard to read: replica (if it has one) or primary")
	b.number("rate", &s.Rate, "read at most `N` keys per second; 0: as fast as the servers answer")
	b.flags = append(b.flags, &cli.IntSliceFlag{Name: "db", Usage: "databases, as in 0,3 (default: all, or the one in the URL)"})
	b.yes("touch", &s.Touch, "also count elements where that changes when a key was last used: before 7.2, on primaries that evict keys by their use")
	b.flags = append(b.flags, &cli.StringFlag{Name: "slots", Usage: "for an RDB file: the slots that its node owned, as in 0-5460,10923; keys of other slots are not counted"})
	b.duration("cutover", &s.Cutover, "sum up the keys that will have expired after this time")
	b.duration("block", &s.Block, "a DUMP or DEL that blocks a server for longer than this is a risk")
	b.number("target-shards", &s.TargetShards, "show how the keys would be distributed over a cluster of `N` shards")
	b.bytes("target-memory", &s.TargetMemory, "`SIZE` of the memory of one shard of the target")
	b.add("target-share", &s.TargetShare, &cli.Float64Flag{Name: "target-share", Value: s.TargetShare, Destination: &s.TargetShare, Usage: "percentage of --target-memory that one key may take"})
	b.bytes("copy-rate", &s.CopyRate, "`SIZE` per second that the copy of the snapshot is assumed to move; meanwhile writes pile up in the source's output buffer")
	b.text("out", &o.Out, "`DIR` for bigkeys.json, bigkeys.html, bigkeys.md, bigkeys.xml and bigkeys.csv")
	b.text("format", &o.Format, "format of the report on stdout: table, json, markdown, junit, html or csv")
	b.progress(&o.Progress)
	return b
}

// complete fills in the options that need more than the value of one flag.
func (o *ScanBigKeysOptions) complete(c *cli.Context) (err error) {
	if o.Source, err = sourceSpec(c); err != nil {
		return err
	}
	o.Scan.DBs = c.IntSlice("db")
	if o.Scan.Slots, err = keyspace.ParseSlots(c.String("slots")); err != nil {
		return fmt.Errorf("--slots: %w", err)
	}
	return nil
}

// ScanBigKeysOptions are the flags of surecut scan bigkeys.
type ScanBigKeysOptions struct {
	Source      endpoint.Spec
	Scan        scanner.Config
	Out, Format string
	Progress    string // bar, line, json or none; "" to choose by whether stderr is a terminal
	flags       *binding
}

// Validate returns all problems of the options in one error.
func (o ScanBigKeysOptions) Validate() error {
	var errFile error
	if o.Source.Kind == endpoint.AOF {
		errFile = errors.New("--source: scan bigkeys reads a live endpoint or an RDB file, but no AOF")
	}
	if len(o.Scan.Slots) > 0 && o.Source.Kind != endpoint.RDB {
		errFile = errors.Join(errFile, errors.New("--slots: a live server reports which slots it owns; leave --slots out"))
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

// ofFile adds to an error about a damaged or invalid RDB file what to do about it.
func ofFile(err error) error {
	var format *rdb.FormatError
	if errors.As(err, &format) {
		return fmt.Errorf("%w; copy the file from its server again, or examine it with redis-check-rdb", err)
	}
	return err
}

func scanBigKeys(ctx context.Context, o ScanBigKeysOptions, stderr io.Writer) (*scanner.BigKeys, error) {
	unit := "keys"
	if o.Source.Kind == endpoint.RDB {
		unit = "bytes"
	}
	show := newDisplay(o.Progress, stderr, 500*time.Millisecond)
	defer show.close()
	o.Scan.Progress = func(done, total int64) { show.show(scanStand(unit, done, total)) }
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
