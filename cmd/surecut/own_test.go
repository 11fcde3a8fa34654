package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"surecut/migrator"
	"surecut/reports"
	"surecut/reports/outdir"
	"surecut/scanner"
	"surecut/scanner/compat"
	"surecut/verifier"
)

const (
	nobody  = "redis://127.0.0.1:1" // nobody listens there
	nothing = "redis://127.0.0.1:2"
)

// goodNight is a directory as a good run leaves it: every report is there, and a gate says GO to them.
func goodNight(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	two := func(kind string) reports.Header { return reports.NewHeader(kind, "test", nobody, nothing) }
	one := func(kind string) reports.Header { return reports.NewHeader(kind, "test", nobody, "") }
	for _, r := range []reports.Report{
		&reports.Check{Header: two(reports.KindCheck), Report: everyCheck()},
		&reports.Migrate{Header: two(reports.KindMigrate), Report: migrator.Report{State: "done", Level: "exactly_once", AllRuns: migrator.AllRuns{Runs: 1}, Links: []migrator.Link{{Shard: "127.0.0.1:1", Phase: "done"}}}},
		&reports.Verify{Header: two(reports.KindVerify), Report: comparison(verifier.Same, "offset", verifier.Totals{SourceKeys: 5, TargetKeys: 5, Same: 5})},
		&reports.BigKeys{Header: one(reports.KindBigKeys), BigKeys: scanner.BigKeys{Totals: scanner.BigTotals{SizeBy: scanner.SizeByMemoryUsage}}},
		&reports.Compat{Header: one(reports.KindCompat), Result: compat.Result{TargetKind: "cluster", Verdict: compat.Compatible}},
	} {
		if _, err := reports.Write(dir, r); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func surecutRun(args ...string) (status int, stdout, stderr string) {
	var out, talk bytes.Buffer
	status = run(append([]string{"surecut"}, args...), &out, &talk)
	return status, out.String(), talk.String()
}

// TestNoVerdictOfAnotherRun: a run that ends without a verdict, however early, leaves no verdict of the run before it, and the gate
// says NO-GO with the reason of today.
func TestNoVerdictOfAnotherRun(t *testing.T) {
	noReport := filepath.Join(t.TempDir(), "verify.json")
	if err := os.WriteFile(noReport, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	sides := []string{"--source", nobody, "--target", nothing}
	tests := []struct {
		name, why string
		args      []string
		status    int
		kind      string // of the report that says how the run ended
		keeps     []string
		says      string // part of what the gate says
	}{
		{name: "verify, no server", why: "the comparison of yesterday proves nothing today", args: append([]string{"verify"}, sides...), status: exitFailed, kind: "verify", keeps: []string{"check", "migrate", "bigkeys", "compat"}, says: "127.0.0.1:1"},
		{name: "verify, wrong usage", why: "a job whose password file is gone must not pass", args: append([]string{"verify", "--source-password-file", "/no/such/file"}, sides...), status: exitUsage, kind: "verify", keeps: []string{"check", "migrate"}, says: "/no/such/file"},
		{name: "verify, an argument", why: "the flags behind it were not read", args: append(append([]string{"verify"}, sides...), "more"), status: exitUsage, kind: "verify", says: "more"},
		{name: "verify, no migration", why: "what it was to be proved by is not there", args: append([]string{"verify", "--state", "/no/such/state"}, sides...), status: exitFailed, kind: "verify", says: "127.0.0.1:1"},
		{name: "check, no server", why: "what follows a check rests on it", args: append([]string{"check"}, sides...), status: exitDifferent, kind: "check", keeps: []string{"bigkeys", "compat"}, says: "connectivity"},
		{name: "migrate, no server", why: "a migration that was not started proves nothing", args: append([]string{"migrate", "--state", filepath.Join(t.TempDir(), "state")}, sides...), status: exitDifferent, kind: "migrate", keeps: []string{"check", "bigkeys", "compat"}, says: "The run failed, so its report proves nothing: the migration was not started"},
		{name: "migrate, wrong usage", why: "the same", args: append([]string{"migrate", "--mode", "slow"}, sides...), status: exitUsage, kind: "migrate", keeps: []string{"bigkeys", "compat"}, says: "slow"},
		{name: "repair, no report", why: "the same", args: append([]string{"repair", "--apply", "--report", noReport}, sides...), status: exitFailed, kind: "verify", keeps: []string{"check", "migrate"}, says: "not a complete JSON document"},
		{name: "repair, no server", why: "the same", args: append([]string{"repair", "--apply"}, sides...), status: exitFailed, kind: "verify", says: "127.0.0.1:1"},
		{name: "scan bigkeys, no server", why: "half a scan is none", args: []string{"scan", "bigkeys", "--source", nobody}, status: exitFailed, kind: "bigkeys", keeps: []string{"check", "verify", "compat"}, says: "127.0.0.1:1"},
		{name: "scan compat, no server", why: "half a scan is none", args: []string{"scan", "compat", "--to", "cluster", "--source", nobody}, status: exitFailed, kind: "compat", keeps: []string{"check", "verify", "bigkeys"}, says: "127.0.0.1:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := goodNight(t)
			if status, stdout, _ := surecutRun("gate", dir); status != exitOK {
				t.Fatalf("the night was not good: %s", stdout)
			}
			args := append(slices.Clone(tt.args), "--out", dir)
			if tt.name == "verify, an argument" { // flags behind an argument are not read, --out neither
				args = append([]string{"verify", "--out", dir}, tt.args[1:]...)
			}
			if tt.name == "repair, no server" { // its findings lie where its own report will
				args = append(args, "--report", filepath.Join(dir, "verify.json"))
			}
			status, stdout, stderr := surecutRun(args...)
			if status != tt.status {
				t.Errorf("status %d, want %d: %s%s", status, tt.status, stdout, stderr)
			}
			if !strings.Contains(stderr, "reports of an earlier run were moved to "+filepath.Join(dir, outdir.Earlier)) {
				t.Errorf("it does not say where the earlier reports are: %s", stderr)
			}
			for _, kind := range append(tt.keeps, tt.kind) {
				if _, err := reports.Load(filepath.Join(dir, kind+".json")); err != nil {
					t.Errorf("%s (%s): %v", kind, tt.why, err)
				}
			}
			status, stdout, _ = surecutRun("gate", dir)
			if status != exitDifferent || !strings.HasPrefix(stdout, "NO-GO") || !strings.Contains(strings.Join(strings.Fields(stdout), " "), tt.says) {
				t.Errorf("the gate ends with %d (%s), want NO-GO with %q: %s", status, tt.why, tt.says, stdout)
			}
		})
	}
}

// TestGateOwnsItsDirectory: the verdict is kept where it is GO, and goes with the run before where the next one fails.
func TestGateOwnsItsDirectory(t *testing.T) {
	dir := goodNight(t)
	if status, _, stderr := surecutRun("gate", "--out", dir, dir); status != exitOK {
		t.Fatalf("no GO beside its inputs: %s", stderr)
	}
	record, err := os.ReadFile(filepath.Join(dir, "gate.json"))
	if err != nil {
		t.Fatal(err)
	}
	sides := []string{"--source", nobody, "--target", nothing}
	for _, args := range [][]string{
		{"gate", "--out", dir, dir}, append([]string{"verify", "--out", dir}, sides...), append([]string{"check", "--out", dir}, sides...),
		append([]string{"migrate", "--out", dir}, sides...), append([]string{"repair", "--apply", "--report", "x", "--out", dir}, sides...),
		{"scan", "bigkeys", "--source", nobody, "--out", dir}, {"scan", "compat", "--to", "cluster", "--source", nobody, "--out", dir},
		{"report", "--out", dir, dir},
	} {
		status, stdout, stderr := surecutRun(args...)
		if status != exitUsage || !strings.Contains(stderr, "says GO") || !strings.Contains(stderr, "another directory") || stdout != "" {
			t.Errorf("%v: status %d, %q, %q; want a refusal that says what to do", args, status, stdout, stderr)
		}
	}
	if after, err := os.ReadFile(filepath.Join(dir, "gate.json")); err != nil || !bytes.Equal(record, after) {
		t.Error("the record of the GO was changed")
	}
	if _, err := os.Stat(filepath.Join(dir, outdir.Earlier)); !errors.Is(err, os.ErrNotExist) {
		t.Error("reports beside a GO were moved")
	}
}

func TestGateThatFailsSaysNoGo(t *testing.T) {
	dir := goodNight(t)
	if err := os.WriteFile(filepath.Join(dir, "check.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := surecutRun("gate", "--out", dir, dir); status != exitFailed {
		t.Errorf("status %d, want 1: a report cannot be read", status)
	}
	r, err := reports.Load(filepath.Join(dir, "gate.json"))
	if err != nil {
		t.Fatal(err)
	}
	if g := r.(*reports.Gate); g.Verdict != reports.NoGo || g.Ended != reports.Failed {
		t.Errorf("the gate that failed says %s, %s", g.Verdict, g.Ended)
	}
}

// TestOneDirectoryForTheWholeNight: the ordinary order of commands in one directory keeps what the next command rests on.
func TestOneDirectoryForTheWholeNight(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "night")
	write := func(r reports.Report) func() error {
		return func() error { _, err := reports.Write(dir, r); return err }
	}
	all := goodNight(t)
	for _, step := range []struct{ command, kind string }{{"check", "check"}, {"verify", "verify"}, {"scan bigkeys", "bigkeys"}} {
		r, err := reports.Load(filepath.Join(all, step.kind+".json"))
		if err != nil {
			t.Fatal(err)
		}
		kinds, _ := outKinds(step.command, nil)
		o := outRun{out: dir, kind: kinds[0], clears: kinds}
		if err := o.hold(&bytes.Buffer{}, func(*outdir.Dir) error { return write(r)() }); err != nil {
			t.Fatal(err)
		}
	}
	if status, stdout, stderr := surecutRun("gate", "--out", dir, dir); status != exitOK {
		t.Errorf("no GO: %s%s", stdout, stderr)
	}
}

// TestCrashLeavesAReport: a run that crashes says so in its directory before it goes down.
func TestCrashLeavesAReport(t *testing.T) {
	dir := goodNight(t)
	o := outRun{out: dir, kind: reports.KindVerify, clears: []string{reports.KindVerify, reports.KindGate}}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the crash was swallowed")
			}
		}()
		_ = o.hold(&bytes.Buffer{}, func(*outdir.Dir) error { return o.orCrash(func() error { panic("a bug") })() })
	}()
	r, err := reports.Load(filepath.Join(dir, "verify.json"))
	if err != nil {
		t.Fatal(err)
	}
	if v := r.(*reports.Verify); v.Ended != reports.Failed || !strings.Contains(v.EndedWhy, "a bug") || v.Verdict == verifier.Same {
		t.Errorf("the report says %s, %q, %s", v.Ended, v.EndedWhy, v.Verdict)
	}
}

// TestInterruptedRunSaysSo: a signal's end is told by the status, on stderr and in the report.
func TestInterruptedRunSaysSo(t *testing.T) {
	dir := goodNight(t)
	o := outRun{out: dir, kind: reports.KindVerify, clears: []string{reports.KindVerify, reports.KindGate}}
	err := o.hold(&bytes.Buffer{}, func(*outdir.Dir) error {
		return named("verify", func() error { return context.Canceled })()
	})
	if exitCode(err) != exitInterrupted || !strings.Contains(err.Error(), "verify was interrupted by a signal") {
		t.Errorf("%v, want that it was interrupted", err)
	}
	r, err := reports.Load(filepath.Join(dir, "verify.json"))
	if err != nil {
		t.Fatal(err)
	}
	if v := r.(*reports.Verify); v.Ended != reports.Interrupted {
		t.Errorf("the report says %s", v.Ended)
	}
}

func TestFreshDir(t *testing.T) {
	at := filepath.Join(t.TempDir(), "demo-out")
	for _, want := range []string{at, at + "-2", at + "-3"} {
		dir := freshDir(at)
		if dir != want {
			t.Fatalf("%s, want %s", dir, want)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "gate.json"), []byte(`{"verdict":"GO"}`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
