//go:build servers

package main

import (
	"bytes"
	"strings"
	"testing"

	"surecut/e2e/servers"
)

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
