//go:build servers

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"surecut/e2e/servers"
	"surecut/internal/resp"
)

// TestMigrateScan: what passes through a migration is held against another kind of target, and both reports are written.
func TestMigrateScan(t *testing.T) {
	target := servers.Standalone(t, "redis:7.0")
	dir := t.TempDir()
	var log []byte
	for _, line := range []string{"SELECT 0", "SET a 1", "RENAME a b", "SELECT 4", "SET c 1"} {
		log = resp.AppendCommand(log, bytes.Fields([]byte(line))...)
	}
	aof := filepath.Join(dir, "appendonly.aof")
	if err := os.WriteFile(aof, log, 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	var stdout, stderr bytes.Buffer
	status := run([]string{"surecut", "migrate", "--source", "aof:" + aof, "--target", target.URL(), "--state", filepath.Join(dir, "state"),
		"--scan", "--scan-to", "cluster", "--accept-alarms", "--out", out, "--progress", "none"}, &stdout, &stderr)
	if status != exitOK {
		t.Fatalf("exit %d: %s\n%s", status, stderr.String(), stdout.String())
	}
	text, err := os.ReadFile(filepath.Join(out, "compat.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Verdict  string
		Findings []struct{ Command, Rule, Source string }
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range report.Findings {
		found = append(found, f.Command+" "+f.Rule+" "+f.Source)
	}
	if got := strings.Join(found, ", "); report.Verdict != "incompatible" || got != "RENAME cross-slot stream, db4 databases stream" {
		t.Errorf("%s: %s", report.Verdict, got)
	}
	if v := target.Must("GET", "b"); v != "1" {
		t.Errorf("b is %v on the target", v)
	}
}
