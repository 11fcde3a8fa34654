package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	sshKeepAlive = 15 * time.Second // between two checks whether the bastion answers
	sshPatience  = 30 * time.Second // how long the bastion may take to answer
)

type dialFunc func(ctx context.Context, addr string) (net.Conn, error)

// bastion forwards connections over one SSH connection, which it makes on first use and again after it was lost. Several goroutines
// may use it; close ends all connections.
type bastion struct {
	ssh      SSH
	signers  []ssh.Signer
	base     dialFunc
	interval time.Duration
	patience time.Duration
	limit    time.Duration // how long a node may take to answer

	ctx  context.Context // ends when close is called
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	login  *login // the last one; guarded by mu
}

// login is one SSH connection, from the attempt to connect until it ends.
type login struct {
	made   chan struct{} // closed when client or err is set
	lost   chan struct{} // closed when the connection was lost or could not be made
	client *ssh.Client
	err    error
}

func newBastion(s SSH, base dialFunc) (*bastion, error) {
	signers, err := s.signers()
	if err != nil {
		return nil, err
	}
	b := &bastion{ssh: s, signers: signers, base: base, interval: sshKeepAlive, patience: sshPatience, limit: dialTimeout}
	b.ctx, b.stop = context.WithCancel(context.Background())
	return b, nil
}

// dial connects to an address through the bastion.
func (b *bastion) dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout) // one timeout for the bastion, one for the node
	defer cancel()
	var err error
	for range 2 { // a lost connection is only noticed when it is used
		var l *login
		if l, err = b.current(ctx); err != nil {
			return nil, err
		}
		var conn net.Conn
		if conn, err = b.forward(ctx, l.client, addr); err == nil {
			return conn, nil
		}
		var refused *ssh.OpenChannelError
		if errors.As(err, &refused) || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			break // a node that does not answer says nothing about the bastion, which other connections use
		}
		_ = l.client.Close()
		<-l.lost
	}
	return nil, b.nodeError(addr, err)
}

// current returns the connection to the bastion, which it makes again if necessary.
func (b *bastion) current(ctx context.Context) (*login, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, fmt.Errorf("the SSH bastion %s: %w", b.ssh, net.ErrClosed)
	}
	l := b.login
	if l == nil || isClosed(l.lost) {
		l = &login{made: make(chan struct{}), lost: make(chan struct{})}
		b.login = l
		b.wg.Go(func() { b.run(l) })
	}
	b.mu.Unlock()
	select {
	case <-l.made:
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil { // checked also where both have happened
		return nil, fmt.Errorf("connect to the SSH bastion %s: %w", b.ssh, err)
	}
	return l, l.err
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// run makes one SSH connection and keeps it alive until it is lost.
func (b *bastion) run(l *login) {
	defer close(l.lost)
	l.client, l.err = b.connect()
	close(l.made)
	if l.err != nil {
		return
	}
	ended := make(chan struct{})
	go func() { // ends with the client
		defer close(ended)
		_ = l.client.Wait()
	}()
	defer func() { _ = l.client.Close(); <-ended }()
	tick := time.NewTicker(b.interval)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-b.ctx.Done():
			return
		case <-tick.C:
			late := time.AfterFunc(b.patience, func() { _ = l.client.Close() })
			_, _, err := l.client.SendRequest("keepalive@openssh.com", true, nil)
			late.Stop()
			if err != nil {
				return
			}
		}
	}
}

func (b *bastion) connect() (*ssh.Client, error) {
	ctx, cancel := context.WithTimeout(b.ctx, dialTimeout)
	defer cancel()
	known, err := b.ssh.hostKeys()
	if err != nil {
		return nil, fmt.Errorf("the SSH bastion %s: %w", b.ssh, err)
	}
	conn, err := b.base(ctx, b.ssh.Addr)
	if err != nil {
		return nil, fmt.Errorf("the SSH bastion %s: %w", b.ssh, err)
	}
	methods, release := b.ssh.methods(b.signers)
	defer release()
	verified := false
	cfg := &ssh.ClientConfig{
		User: b.ssh.User, Auth: methods, HostKeyAlgorithms: known.algorithms,
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			err := known.check(host, remote, key)
			verified = err == nil
			return err
		},
	}
	conn.SetDeadline(boundedBy(ctx, dialTimeout))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	c, channels, requests, err := ssh.NewClientConn(conn, b.ssh.Addr, cfg)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, bastionRefusal(ctx, b.ssh, verified, len(methods), err)
	}
	conn.SetDeadline(time.Time{})
	return ssh.NewClient(c, channels, requests), nil
}

// forward opens a channel and a pipe over it: channels have no deadlines, but the clients need them.
func (b *bastion) forward(ctx context.Context, client *ssh.Client, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	channel, err := client.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		channel.Close()
		return nil, net.ErrClosed
	}
	// When either side ends, both copies end, but first they send what was written before.
	b.wg.Go(func() {
		_, _ = io.Copy(channel, far)
		channel.Close()
		far.Close()
	})
	b.wg.Go(func() {
		_, _ = io.Copy(far, channel)
		far.Close()
	})
	return near, nil
}

func (b *bastion) nodeError(addr string, err error) error {
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("connect to %s through the SSH bastion %s: %w (no answer in time; check the address, and what the bastion can reach)", addr, b.ssh, err)
		}
		return fmt.Errorf("connect to %s through the SSH bastion %s: %w", addr, b.ssh, err)
	}
	hint := "the bastion cannot reach it; check the address, and that the bastion can resolve the name"
	if refused.Reason == ssh.Prohibited {
		hint = "the bastion does not forward connections; see AllowTcpForwarding and PermitOpen in its configuration"
	}
	return fmt.Errorf("connect to %s through the SSH bastion %s: %w (%s)", addr, b.ssh, refused, hint)
}

// close ends the SSH connection and everything that it carries.
func (b *bastion) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.wg.Wait()
}
