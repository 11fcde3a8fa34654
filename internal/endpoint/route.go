package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/net/proxy"
)

// SOCKS5 is a proxy for every connection of an endpoint. The proxy resolves the host names.
type SOCKS5 struct {
	Addr     string // host:port
	User     string // "" without authentication
	Password string
}

// String returns the proxy's address, without the password.
func (s SOCKS5) String() string { return s.Addr }

// ParseSOCKS5 reads [socks5://][user[:password]@]host[:port]; the default port is 1080. Its errors contain no credentials.
func ParseSOCKS5(text string) (SOCKS5, error) {
	const usage = "write host:port or user@host:port"
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		if scheme != "socks5" && scheme != "socks5h" {
			return SOCKS5{}, errors.New("its scheme is not socks5; " + usage)
		}
		text = strings.TrimSuffix(rest, "/")
	}
	var s SOCKS5
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		var login Spec
		if err := login.parseUser(text[:at]); err != nil {
			return SOCKS5{}, err
		}
		if s.User, s.Password = login.Username, login.Password; s.User == "" {
			return SOCKS5{}, errors.New("names no user before the @; " + usage)
		}
		text = text[at+1:]
	}
	var err error
	s.Addr, err = parseAddr(text, "1080")
	return s, err
}

// route opens the connections of one endpoint: directly, through a SOCKS5 proxy, through an SSH bastion, or
// through a bastion that is reached through a proxy.
type route struct {
	direct  net.Dialer
	socks   *SOCKS5  // nil: none
	bastion *bastion // nil: none
}

// newRoute reads the key files that s names. It does not connect yet.
func newRoute(s Spec) (*route, error) {
	r := &route{direct: net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}, socks: s.SOCKS5}
	if s.SSH == nil {
		return r, nil
	}
	b, err := newBastion(*s.SSH, r.dialBase)
	r.bastion = b
	return r, err
}

// dial connects to an address as it is seen from the end of the route. It takes no longer than dialTimeout, or twice that through a
// bastion.
func (r *route) dial(ctx context.Context, addr string) (net.Conn, error) {
	if r.bastion == nil {
		return r.dialBase(ctx, addr)
	}
	return r.bastion.dial(ctx, addr)
}

// dialBase connects without using the bastion.
func (r *route) dialBase(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if r.socks == nil {
		conn, err := r.direct.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, dialError("connect to "+addr, err)
		}
		return conn, nil
	}
	return r.socks.dial(ctx, &r.direct, addr)
}

func (r *route) close() {
	if r != nil && r.bastion != nil { // a file has no route
		r.bastion.close()
	}
}

// forward connects to the proxy itself, and marks the errors of doing so.
type forward struct{ direct *net.Dialer }

type proxyError struct{ error }

func (e *proxyError) Unwrap() error { return e.error }

func (f forward) Dial(network, addr string) (net.Conn, error) {
	return f.DialContext(context.Background(), network, addr)
}

func (f forward) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := f.direct.DialContext(ctx, network, addr)
	if err != nil {
		return nil, &proxyError{err}
	}
	return conn, nil
}

func (s *SOCKS5) dial(ctx context.Context, direct *net.Dialer, addr string) (net.Conn, error) {
	var auth *proxy.Auth
	if s.User != "" {
		auth = &proxy.Auth{User: s.User, Password: s.Password}
	}
	dialer, err := proxy.SOCKS5("tcp", s.Addr, auth, forward{direct})
	if err != nil {
		return nil, fmt.Errorf("SOCKS5 proxy %s: %w", s.Addr, err)
	}
	conn, err := dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
	if err == nil {
		return conn, nil
	}
	var own *proxyError
	if errors.As(err, &own) {
		return nil, dialError("connect to the SOCKS5 proxy "+s.Addr, own.error)
	}
	return nil, s.refusal(ctx, addr, err)
}

// refusal describes why a proxy that was reached did not connect. Its answers have no types, only words.
func (s *SOCKS5) refusal(ctx context.Context, addr string, err error) error {
	var op *net.OpError
	for errors.As(err, &op) {
		err = op.Err
	}
	text := strings.TrimPrefix(err.Error(), "unknown error ")
	hint := "check that the proxy can reach this address"
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("connect to %s through the SOCKS5 proxy %s: %w", addr, s.Addr, err)
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		hint = "no answer in time; check the address, and what the proxy can reach"
	case strings.Contains(text, "authentication"):
		hint = "the proxy refused the login; name its user and password"
		return fmt.Errorf("log in to the SOCKS5 proxy %s: %s (%s)", s.Addr, text, hint)
	case strings.Contains(text, "ruleset"):
		hint = "the proxy's rules forbid this address"
	case strings.Contains(text, "connection refused"):
		hint = "the proxy finds no server listening there; check the address and the port"
	case strings.Contains(text, "protocol version"), strings.Contains(text, "EOF"):
		hint = "no SOCKS5 proxy answers there; check the address and port of the proxy"
	}
	return fmt.Errorf("connect to %s through the SOCKS5 proxy %s: %s (%s)", addr, s.Addr, text, hint)
}

// boundedBy returns the time that is d from now, or the context's deadline if that is earlier.
func boundedBy(ctx context.Context, d time.Duration) time.Time {
	deadline := time.Now().Add(d)
	if at, ok := ctx.Deadline(); ok && at.Before(deadline) {
		return at
	}
	return deadline
}
