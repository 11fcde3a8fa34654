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
//
// It also knows since when the server owes an answer, so that a connection that has frozen is noticed (frozen.go).
type patientConn struct {
	net.Conn
	addr   string
	opened time.Time
	forget func() // called when the connection is closed; nil: nobody looks at it

	mu       sync.Mutex
	answered bool          // guarded by mu
	patience time.Duration // guarded by mu: time allowed by the present deadline; 0: there is none
	latest   time.Time     // guarded by mu: when the whole wait ends
	asked    time.Time     // guarded by mu: when something was written first since bytes have arrived last; zero: nothing was
	reading  time.Time     // guarded by mu: when the Read that goes on now began; zero: none does
	frozen   error         // guarded by mu: why the connection was given up; nil: it was not
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
	c.mu.Lock()
	c.reading = time.Now()
	c.mu.Unlock()
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	c.reading = time.Time{}
	if n > 0 {
		c.answered, c.asked = true, time.Time{}
	}
	c.mu.Unlock()
	if n == 0 {
		return n, c.reason(err)
	}
	if moved := c.again(); moved != nil && err == nil {
		err = moved
	}
	return n, err
}

// Write begins the wait again with every piece that was written.
func (c *patientConn) Write(p []byte) (n int, err error) {
	c.ask(false)
	for n < len(p) && err == nil {
		var some int
		some, err = c.Conn.Write(p[n:min(len(p), n+bufferBytes)])
		if n += some; n > bufferBytes {
			c.ask(true)
		}
		if moved := c.again(); moved != nil && err == nil {
			err = moved
		}
	}
	return n, c.reason(err)
}

// ask notes that the server owes an answer from now on, unless it does already; where a large request gets on, it does from now on only.
func (c *patientConn) ask(getsOn bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if getsOn || c.asked.IsZero() {
		c.asked = time.Now()
	}
}

// owed returns since when the server owes an answer; zero: it does not. Whoever reads with a deadline waits for an answer; whoever reads
// without one reads all the time, and waits for an answer if it has written since bytes arrived last.
func (c *patientConn) owed() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.patience > 0 && !c.reading.IsZero() {
		return c.reading
	}
	return c.asked
}

// reason returns why a Read or Write has failed: an error of giveUp, if that made it fail.
func (c *patientConn) reason(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.frozen != nil {
		return c.frozen
	}
	return err
}

// giveUp closes the connection, so that whoever waits gets an error.
func (c *patientConn) giveUp(why error) {
	c.mu.Lock()
	c.frozen = why
	c.mu.Unlock()
	_ = c.Close() // whoever waits is told why
}

// Close closes the connection.
func (c *patientConn) Close() error {
	if c.forget != nil {
		c.forget()
	}
	return c.Conn.Close()
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
