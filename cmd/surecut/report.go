package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"surecut/reports"
)

func newReportCommand() *cli.Command {
	return &cli.Command{
		Name:      "report",
		Usage:     "render JSON reports again, as HTML, Markdown, JUnit or a table",
		ArgsUsage: "REPORT...",
		Description: "REPORT is a JSON report, or a directory, which stands for all the *.json reports in it except gate.json.\n" +
			"With --out, files are written to DIR in every format, or in the one that --format names. Without it, one format goes to stdout.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "`DIR` for the files; several reports of the same kind are refused, because they would overwrite each other"},
			&cli.StringFlag{Name: "format", Usage: "table, json, markdown, junit, html, or csv for big keys (default: table on stdout, all formats with --out)"},
		},
		Action: func(c *cli.Context) error {
			opts := ReportOptions{Out: c.String("out"), Format: c.String("format"), Reports: c.Args().Slice()}
			if err := opts.Validate(); err != nil {
				return usageError("%w; see surecut report --help", err)
			}
			return runReport(c.Context, opts, c.App.Writer, c.App.ErrWriter)
		},
	}
}

// ReportOptions are the flags and arguments of surecut report.
type ReportOptions struct {
	Out, Format string // Format may be empty
	Reports     []string
}

// Validate returns the first problem of the options.
func (o ReportOptions) Validate() error {
	if i := slices.IndexFunc(o.Reports, isFlag); i >= 0 {
		return fmt.Errorf("the flag %s comes after a REPORT; put all flags first", o.Reports[i])
	}
	if len(o.Reports) == 0 {
		return fmt.Errorf("no REPORT was given; name a JSON report of surecut, or a directory of reports")
	}
	if o.Format == "" || o.Format == reports.CSV {
		return nil
	}
	return reports.CheckFormat(o.Format)
}

// isFlag says whether an argument was meant as a flag. The command line is only searched for flags up to the first argument.
func isFlag(arg string) bool { return strings.HasPrefix(arg, "-") }

func runReport(_ context.Context, o ReportOptions, stdout, stderr io.Writer) error {
	inputs, err := reports.LoadAll(o.Reports...)
	if err != nil {
		return err
	}
	if o.Out != "" {
		return renderFiles(o, inputs, stderr)
	}
	format := o.Format
	if format == "" {
		format = "table"
	}
	for i, in := range inputs {
		if i > 0 && format == "table" {
			fmt.Fprintln(stdout)
		}
		if err := reports.Render(stdout, in.Report, format); err != nil {
			return err
		}
	}
	return nil
}

func renderFiles(o ReportOptions, inputs []reports.Loaded, stderr io.Writer) error {
	from := map[string]string{}
	for _, in := range inputs {
		if other, ok := from[in.Report.Kind()]; ok {
			return usageError("%s and %s are both %s reports; render them into different directories (--out)", other, in.Path, in.Report.Kind())
		}
		from[in.Report.Kind()] = in.Path
	}
	for _, in := range inputs {
		write := reports.Write
		if o.Format != "" {
			write = func(dir string, r reports.Report) ([]string, error) { return reports.WriteFormats(dir, r, o.Format) }
		}
		paths, err := write(o.Out, in.Report)
		if err != nil {
			return err
		}
		for _, p := range paths {
			fmt.Fprintln(stderr, "wrote", p)
		}
	}
	return nil
}

// publish outputs the report of a command: all files into out, if the user named a directory, and one format on stdout. The files
// come first, so that a reader of the verdict on stdout finds them. If they cannot be written, the report is still written to
// stdout, except a GO or NO-GO, which must not appear without its record.
func publish(r reports.Report, out, format string, stdout, stderr io.Writer) error {
	sayFlags(r)
	var failed error
	if out != "" {
		paths, err := reports.Write(out, r)
		if failed = err; err == nil {
			defer fmt.Fprintln(stderr, "reports:", paths[0], paths[1])
		}
	}
	if failed != nil && r.Kind() == reports.KindGate {
		return failed
	}
	return errors.Join(failed, reports.Render(stdout, r, format))
}
