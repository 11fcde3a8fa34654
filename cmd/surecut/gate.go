package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"surecut/reports"
	"surecut/verifier"
)

func newGateCommand() *cli.Command {
	return &cli.Command{
		Name:      "gate",
		Usage:     "GO or NO-GO from reports and a policy file",
		ArgsUsage: "REPORT...",
		Description: "REPORT is a JSON report, or a directory: then all its *.json reports.\n" +
			"GO exits 0, NO-GO 3, a report that cannot be read 1. Without --policy the default policy holds: check and verify\n" +
			"reports of one pair of endpoints, at most 24 hours old, no failed check, every alarm accepted, every key compared by\n" +
			"value, no difference, nothing unchecked, and no client that wrote to the source meanwhile. --print-policy writes it,\n" +
			"with explanations, to start a policy of your own from. It may tolerate keys by the reason of their difference\n" +
			"(verify.tolerate): " + reasonNames() + ".",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "policy", Usage: "YAML `FILE`; what it does not set stays as in the default policy"},
			&cli.BoolFlag{Name: "print-policy", Usage: "write the default policy to stdout, and nothing else"},
			&cli.StringFlag{Name: "out", Usage: "`DIR` for gate.json, gate.html, gate.md and gate.xml"},
			&cli.StringFlag{Name: "format", Value: "table", Usage: "on stdout: table, json, markdown, junit or html"},
		},
		Action: func(c *cli.Context) error {
			if c.Bool("print-policy") {
				_, err := io.WriteString(c.App.Writer, reports.DefaultPolicyYAML())
				return err
			}
			opts := GateOptions{Policy: c.String("policy"), Out: c.String("out"), Format: c.String("format"), Reports: c.Args().Slice()}
			if err := opts.Validate(); err != nil {
				return usageError("%w; see surecut gate --help", err)
			}
			return runGate(c.Context, opts, c.App.Writer, c.App.ErrWriter)
		},
	}
}

// reasonNames lists the reasons that a policy can name, with four of them on each line.
func reasonNames() string {
	var names strings.Builder
	for i, r := range verifier.Reasons() {
		switch {
		case i == 0:
		case i%4 == 0:
			names.WriteString(",\n")
		default:
			names.WriteString(", ")
		}
		names.WriteString(string(r))
	}
	return names.String()
}

// GateOptions are the flags and arguments of surecut gate.
type GateOptions struct {
	Policy, Out, Format string
	Reports             []string
}

// Validate returns the first problem of the options.
func (o GateOptions) Validate() error {
	if i := slices.IndexFunc(o.Reports, isFlag); i >= 0 {
		return fmt.Errorf("%s stands after a REPORT; flags come first", o.Reports[i])
	}
	if len(o.Reports) == 0 {
		return fmt.Errorf("gate needs a REPORT: the JSON files of check, verify, migrate or scan bigkeys, or their directory")
	}
	return reports.CheckFormat(o.Format)
}

func runGate(ctx context.Context, o GateOptions, stdout, stderr io.Writer) error {
	policy := reports.DefaultPolicy()
	if o.Policy != "" {
		var err error
		if policy, err = reports.LoadPolicy(o.Policy); err != nil {
			return usageError("%w", err)
		}
	}
	inputs, err := reports.LoadAll(o.Reports...)
	if err != nil {
		return err
	}
	if err := unlessStopped(ctx, nil); err != nil {
		return err
	}
	gate := reports.Evaluate(policy, inputs...)
	gate.Version = Version
	if err := publish(gate, o.Out, o.Format, stdout, stderr); err != nil {
		return err
	}
	if gate.Verdict != reports.Go {
		return verdictStatus(exitDifferent)
	}
	return nil
}
