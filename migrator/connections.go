package migrator

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"
)

// conn is one connection to one node of the target, owned by one writer.
type conn struct {
	addr    string
	dc      rueidis.DedicatedClient
	release func()
	keep    func() bool // undoes that the end of the context closes it
	id      string      // CLIENT ID; empty before Redis 5.0
	process string      // run_id of the server
	db      int         // the selected database; -1 after a failure
	pipe    *pipe       // beside it, for the values of a snapshot; nil: there is none
}

// connections are those of one writer to the nodes of the target. They are not safe for concurrent use.
type connections struct {
	t     *target
	home  int                                      // the database in which they begin
	greet func(ctx context.Context, c *conn) error // of a new one, before it is used; nil: nothing needs to be said
	open  map[string]*conn
	out   []rueidis.Completed // reused
}

func (cs *connections) close() {
	for addr := range cs.open {
		cs.drop(addr)
	}
}

// drop closes a connection for good.
func (cs *connections) drop(addr string) {
	c := cs.open[addr]
	if c == nil {
		return
	}
	if c.pipe != nil {
		c.pipe.close()
	}
	c.close()
	delete(cs.open, addr)
}

func (c *conn) close() {
	c.keep()
	c.dc.Close()
	c.release()
}

// conn returns the connection to a node, and only while this run may write.
func (cs *connections) conn(ctx context.Context, addr string) (*conn, error) {
	if err := cs.t.claim.hold(ctx); err != nil {
		return nil, err
	}
	if c := cs.open[addr]; c != nil {
		return c, nil
	}
	c, err := cs.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	// Only now: whoever takes the claim over ends the connections that it finds, and this one is not used if it came too late for that.
	if err := cs.t.claim.verify(ctx); err != nil {
		cs.drop(addr)
		return nil, err
	}
	return c, nil
}

func (cs *connections) connect(ctx context.Context, addr string) (*conn, error) {
	client, err := cs.t.d.Client(ctx, addr, cs.home)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", addr, err)
	}
	dc, release := client.Dedicate()
	c := &conn{addr: addr, dc: dc, release: release, db: -1}
	c.keep = context.AfterFunc(ctx, dc.Close) // a server that stands still must not hold up who gives up
	if cs.greet != nil {
		if err := cs.greet(ctx, c); err != nil {
			c.close()
			return nil, fmt.Errorf("target %s: %w", addr, err)
		}
	}
	cs.open[addr] = c
	return c, nil
}

// clientName marks every connection that writes for a migration.
func clientName(id string) string { return "surecut-" + id }

// firstLoss returns the first failure that is no reply of the server.
func firstLoss(res []rueidis.RedisResult) error {
	for _, r := range res {
		if err := r.NonRedisError(); err != nil {
			return err
		}
	}
	return nil
}
