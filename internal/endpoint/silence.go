package endpoint

import (
	"net"
	"sync"
	"time"
)

// Silence is how long a server may keep silent before its answer is given up. Error replies are answers, whatever they say; and a reply
// that arrives slowly is none of it: the wait begins again with every piece of it.
const Silence = 30 * time.Second

// patientConn makes the deadlines of its user count from the last byte that arrived, so that a deadline of 30 seconds ends a silence
// of 30 seconds and not a reply that is large or comes over a slow line. The whole wait stays bounded by replyTimeout. Until the
// server has answered for the first time no deadline is later than Silence: a stopped process still has its connections accepted, by
// the system.
type patientConn struct {
	net.Conn

	mu       sync.Mutex
	answered bool          // guarded by mu
	patience time.Duration // guarded by mu: of the present deadline; 0: there is none
	latest   time.Time     // guarded by mu: when the whole wait ends
}

// SetDeadline takes the deadline for the bytes that are still to come.
func (c *patientConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	now := time.Now()
	c.patience, c.latest = 0, now.Add(replyTimeout)
	if !t.IsZero() {
		if c.patience = time.Until(t); c.patience <= 0 {
			c.patience = 0
		}
		if !c.answered {
			c.patience = min(c.patience, Silence)
			t = now.Add(c.patience)
		}
		if t.After(c.latest) {
			c.latest = t
		}
	}
	c.mu.Unlock()
	return c.Conn.SetDeadline(t)
}

// Read begins the wait again when something has arrived.
func (c *patientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	c.mu.Lock()
	c.answered = true
	c.mu.Unlock()
	if moved := c.again(); moved != nil && err == nil {
		err = moved
	}
	return n, err
}

// Write begins the wait again with every piece that the server has taken.
func (c *patientConn) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var some int
		some, err = c.Conn.Write(p[n:min(len(p), n+bufferBytes)])
		n += some
		if moved := c.again(); moved != nil && err == nil {
			err = moved
		}
	}
	return n, err
}

// again moves the deadline, where there is one.
func (c *patientConn) again() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.patience == 0 {
		return nil
	}
	t := time.Now().Add(c.patience)
	if t.After(c.latest) {
		t = c.latest
	}
	return c.Conn.SetDeadline(t)
}
