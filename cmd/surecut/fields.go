package main

import (
	"cmp"
	"log/slog"
	"maps"
	"regexp"
	"sync"

	"surecut/migrator"
	"surecut/reports"
)

// Libraries name a setting by its field, such as Config.StateDir. The users of the command line know it as a flag.

// flagOf returns the flag for each field that a library may name. Most of these fields are bound to a flag, and a few are derived
// from flags in other ways.
var flagOf = sync.OnceValue(func() map[string]string {
	flags := map[string]string{
		"Config.Source": "--source", "Config.Target": "--target", "Config.AcceptCut": "--accept source_file",
		"Filter.DBMap": "--db-map", "Filter.DBPrefix": "--db-prefix", "Filter.DBs": "--db", "Filter.Exclude": "--exclude", "Filter.Include": "--include",
		"Cutover.PauseWrites": "--pause-writes", "Config.Applier": "--state", "Config.DBs": "--db", "Tally.Capture": "--monitor-file", "Tally.Monitor": "--monitor",
	}
	for _, bound := range []*binding{checkFlags(new(CheckOptions)), migrateFlags(new(MigrateOptions)), verifyFlags(new(VerifyOptions)),
		repairFlags(new(RepairOptions)), bigKeysFlags(new(ScanBigKeysOptions))} {
		maps.Copy(flags, bound.flagOf)
	}
	return flags
})

var fieldName = regexp.MustCompile(`\b(?:Config|Cutover|Filter|RepairConfig|Tally)\.[A-Z]\w*`)

// inFlags returns a library's text with flags in place of the fields that it names.
func inFlags(text string) string {
	return fieldName.ReplaceAllStringFunc(text, func(field string) string { return cmp.Or(flagOf()[field], field) })
}

// sayFlags replaces fields by flags in the sentences of a report. It does not change the names and values of keys.
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

// logInFlags replaces fields by flags in the attributes of a log entry.
func logInFlags(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(inFlags(v))
	case error:
		a.Value = slog.StringValue(inFlags(v.Error()))
	}
	return a
}
