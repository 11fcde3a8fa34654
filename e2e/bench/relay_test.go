//go:build bench

package bench

import (
	"net"
	"testing"
	"time"
)

// delayed returns an address from which connections lead to addr, and on which every byte takes so much longer in either direction.
func delayed(t *testing.T, addr string, by time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", addr)
			if err != nil {
				near.Close()
				continue
			}
			go late(far, near, by)
			go late(near, far, by)
		}
	}()
	return l.Addr().String()
}

// piece is what one read has returned.
type piece struct {
	due  time.Time
	data []byte
}

// late copies from one connection to another, and passes each byte on only after a time. What is under way is bounded by 1024 pieces of at
// most 64 KiB, more than a line of that length holds.
func late(to, from net.Conn, by time.Duration) {
	pieces := make(chan piece, 1024)
	go func() {
		defer to.Close()
		for p := range pieces {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				from.Close() // ends the reading, which closes pieces
			}
		}
	}()
	defer close(pieces)
	for {
		buf := make([]byte, 64<<10)
		n, err := from.Read(buf)
		if n > 0 {
			pieces <- piece{time.Now().Add(by), buf[:n]}
		}
		if err != nil {
			return
		}
	}
}
