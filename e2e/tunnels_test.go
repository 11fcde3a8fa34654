//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/e2e/tunnels"
)

// hide has the nodes announce host names that only the bastion resolves, and gives the URL of the first.
func hide(t *testing.T, nodes []*servers.Server, b *tunnels.Bastion) string {
	t.Helper()
	for i, n := range nodes {
		name := "node-" + strconv.Itoa(i) + ".inside"
		b.Host(name, "127.0.0.1")
		n.Must("CONFIG", "SET", "cluster-announce-hostname", name, "cluster-preferred-endpoint-type", "hostname")
	}
	deadline := time.Now().Add(time.Minute)
	for _, n := range nodes {
		for strings.Count(fmt.Sprint(n.Must("CLUSTER", "SLOTS")), ".inside ") < len(nodes) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does not announce all names: %v", n.Addr, n.Must("CLUSTER", "SLOTS"))
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return "redis+cluster://node-0.inside:" + strconv.Itoa(nodes[0].Port)
}

// TestTunnels migrates a cluster whose nodes only a bastion can find to a server behind a SOCKS5 proxy. The bastion
// is lost on the way.
func TestTunnels(t *testing.T) {
	beside(t, working)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	b, p := tunnels.NewBastion(t), tunnels.NewProxy(t)
	sourceNodes := servers.Cluster(t, "redis:7.0", 3, 0)
	targetNode := servers.Standalone(t, "redis:7.0")
	pair := dataset.Pair{Source: open(t, sourceNodes), Target: open(t, []*servers.Server{targetNode})}
	fill := dataset.Options{Seed: seed, Keys: 5_000}
	if _, err := dataset.Fill(t.Context(), pair.Source, fill); err != nil {
		t.Fatal(err)
	}
	traffic := dataset.StartTraffic(t.Context(), pair.Source, dataset.TrafficOptions{Seed: seed, BulkKeys: fill.Keys, MaxTime: 2 * time.Minute})
	defer traffic.Stop()
	source := hide(t, sourceNodes, b)
	p.Host("target.inside", "127.0.0.1")
	target := "redis://target.inside:" + strconv.Itoa(targetNode.Port)

	env := []string{"SURECUT_TARGET_SOCKS5_PASSWORD=" + p.Password, "SSH_AUTH_SOCK="}
	way := []string{"--source", source, "--source-ssh", b.User + "@" + b.Addr, "--source-ssh-key", b.KeyFile, "--source-ssh-known-hosts", b.KnownHosts,
		"--target", target, "--target-socks5", p.User + "@" + p.Addr}
	state, out := t.TempDir(), t.TempDir()
	m := startWith(t, env, append([]string{"migrate", "--accept-alarms", "--progress", "json", "--state", state, "--out", out}, way...)...)
	m.waitPhase("caught_up", time.Minute)
	if n := b.Served(); n != 1 {
		t.Errorf("%d SSH connections, want 1 for all", n)
	}
	b.Drop()
	for deadline := time.Now().Add(time.Minute); b.Served() < 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the bastion was not asked again; stderr: %.3000s", m.talk())
		}
	}
	// What the source said before it was lost holds no longer: wait for a report made after that.
	m.waitFor("caught up again", len(m.seen())+2, time.Minute, func(p progress) bool { return p.Phase == "caught_up" })
	live := startWith(t, env, append([]string{"verify", "--state", state, "--progress", "none"}, way...)...)
	live.want(live.end(time.Minute), 0)
	if err := traffic.Stop(); err != nil {
		t.Fatal(err)
	}
	m.waitDrained(30 * time.Second)
	m.want(m.stop(30*time.Second), 0)
	result := same(t, pair, dataset.CompareOptions{})
	t.Logf("%d keys, %d live writes, %d SSH connections", result.Keys, traffic.Writes.Load(), b.Served())
	for _, addr := range b.Asked() {
		if host, _, _ := net.SplitHostPort(addr); !strings.HasSuffix(host, ".inside") {
			t.Errorf("the bastion was asked for %s, which is no announced name", addr)
		}
	}
	seedDifference(t, targetNode, env, way)
}

// seedDifference holds that verify through the tunnels finds a fault, and that repair mends it.
func seedDifference(t *testing.T, target *servers.Server, env, way []string) {
	t.Helper()
	target.Must("SET", "only:here", "v")
	out := t.TempDir()
	v := startWith(t, env, append([]string{"verify", "--progress", "none", "--out", out}, way...)...)
	v.want(v.end(time.Minute), 3)
	r := startWith(t, env, append([]string{"repair", "--report", out + "/verify.json", "--apply", "--delete-extra"}, way...)...)
	r.want(r.end(time.Minute), 0)
}

func TestTunnelsRefuse(t *testing.T) {
	beside(t, waiting)
	b, other, p := tunnels.NewBastion(t), tunnels.NewBastion(t), tunnels.NewProxy(t)
	s := servers.Standalone(t, "redis:7.0")
	target := servers.Standalone(t, "redis:7.0").URL()
	ssh := func(key, known string) []string {
		return []string{"--source-ssh", b.User + "@" + b.Addr, "--source-ssh-key", key, "--source-ssh-known-hosts", known}
	}
	for _, tt := range []struct {
		name   string
		status int
		args   []string
		says   []string
	}{
		{"unknown host key", 1, ssh(b.KeyFile, other.KnownHosts), []string{"bastion " + b.User + "@" + b.Addr, "not known", "ssh-keyscan"}},
		{"wrong key", 1, ssh(other.KeyFile, b.KnownHosts), []string{"refuses the login"}},
		{"wrong password of the proxy", 1, []string{"--source-socks5", p.User + ":" + secret + "@" + p.Addr}, []string{"refused the login"}},
		{"password for the bastion on the command line", 5, []string{"--source-ssh", "u:" + secret + "@" + b.Addr}, []string{"--source-ssh"}},
		{"bad NAT", 5, []string{"--source-nat", "10.0.0.1"}, []string{"--source-nat", "announced=reachable"}},
		{"bad node", 5, []string{"--source-nodes", tunnels.Write(t, "nodes", "h:1\nh:x:"+secret)}, []string{"line 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"verify", "--source", s.URL(), "--target", target, "--progress", "none"}, tt.args...)
			startWith(t, []string{"SSH_AUTH_SOCK=", "HOME=" + t.TempDir()}, args...).clearly(t, tt.status, "", tt.says...)
		})
	}
}
