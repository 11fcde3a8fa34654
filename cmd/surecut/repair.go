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
		Description: "Each key is read again on both sides, and repaired by what they hold now: it is copied by DUMP and RESTORE (or from an RDB file), its\n" +
			"expiry is set, or with --delete-extra it is deleted. Keys that were unchecked are not touched. Without --apply nothing is written.\n" +
			"With --apply, the same keys are verified afterwards; while a migration writes to the target, --apply needs its --state DIR.\n" +
			"Exit status with --apply: 0 all of these keys are the same; 3 some are different; 4 some could not be compared; 1 the run failed.",
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
	b.text("report", &o.Report, "`FILE` verify.json whose findings are repaired")
	b.yes("apply", &r.Apply, "write to the target; without this flag, only print what would be done")
	b.yes("delete-extra", &r.DeleteExtra, "delete keys that the source does not have")
	b.text("state", &o.State, "state `DIR` of the migration that writes to the target and runs on this machine; it is stopped for moments at one offset while keys are repaired")
	b.number("rounds", &r.Rounds, "how often a repaired key that still differs is read again before it counts as different")
	b.duration("interval", &r.Interval, "time between rounds")
	b.duration("ttl-tolerance", &r.TTLTolerance, "expiries that are no further apart than this count as the same")
	b.text("out", &o.Out, "`DIR` for the verify report of the repaired keys")
	b.text("format", &o.Format, "format of the new report on stdout: table, json, markdown, junit or html")
	return b
}

// Validate returns all problems of the options in one error.
func (o RepairOptions) Validate() error {
	var missing error
	if o.Report == "" {
		missing = errors.New("--report is missing; name the verify.json whose findings are to be repaired")
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
		return usageError("--report %s is a %s report; repair needs a verify report", o.Report, loaded.Kind())
	}
	s, t := o.Endpoints.Source.String(), o.Endpoints.Target.String()
	switch {
	case report.Source == t && report.Target == s && s != t:
		return usageError("the report is about %s -> %s, so this command would repair in the wrong direction and write to the source; swap --source and --target", report.Source, report.Target)
	case o.Endpoints.Source.IsFile() && report.Source != s:
		fmt.Fprintf(stderr, "surecut: the report is about %s -> %s; the keys are repaired by what %s and %s hold now\n", report.Source, report.Target, s, t)
	}
	if report.Omitted > 0 {
		fmt.Fprintf(stderr, "surecut: the report does not list %d more findings, which are not repaired; run surecut verify again afterwards\n", report.Omitted)
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
		fmt.Fprintf(stderr, "surecut: it could not be determined whether a migration writes to the target: %v\n", err)
	case running:
		return fmt.Errorf("repair: migration %s writes to the target, and could apply commands a second time to a value that already contains their effect. Name its directory with --state, or stop it first (after it was killed, it counts as running for 30 s)", which)
	case which != "":
		fmt.Fprintf(stderr, "surecut: the target belongs to migration %s, which is stopped. If it is resumed, commands since then are applied again to the keys that are copied now. Repair while it runs, with --state, or run surecut verify again when it has ended\n", which)
	}
	return nil
}

// repairTable lists what was done, or what would be done.
func repairTable(w io.Writer, done []verifier.Repaired, applied bool) error {
	if len(done) == 0 {
		_, err := fmt.Fprintln(w, "There is nothing to repair.")
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
		line += " Nothing was written; run again with --apply to write."
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
