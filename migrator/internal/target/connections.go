package target

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"
)

// connections holds the connections of one writer to the nodes of the target. It is not safe for concurrent use.
type connections struct {
	t     *Target
	home  int                                      // the database that is selected in a new connection
	greet func(ctx context.Context, c *conn) error // called with a new connection before it is used; may be nil
	open  map[string]*conn
	out   []rueidis.Completed // reused
}

func (cs *connections) Close() {
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

// conn returns the connection to a node, and opens it if needed. It returns an error, which names the node, if this run may not write to
// the target.
func (cs *connections) conn(ctx context.Context, addr string) (*conn, error) {
	if err := cs.t.Claim.Hold(ctx); err != nil {
		return nil, &connectError{err}
	}
	if c := cs.open[addr]; c != nil {
		return c, nil
	}
	c, err := cs.connect(ctx, addr)
	if err != nil {
		return nil, &connectError{err}
	}
	// The claim is verified after the connection is open: a run that takes it over ends the connections that it finds, and a connection
	// that is opened too late to be found is not used.
	if err := cs.t.Claim.verify(ctx); err != nil {
		cs.drop(addr)
		return nil, &connectError{err}
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
	c.keep = context.AfterFunc(ctx, dc.Close) // a server that does not answer must not delay the end of the run
	if cs.greet != nil {
		if err := cs.greet(ctx, c); err != nil {
			c.close()
			return nil, fmt.Errorf("target %s: %w", addr, err)
		}
	}
	cs.open[addr] = c
	return c, nil
}

// reach makes sure that the server has a database, before commands for it are sent behind a SELECT: if that were refused, they would run in
// another database. A server that has taken the place of another one may have fewer.
func (cs *connections) reach(ctx context.Context, c *conn, db int) error {
	if cs.t.Cluster || db <= c.reaches {
		return nil
	}
	if err := c.dc.Do(ctx, arbitrary(c.dc, "SELECT", strconv.Itoa(db))).Error(); err != nil {
		cs.drop(c.addr)
		return &connectError{fmt.Errorf("target %s: select database %d: %w", c.addr, db, err)}
	}
	c.db, c.reaches = db, db
	return nil
}

// firstLoss returns the first error that is not an error reply of the server.
func firstLoss(res []rueidis.RedisResult) error {
	for _, r := range res {
		if err := r.NonRedisError(); err != nil {
			return err
		}
	}
	return nil
}
