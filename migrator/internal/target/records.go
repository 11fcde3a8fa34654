package target

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
)

// RecordKey is a key that tells up to where all units of a link have applied the stream, where its node remembers it. A cluster has one on each
// node: the other nodes do not know what this one has lost. It lies in the slot of the node's witness, and moves with it. Each server behind
// a proxy has one as well; see proxied_servers.go.
type RecordKey struct {
	Name string
	Slot uint16 // of its witness; for all but Main
	Main bool   // the link's own, which is always there
	Must bool   // it was written before
}

// RecordName returns the name of the link's own record.
func (cps *Checkpoints) RecordName() string { return keyLink + cps.nodes.id + ":" + cps.link }

// RecordNameIn returns the name of the link's record in a slot of a cluster.
func (cps *Checkpoints) RecordNameIn(slot uint16) string {
	return cps.RecordName() + ":{" + keyspace.SlotTag(slot) + "}"
}

// SaveRecord writes a record of the link at the offset at, after it has checked that the target holds one of at least the offset saved; -1:
// there need not be one. All steps use one connection, which breaks if the server restarts in between.
func (cps *Checkpoints) SaveRecord(ctx context.Context, k RecordKey, saved, at int64, fields ...string) error {
	return cps.nodes.atFenced(ctx, cps.nodes.Slot(k.Name), cps.nodes.OwnDB(), func(addr string, c connection) error {
		if cps.nodes.Can.Tells {
			return cps.saveBehind(ctx, c, k, saved, at, fields)
		}
		var now Instance
		if cps.nodes.Can.Ends {
			var err error
			if now, err = askInstance(ctx, c); err != nil {
				return err
			}
			if err := cps.instances.check(addr, now); err != nil {
				return err
			}
		}
		err := cps.saveOn(ctx, c, k, saved, at, fields)
		if err == nil {
			cps.instances.record(addr, now)
		}
		return err
	})
}

// saveOn does what SaveRecord does, on a connection to the record's node. A record that is further stays: while one node of a cluster
// catches up, the units of the others are ahead, and their checkpoints may be gone.
func (cps *Checkpoints) saveOn(ctx context.Context, c connection, k RecordKey, saved, at int64, fields []string) error {
	reply := c.Do(ctx, arbitrary(c, cps.nodes.Reading("HGET", k.Name, "offset")...))
	offset, err := offsetOf(reply)
	absent := rueidis.IsRedisNil(reply.Error())
	switch {
	case err != nil:
		return err
	case absent && !k.Main && !k.Must:
	case offset < saved, absent && saved >= 0:
		return ErrRegressed
	}
	if !absent && offset >= at {
		return nil
	}
	return cps.nodes.calls.write("hmset", 1, func() error {
		return c.Do(ctx, arbitrary(c, append([]string{"HMSET", k.Name, "offset", strconv.FormatInt(at, 10)}, fields...)...)).Error()
	})
}

// Records are the records of a link as the nodes of the target hold them.
type Records struct {
	Lowest map[string]string // the one that is furthest behind; empty: the link has none
	At     map[string]int64  // by address, or by process behind a proxy: up to where the node knows the stream to be applied
	Silent bool              // a node holds none, so that nothing would tell if it had gone back to an earlier state
	held   map[string]bool   // the nodes that hold one, as in At
	each   map[string]int64  // offset of each record, by its key
}

// ReadRecords reads the records of the link. A node that never had one counts as being as far as the link's own.
func (cps *Checkpoints) ReadRecords(ctx context.Context, keys []RecordKey) (r Records, err error) {
	r.At, r.held, r.each = map[string]int64{}, map[string]bool{}, map[string]int64{}
	byNode := map[string]map[string]string{}
	var own map[string]string
	found, holders, err := cps.readAll(ctx, keys)
	if err != nil {
		return r, err
	}
	for i, k := range keys {
		fields, holder := found[i].fields, found[i].holder
		switch {
		case k.Main && len(fields) == 0:
			return Records{}, nil
		case k.Main:
			own = fields
		case len(fields) == 0 && k.Must:
			return r, fmt.Errorf("target key %s is gone: %w", k.Name, ErrRegressed)
		case len(fields) == 0:
			continue
		}
		offset, err := strconv.ParseInt(fields["offset"], 10, 64)
		if err != nil {
			return r, fmt.Errorf("target key %s: offset %q is not a number", k.Name, fields["offset"])
		}
		r.held[holder], r.each[k.Name] = true, offset
		if at, there := r.At[holder]; !there || offset > at { // each of them is true of the node that holds it now
			r.At[holder], byNode[holder] = offset, fields
		}
	}
	r.findLowest(holders, byNode, own)
	return r, nil
}

// heldRecord is a record of the link, with the address of the node that holds it, or the process of a server behind a proxy.
type heldRecord struct {
	fields map[string]string
	holder string
}

// readAll reads records of the link, and returns all that may hold one.
func (cps *Checkpoints) readAll(ctx context.Context, keys []RecordKey) (found []heldRecord, holders []string, err error) {
	if cps.nodes.Can.Tells {
		found, err = cps.readBehind(ctx, keys)
		for _, f := range found {
			if !slices.Contains(holders, f.holder) {
				holders = append(holders, f.holder)
			}
		}
		return found, holders, err
	}
	for _, k := range keys {
		fields, err := cps.nodes.ownHash(ctx, k.Name)
		if err != nil {
			return nil, nil, err
		}
		n, _ := cps.nodes.PrimaryOf(cps.nodes.Slot(k.Name))
		found = append(found, heldRecord{fields, n.Addr})
	}
	return found, cps.nodes.Primaries(), nil
}

// findLowest finds the record that is furthest behind, of those that the nodes hold. own is the link's own, which counts for a node that
// holds none.
func (r *Records) findLowest(addrs []string, byNode map[string]map[string]string, own map[string]string) {
	least := int64(-1)
	for _, addr := range addrs {
		if byNode[addr] == nil {
			r.Silent, byNode[addr] = true, own
			r.At[addr], _ = strconv.ParseInt(own["offset"], 10, 64)
		}
		if least < 0 || r.At[addr] < least {
			least, r.Lowest = r.At[addr], byNode[addr]
		}
	}
}
