package target

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/retry"
)

// leftBehind ends connections whose last commands may still wait in the buffers of a server, so that they do not arrive late: those that
// the writers of this run have closed, and those of earlier runs.
type leftBehind struct {
	nodes *nodes

	mu    sync.Mutex
	conns map[string][]*conn // that the writers of this run have closed, by address; guarded by mu
}

func newLeftBehind(ns *nodes) *leftBehind {
	return &leftBehind{nodes: ns, conns: map[string][]*conn{}}
}

// proxyGrace is how long after a connection was lost a proxy may still pass commands on that were sent on it.
const proxyGrace = time.Second

// nobody is an ID that no client of a server has.
const nobody = "9223372036854775807"

// endsConnections says whether a server lets the connections of an earlier run be found and ended (CLIENT SETNAME and CLIENT LIST, and
// CLIENT ID and CLIENT KILL ID, since 5.0). Otherwise what a connection that broke has left in the server's buffers may arrive late.
func endsConnections(ctx context.Context, c connection) bool {
	for _, args := range [][]string{{"CLIENT", "SETNAME", ""}, {"CLIENT", "LIST", "TYPE", "pubsub"}, {"CLIENT", "ID"}, {"CLIENT", "KILL", "ID", nobody}} {
		if c.Do(ctx, arbitrary(c, args...)).Error() != nil {
			return false
		}
	}
	return true
}

// add adds connections by address.
func (l *leftBehind) add(conns map[string][]*conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for addr, old := range conns {
		l.conns[addr] = append(l.conns[addr], old...)
	}
}

// endAll ends the connections that were added, at the primaries of the target, before it is read there how far the target has come.
func (l *leftBehind) endAll(ctx context.Context) error {
	if !l.nodes.Can.Ends {
		return nil
	}
	return l.nodes.Retry(ctx, func() (again, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, addr := range l.nodes.Primaries() {
			if len(l.conns[addr]) == 0 {
				continue
			}
			if err := l.endAt(ctx, addr); err != nil {
				return AgainOrEnd(addr, err)
			}
			delete(l.conns, addr)
		}
		return nil, nil
	})
}

// EndLeftBehind ends the connections that the writers of this run have closed, at the primaries of the target, so that what was sent on them does
// not arrive late.
func (t *Target) EndLeftBehind(ctx context.Context) error { return t.left.endAll(ctx) }

// endAt does what endAll does, at one node. The caller holds mu.
func (l *leftBehind) endAt(ctx context.Context, addr string) error {
	client, err := l.nodes.d.Client(ctx, addr, 0)
	if err != nil {
		return err
	}
	now, err := askInstance(ctx, client)
	if err != nil {
		return err
	}
	return l.end(ctx, client, l.conns[addr], now.Process)
}

// end ends connections that were dropped, unless another process has taken over the address: that one has no such connections, and may have
// given the same IDs to other clients.
func (l *leftBehind) end(ctx context.Context, c connection, dropped []*conn, process string) error {
	for _, old := range dropped {
		if old.process() == "" || old.process() != process {
			continue
		}
		for _, id := range old.ids() {
			err := c.Do(ctx, arbitrary(c, "CLIENT", "KILL", "ID", id)).Error()
			if err != nil && (endpoint.Code(err) == "" || l.nodes.Can.Ends) {
				return fmt.Errorf("end a broken connection, whose last commands may still arrive (CLIENT KILL ID): %w", err)
			}
		}
	}
	return nil
}

// endOthers ends the connections of other runs to every node of the target. To a replica too: it may have been the primary, and may become it
// again. Where that is forbidden it does nothing, and commands in their sockets may arrive as long as the server takes to read them.
func (l *leftBehind) endOthers(ctx context.Context, h *holder) error {
	if !l.nodes.Can.Transactions { // keys that late commands may change are in doubt, and are copied again
		return nil
	}
	if !l.nodes.Can.Processes {
		return retry.Pause(ctx, proxyGrace)
	}
	err := l.nodes.EachPrimary(ctx, func(addr string) error {
		return l.nodes.Retry(ctx, func() (again, err error) {
			err = l.endOthersAt(ctx, addr, h)
			if !l.nodes.Can.Ends && endpoint.Code(err) != "" {
				err = nil
			}
			return AgainOrEnd(addr, err)
		})
	})
	if err != nil || !l.nodes.Can.Ends {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, mostAskingReplicas)
	defer cancel()
	var asked sync.WaitGroup
	for _, s := range l.nodes.d.Shards() {
		for _, r := range s.Replicas {
			asked.Go(func() {
				if err := l.endOthersAt(asking, r.Addr, h); err != nil && ctx.Err() == nil {
					l.nodes.log.Warn("it is not known whether an earlier run has connections to this replica, over which it could write if the replica became the primary", "replica", r.Addr, "error", err)
				}
			})
		}
	}
	asked.Wait()
	return ctx.Err()
}

// mostAskingReplicas bounds the time in which replicas are asked for connections of earlier runs. Their addresses may be unreachable from here.
const mostAskingReplicas = 5 * time.Second

// endOthersAt does what endOthers does, at one node. Once the server has answered, it runs nothing more of what came on a connection that was
// ended, whether it had read that or not.
func (l *leftBehind) endOthersAt(ctx context.Context, addr string, h *holder) error {
	c, err := l.nodes.d.Client(ctx, addr, 0)
	if err != nil {
		return err
	}
	list, err := c.Do(ctx, arbitrary(c, "CLIENT", "LIST")).ToString()
	if err != nil {
		return err
	}
	for line := range strings.Lines(list) {
		if !h.other(clientField(line, "name")) {
			continue
		}
		err := c.Do(ctx, arbitrary(c, "CLIENT", "KILL", "ID", clientField(line, "id"))).Error() // how many there were: 0 if it has ended meanwhile
		if err != nil {
			return err
		}
	}
	return nil
}

// clientField returns a field of a line of CLIENT LIST, which has fields name=value with spaces between them.
func clientField(line, name string) string {
	for _, f := range strings.Fields(line) {
		if value, found := strings.CutPrefix(f, name+"="); found {
			return value
		}
	}
	return ""
}
