package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"surecut/reports"
)

// tinyRDB holds one string in database 0, in RDB version 9 without a checksum.
var tinyRDB = []byte("REDIS0009\xfe\x00\x00\x05greet\x05hello\xff\x00\x00\x00\x00\x00\x00\x00\x00")

func scanCommand(args ...string) (status int, stdout, stderr string) {
	var out, talk bytes.Buffer
	status = run(append([]string{"surecut", "scan"}, args...), &out, &talk)
	return status, out.String(), talk.String()
}

func TestScanBigKeysOfFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "dump.rdb")
	if err := os.WriteFile(path, tinyRDB, 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	status, stdout, stderr := scanCommand("bigkeys", "--source", "rdb:"+path, "--format", "json", "--out", out)
	if status != exitOK {
		t.Fatalf("exit %d: %s", status, stderr)
	}
	var report struct {
		Schema string
		Totals struct{ Keys, Bytes int64 }
		Top    []struct{ Key, Type string }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("stdout is no JSON: %v", err)
	}
	if report.Schema != "surecut.bigkeys/1" || report.Totals.Keys != 1 || len(report.Top) != 1 || report.Top[0].Key != "greet" || report.Top[0].Type != "string" {
		t.Errorf("report %+v", report)
	}
	for _, name := range []string{"bigkeys.json", "bigkeys.html", "bigkeys.md", "bigkeys.xml", "bigkeys.csv"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestScanBigKeysRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cut, text := write("cut.rdb", tinyRDB[:15]), write("text.rdb", []byte("no RDB at all"))
	tests := []struct {
		name   string
		args   []string
		status int
		says   []string
	}{
		{name: "cut short", args: []string{"bigkeys", "--source", "rdb:" + cut}, status: exitFailed, says: []string{cut, "at byte 1", "copy the file from its server again"}},
		{name: "no RDB", args: []string{"bigkeys", "--source", "rdb:" + text}, status: exitFailed, says: []string{text, "not an RDB", "copy the file from its server again"}},
		{name: "no file", args: []string{"bigkeys", "--source", "rdb:" + dir + "/nosuch"}, status: exitFailed, says: []string{"nosuch"}},
		{name: "AOF", args: []string{"bigkeys", "--source", "aof:" + text}, status: exitUsage, says: []string{"AOF"}},
		{name: "no source", args: []string{"bigkeys"}, status: exitUsage, says: []string{"--source"}},
		{name: "format", args: []string{"bigkeys", "--source", "rdb:" + cut, "--format", "pdf"}, status: exitUsage, says: []string{"pdf"}},
		{name: "progress", args: []string{"bigkeys", "--source", "rdb:" + cut, "--progress", "dots"}, status: exitUsage, says: []string{"dots"}},
		{name: "top", args: []string{"bigkeys", "--source", "rdb:" + cut, "--top", "0"}, status: exitUsage, says: []string{"--top 0: must be"}},
		{name: "slots", args: []string{"bigkeys", "--source", "rdb:" + cut, "--slots", "5-1"}, status: exitUsage, says: []string{"--slots", "5-1"}},
		{name: "slots of a server", args: []string{"bigkeys", "--source", "redis://127.0.0.1:1", "--slots", "0-1"}, status: exitUsage, says: []string{"--slots"}},
		{name: "target memory", args: []string{"bigkeys", "--source", "rdb:" + cut, "--target-memory", "much"}, status: exitUsage, says: []string{"--target-memory", "much"}},
		{name: "target shards", args: []string{"bigkeys", "--source", "rdb:" + cut, "--target-shards", "-1"}, status: exitUsage, says: []string{"--target-shards -1: must be"}},
		{name: "argument", args: []string{"bigkeys", "--source", "rdb:" + cut, "more"}, status: exitUsage, says: []string{"more"}},
		{name: "subcommand", args: []string{"nosuch"}, status: exitUsage, says: []string{"nosuch"}},
	}
	for _, tt := range tests {
		out := filepath.Join(dir, "out-"+tt.name)
		args := tt.args
		if len(args) > 2 && tt.name != "argument" {
			args = append(args, "--out", out)
		}
		status, stdout, stderr := scanCommand(args...)
		if status != tt.status || stdout != "" {
			t.Errorf("%s: exit %d, stdout %q; want %d and nothing", tt.name, status, stdout, tt.status)
		}
		for _, word := range tt.says {
			if !strings.Contains(stderr, word) {
				t.Errorf("%s: stderr %q does not say %q", tt.name, stderr, word)
			}
		}
		if strings.Count(strings.TrimSpace(stderr), "\n") > 0 {
			t.Errorf("%s: stderr has several lines: %q", tt.name, stderr)
		}
		if !slices.Contains(args, "--out") {
			continue
		}
		left, err := reports.Load(filepath.Join(out, "bigkeys.json"))
		if err != nil {
			t.Errorf("%s: no report says how the run ended: %v", tt.name, err)
		} else if r := left.(*reports.BigKeys); r.Ended != reports.Failed || !strings.Contains(r.EndedWhy, tt.says[0]) || r.Totals.Keys != 0 {
			t.Errorf("%s: the report says %q, %q, %d keys; want that the run failed, with %q", tt.name, r.Ended, r.EndedWhy, r.Totals.Keys, tt.says[0])
		}
	}
}

func TestScanCompatOfFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	crossing := write("crossing", `1339518083.107412 [0 10.0.0.1:60866] "MGET" "user:1:name" "user:1:mail"`+"\n")
	fine := write("fine", `1339518083.107412 [0 10.0.0.1:60866] "MGET" "{user:1}:name" "{user:1}:mail"`+"\n")
	script := write("script", `1339518083.1 [0 10.0.0.1:6] "EVAL" "x" "0"`+"\n"+`1339518083.2 [0 lua] "GET" "a"`+"\n")
	aof := write("appendonly.aof", "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n")
	for _, tt := range []struct {
		name, verdict string
		status        int
		args          []string
	}{
		{"crossing", "incompatible", exitDifferent, []string{"--to", "cluster", "--monitor-file", crossing}},
		{"fine", "compatible", exitOK, []string{"--to", "cluster", "--monitor-file", fine}},
		{"latent", "risky", exitUnchecked, []string{"--to", "cluster", "--monitor-file", script}},
		{"writes only", "unproven", exitUnchecked, []string{"--to", "cluster", "--aof", aof}},
		{"as the source", "unproven", exitUnchecked, []string{"--to", "codis", "--source", "aof:" + aof}},
		{"code", "incompatible", exitDifferent, []string{"--to", "cluster", "--code", "../../scanner/compat/testdata/code/ruby"}},
		{"too new", "incompatible", exitDifferent, []string{"--to", "cluster", "--to-version", "0.9", "--monitor-file", fine}},
	} {
		out := filepath.Join(dir, "out")
		status, stdout, stderr := scanCommand(append([]string{"compat", "--format", "json", "--out", out}, tt.args...)...)
		var report struct{ Schema, Verdict string }
		if err := json.Unmarshal([]byte(stdout), &report); err != nil {
			t.Fatalf("%s: stdout is no JSON: %v; %s", tt.name, err, stderr)
		}
		if status != tt.status || report.Schema != "surecut.compat/1" || report.Verdict != tt.verdict {
			t.Errorf("%s: exit %d, %+v; want %d, %s", tt.name, status, report, tt.status, tt.verdict)
		}
		for _, name := range []string{"compat.json", "compat.html", "compat.md", "compat.xml"} {
			if _, err := os.Stat(filepath.Join(out, name)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestScanCompatRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want   string
		status int
		args   []string
	}{
		{"--to is missing", exitUsage, []string{"--monitor-file", text}},
		{"unknown kind of target", exitUsage, []string{"--to", "memcached", "--monitor-file", text}},
		{"there is nothing to examine", exitUsage, []string{"--to", "cluster"}},
		{"contains no calls", exitUsage, []string{"--to", "cluster", "--source", "rdb:" + text}},
		{"needs a live --source", exitUsage, []string{"--to", "cluster", "--monitor", "3s", "--monitor-file", text}},
		{"--to-version", exitUsage, []string{"--to", "cluster", "--to-version", "seven", "--monitor-file", text}},
		{"--hash-tag", exitUsage, []string{"--to", "twemproxy", "--hash-tag", "x", "--monitor-file", text}},
		{"--sizes", exitUsage, []string{"--to", "cluster", "--sizes", "all", "--monitor-file", text}},
		{"--trial: must be a cluster", exitUsage, []string{"--to", "cluster", "--trial", "redis://127.0.0.1:1", "--monitor-file", text}},
		{"no calls to send", exitUsage, []string{"--to", "cluster", "--trial", "redis+cluster://127.0.0.1:1", "--code", dir}},
		{"only be used with --to cluster", exitUsage, []string{"--to", "codis", "--trial", "redis+cluster://127.0.0.1:1", "--monitor-file", text}},
		{"takes only flags", exitUsage, []string{"--to", "cluster", "--monitor-file", text, "more"}},
		{"contains no line of MONITOR", exitFailed, []string{"--to", "cluster", "--monitor-file", text}},
		{"no such file", exitFailed, []string{"--to", "cluster", "--aof", filepath.Join(dir, "none")}},
	} {
		status, _, stderr := scanCommand(append([]string{"compat"}, tt.args...)...)
		if status != tt.status || !strings.Contains(stderr, tt.want) {
			t.Errorf("%v: exit %d, %q; want %d, %q", tt.args, status, stderr, tt.status, tt.want)
		}
	}
}

func TestMigrateScanRefuses(t *testing.T) {
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"unknown kind", []string{"--scan", "--scan-to", "memcached"}},
		{"no meaning without --scan", []string{"--scan-to", "cluster"}},
		{"is no snapshot and no stream", []string{"--scan", "--capture", "scan"}},
	} {
		var out, talk bytes.Buffer
		status := run(append([]string{"surecut", "migrate", "--source", "redis://127.0.0.1:1", "--target", "redis://127.0.0.1:2"}, tt.args...), &out, &talk)
		if status != exitUsage || !strings.Contains(talk.String(), tt.want) {
			t.Errorf("%v: exit %d, %q; want %d, %q", tt.args, status, talk.String(), exitUsage, tt.want)
		}
	}
}
