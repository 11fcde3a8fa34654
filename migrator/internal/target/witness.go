package target

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// A target can lose keys without notice: by FLUSHALL on one node, a node that comes back empty, a replica that was promoted without data.
// Checkpoints alone do not show that: those of slots to which nobody writes are not read, and a checkpoint that is written again looks as
// if nothing had happened. So every node holds a witness, a key of surecut's own that is written once. If the witness is gone, the node has
// lost keys. In a cluster the witness is in one of the node's slots and moves with that slot; a node that is left without a witness gets
// another one. A server with several databases has a witness in each database that was written to. A proxy does not show its servers, so
// there the names of many witnesses are spread over them.
//
// The witnesses are checked every two seconds, at the end of a run, and before a run that is resumed writes anything.

// Witness is the place of a witness. migration.json lists all.
type Witness struct {
	DB   int    `json:"db"`
	Slot uint16 `json:"slot"` // slot of a cluster; through a proxy, a number in the name of the key
}

// witnessSpread is the number of witnesses through a proxy: enough for each server to have one.
const witnessSpread = 64

// ErrLost says that a node of the target has lost its keys. It wraps ErrRegressed.
var ErrLost error = lossError{}

type lossError struct{}

func (lossError) Error() string {
	return "one of surecut's own keys is missing there, so the node was flushed, came back without its data, or evicts keys, and other keys may be missing as well: start again with a new Config.StateDir and an empty target (or Config.OnExisting replace)"
}

func (lossError) Unwrap() error { return ErrRegressed }

// value returns the value of the key: the number of its database, which shows if somebody else has swapped databases.
func (w Witness) value() string { return strconv.Itoa(w.DB) }

// Witnesses places the witnesses of a target and looks for them. Which ones were placed is kept by whoever calls, on disk.
type Witnesses struct {
	nodes *nodes

	mu      sync.Mutex
	written map[int]bool // databases that were written to, beside that of surecut's own keys; guarded by mu
}

func newWitnesses(ns *nodes) *Witnesses { return &Witnesses{nodes: ns, written: map[int]bool{}} }

// key returns the name of the key of a witness.
func (ws *Witnesses) key(w Witness) string {
	switch {
	case ws.nodes.d.Kind() == endpoint.Cluster:
		return keyWitness + ws.nodes.id + ":{" + keyspace.SlotTag(w.Slot) + "}"
	case ws.nodes.Cluster:
		return keyWitness + ws.nodes.id + ":" + strconv.Itoa(int(w.Slot))
	}
	return keyWitness + ws.nodes.id
}

// wroteTo notes that a database of the target is written to.
func (ws *Witnesses) wroteTo(db int) {
	if db == ws.nodes.OwnDB() {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.written[db] = true
}

// Missing returns the witnesses that are needed in addition to those in have.
func (ws *Witnesses) Missing(have []Witness) []Witness {
	var needed []Witness
	switch {
	case !ws.nodes.Can.Placement:
		needed = ws.spread()
	case ws.nodes.Cluster:
		needed = ws.ofNodes(have)
	default:
		needed = ws.ofDatabases()
	}
	return slices.DeleteFunc(needed, func(w Witness) bool { return slices.Contains(have, w) })
}

// spread returns as many witnesses as it takes for each server behind a proxy to have one.
func (ws *Witnesses) spread() (needed []Witness) {
	for i := range witnessSpread {
		needed = append(needed, Witness{ws.nodes.OwnDB(), uint16(i * keyspace.Slots / witnessSpread)})
	}
	return needed
}

// ofNodes returns a witness for each node of a cluster that has none of those in have.
func (ws *Witnesses) ofNodes(have []Witness) (needed []Witness) {
	seen := map[string]bool{}
	for _, w := range have {
		n, _ := ws.nodes.PrimaryOf(w.Slot)
		seen[n.Addr] = true
	}
	for slot := range ws.nodes.d.Slots() {
		if n, ok := ws.nodes.PrimaryOf(uint16(slot)); ok && !seen[n.Addr] {
			seen[n.Addr] = true
			needed = append(needed, Witness{ws.nodes.OwnDB(), uint16(slot)})
		}
	}
	return needed
}

// ofDatabases returns a witness for each database that was written to.
func (ws *Witnesses) ofDatabases() []Witness {
	needed := []Witness{{DB: ws.nodes.OwnDB()}}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for db := range ws.written {
		needed = append(needed, Witness{DB: db})
	}
	return needed
}

// Place writes witnesses to the target.
func (ws *Witnesses) Place(ctx context.Context, these []Witness) error {
	return ws.each(ctx, these, func(c connection, w Witness) error {
		return ws.nodes.calls.write("set", 1, func() error { return c.Do(ctx, arbitrary(c, "SET", ws.key(w), w.value())).Error() })
	})
}

// Remove deletes witnesses from the target.
func (ws *Witnesses) Remove(ctx context.Context, these []Witness) error {
	return ws.each(ctx, these, func(c connection, w Witness) error {
		return c.Do(ctx, arbitrary(c, "DEL", ws.key(w))).Error()
	})
}

// each runs f for each witness, on its node.
func (ws *Witnesses) each(ctx context.Context, these []Witness, f func(c connection, w Witness) error) error {
	for _, w := range these {
		if err := ws.nodes.atFenced(ctx, w.Slot, w.DB, func(_ string, c connection) error { return f(c, w) }); err != nil {
			return err
		}
	}
	return nil
}

// Lost looks once for witnesses that were placed, and returns those that are gone.
func (ws *Witnesses) Lost(ctx context.Context, placed []Witness) (lost []Witness, err error) {
	type place struct {
		addr string
		db   int
	}
	groups := map[place][]Witness{}
	for _, w := range placed {
		addr, err := ws.nodes.node(w.Slot)
		if err != nil {
			return nil, err
		}
		at := place{addr, w.DB}
		groups[at] = append(groups[at], w)
	}
	for at, these := range groups {
		gone, err := ws.lostAt(ctx, at.addr, at.db, these)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", at.addr, err)
		}
		lost = append(lost, gone...)
	}
	return lost, nil
}

// lostAt does what Lost does, for the witnesses of one database of a node.
func (ws *Witnesses) lostAt(ctx context.Context, addr string, db int, these []Witness) (lost []Witness, err error) {
	c, err := ws.nodes.d.Client(ctx, addr, db)
	if err != nil {
		return nil, err
	}
	cmds := make([]rueidis.Completed, len(these))
	for i, w := range these {
		cmds[i] = arbitrary(c, ws.nodes.Reading("GET", ws.key(w))...)
	}
	for i, r := range c.DoMulti(ctx, cmds...) {
		value, err := r.ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			return nil, fmt.Errorf("look for key %s: %w", ws.key(these[i]), err)
		}
		if err != nil || value != these[i].value() {
			lost = append(lost, these[i])
		}
	}
	return lost, nil
}

// FindLost does what Lost does, and waits for a target that does not answer.
func (ws *Witnesses) FindLost(ctx context.Context, placed []Witness) (lost []Witness, err error) {
	err = ws.nodes.Retry(ctx, func() (again, err error) {
		lost, again = ws.Lost(ctx, placed)
		return again, ctx.Err()
	})
	return lost, err
}

// LossOf returns an ErrLost that names the nodes of lost witnesses.
func (ws *Witnesses) LossOf(lost []Witness) error {
	var names []string
	for _, w := range lost {
		n, _ := ws.nodes.PrimaryOf(w.Slot)
		name := n.Addr
		if !ws.nodes.Cluster && w.DB != ws.nodes.OwnDB() {
			name += " (database " + strconv.Itoa(w.DB) + ")"
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return fmt.Errorf("the target has lost keys at %s: %w", strings.Join(names, ", "), ErrLost)
}
