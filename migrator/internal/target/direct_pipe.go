package target

import (
	"context"
	"errors"
	"fmt"
)

// pipe returns the writer's pipe to a node, and opens it if needed. The pipe belongs to the connection to the node: the two are dropped and
// silenced together.
func (w *direct) pipe(ctx context.Context, addr string) (*pipe, error) {
	c, err := w.conn(ctx, addr)
	if err != nil {
		return nil, err
	}
	if c.pipe != nil {
		return c.pipe, nil
	}
	p, server, err := openPipe(ctx, w.t.nodes, addr)
	if err == nil && server != c.server && w.t.Can.Ends { // the address leads to another server by now
		p.close()
		err = errors.New("two connections to this address reached two different servers")
	}
	if err == nil { // for the same reason as in conn
		if err = w.t.Claim.verify(ctx); err != nil {
			p.close()
			err = &connectError{err}
		}
	}
	if err != nil {
		w.drop(addr)
		return nil, fmt.Errorf("target %s: %w", addr, err)
	}
	c.pipe = p
	return p, nil
}

// pipeTo returns the writer's pipe to a node that has a database.
func (w *direct) pipeTo(ctx context.Context, addr string, db int) (*pipe, error) {
	c, err := w.conn(ctx, addr)
	if err == nil {
		err = w.reach(ctx, c, db)
	}
	if err != nil {
		return nil, err
	}
	return w.pipe(ctx, addr)
}
