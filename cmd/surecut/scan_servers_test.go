//go:build servers

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
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

// TestScanCompatLive: a live server, its calls by MONITOR, and the sizes of what is proposed.
func TestScanCompatLive(t *testing.T) {
	server := servers.Standalone(t, "redis:7.0")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			user := fmt.Sprint("user:", i%50)
			server.Do("MSET", user+":name", "x", user+":mail", "y")
		}
	}()
	defer func() { close(stop); <-stopped }()
	out := filepath.Join(t.TempDir(), "out")
	status, stdout, stderr := scanCommand("compat", "--to", "cluster", "--source", server.URL(), "--monitor", "2s", "--sizes", "source", "--format", "json", "--out", out)
	if status != exitDifferent {
		t.Fatalf("exit %d: %s", status, stderr)
	}
	var report struct {
		Findings []struct {
			Command, Certainty string
			Share              *float64 `json:"cross_slot_share"`
		}
		Coverage struct {
			Evidence []struct {
				Kind  string
				Calls int64
				Cost  *struct{ Windows int }
			}
		}
		KeyGroups []struct {
			Tag       string
			Templates []struct{ Tagged string }
			Skew      *struct {
				From string
				Keys int64
			}
		} `json:"key_groups"`
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	if f := report.Findings[0]; f.Command != "MSET" || f.Certainty != "proven" || f.Share == nil || *f.Share != 1 {
		t.Errorf("first finding %+v", f)
	}
	if n := len(report.Coverage.Evidence); n != 3 || report.Coverage.Evidence[2].Kind != "monitor" || report.Coverage.Evidence[2].Cost == nil || report.Coverage.Evidence[2].Calls == 0 {
		t.Errorf("evidence %+v", report.Coverage.Evidence)
	}
	if g := report.KeyGroups; len(g) != 1 || g[0].Tag != "variable" || g[0].Templates[0].Tagged != "user:{#}:mail" || g[0].Skew == nil || g[0].Skew.From != "bigkeys" || g[0].Skew.Keys < 2 {
		t.Errorf("groups %+v", g)
	}
}

// TestMigrateScanFindsBigKeys: the snapshot that a migration receives is scanned on its way.
func TestMigrateScanFindsBigKeys(t *testing.T) {
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	for i := range 200 {
		source.Must("SET", fmt.Sprintf("user:%d", i), "x")
	}
	source.Must("SET", "blob", strings.Repeat("x", 3<<20))
	source.Must("SET", "other", strings.Repeat("x", 100_000))
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	var stdout, stderr bytes.Buffer
	status := run([]string{"surecut", "migrate", "--source", source.URL(), "--target", target.URL(), "--state", filepath.Join(dir, "state"), "--big-value", "1MiB",
		"--scan", "--until", "caught-up", "--exclude", "other", "--accept-alarms", "--out", out, "--progress", "none"}, &stdout, &stderr)
	if status != exitOK {
		t.Fatalf("exit %d: %s\n%s", status, stderr.String(), stdout.String())
	}
	text, err := os.ReadFile(filepath.Join(out, "bigkeys.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Totals struct {
			Keys   int
			SizeBy string `json:"size_by"`
		}
		Top []struct {
			Key   string
			Bytes int
			Node  string
		}
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if report.Totals.Keys != 201 || report.Totals.SizeBy != "model" || report.Top[0].Key != "blob" || report.Top[0].Bytes < 3<<20 || report.Top[0].Node == "" {
		t.Errorf("%+v, the largest %+v; want 201 keys", report.Totals, report.Top[0])
	}
	if _, err := os.Stat(filepath.Join(out, "compat.json")); err == nil {
		t.Error("a compat report of a target that runs whatever it is sent")
	}
}
