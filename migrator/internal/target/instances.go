package target

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
)

// Commands that are absolute (command.Spec.Absolute) go to the target without a checkpoint: applying them again, in order, does no harm. So
// nothing on the target tells which of them a node has, but the link's record, which is written once they are answered. A node that comes
// back with older data may lack them and still hold a record and checkpoints that look right. It is known by its process: if another one
// answers, or the same one that has become a primary again, the link goes back to what that node remembers.

// Instance is a server process for as long as it is a primary: its run_id, and its replication ID, which a promotion changes (since 4.0).
type Instance struct{ Process, history string }

// ErrReplaced says that another server answers at a node of the target, which may lack commands that were acknowledged.
var ErrReplaced error = replacedError{}

type replacedError struct{}

func (replacedError) Error() string {
	return "the server was restarted or replaced, or it has become the primary again, so it may lack the last commands that were applied: run the same command again"
}

func (replacedError) Unwrap() error { return ErrRegressed }

// Instances knows which instance stands behind each node of the target, for one link. A nil *instances, and one that has not begun, knows
// none and finds no fault.
type Instances struct {
	mu       sync.Mutex
	known    map[string]Instance // by address; nil: begin was not called
	recorded map[string]bool     // addresses at which the known instance holds the link's record
	bare     bool                // commands were sent without a checkpoint
}

// Begin sets the instances with which the link goes on, and which of them hold its record.
func (in *Instances) Begin(known map[string]Instance, recorded map[string]bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.known, in.recorded, in.bare = known, recorded, false
}

// Reset forgets all instances.
func (in *Instances) Reset() { in.Begin(nil, nil) }

// Check returns ErrReplaced if another instance answers at an address than the known one, and commands that were sent without a checkpoint
// may be lost by that. If there were none, the checkpoints tell of everything, and the new instance becomes the known one.
func (in *Instances) Check(addr string, now Instance) error {
	if in == nil {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.known == nil || in.known[addr] == now:
		return nil
	case in.bare:
		return ErrReplaced
	}
	in.known[addr] = now
	delete(in.recorded, addr)
	return nil
}

// record notes that an instance holds the link's record.
func (in *Instances) record(addr string, now Instance) {
	if in == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.known != nil && in.known[addr] == now {
		in.recorded[addr] = true
	}
}

// goBare says whether commands may be sent to an instance without a checkpoint, and notes that they are.
func (in *Instances) goBare(addr string, now Instance) bool {
	if in == nil || now.Process == "" {
		return false
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.known == nil || in.known[addr] != now || !in.recorded[addr] {
		return false
	}
	in.bare = true
	return true
}

// instanceOf reads an instance from the replies to INFO server and INFO replication; a server that refuses them has no instance.
func instanceOf(server, replication string) Instance {
	field := func(text, name string) string {
		_, value, _ := strings.Cut(text, name+":")
		value, _, _ = strings.Cut(value, "\r\n")
		return value
	}
	return Instance{field(server, "run_id"), field(replication, "master_replid")}
}

// connection is a client, or one connection of it.
type connection interface {
	builder
	Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult
	DoMulti(ctx context.Context, multi ...rueidis.Completed) []rueidis.RedisResult
}

// askInstance asks a server for its instance.
func askInstance(ctx context.Context, c connection) (Instance, error) {
	res := c.DoMulti(ctx, arbitrary(c, "INFO", "server"), arbitrary(c, "INFO", "replication"))
	server, err1 := res[0].ToString()
	replication, err2 := res[1].ToString()
	return instanceOf(server, replication), errors.Join(err1, err2)
}

// Instances returns the instance at each primary of the target. One that takes the place of another may have lost data.
func (t *Target) Instances(ctx context.Context) (map[string]Instance, error) {
	found := map[string]Instance{}
	if !t.Can.Processes {
		return found, nil // a proxy does not show its servers
	}
	for _, addr := range t.Primaries() {
		client, err := t.d.Client(ctx, addr, 0)
		if err == nil {
			found[addr], err = askInstance(ctx, client)
		}
		if err != nil {
			return nil, fmt.Errorf("target %s: INFO: %w", addr, err)
		}
	}
	return found, nil
}

// nobody is an ID that no client of a server has.
const nobody = "9223372036854775807"

// endsConnections says whether a server lets the connections of an earlier run be found and ended (CLIENT LIST, and CLIENT ID and CLIENT
// KILL ID, since 5.0). Otherwise what a connection that broke has left in the server's buffers may arrive late.
func endsConnections(ctx context.Context, c connection) bool {
	for _, args := range [][]string{{"CLIENT", "LIST", "TYPE", "pubsub"}, {"CLIENT", "ID"}, {"CLIENT", "KILL", "ID", nobody}} {
		if c.Do(ctx, arbitrary(c, args...)).Error() != nil {
			return false
		}
	}
	return true
}

// leftBehind holds connections that the writers of this run have closed. Their last commands may still wait in the buffers of a server.
type leftBehind struct {
	mu    sync.Mutex
	conns map[string][]*conn // by address
}

// add adds connections by address.
func (l *leftBehind) add(conns map[string][]*conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.conns = map[string][]*conn{}
	}
	for addr, old := range conns {
		l.conns[addr] = append(l.conns[addr], old...)
	}
}

// EndLeft ends the connections that the writers of this run have left behind at the primaries of the target, before it is read there how far
// the target has come.
func (t *Target) EndLeft(ctx context.Context) error {
	if !t.Can.Ends {
		return nil
	}
	return t.Retry(ctx, func() (again, err error) {
		t.left.mu.Lock()
		defer t.left.mu.Unlock()
		for _, addr := range t.Primaries() {
			if len(t.left.conns[addr]) == 0 {
				continue
			}
			client, err := t.d.Client(ctx, addr, 0)
			if err == nil {
				var now Instance
				if now, err = askInstance(ctx, client); err == nil {
					err = t.end(ctx, client, t.left.conns[addr], now.Process)
				}
			}
			if err != nil {
				return AgainOrEnd(addr, err)
			}
			delete(t.left.conns, addr)
		}
		return nil, nil
	})
}

// end ends connections that were dropped, unless another process has taken over the address: that one has no such connections, and may have
// given the same IDs to other clients.
func (t *Target) end(ctx context.Context, c connection, dropped []*conn, process string) error {
	for _, old := range dropped {
		if old.id == "" || old.process() == "" || old.process() != process {
			continue
		}
		ids := []string{old.id}
		if old.pipe != nil && old.pipe.id != "" {
			ids = append(ids, old.pipe.id)
		}
		for _, id := range ids {
			err := c.Do(ctx, arbitrary(c, "CLIENT", "KILL", "ID", id)).Error()
			if err != nil && (endpoint.Code(err) == "" || t.Can.Ends) {
				return fmt.Errorf("end a broken connection, whose last commands may still arrive (CLIENT KILL ID): %w", err)
			}
		}
	}
	return nil
}
