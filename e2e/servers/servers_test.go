//go:build servers

package servers_test

import (
	"strings"
	"testing"

	"surecut/e2e/servers"
)

func TestStandaloneAndReplica(t *testing.T) {
	for _, image := range servers.Images() {
		t.Run(image, func(t *testing.T) {
			s := servers.Standalone(t, image, "--requirepass", "secret")
			_, tag, _ := strings.Cut(image, ":")
			if !strings.HasPrefix(s.Version, tag+".") {
				t.Fatalf("version %s, want %s", s.Version, tag)
			}
			s.Must("SET", "a", "1")
			r := servers.Replica(t, s, "--requirepass", "secret")
			if got := r.Must("GET", "a"); got != "1" {
				t.Fatalf("replica holds %v", got)
			}
		})
	}
}

func TestClusterStands(t *testing.T) {
	for _, image := range servers.Clusters() {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			nodes := servers.Cluster(t, image, 3, 1)
			if len(nodes) != 6 {
				t.Fatalf("%d nodes", len(nodes))
			}
			nodes[0].Must("SET", "{06S}", "1") // slot 0
			if err := nodes[1].Do("SET", "{06S}", "1").Error(); err == nil || !strings.HasPrefix(err.Error(), "MOVED 0 ") {
				t.Fatalf("slot 0 at the second node: %v", err)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	s := servers.Standalone(t, "redis:7.0")
	s.Must("SET", "a", "1")
	s.Pause()
	s.Resume()
	if got := s.Must("GET", "a"); got != "1" {
		t.Fatalf("after a pause: %v", got)
	}
	s.Kill()
	if err := s.Do("PING").Error(); err == nil {
		t.Fatal("a killed server answers")
	}
	s.Restart()
	if got := s.Must("DBSIZE"); got != int64(0) {
		t.Fatalf("without persistence %v keys survived", got)
	}
}
