package target

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/rueidis"
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

// instances knows which instance stands behind each node of the target, for one link. One that has not begun knows none and finds no fault.
type instances struct {
	mu       sync.Mutex          // guards all below
	known    map[string]Instance // by address, or by process behind a proxy; nil: begin was not called
	recorded map[string]bool     // addresses at which the known instance holds the link's record
	bare     bool                // commands were sent without a checkpoint
}

// begin sets the instances with which the link goes on, and which of them hold its record.
func (in *instances) begin(known map[string]Instance, recorded map[string]bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.known, in.recorded, in.bare = known, recorded, false
}

// check returns ErrReplaced if another instance answers at an address than the known one, and commands that were sent without a checkpoint
// may be lost by that. If there were none, the checkpoints tell of everything, and the new instance becomes the known one.
func (in *instances) check(addr string, now Instance) error {
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
func (in *instances) record(addr string, now Instance) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.known != nil && in.known[addr] == now {
		in.recorded[addr] = true
	}
}

// goBare says whether commands may be sent to an instance without a checkpoint, and notes that they are.
func (in *instances) goBare(addr string, now Instance) bool {
	if now.Process == "" {
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

// Rely notes that something was written whose loss no checkpoint would show, so that another instance at any node has the link go back.
func (cps *Checkpoints) Rely() {
	cps.instances.mu.Lock()
	defer cps.instances.mu.Unlock()
	cps.instances.bare = true
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

// Instances returns the instance at each primary of the target, or each that a proxy hides, by process. One that takes the place of another
// may have lost data.
func (ns *nodes) Instances(ctx context.Context) (map[string]Instance, error) {
	found := map[string]Instance{}
	if ns.Can.Tells {
		return ns.instancesBehind(ctx)
	}
	if !ns.Can.Processes {
		return found, nil // a proxy does not show its servers
	}
	for _, addr := range ns.Primaries() {
		client, err := ns.d.Client(ctx, addr, 0)
		if err == nil {
			found[addr], err = askInstance(ctx, client)
		}
		if err != nil {
			return nil, fmt.Errorf("target %s: INFO: %w", addr, err)
		}
	}
	return found, nil
}
