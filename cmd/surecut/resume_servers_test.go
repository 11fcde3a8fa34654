//go:build servers

package main

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"surecut/e2e/servers"
)

// TestResumeWhereTheRecordIsLost: a node that holds surecut's record of the migration comes back empty. The checks must not take the
// rest of the target for somebody else's keys, and ask for it to be emptied.
func TestResumeWhereTheRecordIsLost(t *testing.T) {
	source, nodes, dir := servers.Standalone(t, "redis:7.0"), servers.Cluster(t, "redis:7.0", 3, 0), t.TempDir()
	for i := range 300 {
		source.Must("SET", "k"+strconv.Itoa(i), "v")
	}
	migrate := func(want int) string {
		t.Helper()
		return call(t, want, "migrate", "--source", source.URL(), "--target", nodes[0].URL(), "--state", filepath.Join(dir, "state"),
			"--until", "caught-up", "--progress", "none", "--accept-alarms")
	}
	lose := func() *servers.Server {
		t.Helper()
		for _, n := range nodes {
			if id, err := n.Do("HGET", "__surecut:migration", "id").ToString(); err == nil && id != "" {
				n.Must("FLUSHALL")
				return n
			}
		}
		t.Fatal("no node holds the record")
		return nil
	}
	migrate(0)
	lose()
	migrate(0) // all of the target was the migration's, so it is copied again
	var keys int64
	for _, n := range nodes {
		keys += int64(len(n.Must("KEYS", "k*").([]any)))
	}
	if keys != 300 {
		t.Errorf("%d of 300 keys are there", keys)
	}
	lost := lose()
	lost.Must("SET", keyOn(t, lost), "of somebody else")
	if said := migrate(1); !strings.Contains(said, "has lost keys at "+lost.Addr) {
		t.Errorf("%s", said)
	}
}

// keyOn is a key that the node of a cluster owns.
func keyOn(t *testing.T, n *servers.Server) string {
	t.Helper()
	for i := range 1000 {
		if name := "other" + strconv.Itoa(i); n.Do("EXISTS", name).Error() == nil {
			return name
		}
	}
	t.Fatal("the node owns no slot")
	return ""
}
