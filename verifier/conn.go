package verifier

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/retry"
)

// node is one server of one side, and what it can do.
type node struct {
	dep         *endpoint.Deployment
	facts       endpoint.Server
	primary     string // address of its shard's primary
	replica     bool   // it is a replica of a cluster, which answers for its slots only after READONLY
	follows     string // address of the primary in whose place the node is read; "": it is not read as a replica
	expireTimes bool   // has PEXPIRETIME (since 7.0); only calling it shows whether the user may
	fieldTTLs   bool   // the fields of its hashes can expire (Redis since 7.4, Valkey since 9.0)
	fullStreams bool   // has XINFO STREAM FULL (since 6.0)
	silence     time.Duration
	readers     chan struct{} // a token per reader that may be in use at a time
	noTouch     bool          // has CLIENT NO-TOUCH (since 7.2)
	breaker     breaker
	flight      *flight
	said        *account // nil: its keys were not listed
}

func newNode(ctx context.Context, dep *endpoint.Deployment, addr, primary string, o *Config) (*node, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Silence)
	defer cancel()
	facts, err := dep.Server(ctx, addr)
	if err != nil {
		return nil, err
	}
	n := &node{dep: dep, facts: facts, primary: primary, replica: addr != primary && dep.Kind() == endpoint.Cluster,
		silence: o.Silence, readers: make(chan struct{}, o.Workers+1)} // the workers, and the reader that lists the keys
	client, err := dep.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	n.learn(ctx, client)
	return n, nil
}

func (n *node) addr() string { return n.facts.Addr }

// conn is one connection to one node. It opens on first use, and again after it broke. It serves all databases of its
// node: before each command it changes to the database db by SELECT where necessary.
type conn struct {
	node   *node
	db     int            // database that the next command is for
	at     int            // database that the connection has selected
	wire   rueidis.Client // never reconnects
	opened int            // how often the connection was opened
}

func (c *conn) open(ctx context.Context) error {
	if c.wire == nil {
		if err := c.node.breaker.down(ctx, c.node.answers); err != nil {
			return &downError{err}
		}
		wire, err := c.node.dep.Connect(ctx, c.node.addr())
		if err != nil {
			return c.node.failed(ctx, "a login", err)
		}
		c.wire, c.at = wire, 0
		c.opened++
		if c.node.noTouch { // reading must not decide what the server evicts next; a server that refuses this is read all the same
			if err := c.exchange(ctx, rueidis.Commands{command(c.wire.B(), "CLIENT", "NO-TOUCH", "ON")})[0].NonRedisError(); err != nil {
				c.close()
				return c.node.failed(ctx, "", err)
			}
		}
		if c.node.replica {
			if err := c.prepare(ctx, "READONLY"); err != nil {
				return err
			}
		}
	}
	if c.at == c.db {
		return nil
	}
	// SELECT is not sent in one pipeline with the reads: where it fails, they would read from the wrong database.
	if err := c.prepare(ctx, "SELECT", strconv.Itoa(c.db)); err != nil {
		return err
	}
	c.at = c.db
	return nil
}

// prepare sends a command that must succeed before the connection can be used.
func (c *conn) prepare(ctx context.Context, args ...string) error {
	results := c.exchange(ctx, rueidis.Commands{command(c.wire.B(), args...)})
	if err := results[0].Error(); err != nil {
		c.close()
		return c.node.failed(ctx, strings.Join(args, " "), err)
	}
	return nil
}

func (c *conn) close() {
	if c.wire != nil {
		c.wire.Close()
	}
	c.wire = nil
}

// do sends commands as one pipeline. An error reply to a command is in its result; the returned error concerns the
// connection, which the next call opens again.
func (c *conn) do(ctx context.Context, build func(b rueidis.Builder) rueidis.Commands) ([]rueidis.RedisResult, error) {
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	cmds := build(c.wire.B())
	if len(cmds) == 0 {
		return nil, nil
	}
	results := c.exchange(ctx, cmds)
	for i := range results {
		if err := results[i].NonRedisError(); err != nil {
			c.close()
			return nil, c.node.failed(ctx, "", err)
		}
	}
	return results, nil
}

// exchange sends commands and waits no longer than the node may keep silent. An interruption of the run ends the wait
// at once.
func (c *conn) exchange(ctx context.Context, cmds rueidis.Commands) []rueidis.RedisResult {
	defer context.AfterFunc(ctx, c.wire.Close)()
	bounded, cancel := context.WithTimeout(ctx, c.node.silence)
	defer cancel()
	return c.wire.DoMulti(bounded, cmds...)
}

// failed turns an error into a refusal where the node answered with an error reply, and otherwise into a failure of
// the connection, or of a node that kept silent. Where the caller's own time was over, or the run was interrupted,
// the error says nothing about the node.
func (n *node) failed(ctx context.Context, what string, err error) error {
	if endpoint.Code(err) != "" { // the node answers, and refuses
		return replyError(what, err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		err = &connError{fmt.Errorf("%s has not answered for %v", n.addr(), n.silence)}
		n.breaker.fail(err)
		return err
	}
	return &connError{fmt.Errorf("read from %s: %w", n.addr(), err)}
}

// one sends a single command.
func (c *conn) one(ctx context.Context, args ...string) (rueidis.RedisMessage, error) {
	results, err := c.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		return rueidis.Commands{command(b, args...)}
	})
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	m, err := results[0].ToMessage()
	if err != nil && !endpoint.IsNil(err) {
		return m, replyError(args[0], err)
	}
	return m, nil
}

func (c *conn) integer(ctx context.Context, args ...string) (int64, error) {
	m, err := c.one(ctx, args...)
	if err != nil {
		return 0, err
	}
	return m.ToInt64()
}

// array returns an array reply. A nil reply counts as an empty array.
func (c *conn) array(ctx context.Context, args ...string) ([]rueidis.RedisMessage, error) {
	m, err := c.one(ctx, args...)
	if err != nil {
		return nil, err
	}
	return arrayOf(&m)
}

func arrayOf(m *rueidis.RedisMessage) ([]rueidis.RedisMessage, error) {
	page, err := m.ToArray()
	if endpoint.IsNil(err) {
		return nil, nil
	}
	return page, err
}

func command(b rueidis.Builder, args ...string) rueidis.Completed {
	return b.Arbitrary(args...).Build()
}

// refusal is an error reply to a command, as opposed to data.
type refusal struct {
	command string
	code    string // first word: NOPERM, MOVED, WRONGTYPE ...
	err     error
}

// Error leaves out the arguments that a server repeats when it does not know a command: they differ from key to key.
func (r *refusal) Error() string {
	text, _, _ := strings.Cut(r.err.Error(), ", with args beginning with")
	return r.command + " was answered by: " + text
}
func (r *refusal) Unwrap() error { return r.err }

func replyError(command string, err error) error {
	if told := (*refusal)(nil); errors.As(err, &told) {
		return err
	}
	if code := endpoint.Code(err); code != "" {
		return &refusal{command: strings.ToUpper(command), code: code, err: err}
	}
	return err
}

// forbidden says that a server refuses this user a command whatever the key is: the command was renamed or disabled
// there, or the user may not call it.
func forbidden(err error) bool {
	var r *refusal
	if !errors.As(err, &r) {
		return false
	}
	text := strings.ToLower(r.err.Error())
	switch r.code {
	case "NOPERM": // "... to run the 'get' command", and for a key "... one of the keys ...", since 7.2 "... a key"
		return strings.Contains(text, "command")
	case "ERR": // the reply to an unknown command has no code of its own
		return strings.Contains(text, "unknown command") || strings.Contains(text, "unknown subcommand")
	}
	return false
}

// connError is a failure of the connection rather than an error reply.
type connError struct{ err error }

func (e *connError) Error() string { return e.err.Error() }
func (e *connError) Unwrap() error { return e.err }

// errChanged says that a key changed its type or vanished between two commands of one read.
var errChanged = errors.New("the key changed while it was read")

// downError is the last failure of a node whose patience was used up.
type downError struct{ err error }

func (e *downError) Error() string { return e.err.Error() }
func (e *downError) Unwrap() error { return e.err }

// lasting says that reading again cannot help: the server refuses the command as such, or has not answered for too
// long.
func lasting(err error) bool {
	if down := (*downError)(nil); errors.As(err, &down) {
		return true
	}
	if cut := (*cutError)(nil); errors.As(err, &cut) {
		return true
	}
	var r *refusal
	if errors.Is(err, errChanged) || !errors.As(err, &r) {
		return false
	}
	switch r.code {
	case "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "BUSY", "WRONGTYPE", "UNBLOCKED", "EXECABORT":
		return false
	}
	return true
}

// passing says that the whole node may answer in a moment. A redirection is not of this kind, because it concerns
// single keys only.
func passing(err error) bool {
	var r *refusal
	if errors.As(err, &r) {
		return r.code == "LOADING" || r.code == "MASTERDOWN" || r.code == "BUSY" || r.code == "CLUSTERDOWN"
	}
	var broken *connError
	return errors.As(err, &broken)
}

// retry calls try until it succeeds, returns an error that a retry cannot help, or the node's patience is used up. A
// node that was once silent for too long is not waited for again, and one whose patience was used up gets a single
// attempt per call from then on, so that its many keys do not each wait.
func (n *node) retry(ctx context.Context, patience time.Duration, try func() error) error {
	deadline := time.Now().Add(n.breaker.allowance(patience))
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := try()
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if down := (*downError)(nil); errors.As(err, &down) {
			return err
		}
		if !passing(err) {
			n.breaker.ok()
			return err
		}
		if n.breaker.allowance(patience) == 0 || time.Now().Add(wait).After(deadline) {
			n.breaker.fail(err)
			return &downError{err}
		}
		if err := retry.Pause(ctx, wait); err != nil {
			return err
		}
	}
}

// answers returns nil if a node that was down can be connected to again.
func (n *node) answers(ctx context.Context) error {
	const soon = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	conn, err := n.dep.DialReplica(ctx, n.addr())
	if err == nil {
		err = conn.Close()
	}
	return err
}
