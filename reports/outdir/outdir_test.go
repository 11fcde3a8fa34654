package outdir

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestTakeMovesReportsOfTheKinds(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"verify.json": "old", "verify.html": "", "verify.md": "", "verify.xml": "", "gate.json": `{"verdict":"NO-GO"}`, "gate.html": "",
		"check.json": "", "policy.yaml": "ours not", "verify.json.bak": "", "verify.log": "", ".verify.json.123.tmp": "half", "notes.txt": ""})
	d, err := Take(dir, "verify", "gate")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), []string{lockName, "check.json", "earlier", "notes.txt", "policy.yaml", "verify.json.bak", "verify.log"}; !slices.Equal(got, want) {
		t.Errorf("the directory holds %v, want %v", got, want)
	}
	if got, want := names(t, d.Moved()), []string{"gate.html", "gate.json", "verify.html", "verify.json", "verify.md", "verify.xml"}; !slices.Equal(got, want) {
		t.Errorf("moved %v, want %v", got, want)
	}
	if moved, ok := d.Followed(filepath.Join(dir, "verify.json")); !ok || moved != filepath.Join(d.Moved(), "verify.json") {
		t.Errorf("followed to %q, %v", moved, ok)
	}
	if d.Has("verify") || !d.Has("check") {
		t.Error("what the run has written is not what lies there")
	}
	d.Close()
	if slices.Contains(names(t, dir), lockName) {
		t.Error("the lock is left behind")
	}
	write(t, dir, map[string]string{"verify.json": "second"})
	again, err := Take(dir, "verify", "gate") // within the same second
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Moved() == d.Moved() {
		t.Errorf("two runs moved their reports into one place, %s", d.Moved())
	}
}

func TestTakeLeavesNothingToMove(t *testing.T) {
	d, err := Take(filepath.Join(t.TempDir(), "new"), "verify", "gate")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Moved() != "" {
		t.Errorf("moved to %s, and there was nothing", d.Moved())
	}
	if _, ok := d.Followed("verify.json"); ok {
		t.Error("a file was followed that was never there")
	}
}

func TestTakeRefuses(t *testing.T) {
	tests := []struct {
		name, why string
		files     map[string]string
		prepare   func(dir string) error
		want      error
		says      string
	}{
		{name: "GO", why: "the record of a cutover stays", files: map[string]string{"gate.json": `{"schema":"surecut.gate/1","verdict":"GO"}`, "verify.json": "x"}, want: ErrGo},
		{name: "GO of a later version", why: "its other fields are not ours to know", files: map[string]string{"gate.json": `{"schema":"surecut.gate/9","verdict":"GO","x":[1]}`}, want: ErrGo},
		{name: "a directory in the way", why: "the report could not be put in place at the end", prepare: func(dir string) error { return os.Mkdir(filepath.Join(dir, "verify.xml"), 0o755) }, says: "verify.xml is not a regular file"},
		{name: "a link in the way", why: "it may lead to another's record", prepare: func(dir string) error { return os.Symlink("/etc/hostname", filepath.Join(dir, "verify.json")) }, says: "verify.json is not a regular file"},
		{name: "two runs", why: "one would take the other's report for its own", prepare: func(dir string) error { _, err := Take(dir, "check"); return err }, want: ErrBusy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, tt.files)
			if tt.prepare != nil {
				if err := tt.prepare(dir); err != nil {
					t.Fatal(err)
				}
			}
			before := names(t, dir)
			d, err := Take(dir, "verify", "gate")
			if err == nil {
				d.Close()
				t.Fatalf("taken (%s)", tt.why)
			}
			if tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %q, want %v and the directory", err, tt.want)
			}
			if after := names(t, dir); !slices.Equal(before, after) {
				t.Errorf("the directory was changed from %v to %v", before, after)
			}
		})
	}
}

// TestLockFileOfAKilledRun: the lock ends with the process, and the file that is left locks nobody out.
func TestLockFileOfAKilledRun(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{lockName: ""})
	d, err := Take(dir, "verify")
	if err != nil {
		t.Fatalf("a killed run locks others out: %v", err)
	}
	d.Close()
}

// TestMoveWithoutADirectory: old reports go out of the way even where no directory can be made for them.
func TestMoveWithoutADirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"verify.json": "old", Earlier: "a file where the directory should be"})
	d, err := Take(dir, "verify")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, name := range names(t, dir) {
		if filepath.Ext(name) == ".json" {
			t.Errorf("%s is left for a gate to read", name)
		}
	}
	moved, ok := d.Followed(filepath.Join(dir, "verify.json"))
	if data, err := os.ReadFile(moved); !ok || err != nil || string(data) != "old" {
		t.Errorf("%s: %q, %v", moved, data, err)
	}
}
