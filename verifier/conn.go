package verifier

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
)

// node is one server of one side and what it can do.
type node struct {
	dep         *endpoint.Deployment
	facts       endpoint.Server
	primary     string // address of its shard's primary
	replica     bool   // of a cluster: needs READONLY to answer for its slots
	expireTimes bool   // has PEXPIRETIME (since 7.0)
	fieldTTLs   bool   // has HPEXPIRETIME (Redis since 7.4)
	fullStreams bool   // has XINFO STREAM FULL (since 6.0)
	breaker     breaker
}

func (n *node) addr() string { return n.facts.Addr }

// conn is one connection to one database of one node. It opens when first used, and again after it broke.
type conn struct {
	node    *node
	db      int
	client  rueidis.Client
	wire    rueidis.DedicatedClient
	release func()
}

func (c *conn) open(ctx context.Context) error {
	if c.wire != nil {
		return nil
	}
	client, err := c.node.dep.Client(ctx, c.node.addr(), c.db)
	if err != nil {
		if endpoint.Code(err) != "" { // it answers, and refuses
			return replyError("a login to database "+strconv.Itoa(c.db), err)
		}
		return &connError{err}
	}
	c.client = client
	c.wire, c.release = client.Dedicate()
	if c.node.replica {
		if err := c.wire.Do(ctx, client.B().Arbitrary("READONLY").Build()).Error(); err != nil {
			c.close()
			if endpoint.Code(err) != "" {
				return replyError("READONLY", err)
			}
			return &connError{err}
		}
	}
	return nil
}

func (c *conn) close() {
	if c.release != nil {
		c.release()
	}
	c.wire, c.release = nil, nil
}

// do sends commands as one pipeline. An error reply is in its result; the error is that of the connection,
// which is opened again with the next call.
func (c *conn) do(ctx context.Context, build func(b rueidis.Builder) rueidis.Commands) ([]rueidis.RedisResult, error) {
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	cmds := build(c.client.B())
	if len(cmds) == 0 {
		return nil, nil
	}
	results := c.wire.DoMulti(ctx, cmds...)
	for i := range results {
		if err := results[i].NonRedisError(); err != nil {
			c.close()
			return nil, &connError{fmt.Errorf("read from %s: %w", c.node.addr(), err)}
		}
	}
	return results, nil
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

func command(b rueidis.Builder, args ...string) rueidis.Completed {
	return b.Arbitrary(args...).Build()
}

// refusal is an error reply to a command; it is never data.
type refusal struct {
	command string
	code    string // first word: NOPERM, MOVED, WRONGTYPE ...
	err     error
}

func (r *refusal) Error() string { return fmt.Sprintf("%s was answered by: %v", r.command, r.err) }
func (r *refusal) Unwrap() error { return r.err }

func replyError(command string, err error) error {
	if code := endpoint.Code(err); code != "" {
		return &refusal{command: strings.ToUpper(command), code: code, err: err}
	}
	return err
}

// connError is a failure of the connection rather than a reply.
type connError struct{ err error }

func (e *connError) Error() string { return e.err.Error() }
func (e *connError) Unwrap() error { return e.err }

// errChanged says that a key changed its type or vanished between two commands of one read.
var errChanged = errors.New("the key changed while it was read")

// downError is the last of a node's failures, when its patience was used up.
type downError struct{ err error }

func (e *downError) Error() string { return e.err.Error() }
func (e *downError) Unwrap() error { return e.err }

// lasting says that reading again cannot help: the server refuses the command as such, or did not answer for too long.
func lasting(err error) bool {
	if down := (*downError)(nil); errors.As(err, &down) {
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

// passing says that the whole node may answer in a moment; a redirection concerns single keys only.
func passing(err error) bool {
	var r *refusal
	if errors.As(err, &r) {
		return r.code == "LOADING" || r.code == "MASTERDOWN" || r.code == "BUSY" || r.code == "CLUSTERDOWN"
	}
	var broken *connError
	return errors.As(err, &broken)
}

// retry calls try until it succeeds, gives an error that a retry cannot help, or the node's patience is used up.
// A node that failed for so long gets one attempt a call from then on, so that its many keys do not each wait.
func (n *node) retry(ctx context.Context, patience time.Duration, try func() error) error {
	deadline := time.Now().Add(n.breaker.allowance(patience))
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := try()
		if !passing(err) {
			n.breaker.ok()
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Now().Add(wait).After(deadline) {
			n.breaker.fail()
			return &downError{err}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}
