package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"surecut/reports"
	"surecut/verifier"
)

// writeReports leaves a check and a verify report of one pair of endpoints in a new directory.
func writeReports(t *testing.T, verdict verifier.Verdict, totals verifier.Totals) string {
	t.Helper()
	dir := t.TempDir()
	const source, target = "redis://127.0.0.1:1", "redis://127.0.0.1:2"
	for _, r := range []reports.Report{
		&reports.Check{Header: reports.NewHeader(reports.KindCheck, "test", source, target), Report: everyCheck()},
		&reports.Verify{Header: reports.NewHeader(reports.KindVerify, "test", source, target), Report: comparison(verdict, "rounds", totals)},
	} {
		if _, err := reports.Write(dir, r); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestGateAndReportCommands(t *testing.T) {
	same := writeReports(t, verifier.Same, verifier.Totals{SourceKeys: 5, TargetKeys: 5, Same: 5})
	missing := writeReports(t, verifier.Different, verifier.Totals{SourceKeys: 5, TargetKeys: 4, Same: 4, Missing: 1})
	half := filepath.Join(t.TempDir(), "verify.json")
	if err := os.WriteFile(half, []byte(`{"schema": "surecut.verify/1", "verdict": "same"`), 0o644); err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte("verify: {max_differences: 1}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(wrong, []byte("verify: {max_diferences: 1}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		args   []string
		status int
		stdout string
		stderr string
	}{
		{name: "go", args: []string{"gate", same}, status: exitOK, stdout: "GO  2 reports met the policy"},
		{name: "no-go", args: []string{"gate", missing}, status: exitDifferent, stdout: "NO-GO"},
		{name: "policy", args: []string{"gate", "--policy", policy, missing}, status: exitOK, stdout: "GO  2"},
		{name: "json", args: []string{"gate", "--format", "json", same}, status: exitOK, stdout: `"verdict": "GO"`},
		{name: "one report", args: []string{"gate", filepath.Join(same, "verify.json")}, status: exitDifferent, stdout: "requires a check report"},
		{name: "cut short", args: []string{"gate", half, same}, status: exitFailed, stderr: "not a complete JSON document"},
		{name: "not there", args: []string{"gate", filepath.Join(same, "none")}, status: exitFailed, stderr: "no such file"},
		{name: "nothing", args: []string{"gate"}, status: exitUsage, stderr: "no REPORT was given"},
		{name: "wrong policy", args: []string{"gate", "--policy", wrong, same}, status: exitUsage, stderr: "max_diferences"},
		{name: "no policy", args: []string{"gate", "--policy", filepath.Join(same, "none"), same}, status: exitUsage, stderr: "no such file"},
		{name: "format", args: []string{"gate", "--format", "pdf", same}, status: exitUsage, stderr: "unknown format"},
		{name: "flag behind", args: []string{"gate", same, "--out", "x"}, status: exitUsage, stderr: "put all flags first"},
		{name: "out is a file", args: []string{"gate", "--out", half, same}, status: exitUsage, stderr: "--out: a report cannot be written there"},
		{name: "report, out is a file", args: []string{"report", "--out", half, same}, status: exitUsage, stderr: "--out: a report cannot be written there"},
		{name: "print", args: []string{"gate", "--print-policy"}, status: exitOK, stdout: "max_differences: 0"},
		{name: "report", args: []string{"report", same}, status: exitOK, stdout: "SAME  5 keys"},
		{name: "report html", args: []string{"report", "--format", "html", filepath.Join(same, "check.json")}, status: exitOK, stdout: "<!DOCTYPE html>"},
		{name: "report twice", args: []string{"report", "--out", t.TempDir(), same, missing}, status: exitUsage, stderr: "are both check reports"},
		{name: "report cut short", args: []string{"report", half}, status: exitFailed, stderr: "not a complete JSON document"},
		{name: "report nothing", args: []string{"report"}, status: exitUsage, stderr: "no REPORT was given"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			status := run(append([]string{"surecut"}, tt.args...), &stdout, &stderr)
			if status != tt.status || !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("status %d, want %d; stdout %q, want %q; stderr %q, want %q", status, tt.status, stdout.String(), tt.stdout, stderr.String(), tt.stderr)
			}
			if status == exitFailed && strings.Contains(stdout.String(), "GO") {
				t.Errorf("input that cannot be read got a verdict: %s", stdout.String())
			}
		})
	}
}

func TestReportWritesEveryForm(t *testing.T) {
	same := writeReports(t, verifier.Same, verifier.Totals{SourceKeys: 5, TargetKeys: 5, Same: 5})
	out := filepath.Join(t.TempDir(), "again")
	var stdout, stderr bytes.Buffer
	if status := run([]string{"surecut", "report", "--out", out, same}, &stdout, &stderr); status != exitOK {
		t.Fatalf("status %d: %s", status, stderr.String())
	}
	for _, name := range []string{"check.json", "check.html", "check.md", "check.xml", "verify.json", "verify.html", "verify.md", "verify.xml"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	if before, after := readReport(t, filepath.Join(same, "verify.json")), readReport(t, filepath.Join(out, "verify.json")); before != after {
		t.Error("verify.json changed by being rendered again")
	}
}

// TestReportThatCannotBeWritten: what a long run has found is not lost with its files, but there is no verdict of a gate without
// its record. Nothing is put in place, and the status says so.
func TestReportThatCannotBeWritten(t *testing.T) {
	verify := &reports.Verify{Header: reports.NewHeader(reports.KindVerify, "test", "redis://a", "redis://b"),
		Report: verifier.Report{Verdict: verifier.Same, Depth: "value", Proof: "rounds", Totals: verifier.Totals{SourceKeys: 5, TargetKeys: 5, Same: 5}}}
	for _, tt := range []struct {
		report reports.Report
		want   string
	}{{verify, "SAME  5 keys"}, {reports.Evaluate(reports.DefaultPolicy(), reports.Loaded{Path: "verify.json", Report: verify}), ""}} {
		out := t.TempDir()
		if err := os.Mkdir(filepath.Join(out, tt.report.Kind()+".xml"), 0o755); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		err := publish(tt.report, out, "table", &stdout, &stderr)
		if err == nil || !strings.Contains(err.Error(), ".xml is not a regular file") || exitCode(err) != exitFailed {
			t.Errorf("%s: %v", tt.report.Kind(), err)
		}
		if tt.want == "" && stdout.Len() > 0 || !strings.HasPrefix(stdout.String(), tt.want) {
			t.Errorf("%s: stdout has %q, want %q", tt.report.Kind(), stdout.String(), tt.want)
		}
		if _, err := os.Stat(filepath.Join(out, tt.report.Kind()+".json")); err == nil {
			t.Errorf("%s.json was written without the others", tt.report.Kind())
		}
	}
}

func readReport(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
