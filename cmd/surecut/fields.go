package main

import (
	"cmp"
	"log/slog"
	"regexp"

	"surecut/migrator"
	"surecut/reports"
)

// The libraries name a setting by its field, as in Config.StateDir. Whoever uses the command line knows it as a flag.

// flagOf holds the flag of each field that a library may name.
var flagOf = map[string]string{
	"Config.Source": "--source", "Config.Target": "--target",
	"Config.Accept": "--accept", "Config.AcceptCut": "--accept source_file",
	"Config.BigValue": "--big-value", "Config.Capture": "--capture", "Config.HoldExpiry": "--hold-expiry", "Config.Lanes": "--lanes",
	"Config.MaxLag": "--max-lag", "Config.Mode": "--mode", "Config.OnExisting": "--on-existing", "Config.RateBytes": "--rate-limit",
	"Config.RateOps": "--rate-limit-ops", "Config.ReadFrom": "--read-from", "Config.RetryFor": "--retry-for", "Config.SampleKeys": "--sample",
	"Config.SpoolLimit": "--spool-limit", "Config.StateDir": "--state", "Config.TuneSource": "--tune-source",
	"Filter.DBMap": "--db-map", "Filter.DBPrefix": "--db-prefix", "Filter.DBs": "--db", "Filter.Exclude": "--exclude", "Filter.Include": "--include",
	"Options.Applier": "--state", "Options.Depth": "--depth", "Options.Interval": "--interval", "Options.MaxFindings": "--max-findings",
	"Options.ReadFrom": "--read-from", "Options.Rounds": "--rounds", "Options.TTLTolerance": "--ttl-tolerance", "Options.Workers": "--workers",
	"Options.Block": "--block", "Options.CopyRate": "--copy-rate", "Options.Cutover": "--cutover", "Options.DBs": "--db", "Options.Rate": "--rate",
	"Options.Samples": "--samples", "Options.TargetMemory": "--target-memory", "Options.TargetShards": "--target-shards",
	"Options.TargetShare": "--target-share", "Options.Top": "--top", "Options.Touch": "--touch",
	"RepairOptions.DeleteExtra": "--delete-extra",
	"Tally.Capture":             "--monitor-file", "Tally.Monitor": "--monitor",
}

var fieldName = regexp.MustCompile(`\b(?:Config|Filter|Options|RepairOptions|Tally)\.[A-Z]\w*`)

// inFlags returns what a library says, with flags in place of the fields that it names.
func inFlags(text string) string {
	return fieldName.ReplaceAllStringFunc(text, func(field string) string { return cmp.Or(flagOf[field], field) })
}

// sayFlags puts flags in place of fields in the sentences of a report. Names and values of keys are left as they are.
func sayFlags(report reports.Report) {
	switch r := report.(type) {
	case *reports.Check:
		for i := range r.Checks {
			c := &r.Checks[i]
			c.Found, c.Wanted, c.Remedy = inFlags(c.Found), inFlags(c.Wanted), inFlags(c.Remedy)
		}
	case *reports.Migrate:
		sayFlagsInMigration(&r.Report)
	case *reports.Verify:
		sayFlagsIn(r.Reasons, r.Incomplete, r.LeftOut)
	case *reports.BigKeys:
		sayFlagsIn(r.Notes)
	case *reports.Compat:
		sayFlagsIn(r.Coverage.Blind)
	}
}

func sayFlagsInMigration(r *migrator.Report) {
	r.Error = inFlags(r.Error)
	for i := range r.Problems {
		r.Problems[i].Reason = inFlags(r.Problems[i].Reason)
	}
}

func sayFlagsIn(lists ...[]string) {
	for _, texts := range lists {
		for i := range texts {
			texts[i] = inFlags(texts[i])
		}
	}
}

// logInFlags does the same for the log.
func logInFlags(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(inFlags(v))
	case error:
		a.Value = slog.StringValue(inFlags(v.Error()))
	}
	return a
}
