package endpoint

import (
	"net"
	"sync"
	"time"
)

// Silence is how long a server may send nothing before its answer is given up. An error reply is an answer, whatever it says, and a
// reply that arrives slowly is no silence: the wait begins again with every piece of it.
const Silence = 30 * time.Second

// patientConn makes deadlines count from the last byte that arrived, so that a deadline of 30 seconds ends a silence of 30 seconds,
// and not a reply that is large or comes over a slow line. The whole wait is bounded by replyTimeout. Until the server has answered
// for the first time, no deadline is later than Silence: the operating system accepts connections even for a stopped process.
type patientConn struct {
	net.Conn

	mu       sync.Mutex
	answered bool          // guarded by mu
	patience time.Duration // guarded by mu: time allowed by the present deadline; 0: there is none
	latest   time.Time     // guarded by mu: when the whole wait ends
}

// SetDeadline sets the deadline for the bytes that are still to come.
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

// Read begins the wait again when bytes have arrived.
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

// Write begins the wait again with every piece that was written.
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

// again moves the deadline, if there is one.
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
