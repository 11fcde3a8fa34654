//go:build servers

// Package examples tests the programs beside it as a stranger would build them: each is a module of its own.
package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"surecut/e2e/servers"
)

// TestLibrary: the program migrates, verifies and gates with what can be imported. After GO, nothing of surecut is left on the target.
func TestLibrary(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "library")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	build.Dir = "library"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	for i := range 1000 {
		source.Must("SET", "key:"+strconv.Itoa(i), "value")
	}
	run := exec.CommandContext(t.Context(), binary, source.URL(), target.URL(), t.TempDir())
	run.Env = append(os.Environ(), "GOTRACEBACK=all")
	out, err := run.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "GO ") {
		t.Fatalf("%v: %s", err, out)
	}
	if got := target.Must("DBSIZE"); got != int64(1000) {
		t.Errorf("the target has %v keys", got)
	}
}
