package endpointtest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Relay is a path to a server that can fail without closing anything.
type Relay struct {
	Addr string

	turns atomic.Int64 // see Turns

	mu    sync.Mutex
	open  map[net.Conn]*gate // guarded by mu: connections of clients
	stops bool               // guarded by mu: new connections carry nothing either
}

// gate is one connection of a client; once frozen is closed, nothing is carried any more.
type gate struct {
	frozen, closed chan struct{}
	freeze, close  func()
	back           atomic.Bool // the last bytes came from the server
}

// ServeRelay starts a path to a server, which ends with the test.
func ServeRelay(t testing.TB, server string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Addr: l.Addr().String(), open: map[net.Conn]*gate{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.carry(client, server) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		for _, g := range r.open {
			g.close()
		}
		r.mu.Unlock()
		wg.Wait()
	})
	return r
}

// URL names the server behind the path as an endpoint.
func (r *Relay) URL() string { return "redis://" + r.Addr }

// Turns returns how often bytes went another way than those before them on the same connection, which is twice for each round trip.
func (r *Relay) Turns() int { return int(r.turns.Load()) }

// Freeze has the connections that are open carry nothing any more. Those that are opened later do.
func (r *Relay) Freeze() { r.freeze(false) }

// Stop has no connection carry anything any more, as if the server were stopped: its system still accepts them.
func (r *Relay) Stop() { r.freeze(true) }

func (r *Relay) freeze(all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stops = all
	for _, g := range r.open {
		g.freeze()
	}
}

// carry serves one connection of a client until both sides have closed it, or it is frozen and the test ends.
func (r *Relay) carry(client net.Conn, server string) {
	defer client.Close()
	g := &gate{frozen: make(chan struct{}), closed: make(chan struct{})}
	g.freeze = sync.OnceFunc(func() { close(g.frozen) })
	g.close = sync.OnceFunc(func() { close(g.closed) })
	r.mu.Lock()
	if r.open[client] = g; r.stops {
		g.freeze()
	}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.open, client)
		r.mu.Unlock()
	}()
	conn, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer conn.Close()
	var wg sync.WaitGroup
	wg.Go(func() { r.copy(g, conn, client, false) })
	wg.Go(func() { r.copy(g, client, conn, true) })
	over := make(chan struct{})
	go func() { wg.Wait(); close(over) }()
	select {
	case <-over:
	case <-g.closed:
	}
	client.Close()
	conn.Close()
	<-over
}

// copy carries bytes in one direction until the connection is closed. Those that come once it is frozen are lost.
func (r *Relay) copy(g *gate, to, from net.Conn, back bool) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-g.frozen:
			<-g.closed
			return
		default:
		}
		if g.back.Swap(back) != back {
			r.turns.Add(1)
		}
		if _, failed := to.Write(buf[:n]); failed != nil || err == io.EOF {
			to.Close()
			from.Close()
			return
		}
		if err != nil {
			return
		}
	}
}
