//go:build servers

package endpoint

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
)

// group is a primary with two replicas and three sentinels.
func group(t *testing.T, image string, config ...string) (nodes, sentinels []*servers.Server) {
	t.Helper()
	primary := servers.Standalone(t, image, "--repl-backlog-size", "16mb")
	nodes = []*servers.Server{primary, servers.Replica(t, primary), servers.Replica(t, primary)}
	return nodes, servers.Sentinels(t, primary, 2, 3, config...)
}

func openURL(t *testing.T, url string, change func(*Spec)) (*Deployment, error) {
	t.Helper()
	spec, err := Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&spec)
	}
	d, err := Open(t.Context(), spec)
	if err == nil {
		t.Cleanup(d.Close)
	}
	return d, err
}

// TestSentinel: the primary and its replicas are found, and found again after a failover, also by sentinels that the
// URL does not name.
func TestSentinel(t *testing.T) {
	for _, image := range []string{"redis:6.0", "valkey/valkey:8.1"} {
		t.Run(image, func(t *testing.T) {
			nodes, sentinels := group(t, image)
			d, err := openURL(t, servers.SentinelURL(sentinels), nil)
			if err != nil {
				t.Fatal(err)
			}
			is := func(primary *servers.Server, replicas int) error {
				shards := d.Shards()
				if len(shards) != 1 || shards[0].Primary.Addr != primary.Addr || len(shards[0].Replicas) != replicas {
					return fmt.Errorf("shards %v, want the primary %s with %d replicas", shards, primary.Addr, replicas)
				}
				return nil
			}
			if err := is(nodes[0], 2); err != nil {
				t.Fatal(err)
			}
			views := d.Sentinels()
			if len(views) != 3 || views[1].Err != nil || views[1].Quorum != 2 {
				t.Fatalf("sentinels: %+v", views)
			}
			stale := SentinelView{Addr: "10.0.0.1:26379", Primary: nodes[1].Addr}
			if err := d.verifyPrimary(t.Context(), stale); err == nil || !strings.Contains(err.Error(), stale.Addr) || !strings.Contains(err.Error(), "is a replica of "+nodes[0].Addr) {
				t.Errorf("a sentinel that was cut off names a replica as the primary: %v", err)
			}
			sentinels[0].Kill()
			now := sentinels[1].Failover(nodes...)
			deadline := time.Now().Add(30 * time.Second)
			for {
				err := d.Refresh(t.Context())
				if err == nil {
					err = is(now, 2)
				}
				if err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}

// TestSentinelRefuses: what does not lead to a primary says which sentinel said what.
func TestSentinelRefuses(t *testing.T) {
	nodes, sentinels := group(t, "redis:7.0", "requirepass s3cr3t")
	password := func(s *Spec) { s.SentinelPassword = "s3cr3t" }
	url := servers.SentinelURL(sentinels)
	if _, err := openURL(t, url, password); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, url string
		change    func(*Spec)
		says      []string
	}{
		{"other name", strings.Replace(url, servers.SentinelGroup, "other", 1), password, []string{sentinels[0].Addr, `"other"`, servers.SentinelGroup}},
		{"no password", url, nil, []string{sentinels[0].Addr, "their own password"}},
		{"wrong password", url, func(s *Spec) { s.SentinelPassword = "wr0ng" }, []string{sentinels[0].Addr, "password of the sentinels"}},
		{"no sentinel", "redis+sentinel://" + nodes[0].Addr + "/main", nil, []string{nodes[0].Addr, "no sentinel"}},
		{"nobody there", "redis+sentinel://127.0.0.1:1/main", nil, []string{"127.0.0.1:1", "no server is listening"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := openURL(t, tt.url, tt.change)
			if err == nil {
				t.Fatal("it opened")
			}
			for _, part := range tt.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v: does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "wr0ng") || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}
