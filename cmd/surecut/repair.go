package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/urfave/cli/v2"

	"surecut/internal/endpoint"
	"surecut/internal/preflight"
	"surecut/reports"
	"surecut/verifier"
)

func newRepairCommand() *cli.Command {
	var o RepairOptions
	return &cli.Command{
		Name:  "repair",
		Usage: "make the target equal to the source for the findings of a verify report",
		Description: "Each key is looked at again, and repaired by what both sides hold now: copied by DUMP and RESTORE (from an RDB file, by what it holds), its expiry set, or\n" +
			"with --delete-extra deleted. With --apply the same keys are verified afterwards: exit status 0 all same, 3 different,\n" +
			"4 something unchecked. Keys that were unchecked are not touched. While a migration feeds the target, --apply needs its --state DIR.",
		Flags: repairFlags(&o).flags,
		Action: func(c *cli.Context) error {
			var err error
			if o.Endpoints, err = endpointSpecs(c); err != nil {
				return err
			}
			if err := o.Validate(); err != nil {
				return usageError("%w; see surecut repair --help", err)
			}
			return runRepair(c.Context, o, c.App.Writer, c.App.ErrWriter)
		},
	}
}

// RepairOptions are the flags of surecut repair.
type RepairOptions struct {
	Endpoints           endpoints
	Report, Out, Format string
	State               string                // state directory of the migration that feeds the target
	Repair              verifier.RepairConfig // Source, Target and Findings are set by the run
}

// repairFlags binds the flags to the options, and sets the defaults.
func repairFlags(o *RepairOptions) *binding {
	*o = RepairOptions{Repair: verifier.RepairConfig{Config: verifier.DefaultConfig()}, Format: "table"}
	r, b := &o.Repair, bind(o, sourceFlags(), targetFlags())
	b.text("report", &o.Report, "verify.json `FILE` whose findings are repaired")
	b.yes("apply", &r.Apply, "write to the target; without it, only say what would be done")
	b.yes("delete-extra", &r.DeleteExtra, "delete keys that the source does not have")
	b.text("state", &o.State, "`DIR` of the migration that feeds the target, running on this machine: keys are then repaired while it stands still at their offset")
	b.number("rounds", &r.Rounds, "how often a repaired key that still differs is read before it counts as different")
	b.duration("interval", &r.Interval, "between rounds")
	b.duration("ttl-tolerance", &r.TTLTolerance, "expiries no further apart than this are the same")
	b.text("out", &o.Out, "`DIR` for verify.json and so on, of the repaired keys")
	b.text("format", &o.Format, "of the new report on stdout: table, json, markdown, junit or html")
	return b
}

// Validate returns all problems of the options in one error.
func (o RepairOptions) Validate() error {
	var missing error
	if o.Report == "" {
		missing = errors.New("--report FILE is needed: the verify.json whose findings are repaired")
	}
	return errors.Join(missing, o.Repair.Validate(), reports.CheckFormat(o.Format))
}

func runRepair(ctx context.Context, o RepairOptions, stdout, stderr io.Writer) error {
	loaded, err := reports.Load(o.Report)
	if err != nil {
		return err
	}
	report, ok := loaded.(*reports.Verify)
	if !ok {
		return usageError("--report %s is a %s report; repair needs one of verify", o.Report, loaded.Kind())
	}
	s, t := o.Endpoints.Source.String(), o.Endpoints.Target.String()
	switch {
	case report.Source == t && report.Target == s && s != t:
		return usageError("the report speaks of %s -> %s, and this would repair the other way round: it would write to the source", report.Source, report.Target)
	case o.Endpoints.Source.IsFile() && report.Source != s:
		fmt.Fprintf(stderr, "surecut: the report speaks of %s -> %s; keys are repaired by what %s and %s hold now\n", report.Source, report.Target, s, t)
	}
	if report.Omitted > 0 {
		fmt.Fprintf(stderr, "surecut: the report leaves out %d findings, which are not repaired; verify again afterwards\n", report.Omitted)
	}
	sides, err := endpoint.OpenSides(ctx, o.Endpoints)
	if err != nil {
		return err
	}
	defer sides.Close()
	o.Repair.Sides = sides
	o.Repair.Findings = report.Findings
	pair, err := pairOf(ctx, sides)
	if err != nil {
		return err
	}
	if err := refuseItself(pair, o.Endpoints, o.Repair.Filter); err != nil && report.Selection.Mapping() == "" && report.Selection.Part() == "" {
		return err
	}
	if err := refuseOtherReport(report, pair, stderr); err != nil {
		return err
	}
	if err := o.feed(ctx, pair, stderr); err != nil {
		return err
	}
	done, again, err := verifier.Repair(ctx, o.Repair)
	err = unlessStopped(ctx, err)
	w := stdout
	if o.Repair.Apply {
		w = stderr // stdout is for the new report
	}
	if terr := repairTable(w, done, o.Repair.Apply); terr != nil && err == nil {
		err = terr
	}
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	if again == nil {
		return nil
	}
	return deliverVerify(again, o.Out, o.Format, stdout, stderr)
}

// feed attaches the migration that feeds the target. Without it, a command that is still in the stream could be applied a second
// time to a value that repair has just copied, so feed returns an error if a migration is running that --state does not name.
func (o *RepairOptions) feed(ctx context.Context, pair verifier.Servers, stderr io.Writer) error {
	if o.State != "" {
		feeding, err := attach(o.State, pair, stderr)
		if err != nil {
			return err
		}
		o.Repair.Applier = feeding
		return nil
	}
	if !o.Repair.Apply {
		return nil
	}
	which, running, err := preflight.Feeding(ctx, o.Repair.Target)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "surecut: whether a migration feeds the target could not be asked: %v\n", err)
	case running:
		return fmt.Errorf("repair: migration %s writes to the target, and would apply again what a copied value holds already: name its directory with --state, or stop it first (one that was killed counts as running for 30 s)", which)
	case which != "":
		fmt.Fprintf(stderr, "surecut: the target belongs to migration %s, which has stopped; if it is resumed, what the source is written since then is applied again to the keys that are copied now. Repair while it runs, with --state, or verify again at its end\n", which)
	}
	return nil
}

// repairTable lists what was done, or what would be done.
func repairTable(w io.Writer, done []verifier.Repaired, applied bool) error {
	if len(done) == 0 {
		_, err := fmt.Fprintln(w, "Nothing to repair.")
		return err
	}
	counts := map[verifier.Remedy]int{}
	failed := 0
	t := tablewriter.NewWriter(w)
	t.Header("db", "key", "remedy", "why")
	for _, d := range done {
		counts[d.Remedy]++
		why := inFlags(d.Why)
		if d.Error != "" {
			failed++
			why = "FAILED: " + inFlags(d.Error)
		}
		if err := t.Append([]string{fmt.Sprint(d.TargetDB), d.Key, string(d.Remedy), why}); err != nil {
			return err
		}
	}
	if err := t.Render(); err != nil {
		return err
	}
	verb := "Would "
	if applied {
		verb = "Set out to "
	}
	parts := []string{}
	for _, r := range []verifier.Remedy{verifier.RemedyCopy, verifier.RemedyExpire, verifier.RemedyDelete} {
		if counts[r] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", map[verifier.Remedy]string{
				verifier.RemedyCopy: "copy", verifier.RemedyExpire: "set the expiry of", verifier.RemedyDelete: "delete"}[r], counts[r]))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "change nothing")
	}
	line := verb + strings.Join(parts, ", ") + "."
	if failed > 0 {
		line += fmt.Sprintf(" %d failed.", failed)
	}
	if !applied {
		line += " Nothing was written; --apply does it."
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
