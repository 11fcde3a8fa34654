package main

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"surecut/internal/preflight"
	"surecut/migrator"
	"surecut/reports"
	"surecut/verifier"
)

// ofPrograms are the command lines of whole programs, which may stand in what a library says: it names them, not its own settings.
var ofPrograms = regexp.MustCompile(`(redis-cli|redis-server|codis-admin|nutcracker|surecut (migrate|scan \w+)) .*`)

// withoutFlag are fields that a library names and no command sets.
var withoutFlag = map[string]bool{"Config.BigValue": true, "Config.Prefixes": true, "Config.Sides": true, "Config.Silence": true}

// TestLibrariesNameFields: what a library says names its fields, and each of them has a flag.
func TestLibrariesNameFields(t *testing.T) {
	flag, fields := regexp.MustCompile(`(^|[^-\w])--[a-z]`), 0
	for place, text := range literals(t, "../../migrator", "../../verifier", "../../scanner", "../../internal", "../../cutover.go", "../../rounds.go") {
		if flag.MatchString(ofPrograms.ReplaceAllString(text, "")) {
			t.Errorf("%s names a flag: %q", place, text)
		}
		for _, field := range fieldName.FindAllString(text, -1) {
			if fields++; flagOf()[field] == "" && !withoutFlag[field] {
				t.Errorf("%s: %s has no flag", place, field)
			}
		}
	}
	if fields < 90 {
		t.Errorf("only %d fields are named: is the source still there?", fields)
	}
}

// TestFlagsAreBound: a flag writes into the field of the options that the package takes, begins with its default, and one field has one flag
// in all commands.
func TestFlagsAreBound(t *testing.T) {
	var o MigrateOptions
	b := migrateFlags(&o)
	app := &cli.App{Flags: b.flags, Action: func(*cli.Context) error { return nil }}
	if err := app.Run([]string{"x", "--mode", "full", "--lanes", "7", "--big-value", "1MiB", "--accept", "a, b", "--accept", "c", "--tune-source", "--max-lag", "3s"}); err != nil {
		t.Fatal(err)
	}
	want := migrator.DefaultConfig()
	want.Mode, want.Lanes, want.BigValue, want.TuneSource, want.MaxLag, want.StateDir = migrator.ModeFull, 7, 1<<20, true, 3*time.Second, "surecut-state"
	want.Log = o.Config.Log
	if !reflect.DeepEqual(o.Config, want) || !slices.Equal(o.Accept, []string{"a", "b", "c"}) {
		t.Errorf("got %+v, %q\nwant %+v", o.Config, o.Accept, want)
	}
	for field, flag := range map[string]string{"Config.RateBytes": "--rate-limit", "Config.TTLTolerance": "--ttl-tolerance", "Config.SampleKeys": "--sample",
		"Config.Top": "--top", "Config.Depth": "--depth", "RepairConfig.DeleteExtra": "--delete-extra", "Config.StateDir": "--state"} {
		if got := flagOf()[field]; got != flag {
			t.Errorf("the flag of %s is %q, want %s", field, got, flag)
		}
	}
}

// literals are the strings in the Go files of directories, without tests, by file and line.
func literals(t *testing.T, dirs ...string) map[string]string {
	texts, files := map[string]string{}, token.NewFileSet()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(filepath.Dir(path), "/gen") {
				return err
			}
			parsed, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					text, err := strconv.Unquote(l.Value)
					if err != nil {
						t.Fatal(err)
					}
					texts[files.Position(l.Pos()).String()] = text
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

// TestReportsSayFlags: whoever reads a report, an error or the log has typed flags. Names of keys stay what they are.
func TestReportsSayFlags(t *testing.T) {
	const said, shown = "say Config.StateDir or Filter.DBMap 3:0", "say --state or --db-map 3:0"
	check := &reports.Check{Report: preflight.Report{Checks: []preflight.Check{{Found: said, Wanted: said, Remedy: said}}}}
	migrate := &reports.Migrate{Report: migrator.Report{Error: said, Problems: []migrator.Problem{{Key: said, Reason: said}}}}
	verify := reports.NewVerify(&verifier.Report{Reasons: []string{said}})
	for _, r := range []reports.Report{check, migrate, verify} {
		sayFlags(r)
		sayFlags(r) // as where it is written and shown
	}
	if c := check.Checks[0]; c.Found != shown || c.Wanted != shown || c.Remedy != shown {
		t.Errorf("check: %+v", c)
	}
	if p := migrate.Problems[0]; migrate.Error != shown || p.Reason != shown || p.Key != said {
		t.Errorf("migrate: %q, %+v", migrate.Error, p)
	}
	if verify.Reasons[0] != shown {
		t.Errorf("verify: %q", verify.Reasons)
	}
	if got := oneLine(errors.Join(errors.New(said), errors.New("Config.Other"))); got != shown+"; Config.Other" {
		t.Errorf("error: %q", got)
	}
	var log strings.Builder
	if err := setUpLog(&log, "info", "text"); err != nil {
		t.Fatal(err)
	}
	slog.Default().Warn(said, "error", errors.New(said), "reason", said)
	if strings.Count(log.String(), shown) != 3 {
		t.Errorf("log: %s", log.String())
	}
}
