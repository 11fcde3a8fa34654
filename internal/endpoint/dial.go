package endpoint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/resp"
)

const dialTimeout = 10 * time.Second

// tlsConfig makes the TLS configuration, with the certificates that t names.
func (t *TLS) tlsConfig() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	cfg := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the CA file %s contains no PEM certificate", t.CAFile)
		}
	}
	if t.CertFile == "" && t.KeyFile == "" {
		return cfg, nil
	}
	if t.CertFile == "" || t.KeyFile == "" {
		return nil, errors.New("a client certificate needs both its certificate and its key file")
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load the client certificate %s with key %s: %w", t.CertFile, t.KeyFile, err)
	}
	cfg.Certificates = []tls.Certificate{cert}
	return cfg, nil
}

// dial opens a connection, including TLS, on the endpoint's route and to the address that NAT gives for the node. Its errors name
// the address and what to do. If our own time limit ran out, the error does not look like the end of the caller's context.
func (d *Deployment) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := d.open(ctx, addr)
	if err == nil {
		return conn, nil
	}
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if ctx.Err() == nil && !closed && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed)) {
		return nil, &attemptError{err.Error()}
	}
	return nil, err
}

// attemptError is the failure of an attempt to connect that was ended by our own time limit, or by the end of the tunnel that
// carried it. Unlike after the end of the caller's context, the attempt may be repeated, so the error wraps neither
// context.DeadlineExceeded nor net.ErrClosed.
type attemptError struct{ text string }

func (e *attemptError) Error() string { return e.text }

func (d *Deployment) open(ctx context.Context, addr string) (net.Conn, error) {
	at := d.reach(addr)
	conn, err := d.route.dial(ctx, at)
	if err != nil {
		if at != addr {
			err = fmt.Errorf("%s, reached at %s: %w", addr, at, err)
		}
		return nil, err
	}
	if d.tls == nil {
		return conn, nil
	}
	secured := tls.Client(conn, d.tlsOf(addr, at))
	handshake, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := secured.HandshakeContext(handshake); err != nil {
		conn.Close()
		return nil, tlsError(addr, err)
	}
	return secured, nil
}

// tlsOf returns the TLS configuration for one node. The node's certificate must carry the server name given for all nodes, else the
// host of its address. A node that is reached at another address than it announces may carry either host.
func (d *Deployment) tlsOf(addr, at string) *tls.Config {
	cfg := d.tls.Clone()
	if cfg.ServerName != "" {
		return cfg
	}
	cfg.ServerName = hostOf(addr)
	if other := hostOf(at); other != cfg.ServerName && !cfg.InsecureSkipVerify {
		cfg.InsecureSkipVerify = true // verified below instead, in the same way
		cfg.VerifyConnection = func(state tls.ConnectionState) error {
			err := verifyName(cfg.RootCAs, state, hostOf(addr))
			if err != nil && verifyName(cfg.RootCAs, state, other) == nil {
				return nil
			}
			return err
		}
	}
	return cfg
}

func verifyName(roots *x509.CertPool, state tls.ConnectionState, name string) error {
	o := x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(o)
	return err
}

// reach returns the address at which a node is dialed.
func (d *Deployment) reach(addr string) string {
	if to := d.spec.NAT.Reach(addr); to != addr {
		return to
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if listed, ok := d.listed[addr]; ok {
		return listed
	}
	return addr
}

// password returns the password of a node: its own one from the node list, else the endpoint's.
func (d *Deployment) password(addr string) string {
	if own, ok := d.spec.Passwords[addr]; ok {
		return own
	}
	if own, ok := d.spec.Passwords[d.reach(addr)]; ok {
		return own
	}
	if d.proxy != nil && d.spec.Password == "" {
		return d.proxy.pool.Password
	}
	return d.spec.Password
}

// dialError wraps an error of an action such as "connect to host:port", and adds what to do.
func dialError(what string, err error) error {
	var dns *net.DNSError
	var timeout net.Error
	hint := "check the address and the network"
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, err)
	case errors.As(err, &dns):
		hint = "the host name cannot be resolved; check its spelling and DNS"
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = "no server is listening there; check that the server is running, its port, and its bind address"
	case errors.As(err, &timeout) && timeout.Timeout():
		hint = "no answer in time; check the address, firewalls and security groups"
	}
	return fmt.Errorf("%s: %w (%s)", what, err, hint)
}

func tlsError(addr string, err error) error {
	var header tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	hint := "check the certificates on both sides"
	switch {
	case errors.Is(err, context.Canceled):
	case errors.As(err, &header):
		hint = "the server does not speak TLS on this port; use redis:// instead of rediss://, or its TLS port"
	case errors.As(err, &unknown):
		hint = "its certificate is signed by an authority that is not trusted; name the file of the authority with the CA flag"
	case errors.As(err, &name):
		hint = "its certificate is for another name; set that name with the server name flag"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		hint = "its certificate is not valid now, or this machine's clock is wrong"
	case alertHint(err) != "":
		hint = alertHint(err)
	case errors.Is(err, context.DeadlineExceeded):
		hint = "no answer to the handshake; it may not speak TLS on this port: use redis:// instead of rediss://, or its TLS port"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		hint = "it closed the connection; it may not speak TLS on this port, or may require a client certificate"
	}
	return fmt.Errorf("TLS with %s: %w (%s)", addr, err, hint)
}

// alertHint says what the server objects to in our certificate, and returns "" for any other error. With TLS 1.3 the objection
// comes after the handshake, with the first reply. Alerts have no exported type.
func alertHint(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return ""
	}
	switch text := op.Err.Error(); {
	case strings.Contains(text, "certificate required"), strings.Contains(text, "handshake failure"):
		return "the server requires a client certificate; name it and its key with the certificate and key flags"
	case strings.Contains(text, "certificate"):
		return "the server does not accept the client certificate; it must be valid now and signed by an authority that the server trusts"
	}
	return ""
}

// DialReplica opens a separate connection to one node, for the replica handshake or for commands that are sent as bytes. TLS and
// AUTH are done, and no byte from the server is buffered.
func (d *Deployment) DialReplica(ctx context.Context, addr string) (net.Conn, error) {
	return d.dialAs(ctx, addr, d.spec.Username, d.password(addr))
}

func (d *Deployment) dialAs(ctx context.Context, addr, user, password string) (net.Conn, error) {
	ctx, done := d.watch.dialing(ctx, addr)
	defer done()
	conn, err := d.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := d.greet(ctx, conn, addr, user, password); err != nil {
		conn.Close()
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return conn, nil
}

// DialCommands is DialReplica for commands that are each answered: the connection is given up with a FrozenError if it freezes, and
// counts in Silences. A deadline that is set on it begins anew with each piece of an answer, and ends the wait after two minutes.
func (d *Deployment) DialCommands(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := d.DialReplica(ctx, addr)
	if err != nil {
		return nil, err
	}
	return d.watched(conn, addr), nil
}

// greet authenticates, and sends PING to check that the server answers.
func (d *Deployment) greet(ctx context.Context, conn net.Conn, addr, user, password string) error {
	deadline := time.Now().Add(dialTimeout)
	if at, ok := ctx.Deadline(); ok && at.Before(deadline) {
		deadline = at
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	if password != "" || user != "" {
		auth := []string{"AUTH"}
		if user != "" {
			auth = append(auth, user)
		}
		if err := roundTrip(conn, append(auth, password)...); err != nil {
			return d.greetError(ctx, addr, "AUTH", err)
		}
	}
	if err := roundTrip(conn, "PING"); err != nil {
		return d.greetError(ctx, addr, "PING", err)
	}
	return nil
}

func (d *Deployment) greetError(ctx context.Context, addr, command string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("connect to %s: %w", addr, ctx.Err())
	}
	var hint string
	var reply resp.Error
	isReply := errors.As(err, &reply)
	switch {
	case reply.Code() == "WRONGPASS", isReply && command == "AUTH" && reply.Code() == "ERR" && d.spec.Username == "":
		hint = "the user or the password is wrong, or the server has no password set"
	case isReply && command == "AUTH" && reply.Code() == "ERR":
		hint = "servers before 6.0 have only a password and no user names"
	case reply.Code() == "NOAUTH":
		hint = "the server requires a password; set it in the environment, a password file or the URL"
	case reply.Code() == "NOPERM":
		// The user may connect but not call PING; the permissions check says what the user lacks.
		return nil
	case reply.Code() == "LOADING", reply.Code() == "MASTERDOWN", reply.Code() == "BUSY":
		return nil // the server answers; the checks find out whether it is in order
	case reply.Code() == "DENIED":
		hint = "the server is in protected mode; set a password on it"
	case isReply:
		hint = "the server refused"
	case alertHint(err) != "":
		hint = alertHint(err)
	case d.tls != nil && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)):
		// The alert that says why is lost if the connection is reset before the alert was read.
		hint = "it closed the connection after the handshake: most likely it requires a client certificate; name it and its key with the certificate and key flags"
		if len(d.tls.Certificates) > 0 {
			hint = "it closed the connection after the handshake: most likely it does not accept the client certificate"
		}
	case d.tls == nil && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, errNotRedis)):
		hint = "no Redis answers there; if it speaks TLS on this port, use rediss:// instead of redis://"
	case errors.Is(err, os.ErrDeadlineExceeded):
		hint = "it accepts connections and does not answer: it is paused (CLIENT PAUSE), stopped or busy"
	default:
		hint = "no reply; check that a Redis server listens there"
	}
	return fmt.Errorf("%s to %s: %w (%s)", command, addr, err, hint)
}

var errNotRedis = errors.New("the reply does not follow the Redis protocol")

// roundTrip sends one command and reads its one-line reply, without reading beyond it. An error reply is returned as a resp.Error.
func roundTrip(conn net.Conn, args ...string) error {
	words := make([][]byte, len(args))
	for i, a := range args {
		words[i] = []byte(a)
	}
	if _, err := conn.Write(resp.AppendCommand(nil, words...)); err != nil {
		return err
	}
	line, err := readLine(conn)
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(line, "+"):
		return nil
	case strings.HasPrefix(line, "-"):
		return resp.Error(line[1:])
	}
	return errNotRedis
}

// readLine reads byte by byte, so that it takes nothing after the line from the connection.
func readLine(r io.Reader) (string, error) {
	const longest = 4096
	var line []byte
	var one [1]byte
	for len(line) < longest {
		if _, err := io.ReadFull(r, one[:]); err != nil {
			return "", err
		}
		if len(line) == 0 && one[0] != '+' && one[0] != '-' {
			return "", errNotRedis
		}
		if one[0] == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		line = append(line, one[0])
	}
	return "", errNotRedis
}

// RequiresAuth says whether a node refuses clients that do not authenticate.
func (d *Deployment) RequiresAuth(ctx context.Context, addr string) (bool, error) {
	conn, err := d.dial(ctx, addr)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return false, fmt.Errorf("connect to %s: %w", addr, err)
	}
	err = roundTrip(conn, "PING")
	var reply resp.Error
	if err != nil && !errors.As(err, &reply) {
		return false, fmt.Errorf("PING to %s: %w", addr, err)
	}
	// Before 2.8 the reply has no code of its own; any error reply to PING means this.
	return reply.Code() == "NOAUTH" || reply.Code() == "NOPERM" || reply.Code() == "ERR", nil
}

// NoChannel is a channel that nobody publishes to. A connection of RESP3 that subscribes to it belongs to the class pubsub of
// client-output-buffer-limit, for which servers bound by default what they keep for a client that does not read. For other clients, those of
// CLIENT TRACKING and of MONITOR among them, they do not.
const NoChannel = keyspace.Prefix + ":none"
