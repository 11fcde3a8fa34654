package endpoint

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestPatience: what arrives slowly is waited for, a silence is not.
func TestPatience(t *testing.T) {
	const patience = 2 * time.Second
	for _, tt := range []struct {
		name, why string
		pieces    int // each comes a twentieth of the patience after the one before
		whole     bool
	}{
		{name: "slow", why: "each piece begins the wait again", pieces: 30, whole: true},
		{name: "silent", why: "nothing comes", pieces: 0},
		{name: "falls silent", why: "what came before does not excuse it", pieces: 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // its clock does not run while anybody works
				here, there := net.Pipe()
				defer there.Close()
				c := &patientConn{Conn: here}
				defer c.Close()
				go func() {
					for range tt.pieces {
						time.Sleep(patience / 20)
						if _, err := there.Write([]byte("x")); err != nil {
							return
						}
					}
					if tt.whole {
						there.Close()
					}
				}()
				begun := time.Now()
				if err := c.SetDeadline(begun.Add(patience)); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(c)
				if len(got) != tt.pieces || tt.whole != (err == nil) || !tt.whole && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%d of %d pieces after %v, %v: %s", len(got), tt.pieces, time.Since(begun), err, tt.why)
				}
			})
		})
	}
}

// TestPatienceOfTheFirstAnswer: whatever deadline the client asks for, a server that has never answered is given up after Silence.
func TestPatienceOfTheFirstAnswer(t *testing.T) {
	c := &patientConn{Conn: &deadlines{}}
	if err := c.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(c.Conn.(*deadlines).last); left > Silence {
		t.Errorf("the first answer is waited for %v", left)
	}
}

type deadlines struct {
	net.Conn
	last time.Time
}

func (d *deadlines) SetDeadline(t time.Time) error { d.last = t; return nil }
