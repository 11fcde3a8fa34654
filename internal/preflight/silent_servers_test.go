//go:build servers

package preflight

import (
	"bytes"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
)

// TestTargetFallsSilent: a target that is stopped after all of its keys were counted is waited for as long as any other silent server, and
// named.
func TestTargetFallsSilent(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	addr := silentAt(t, target.Addr, "HGETALL")
	cfg := DefaultConfig()
	for url, side := range map[string]*Side{source.URL(): &cfg.Source, "redis://" + addr: &cfg.Target} {
		spec, err := endpoint.Parse(url)
		if err != nil {
			t.Fatal(err)
		}
		*side = Connect(t.Context(), spec)
		t.Cleanup(side.Close)
	}
	begun := time.Now()
	rep, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 5*endpoint.Silence/2 {
		t.Errorf("it was waited for %v", took)
	}
	for _, c := range rep.Checks {
		if c.ID == "connectivity" && c.Result == Fail && c.Subject == addr {
			return
		}
	}
	t.Errorf("no check names %s: %s %+v", addr, rep.Verdict, rep.Checks)
}

// silentAt passes on what is sent to a server, until a command of the given name comes: from then on nobody hears of the server again, and
// its connections stay open.
func silentAt(t *testing.T, server, command string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	var silent atomic.Bool
	pass := func(to, from net.Conn, watch bool) {
		defer to.Close()
		for buf := make([]byte, 64<<10); ; {
			n, err := from.Read(buf)
			if watch && bytes.Contains(buf[:n], []byte(command)) {
				silent.Store(true)
			}
			if err != nil {
				return
			}
			if !silent.Load() {
				_, _ = to.Write(buf[:n])
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			behind, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			go pass(behind, client, true)
			go pass(client, behind, false)
		}
	}()
	return listener.Addr().String()
}
