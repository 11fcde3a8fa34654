package servers

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Proxy is a twemproxy (nutcracker) process in front of servers.
type Proxy struct {
	Addr   string // 127.0.0.1:port
	Config string // path of its configuration
	Pool   string // name of its one pool

	t   testing.TB
	cmd *exec.Cmd
}

// Twemproxy starts Debian's nutcracker, which stops at the test's end. settings are lines of its pool ("hash: murmur");
// servers are as the configuration names them ("127.0.0.1:6379:1 a").
func Twemproxy(t testing.TB, settings []string, servers ...string) *Proxy {
	t.Helper()
	if _, err := exec.LookPath("nutcracker"); err != nil {
		t.Fatalf("%v: run scripts/setup.sh twemproxy", err)
	}
	port := freePort(t)
	dir := t.TempDir()
	p := &Proxy{Addr: "127.0.0.1:" + strconv.Itoa(port), Config: filepath.Join(dir, "nutcracker.yml"), Pool: "pool", t: t}
	var b strings.Builder
	fmt.Fprintf(&b, "%s:\n  listen: %s\n  redis: true\n", p.Pool, p.Addr)
	for _, line := range settings {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	fmt.Fprintln(&b, "  servers:")
	for _, s := range servers {
		fmt.Fprintf(&b, "   - %s\n", s)
	}
	if err := os.WriteFile(p.Config, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Start()
	t.Cleanup(p.Kill)
	Note("ran: nutcracker (twemproxy) of this machine")
	return p
}

// Start runs the process, at the beginning or after Kill, and waits until it listens.
func (p *Proxy) Start() {
	p.t.Helper()
	log := p.Config + ".log"
	p.cmd = exec.Command("nutcracker", "-c", p.Config, "-o", log, "-s", strconv.Itoa(freePort(p.t)), "-m", "16384")
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start nutcracker: %v", err)
	}
	deadline := time.Now().Add(patience)
	for {
		conn, err := net.Dial("tcp", p.Addr)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log)
			p.t.Fatalf("nutcracker does not listen on %s within %v: %v\n%s", p.Addr, patience, err, text)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Kill ends the process with SIGKILL; connections through it break.
func (p *Proxy) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
	p.cmd = nil
}
