package target

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/redis/rueidis"
)

// fenced runs f on a connection to a node over which nothing is written once another run has taken the target over; see claim.go. Everything
// that is written to the target beside the writers goes this way. Where connections cannot be ended, the claim alone is looked at.
func (ns *nodes) fenced(ctx context.Context, addr string, db int, f func(c connection) error) error {
	if err := ns.Claim.Hold(ctx); err != nil {
		return err
	}
	client, err := ns.d.Client(ctx, addr, db)
	if err != nil {
		return err
	}
	if !ns.Can.Ends {
		return f(client)
	}
	c, release, err := ns.identified(ctx, client)
	if err != nil {
		return err
	}
	defer release()
	if err = f(c); err != nil {
		c.Close() // it may have been ended, and is not used again
	}
	return err
}

// mostStale is how many connections of an earlier run of the same process, which were ended with that run's name, are passed over.
const mostStale = 4

// identified takes a connection of a client, with the name of this run.
func (ns *nodes) identified(ctx context.Context, client rueidis.Client) (c rueidis.DedicatedClient, release func(), err error) {
	for range mostStale {
		c, release = client.Dedicate()
		if err = ns.identify(ctx, c); err == nil {
			return c, release, nil
		}
		c.Close()
		release()
		if !errors.Is(err, io.EOF) {
			break
		}
	}
	return nil, nil, err
}

// identify gives a connection the name of this run, and reads only then whether the target is still its own.
func (ns *nodes) identify(ctx context.Context, c connection) error {
	if err := c.Do(ctx, arbitrary(c, "CLIENT", "SETNAME", ns.Claim.connectionName())).Error(); err != nil {
		return unnamed(err)
	}
	return ns.Claim.verify(ctx)
}

// unnamed says why a connection without a name is not used where a run that takes the target over relies on names.
func unnamed(err error) error {
	return fmt.Errorf("name a connection, so that a run which takes the target over can end it (CLIENT SETNAME): %w", err)
}

// atFenced does what at does, on connections of fenced.
func (ns *nodes) atFenced(ctx context.Context, slot uint16, db int, f func(addr string, c connection) error) error {
	return ns.Retry(ctx, func() (again, err error) {
		addr, again := ns.node(slot)
		if again != nil {
			return again, nil
		}
		return AgainOrEnd(addr, ns.fenced(ctx, addr, db, func(c connection) error { return f(addr, c) }))
	})
}

// Delete deletes keys of one database of a node, and returns how many of them it is known to have deleted or not to have found.
func (ns *nodes) Delete(ctx context.Context, addr string, db int, names []string) (deleted int, err error) {
	err = ns.fenced(ctx, addr, db, func(c connection) error {
		cmds := make([]rueidis.Completed, len(names))
		for i, name := range names {
			cmds[i] = arbitrary(c, "DEL", name)
		}
		for _, r := range c.DoMulti(ctx, cmds...) {
			if err := r.Error(); err != nil {
				return err
			}
			deleted++
		}
		return nil
	})
	return deleted, err
}
