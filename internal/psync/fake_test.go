package psync

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"surecut/internal/resp"
)

const (
	id   = "0123456789abcdef0123456789abcdef01234567"
	mark = "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM!"
)

// exchange is one request that the fake primary must get, and what it sends then. "" as
// request: it sends at once. Each string of reply is a write of its own; "hang up" closes.
type exchange struct {
	request string
	reply   []string
}

const hangUp = "hang up"

func on(request string, reply ...string) exchange { return exchange{request, reply} }

// noVersion is how all but Valkey (since 8.0) answer.
var noVersion = on("REPLCONF version 9.0.0", "-ERR Unrecognized REPLCONF option: version\r\n")

// greeted is the beginning that most scripts share.
func greeted(rest ...exchange) []exchange {
	return append([]exchange{
		on("PING", "+PONG\r\n"),
		on("REPLCONF listening-port 0", "+OK\r\n"),
		on("REPLCONF capa eof capa psync2", "+OK\r\n"),
		noVersion,
	}, rest...)
}

// fakePrimary plays a script on one end of a pipe and gives the other. A pipe keeps the
// cuts between writes. What went wrong stands in the channel once the replica is closed.
func fakePrimary(t testing.TB, script []exchange) (net.Conn, <-chan error) {
	t.Helper()
	replica, primary := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- play(primary, script)
		close(ended)
	}()
	t.Cleanup(func() {
		replica.Close()
		primary.Close()
		for range ended {
		}
	})
	return pipeConn{replica}, ended
}

// pipeConn takes a deadline when the other end has hung up, as a socket does.
type pipeConn struct{ net.Conn }

func (c pipeConn) SetReadDeadline(at time.Time) error {
	if err := c.Conn.SetReadDeadline(at); err != io.ErrClosedPipe {
		return err
	}
	return nil
}

func play(conn net.Conn, script []exchange) error {
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(conn)
	requests := resp.NewReader(in)
	for _, step := range script {
		if step.request != "" {
			args, _, err := requests.ReadCommand()
			if err != nil {
				return fmt.Errorf("waiting for %q: %w", step.request, err)
			}
			if got := string(bytes.Join(args, []byte(" "))); got != step.request {
				conn.Close()
				return fmt.Errorf("got %q, want %q", got, step.request)
			}
			if requests.Buffered() > 0 || in.Buffered() > 0 {
				conn.Close()
				return fmt.Errorf("after %q more was sent before the reply", step.request)
			}
		}
		for _, b := range step.reply {
			if b == hangUp {
				return conn.Close()
			}
			if _, err := io.WriteString(conn, b); err != nil {
				return fmt.Errorf("after %q: %w", step.request, err)
			}
		}
	}
	return nil
}

// expectScriptPlayed fails if the script has not come to its end.
func expectScriptPlayed(t *testing.T, ended <-chan error) {
	t.Helper()
	if err := <-ended; err != nil {
		t.Errorf("fake primary: %v", err)
	}
}

// chunks cuts s into pieces of n bytes.
func chunks(s string, n int) []string {
	var out []string
	for len(s) > n {
		out = append(out, s[:n])
		s = s[n:]
	}
	return append(out, s)
}

// readStream reads n bytes of the stream.
func readStream(t testing.TB, s *Session, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(s, b); err != nil {
		t.Fatalf("read %d bytes of the stream: %v", n, err)
	}
	return string(b)
}

func rdbOf(n int) string {
	return "REDIS0011" + strings.Repeat("MMM.MMMMMMM\r\n$x", n/15+1)[:n] + "END"
}
