package endpoint

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"surecut/e2e/tunnels"
)

// okServer answers every command with +OK.
func okServer(t *testing.T) string { return listen(t, serveOK) }

// listen serves each connection until the test ends.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, serve)
}

// serveOn is listen on a listener of the caller's, which it closes.
func serveOn(t *testing.T, l net.Listener, serve func(net.Conn)) string {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// closedPort gives an address where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// routed is a deployment that has connected to nothing yet.
func routed(t *testing.T, s Spec) *Deployment {
	t.Helper()
	s.Kind = Standalone
	d, err := newDeployment(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// withoutKeys hides the keys, the agent and the known hosts of whoever runs the test.
func withoutKeys(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("SSH_AUTH_SOCK", "")
}

func through(b *tunnels.Bastion) *SSH {
	return &SSH{User: b.User, Addr: b.Addr, KeyFile: b.KeyFile, KnownHosts: b.KnownHosts}
}

func TestSSHBastion(t *testing.T) {
	withoutKeys(t)
	b, other := tunnels.NewBastion(t), tunnels.NewBastion(t)
	node := okServer(t)
	// The other bastion's key under this one's address: what a man in the middle looks like.
	theirs, err := os.ReadFile(other.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(string(theirs), " ")
	host, port, _ := net.SplitHostPort(b.Addr)
	swapped := tunnels.Write(t, "known_hosts", "["+host+"]:"+port+" "+key)
	tests := []struct {
		name, why string
		change    func(*SSH)
		node      string
		forbid    bool
		says      []string // none: it works
	}{
		{name: "key", why: "the usual way", change: func(*SSH) {}},
		{name: "password", why: "some have no keys", change: func(s *SSH) { s.KeyFile, s.Password = "", b.Password }},
		{name: "unknown host key", why: "verified by default", change: func(s *SSH) { s.KnownHosts = other.KnownHosts }, says: []string{"is not known", "SHA256:", "ssh-keyscan"}},
		{name: "no known hosts", why: "nothing is trusted at first sight", change: func(s *SSH) { s.KnownHosts = "" }, says: []string{"is not known", "no file with known hosts"}},
		{name: "other host key", why: "someone may listen in", change: func(s *SSH) { s.KnownHosts = swapped }, says: []string{"is not the one in " + swapped + ":1", "SHA256:"}},
		{name: "any host key", why: "the user said so", change: func(s *SSH) { s.KnownHosts, s.Insecure = "", true }},
		{name: "missing file of known hosts", why: "a typing error must not turn the check off", change: func(s *SSH) { s.KnownHosts += "x" }, says: []string{"no such file"}},
		{name: "wrong key", change: func(s *SSH) { s.KeyFile = other.KeyFile }, says: []string{"refuses the login", "publickey"}},
		{name: "wrong password", change: func(s *SSH) { s.KeyFile, s.Password = "", "s3cr3t" }, says: []string{"refuses the login", "password"}},
		{name: "nothing to log in with", change: func(s *SSH) { s.KeyFile = "" }, says: []string{"no key and no password"}},
		{name: "bastion is down", change: func(s *SSH) { s.Addr = closedPort(t) }, says: []string{"the SSH bastion jump@", "no server is listening there"}},
		{name: "not an SSH server", change: func(s *SSH) { s.Addr, s.Insecure = fakeServer(t, "-ERR unknown command\r\n"), true }, says: []string{"the SSH bastion jump@", "an SSH server listens"}},
		{name: "node is down", why: "it is not the bastion", change: func(*SSH) {}, node: closedPort(t), says: []string{"through the SSH bastion", "the bastion cannot reach it"}},
		{name: "forwarding is forbidden", change: func(*SSH) {}, forbid: true, says: []string{"AllowTcpForwarding"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := through(b)
			tt.change(s)
			b.Forbid.Store(tt.forbid)
			if tt.node == "" {
				tt.node = node
			}
			conn, err := routed(t, Spec{SSH: s}).DialReplica(t.Context(), tt.node)
			if err == nil {
				conn.Close()
			}
			if len(tt.says) == 0 && err != nil || len(tt.says) > 0 && err == nil {
				t.Fatalf("DialReplica: %v (%s)", err, tt.why)
			}
			for _, text := range tt.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("DialReplica: %v, want %q (%s)", err, text, tt.why)
				}
			}
			if err != nil && (strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), b.Password)) {
				t.Errorf("a password in %v", err)
			}
		})
	}
}

func TestSSHKeyFiles(t *testing.T) {
	withoutKeys(t)
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(newKey(t), "", []byte("open"))
	if err != nil {
		t.Fatal(err)
	}
	file := tunnels.Write(t, "locked", string(pem.EncodeToMemory(locked)))
	for _, tt := range []struct{ name, file, passphrase, says string }{
		{"encrypted", file, "", "is encrypted"},
		{"wrong passphrase", file, "shut-s3cr3t", "cannot be read"},
		{"passphrase", file, "open", ""},
		{"missing", file + "x", "", "no such file"},
		{"no key", "route_test.go", "", "cannot be read"},
	} {
		_, err := newDeployment(Spec{SSH: &SSH{User: "u", Addr: "h:22", KeyFile: tt.file, Passphrase: tt.passphrase}})
		if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "s3cr3t")) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}
}

func TestSSHKeysOfUser(t *testing.T) {
	withoutKeys(t)
	b, node := tunnels.NewBastion(t), okServer(t)
	own, err := os.ReadFile(b.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	known, err := os.ReadFile(b.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(os.Getenv("HOME"), ".ssh")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "known_hosts"), known, 0o600)); err != nil {
		t.Fatal(err)
	}
	dial := func() error {
		conn, err := routed(t, Spec{SSH: &SSH{User: b.User, Addr: b.Addr}}).DialReplica(t.Context(), node)
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := dial(); err == nil {
		t.Error("logged in without a key")
	}
	key, err := ssh.ParseRawPrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	t.Setenv("SSH_AUTH_SOCK", socket)
	if err := dial(); err != nil {
		t.Errorf("with the agent: %v", err)
	}
	l.Close()
	if err := os.WriteFile(filepath.Join(dir, "id_ed25519"), own, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dial(); err != nil {
		t.Errorf("with the key of ~/.ssh, and an agent that is gone: %v", err)
	}
}

func TestSSHConnectionIsSharedAndMadeAgain(t *testing.T) {
	b, node := tunnels.NewBastion(t), okServer(t)
	b.Host("redis.inside", "127.0.0.1")
	_, port, _ := net.SplitHostPort(node)
	inside := "redis.inside:" + port
	d := routed(t, Spec{SSH: through(b)})
	errs := make(chan error)
	for range 8 {
		go func() {
			_, err := d.DialReplica(t.Context(), inside)
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if n := b.Served(); n != 1 {
		t.Errorf("%d SSH connections for 8 connections to a node, want 1", n)
	}
	for _, a := range b.Asked() {
		if a != inside {
			t.Errorf("the bastion was asked for %s, want %s: it resolves the names", a, inside)
		}
	}
	conn, err := d.DialReplica(t.Context(), inside)
	if err != nil {
		t.Fatal(err)
	}
	b.Drop()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the bastion was lost Read gives %v, want io.EOF", err)
	}
	if conn, err = d.DialReplica(t.Context(), inside); err != nil {
		t.Fatalf("after the bastion was lost: %v", err)
	}
	if n := b.Served(); n != 2 {
		t.Errorf("%d SSH connections, want 2", n)
	}
	d.Close()
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after Close Read gives %v, want io.EOF", err)
	}
	if _, err := d.DialReplica(t.Context(), inside); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v, want net.ErrClosed", err)
	}
}

// One replica that is down must not take the connections of all other nodes with it.
func TestNodeWithoutAnswerLeavesOthersAlone(t *testing.T) {
	b, node := tunnels.NewBastion(t), okServer(t)
	b.Silence("lost.inside")
	d := routed(t, Spec{SSH: through(b)})
	d.route.bastion.limit = 100 * time.Millisecond
	conn, err := d.DialReplica(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.DialReplica(t.Context(), "lost.inside:6379"); err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("a node that does not answer: %v", err)
	}
	if err := roundTrip(conn, "PING"); err != nil {
		t.Errorf("the connection to another node is lost: %v", err)
	}
	if n, asked := b.Served(), len(b.Asked()); n != 1 || asked != 2 {
		t.Errorf("%d SSH connections and %d questions, want 1 and 2", n, asked)
	}
}

func TestMuteBastionIsGivenUp(t *testing.T) {
	b, node := tunnels.NewBastion(t), okServer(t)
	d := routed(t, Spec{SSH: through(b)})
	d.route.bastion.interval, d.route.bastion.patience = 10*time.Millisecond, time.Second
	conn, err := d.DialReplica(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	b.Mute.Store(true)
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read gives %v, want io.EOF: the bastion no longer answers", err)
	}
	b.Mute.Store(false)
	if _, err := d.DialReplica(t.Context(), node); err != nil {
		t.Error(err)
	}
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// silent is a server that accepts and says nothing.
func silent(t *testing.T) string {
	return listen(t, func(c net.Conn) { defer c.Close(); _, _ = io.Copy(io.Discard, c) })
}

func TestTunnelIsBounded(t *testing.T) {
	b := tunnels.NewBastion(t)
	for name, s := range map[string]Spec{
		"bastion": {SSH: &SSH{User: "u", Addr: silent(t), Insecure: true, Password: "x"}},
		"proxy":   {SOCKS5: &SOCKS5{Addr: silent(t)}},
		"node":    {SSH: through(b)},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		began := time.Now()
		if _, err := routed(t, s).DialReplica(ctx, silent(t)); err == nil {
			t.Errorf("silent %s: %v", name, err)
		}
		if took := time.Since(began); took > dialTimeout/2 {
			t.Errorf("silent %s: it took %v", name, took)
		}
		cancel()
	}
}

// TestOwnTimeLimit holds that a node that does not answer in time is one to be asked again, not the caller's end.
func TestOwnTimeLimit(t *testing.T) {
	b := tunnels.NewBastion(t)
	node := okServer(t)
	d := routed(t, Spec{SSH: through(b)})
	if _, err := d.DialReplica(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	d.route.bastion.base = func(ctx context.Context, addr string) (net.Conn, error) {
		return nil, fmt.Errorf("connect to %s: %w", addr, errors.Join(context.DeadlineExceeded, net.ErrClosed))
	}
	b.Drop()
	_, err := d.DialReplica(t.Context(), node)
	if err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		t.Errorf("DialReplica: %v, which nobody would try again", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.DialReplica(ctx, node); !errors.Is(err, context.Canceled) {
		t.Errorf("DialReplica: %v, want context.Canceled", err)
	}
}

func TestTunnelKeepsBytesAndDeadlines(t *testing.T) {
	b := tunnels.NewBastion(t)
	echo := listen(t, func(c net.Conn) { defer c.Close(); _, _ = io.Copy(c, c) })
	d := routed(t, Spec{SSH: through(b)})
	conn, err := d.dial(t.Context(), echo)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read gives %v, want os.ErrDeadlineExceeded", err)
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	sent := make([]byte, 9<<20)
	rand.Read(sent)
	go conn.Write(sent) // what fails shows in the bytes that come back
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("9 MiB came back changed, %v", err)
	}
}

func TestSOCKS5(t *testing.T) {
	p, node := tunnels.NewProxy(t), okServer(t)
	p.Host("redis.inside", "127.0.0.1")
	_, port, _ := net.SplitHostPort(node)
	tests := []struct {
		name  string
		proxy SOCKS5
		node  string
		says  string // "": it works
	}{
		{"password", SOCKS5{p.Addr, p.User, p.Password}, node, ""},
		{"name of the far side", SOCKS5{p.Addr, p.User, p.Password}, "redis.inside:" + port, ""},
		{"wrong password", SOCKS5{p.Addr, p.User, "s3cr3t"}, node, "refused the login"},
		{"no user", SOCKS5{Addr: p.Addr}, node, "refused the login"},
		{"proxy is down", SOCKS5{Addr: closedPort(t)}, node, "connect to the SOCKS5 proxy"},
		{"node is down", SOCKS5{p.Addr, p.User, p.Password}, closedPort(t), "the proxy finds no server"},
		{"no such host", SOCKS5{p.Addr, p.User, p.Password}, "nowhere.invalid:1", "through the SOCKS5 proxy"},
		{"not a proxy", SOCKS5{Addr: node}, node, "no SOCKS5 proxy answers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := routed(t, Spec{SOCKS5: &tt.proxy}).DialReplica(t.Context(), tt.node)
			if err == nil {
				conn.Close()
			}
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "s3cr3t")) {
				t.Errorf("DialReplica: %v, want %q", err, tt.says)
			}
		})
	}
}

func TestBastionBehindProxy(t *testing.T) {
	p, b, node := tunnels.NewProxy(t), tunnels.NewBastion(t), okServer(t)
	d := routed(t, Spec{SSH: through(b), SOCKS5: &SOCKS5{p.Addr, p.User, p.Password}})
	if _, err := d.DialReplica(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	if asked := p.Asked(); len(asked) != 1 || asked[0] != b.Addr {
		t.Errorf("the proxy was asked for %v, want the bastion %s alone", asked, b.Addr)
	}
}

func TestRouteTexts(t *testing.T) {
	for text, want := range map[string]string{
		"u@h": "u@h:22", "u@h:2222": "u@h:2222", "u@[::1]:22": "u@[::1]:22", "a@b@h": "a@b@h:22",
		"h": "", "@h": "", "u:s3cr3t@h": "", "ssh://u@h": "", "u@": "", "u@h:x": "",
	} {
		s, err := ParseSSH(text)
		if want == "" && (err == nil || strings.Contains(err.Error(), "s3cr3t")) || want != "" && (err != nil || s.String() != want) {
			t.Errorf("ParseSSH(%q) = %s, %v; want %q", text, s, err, want)
		}
	}
	for text, want := range map[string]SOCKS5{
		"h": {Addr: "h:1080"}, "socks5://h:1": {Addr: "h:1"}, "u@h:1": {"h:1", "u", ""}, "socks5h://u:p%40x@[::1]:9/": {"[::1]:9", "u", "p@x"},
		"http://h:1": {}, ":s3cr3t@h": {}, "u:s3cr3t@": {}, "u:%s3cr3t@h": {}, "socks4://u:s3cr3t@h": {},
	} {
		s, err := ParseSOCKS5(text)
		if want.Addr == "" && (err == nil || strings.Contains(err.Error(), "s3cr3t")) || want.Addr != "" && (err != nil || s != want) {
			t.Errorf("ParseSOCKS5(%q) = %+v, %v; want %+v", text, s, err, want)
		}
	}
}
