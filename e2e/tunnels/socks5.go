package tunnels

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

// Proxy is a SOCKS5 server (RFC 1928) that lets User in by Password (RFC 1929).
type Proxy struct {
	relay
	User, Password string
}

// NewProxy starts a server that stops with the test.
func NewProxy(t testing.TB) *Proxy {
	t.Helper()
	p := &Proxy{User: "sock", Password: "pr0xy-pw"}
	p.start(t, p.serve)
	return p
}

func (p *Proxy) serve(conn net.Conn) {
	if p.greet(conn) != nil {
		return
	}
	p.login()
	host, port, err := request(conn)
	if err != nil {
		return
	}
	onward, err := p.onward(host, port)
	answer := []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		answer[1] = 5
	case err != nil:
		answer[1] = 4 // the host cannot be reached
	}
	if _, werr := conn.Write(answer); werr != nil || err != nil {
		if onward != nil {
			onward.Close()
		}
		return
	}
	join(gated{conn, &p.gate}, gated{onward, &p.gate})
}

var errRefused = errors.New("refused")

// greet wants user and password.
func (p *Proxy) greet(conn net.Conn) error {
	methods, err := counted(conn, 1)
	if err != nil {
		return err
	}
	for _, m := range methods {
		if m == 2 {
			return p.authenticate(conn)
		}
	}
	_, _ = conn.Write([]byte{5, 0xff})
	return errRefused
}

func (p *Proxy) authenticate(conn net.Conn) error {
	if _, err := conn.Write([]byte{5, 2}); err != nil {
		return err
	}
	user, err := counted(conn, 1)
	if err != nil {
		return err
	}
	password, err := counted(conn, 0)
	if err != nil {
		return err
	}
	if string(user) != p.User || string(password) != p.Password {
		_, _ = conn.Write([]byte{1, 1})
		return errRefused
	}
	_, err = conn.Write([]byte{1, 0})
	return err
}

// counted skips some bytes and reads as many as the next one says.
func counted(r io.Reader, skip int) ([]byte, error) {
	head := make([]byte, skip+1)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	text := make([]byte, head[skip])
	_, err := io.ReadFull(r, text)
	return text, err
}

func request(r io.Reader) (host string, port int, err error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", 0, err
	}
	ip := make([]byte, 4)
	switch head[3] {
	case 3:
		name, err := counted(r, 0)
		if err != nil {
			return "", 0, err
		}
		host, ip = string(name), nil
	case 4:
		ip = make([]byte, 16)
	}
	if ip != nil {
		if _, err := io.ReadFull(r, ip); err != nil {
			return "", 0, err
		}
		host = net.IP(ip).String()
	}
	tail := make([]byte, 2)
	_, err = io.ReadFull(r, tail)
	return host, int(binary.BigEndian.Uint16(tail)), err
}
