package endpoint

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"surecut/internal/retry"
)

// A connection can freeze: its packets are dropped, and neither side learns of it (a firewall forgets the connection, or a route changes).
// The server is then asked on a new connection. If it answers there at once, the old one is given up, and its user asks again. If it does
// not answer there either, it is stopped, or busy with a long command, and is waited for.

const (
	// lateAfter is how late an answer is when the server is asked on a new connection.
	lateAfter = 10 * time.Second
	// answersWithin is how soon a server answers there that is neither stopped nor busy.
	answersWithin = 3 * time.Second
	// arrivesWithin is how long the late answer may still be under way after that: it comes from the same server, and was sent before.
	arrivesWithin = time.Second
	// young is the age of a connection up to which it counts as one that took the place of a frozen one.
	young = time.Minute
	// mostLonger bounds how often lateAfter is doubled.
	mostLonger = 3
)

// FrozenError says that a connection was given up since its server answers on a new one.
type FrozenError struct {
	Addr  string
	Since time.Time // since when the answer is awaited
}

func (e *FrozenError) Error() string {
	return fmt.Sprintf("%s has not answered on a connection since %s, and answers on a new one: the old connection is frozen, or its command is held back (CLIENT PAUSE); it was given up",
		e.Addr, e.Since.Format(time.TimeOnly))
}

// NodeSilence is that of a node which owes an answer.
type NodeSilence struct {
	Addr  string
	Since time.Time // since when it has been asked without an answer, on the connection that has waited longest
}

// watch looks after the connections of a deployment. Its zero value watches nothing yet.
type watch struct {
	mu      sync.Mutex
	conns   map[*patientConn]bool        // guarded by mu
	dials   map[*NodeSilence]func(error) // guarded by mu: connections that are being opened, and how each is broken off
	probed  map[string]bool              // guarded by mu: nodes that are being asked on a new connection
	longer  map[string]int               // guarded by mu: how often the wait for a node has doubled
	stop    context.CancelFunc           // guarded by mu; nil: nothing was watched yet
	ended   bool                         // guarded by mu
	running sync.WaitGroup

	late atomic.Int64 // instead of lateAfter, in ns; 0: lateAfter
}

// watched returns a connection to a node that is looked after until it is closed.
func (d *Deployment) watched(conn net.Conn, addr string) *patientConn {
	c := &patientConn{Conn: conn, addr: addr, opened: time.Now()}
	w := &d.watch
	c.forget = func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.conns, c)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return c
	}
	if w.stop == nil {
		w.conns, w.probed, w.longer = map[*patientConn]bool{}, map[string]bool{}, map[string]int{}
		ctx, stop := context.WithCancel(context.Background())
		w.stop = stop
		w.running.Go(func() { d.lookAfter(ctx) })
	}
	w.conns[c] = true
	return c
}

// end ends the watch, and waits for it.
func (w *watch) end() {
	w.mu.Lock()
	w.ended = true
	if w.stop != nil {
		w.stop()
	}
	w.mu.Unlock()
	w.running.Wait()
}

// dialing notes that a connection to a node is being opened, until done is called. BreakOff ends the context that it returns.
func (w *watch) dialing(ctx context.Context, addr string) (dial context.Context, done func()) {
	s := &NodeSilence{Addr: addr, Since: time.Now()}
	dial, breakOff := context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dials == nil {
		w.dials = map[*NodeSilence]func(error){}
	}
	w.dials[s] = breakOff
	return dial, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.dials, s)
		breakOff(nil)
	}
}

// BreakOff fails all requests that have been waiting for an answer for a while, and all connections that have been opened for so long. The
// clients of rueidis do not look at a context while they open a connection.
func (d *Deployment) BreakOff(why error, longer time.Duration) {
	if d == nil {
		return
	}
	w := &d.watch
	w.mu.Lock()
	var late []*patientConn
	for c := range w.conns {
		if since := c.owed(); !since.IsZero() && time.Since(since) > longer {
			late = append(late, c)
		}
	}
	for s, breakOff := range w.dials {
		if time.Since(s.Since) > longer {
			breakOff(why)
		}
	}
	w.mu.Unlock()
	for _, c := range late {
		c.giveUp(why)
	}
}

// Silences returns the nodes that owe an answer, each with the longest wait for it. The addresses are those that Shards and Proxies return.
// A nil Deployment has none.
func (d *Deployment) Silences() (silent []NodeSilence) {
	if d == nil {
		return nil
	}
	d.watch.mu.Lock()
	defer d.watch.mu.Unlock()
	since := map[string]time.Time{}
	note := func(addr string, at time.Time) {
		if before, known := since[addr]; !at.IsZero() && (!known || at.Before(before)) {
			since[addr] = at
		}
	}
	for c := range d.watch.conns {
		note(c.addr, c.owed())
	}
	for s := range d.watch.dials {
		note(s.Addr, s.Since)
	}
	for addr, at := range since {
		silent = append(silent, NodeSilence{addr, at})
	}
	slices.SortFunc(silent, func(a, b NodeSilence) int { return a.Since.Compare(b.Since) })
	return silent
}

// lookAfter looks for late answers until ctx ends.
func (d *Deployment) lookAfter(ctx context.Context) {
	for retry.Pause(ctx, min(time.Second, d.watch.lateness()/10)) == nil {
		for addr, late := range d.watch.lateAnswers() {
			d.watch.running.Go(func() { d.thaw(ctx, addr, late) })
		}
	}
}

func (w *watch) lateness() time.Duration {
	if late := w.late.Load(); late > 0 {
		return time.Duration(late)
	}
	return lateAfter
}

// lateAnswers returns the connections on which an answer is late, with since when it is awaited. It marks their nodes as asked.
func (w *watch) lateAnswers() map[string]map[*patientConn]time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	late := map[string]map[*patientConn]time.Time{}
	for c := range w.conns {
		since := c.owed()
		if since.IsZero() || w.probed[c.addr] || time.Since(since) < w.patience(c, since) {
			continue
		}
		if late[c.addr] == nil {
			late[c.addr] = map[*patientConn]time.Time{}
		}
		late[c.addr][c] = since
	}
	for addr := range late {
		w.probed[addr] = true
	}
	return late
}

// patience returns when an answer is late. It grows where a connection that took the place of a frozen one seems to freeze as well: then
// the command may take that long, as on a server with several threads or on a slow line. The caller holds mu.
func (w *watch) patience(c *patientConn, since time.Time) time.Duration {
	if since.Sub(c.opened) > young {
		w.longer[c.addr] = 0
	}
	return w.lateness() << w.longer[c.addr]
}

// thaw asks a node on a new connection, and gives up those on which its answers are late if it answers there.
func (d *Deployment) thaw(ctx context.Context, addr string, late map[*patientConn]time.Time) {
	w := &d.watch
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.probed, addr)
	}()
	if !d.answers(ctx, addr) || retry.Pause(ctx, min(arrivesWithin, w.lateness())) != nil {
		return
	}
	for c, since := range late {
		if now := c.owed(); !now.Equal(since) {
			continue
		}
		w.mu.Lock()
		w.longer[addr] = min(w.longer[addr]+1, mostLonger)
		w.mu.Unlock()
		c.giveUp(&FrozenError{addr, since})
	}
}

// answers says whether a node answers on a new connection, as it does while it can run commands. A proxy answers for itself, and not for
// the servers behind it; a server that says BUSY or LOADING is at work.
func (d *Deployment) answers(ctx context.Context, addr string) bool {
	if d.IsProxy(addr) || d.spec.Proxy != "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	conn, err := d.DialReplica(ctx, addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(boundedBy(ctx, answersWithin)); err != nil {
		return false
	}
	err = roundTrip(conn, "PING")
	return err == nil || Code(err) == "NOPERM"
}
