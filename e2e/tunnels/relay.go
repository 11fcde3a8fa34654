package tunnels

import (
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// relay is what both kinds of server share: a listener, its connections, and the way onward.
type relay struct {
	Addr string // 127.0.0.1:port

	listener net.Listener
	over     chan struct{} // closed when the test ends
	wg       sync.WaitGroup
	gate     sync.RWMutex // held for writing while the path is frozen

	mu     sync.Mutex
	closed bool
	hosts  map[string]string // guarded by mu
	silent map[string]bool   // guarded by mu
	asked  []string          // guarded by mu
	conns  []net.Conn        // guarded by mu
	served int               // guarded by mu
}

// start listens, and serves each connection in a goroutine until the test ends.
func (r *relay) start(t testing.TB, serve func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.listener, r.Addr, r.over = l, l.Addr().String(), make(chan struct{})
	r.hosts, r.silent = map[string]string{}, map[string]bool{}
	r.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if r.keep(conn) {
				r.wg.Go(func() { defer conn.Close(); serve(conn) })
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(r.over)
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		r.Drop()
		r.wg.Wait()
	})
}

// keep notes a connection that Drop must end.
func (r *relay) keep(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		conn.Close()
		return false
	}
	r.conns = append(r.conns, conn)
	return true
}

// Drop closes every connection; new ones are served.
func (r *relay) Drop() {
	r.mu.Lock()
	conns := r.conns
	r.conns = nil
	r.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// Host makes a host name known here: connections to it go to another host, the port stays.
func (r *relay) Host(name, host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts[name] = host
}

// Silence makes a host one that never answers, as behind a firewall.
func (r *relay) Silence(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent[name] = true
}

// Freeze holds back all that is on its way, in both directions, and connections that are asked for; Freeze(false) lets it arrive.
func (r *relay) Freeze(frozen bool) {
	if frozen {
		r.gate.Lock()
	} else {
		r.gate.Unlock()
	}
}

// gated is a connection to which nothing is written while the path is frozen.
type gated struct {
	net.Conn
	gate *sync.RWMutex
}

func (g gated) Write(p []byte) (int, error) {
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.Conn.Write(p)
}

// Asked gives the addresses, host:port as they came in, to which connections were asked for.
func (r *relay) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// Served gives how many clients have logged in.
func (r *relay) Served() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.served
}

func (r *relay) login() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.served++
}

func (r *relay) onward(host string, port int) (net.Conn, error) {
	r.mu.Lock()
	r.asked = append(r.asked, net.JoinHostPort(host, strconv.Itoa(port)))
	if to, ok := r.hosts[host]; ok {
		host = to
	}
	silent := r.silent[host]
	r.mu.Unlock()
	if silent {
		<-r.over
		return nil, net.ErrClosed
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(port)), 10*time.Second)
	if err == nil && !r.keep(conn) {
		return nil, net.ErrClosed
	}
	r.gate.RLock()
	defer r.gate.RUnlock()
	return conn, err
}

// join copies both ways until both have ended.
func join(a, b io.ReadWriteCloser) {
	var wg sync.WaitGroup
	for _, pair := range [][2]io.ReadWriteCloser{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // its end is the end of both
			pair[0].Close()
			pair[1].Close()
		})
	}
	wg.Wait()
}
