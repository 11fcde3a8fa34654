//go:build servers

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"surecut/e2e/servers"
)

// TestNothingMeasuresSurecutItself: what earlier commands of surecut made the source count is no finding of the next ones.
func TestNothingMeasuresSurecutItself(t *testing.T) {
	source, target, other := servers.Standalone(t, "redis:7.0"), servers.Cluster(t, "redis:7.0", 3, 0)[0], servers.Standalone(t, "redis:7.0")
	source.Must("CONFIG", "RESETSTAT")
	for i := range 300 {
		source.Must("SET", fmt.Sprint("key:", i), "1", "EX", "10000")
		source.Must("GET", fmt.Sprint("key:", i))
		other.Must("SET", fmt.Sprint("key:", i), "2")
	}
	surecut := func(args ...string) (int, string, string) {
		var stdout, stderr bytes.Buffer
		status := run(append([]string{"surecut"}, args...), &stdout, &stderr)
		return status, stdout.String(), stderr.String()
	}
	ends := []string{"--on-existing", "replace", "--accept", "target_empty", "--source", source.URL(), "--target", target.URL()}
	for range 2 { // the second time the first has been counted
		if status, out, said := surecut(append([]string{"check"}, ends...)...); status != exitOK {
			t.Errorf("check: status %d: %s%s", status, out, said)
		}
		surecut("scan", "bigkeys", "--source", source.URL(), "--progress", "none")
		if status, out, said := surecut("verify", "--source", source.URL(), "--target", other.URL(), "--progress", "none"); status != exitDifferent {
			t.Errorf("verify: status %d: %s%s", status, out, said)
		}
		surecut(append([]string{"migrate", "--mode", "full", "--progress", "none", "--state", t.TempDir()}, ends...)...)
	}
	status, out, said := surecut("scan", "compat", "--source", source.URL(), "--to", "cluster", "--format", "json")
	var report struct {
		Verdict  string
		Findings []struct{ Command, Level, Certainty string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v: %s%s", err, out, said)
	}
	if status != exitUnchecked || report.Verdict != "risky" {
		t.Errorf("scan compat: status %d, verdict %s", status, report.Verdict)
	}
	for _, f := range report.Findings {
		ofTools := f.Command == "SCAN" || f.Command == "DBSIZE"
		if harmless := f.Level == "info" || f.Level == "cost"; !harmless && (f.Certainty != "possible" || !ofTools) {
			t.Errorf("found of surecut's own commands: %+v", f)
		}
	}
}

// TestAcceptedForCheckIsAcceptedForMigrate: what the last line of check says is enough for check, and for migrate right after it. What
// migrate says without it is the same.
func TestAcceptedForCheckIsAcceptedForMigrate(t *testing.T) {
	source, target := servers.Standalone(t, "redis:7.0"), servers.Cluster(t, "redis:7.0", 3, 0)[0]
	source.Must("DEBUG", "POPULATE", "10000")
	source.Must("MGET", "key:1", "key:2") // an alarm: whether its keys lie together was not seen
	ends := []string{"--source", source.URL(), "--target", target.URL()}
	surecut := func(args ...string) (int, string) {
		var stdout, stderr bytes.Buffer
		status := run(append(append([]string{"surecut"}, args...), ends...), &stdout, &stderr)
		return status, strings.TrimSpace(stderr.String())
	}
	status, said := surecut("check")
	lines := strings.Split(said, "\n")
	_, accept, found := strings.Cut(lines[len(lines)-1], "--accept ")
	if status != exitUnchecked || !found || accept != "command_compatibility" {
		t.Fatalf("status %d, and the last line is %q", status, lines[len(lines)-1])
	}
	migrate := []string{"migrate", "--mode", "full", "--progress", "none", "--state", t.TempDir()}
	if status, said := surecut(migrate...); status != exitUnchecked || !strings.HasSuffix(said, "--accept "+accept) {
		t.Errorf("without it migrate has status %d and says %q", status, said)
	}
	if status, said := surecut("check", "--accept", accept); status != exitOK || strings.Contains(said, "--accept") {
		t.Errorf("check with it: status %d, %q", status, said)
	}
	// Notes, and what was not raised, may be accepted as well.
	if status, said := surecut(append(migrate, "--accept", accept+",authentication,clock_skew")...); status != exitOK {
		t.Errorf("migrate with it: status %d, %q", status, said)
	}
}
