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
		Usage:     "decide GO or NO-GO by reports and a policy file",
		ArgsUsage: "REPORT...",
		Description: "REPORT is a JSON report, or a directory, which stands for all the *.json reports in it.\n" +
			"Exit status: 0 GO; 3 NO-GO; 1 a report cannot be read.\n" +
			"Without --policy the default policy applies. It requires a check and a verify report of the same two endpoints, at most 24\n" +
			"hours old, in which no check failed, every alarm was accepted, every key was compared by value, no key is different or\n" +
			"unchecked, and no client wrote to the source during the comparison. --print-policy writes it with explanations, as a start\n" +
			"for a policy of your own. A policy can tolerate keys by the reason why they are not the same\n" +
			"(verify.tolerate): " + reasonNames() + ".",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "policy", Usage: "YAML `FILE` of the policy; settings that it leaves out are those of the default policy"},
			&cli.BoolFlag{Name: "print-policy", Usage: "write the default policy to stdout and do nothing else"},
			&cli.StringFlag{Name: "out", Usage: "`DIR` for gate.json, gate.html, gate.md and gate.xml"},
			&cli.StringFlag{Name: "format", Value: "table", Usage: "format of the report on stdout: table, json, markdown, junit or html"},
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
		return fmt.Errorf("the flag %s comes after a REPORT; put all flags first", o.Reports[i])
	}
	if len(o.Reports) == 0 {
		return fmt.Errorf("no REPORT was given; name the JSON reports of check, verify, migrate or scan, or their directory")
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
