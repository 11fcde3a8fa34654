//go:build servers

package endpoint

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/e2e/tunnels"
)

// reaches fails the test unless every primary answers, and is known by the address that it announces.
func reaches(t *testing.T, s Spec, announced []string) *Deployment {
	t.Helper()
	d, err := Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	shards := d.Shards()
	if len(shards) != len(announced) {
		t.Fatalf("%d shards, want %d: %+v", len(shards), len(announced), shards)
	}
	for i, shard := range shards {
		if shard.Primary.Addr != announced[i] {
			t.Errorf("shard %d is known as %s, want %s", i, shard.Primary.Addr, announced[i])
		}
		conn, err := d.DialReplica(t.Context(), shard.Primary.Addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		c, err := d.Client(t.Context(), shard.Primary.Addr, 0)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := c.Do(t.Context(), c.B().Arbitrary("CLUSTER", "MYID").Build()).ToString(); err != nil || id != shard.Primary.ID {
			t.Errorf("at %s answers node %s, %v; want %s", shard.Primary.Addr, id, err, shard.Primary.ID)
		}
	}
	return d
}

// unreachable fails the test if the endpoint can be used.
func unreachable(t *testing.T, why string, s Spec, says string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d, err := Open(ctx, s)
	if err == nil {
		defer d.Close()
		for _, shard := range d.Shards() {
			if _, nodeErr := d.Client(ctx, shard.Primary.Addr, 0); nodeErr != nil {
				err = nodeErr
			}
		}
	}
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v, want an error that says %q", why, err, says)
	}
}

// waitAnnounced waits until every node says the same of all.
func waitAnnounced(t *testing.T, nodes []*servers.Server, announced []string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		missing := ""
		for _, n := range nodes {
			text := fmt.Sprint(n.Must("CLUSTER", "SLOTS"))
			for _, addr := range announced {
				host, port, _ := net.SplitHostPort(addr)
				if !strings.Contains(text, "["+host+" "+port+" ") {
					missing = n.Addr + " does not announce " + addr + ": " + text
				}
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(missing)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// hiddenNames is a cluster that announces host names which only the tunnels know.
func hiddenNames(t *testing.T) (nodes []*servers.Server, announced []string) {
	t.Helper()
	nodes = servers.Cluster(t, "redis:7.0", 3, 0, "--cluster-preferred-endpoint-type", "hostname")
	for i, n := range nodes {
		name := "node-" + strconv.Itoa(i) + ".inside"
		n.Must("CONFIG", "SET", "cluster-announce-hostname", name)
		announced = append(announced, net.JoinHostPort(name, strconv.Itoa(n.Port)))
	}
	waitAnnounced(t, nodes, announced)
	return nodes, announced
}

func TestClusterOfHiddenNames(t *testing.T) {
	_, announced := hiddenNames(t)
	b, p := tunnels.NewBastion(t), tunnels.NewProxy(t)
	nat := NAT{}
	for _, addr := range announced {
		b.Host(hostOf(addr), "127.0.0.1")
		p.Host(hostOf(addr), "127.0.0.1")
		nat[hostOf(addr)] = "127.0.0.1"
	}
	direct := Spec{Kind: Cluster, Addrs: announced[:1]}
	unreachable(t, "without a tunnel", direct, "cannot be resolved")
	overSSH, overProxy, overNAT := direct, direct, direct
	overSSH.SSH = through(b)
	reaches(t, overSSH, announced)
	if n := b.Served(); n != 1 {
		t.Errorf("%d SSH connections, want 1", n)
	}
	stranger := *overSSH.SSH
	stranger.KnownHosts = tunnels.NewBastion(t).KnownHosts
	overSSH.SSH = &stranger
	unreachable(t, "unknown host key", overSSH, "is not known")
	overProxy.SOCKS5 = &SOCKS5{p.Addr, p.User, p.Password}
	reaches(t, overProxy, announced)
	overProxy.SOCKS5 = &SOCKS5{p.Addr, p.User, "wrong"}
	unreachable(t, "wrong password of the proxy", overProxy, "refused the login")
	overNAT.NAT = nat
	reaches(t, overNAT, announced)
}

// announcePort has a node tell its clients another port than it listens at; the bus stays where it is.
func announcePort(n *servers.Server, port string) {
	n.Must("CONFIG", "SET", "cluster-announce-bus-port", strconv.Itoa(n.Port+10000))
	n.Must("CONFIG", "SET", "cluster-announce-port", port)
}

// TestClusterOfOtherPorts has nodes that announce ports at which nothing listens, each with a password of its own.
func TestClusterOfOtherPorts(t *testing.T) {
	nodes := servers.Cluster(t, "redis:7.0", 3, 0)
	var announced []string
	nat, list := NAT{}, ""
	passwords := map[string]string{}
	for i, n := range nodes {
		_, port, _ := net.SplitHostPort(closedPort(t))
		announcePort(n, port)
		announced = append(announced, "127.0.0.1:"+port)
		nat[announced[i]] = n.Addr
		passwords[announced[i]] = "pw" + strconv.Itoa(i)
		list += n.Addr + ":pw" + strconv.Itoa(i) + "\n"
	}
	waitAnnounced(t, nodes, announced)
	for i, n := range nodes {
		n.Must("CONFIG", "SET", "requirepass", "pw"+strconv.Itoa(i))
	}
	parsed, err := ParseNodes(list)
	if err != nil {
		t.Fatal(err)
	}
	listed, err := ParseListed("redis+cluster://", parsed)
	if err != nil {
		t.Fatal(err)
	}
	reaches(t, listed, announced)
	mapped := Spec{Kind: Cluster, Addrs: announced[:1], NAT: nat, Passwords: passwords}
	reaches(t, mapped, announced)

	seed := Spec{Kind: Cluster, Addrs: []string{nodes[0].Addr}, Password: "pw0"}
	unreachable(t, "no map", seed, "refused")
	seed.NAT = nat
	unreachable(t, "one password for all", seed, "WRONGPASS")
	wrong := mapped
	wrong.Passwords = maps.Clone(passwords)
	wrong.Passwords[announced[2]] = "wr0ng"
	unreachable(t, "a wrong password of one node", wrong, announced[2])
}

// securedArgs are the options of a server that speaks TLS and requires a client certificate.
func securedArgs(ca *authority, server issued, port string) []string {
	return []string{"--tls-port", port, "--tls-cert-file", server.CertFile, "--tls-key-file", server.KeyFile,
		"--tls-ca-cert-file", ca.File, "--tls-auth-clients", "yes"}
}

func TestTLSOfEveryVersion(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	client, foreign := ca.issue(t, time.Hour), stranger.issue(t, time.Hour)
	good := TLS{CAFile: ca.File, ServerName: "redis.test", CertFile: client.CertFile, KeyFile: client.KeyFile}
	for _, image := range servers.Must() {
		t.Run(image, func(t *testing.T) {
			_, port, _ := net.SplitHostPort(closedPort(t))
			server := ca.issue(t, time.Hour, "redis.test")
			s := servers.Standalone(t, image, securedArgs(ca, server, port)...)
			spec := func(change func(*TLS)) Spec {
				secured := good
				change(&secured)
				return Spec{Kind: Standalone, Addrs: []string{"127.0.0.1:" + port}, DB: AllDBs, TLS: &secured}
			}
			d, err := Open(t.Context(), spec(func(*TLS) {}))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(d.Close)
			if facts, err := d.Server(t.Context(), "127.0.0.1:"+port); err != nil || facts.Version != s.Version {
				t.Errorf("the server is %+v, %v; want version %s", facts, err, s.Version)
			}
			unreachable(t, "other authority", spec(func(c *TLS) { c.CAFile = stranger.File }), "not trusted")
			unreachable(t, "other name", spec(func(c *TLS) { c.ServerName = "" }), "another name")
			unreachable(t, "no client certificate", spec(func(c *TLS) { c.CertFile, c.KeyFile = "", "" }), "requires a client certificate")
			unreachable(t, "foreign client certificate", spec(func(c *TLS) { c.CertFile, c.KeyFile = foreign.CertFile, foreign.KeyFile }), "does not accept the client certificate")
			expired := ca.issue(t, -time.Hour, "redis.test")
			for from, to := range map[string]string{expired.KeyFile: server.KeyFile, expired.CertFile: server.CertFile} {
				if err := os.Rename(from, to); err != nil {
					t.Fatal(err)
				}
			}
			s.Must("CONFIG", "SET", "tls-cert-file", server.CertFile) // reads both again
			unreachable(t, "expired", spec(func(*TLS) {}), "not valid now")
		})
	}
}

// TestTLSCluster has nodes that announce IP addresses, which their certificate does not carry.
func TestTLSCluster(t *testing.T) {
	ca := newAuthority(t)
	server, client := ca.issue(t, time.Hour, "redis.test"), ca.issue(t, time.Hour)
	nodes := servers.Cluster(t, "redis:7.0", 3, 0, securedArgs(ca, server, "0")...)
	var announced []string
	for _, n := range nodes {
		_, port, _ := net.SplitHostPort(closedPort(t))
		n.Must("CONFIG", "SET", "tls-port", port)
		announcePort(n, port)
		announced = append(announced, "127.0.0.1:"+port)
	}
	waitAnnounced(t, nodes, announced)
	s := Spec{Kind: Cluster, Addrs: announced[:1], TLS: &TLS{CAFile: ca.File, ServerName: "redis.test", CertFile: client.CertFile, KeyFile: client.KeyFile}}
	reaches(t, s, announced)
	b := tunnels.NewBastion(t)
	s.SSH = through(b)
	reaches(t, s, announced)
	unnamed := *s.TLS
	unnamed.ServerName = ""
	s.TLS = &unnamed
	unreachable(t, "the announced address is not in the certificate", s, "another name")
}
