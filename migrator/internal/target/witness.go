package target

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

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

const keyWitness = keyspace.Prefix + ":witness:"

// Witness is the place of a witness. migration.json lists all.
type Witness struct {
	DB   int    `json:"db"`
	Slot uint16 `json:"slot"` // slot of a cluster; through a proxy, a number in the name of the key
}

const (
	witnessSpread = 64 // number of witnesses through a proxy: enough for each server to have one
)

// ErrLost says that a node of the target has lost its keys. It wraps ErrRegressed.
var ErrLost error = lossError{}

type lossError struct{}

func (lossError) Error() string {
	return "one of surecut's own keys is missing there, so the node was flushed, came back without its data, or evicts keys, and other keys may be missing as well: start again with a new Config.StateDir and an empty target (or Config.OnExisting replace)"
}

func (lossError) Unwrap() error { return ErrRegressed }

func (t *Target) witnessKey(w Witness) string {
	switch {
	case t.d.Kind() == endpoint.Cluster:
		return keyWitness + t.id + ":{" + keyspace.SlotTag(w.Slot) + "}"
	case t.Cluster:
		return keyWitness + t.id + ":" + strconv.Itoa(int(w.Slot))
	}
	return keyWitness + t.id
}

// value returns the value of the key: the number of its database, which shows if somebody else has swapped databases.
func (w Witness) value() string { return strconv.Itoa(w.DB) }

// wroteTo notes that a database of the target is written to.
func (t *Target) wroteTo(db int) {
	t.written.Lock()
	defer t.written.Unlock()
	if t.writtenDBs == nil {
		t.writtenDBs = map[int]bool{}
	}
	t.writtenDBs[db] = true
}

// MissingWitnesses returns the witnesses that are needed in addition to those in have.
func (t *Target) MissingWitnesses(have []Witness) (more []Witness) {
	add := func(w Witness) {
		if !slices.Contains(have, w) {
			more = append(more, w)
		}
	}
	switch {
	case !t.Can.Placement:
		for i := range witnessSpread {
			add(Witness{t.OwnDB(), uint16(i * keyspace.Slots / witnessSpread)})
		}
	case t.Cluster:
		seen := map[string]bool{}
		for _, w := range have {
			n, _ := t.PrimaryOf(w.Slot)
			seen[n.Addr] = true
		}
		for slot := range t.d.Slots() {
			if n, ok := t.PrimaryOf(uint16(slot)); ok && !seen[n.Addr] {
				seen[n.Addr] = true
				add(Witness{t.OwnDB(), uint16(slot)})
			}
		}
	default:
		add(Witness{DB: t.OwnDB()})
		t.written.Lock()
		defer t.written.Unlock()
		for db := range t.writtenDBs {
			if db != t.OwnDB() {
				add(Witness{DB: db})
			}
		}
	}
	return more
}

// PlaceWitnesses writes witnesses to the target.
func (t *Target) PlaceWitnesses(ctx context.Context, ws []Witness) error {
	for _, w := range ws {
		err := t.at(ctx, w.Slot, w.DB, func(_ string, c rueidis.Client) error {
			return c.Do(ctx, arbitrary(c, "SET", t.witnessKey(w), w.value())).Error()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// RemoveWitnesses deletes witnesses from the target.
func (t *Target) RemoveWitnesses(ctx context.Context, ws []Witness) error {
	for _, w := range ws {
		err := t.at(ctx, w.Slot, w.DB, func(_ string, c rueidis.Client) error {
			return c.Do(ctx, arbitrary(c, "DEL", t.witnessKey(w))).Error()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// LostWitnesses looks once for witnesses that were placed, and returns those that are gone.
func (t *Target) LostWitnesses(ctx context.Context, placed []Witness) (lost []Witness, err error) {
	type place struct {
		addr string
		db   int
	}
	groups := map[place][]Witness{}
	for _, w := range placed {
		n, ok := t.PrimaryOf(w.Slot)
		if !ok {
			return nil, fmt.Errorf("target: no node holds slot %d", w.Slot)
		}
		at := place{n.Addr, w.DB}
		groups[at] = append(groups[at], w)
	}
	for at, ws := range groups {
		c, err := t.d.Client(ctx, at.addr, at.db)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", at.addr, err)
		}
		cmds := make([]rueidis.Completed, len(ws))
		for i, w := range ws {
			cmds[i] = arbitrary(c, t.Reading("GET", t.witnessKey(w))...)
		}
		for i, r := range c.DoMulti(ctx, cmds...) {
			value, err := r.ToString()
			if err != nil && !rueidis.IsRedisNil(err) {
				return nil, fmt.Errorf("target %s: look for key %s: %w", at.addr, t.witnessKey(ws[i]), err)
			}
			if err != nil || value != ws[i].value() {
				lost = append(lost, ws[i])
			}
		}
	}
	return lost, nil
}

// FindLost does what LostWitnesses does, and waits for a target that does not answer.
func (t *Target) FindLost(ctx context.Context, placed []Witness) (lost []Witness, err error) {
	err = t.Retry(ctx, func() (again, err error) {
		lost, again = t.LostWitnesses(ctx, placed)
		return again, ctx.Err()
	})
	return lost, err
}

// LossOf returns an ErrLost that names the nodes of lost witnesses.
func (t *Target) LossOf(lost []Witness) error {
	var nodes []string
	for _, w := range lost {
		n, _ := t.PrimaryOf(w.Slot)
		name := n.Addr
		if !t.Cluster && w.DB != t.OwnDB() {
			name += " (database " + strconv.Itoa(w.DB) + ")"
		}
		if !slices.Contains(nodes, name) {
			nodes = append(nodes, name)
		}
	}
	slices.Sort(nodes)
	return fmt.Errorf("the target has lost keys at %s: %w", strings.Join(nodes, ", "), ErrLost)
}
