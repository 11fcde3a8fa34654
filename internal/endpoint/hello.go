package endpoint

import (
	"bytes"
	"net"
	"sync"
)

// quietConn is a connection to a proxy that must not receive the HELLO with which rueidis opens every connection, because
// nutcracker closes the connection on a command that it does not know. quietConn answers HELLO itself, as a server older than 6.0
// does.
type quietConn struct {
	net.Conn

	mu     sync.Mutex
	opened bool   // the first write is done
	answer []byte // the rest of the answer to HELLO, to be read after as many lines
	lines  int
}

var (
	helloCommand = []byte("*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n")
	helloAnswer  = []byte("-ERR unknown command 'HELLO'\r\n")
)

// Write sends p without HELLO. rueidis writes AUTH, HELLO and SELECT together as the first bytes of a connection; each command
// before HELLO is answered by one line.
func (c *quietConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	first := !c.opened
	c.opened = true
	at := bytes.Index(p, helloCommand)
	if !first || at < 0 {
		c.mu.Unlock()
		return c.Conn.Write(p)
	}
	c.answer = helloAnswer
	if at > 0 {
		c.lines = 1 // AUTH
	}
	c.mu.Unlock()
	rest := append(append([]byte(nil), p[:at]...), p[at+len(helloCommand):]...)
	if len(rest) > 0 {
		if _, err := c.Conn.Write(rest); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Read returns the answer to HELLO at its place among the replies.
func (c *quietConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	if c.answer == nil {
		c.mu.Unlock()
		return c.Conn.Read(p)
	}
	if c.lines > 0 && len(p) > 0 { // byte by byte, so that nothing after the line is read
		c.mu.Unlock()
		n, err := c.Conn.Read(p[:1])
		if n == 1 && p[0] == '\n' {
			c.mu.Lock()
			c.lines--
			c.mu.Unlock()
		}
		return n, err
	}
	n := copy(p, c.answer)
	if c.answer = c.answer[n:]; len(c.answer) == 0 {
		c.answer = nil
	}
	c.mu.Unlock()
	return n, nil
}
