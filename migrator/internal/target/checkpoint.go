package target

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// These are surecut's own keys on a target:
//
//	__surecut:migration              hash: id, run, place, state, host, db, heartbeat_ms, seen_ms of the run that holds the target;
//	                                 see claim.go
//	__surecut:witness:<id>...        string: while it exists, its node or database has not lost its keys; see witness.go
//	__surecut:link:<id>:<link>       hash: replication_id, offset, db, shard; all units have applied the stream up to offset
//	__surecut:link:<id>:<link>:{..}  hash: the same, on each node of a cluster
//	__surecut:cp:<id>:<link>:<unit>  hash: o = offset up to which the unit has applied the stream; p = the value of o before the
//	                                 unit's last transaction; f:<db>:<key> = fence of a copied key
//	__surecut:tmp:<link>...          a big value while it is built
//
// <id> is that of the migration, so that keys which another migration has left are not taken for this one's. The key of a unit has a hash
// tag that puts it into the unit's slot, so that one transaction can write the data and the checkpoint.
const (
	KeyMigration = keyspace.Prefix + ":migration"
	keyLink      = keyspace.Prefix + ":link:"
	keyUnit      = keyspace.Prefix + ":cp:"
	keyTemp      = keyspace.Prefix + ":tmp:"
	fieldOffset  = "o"
	fieldBefore  = "p"
	fieldFence   = "f:"
)

func (t *Target) checkpointKey(link string, u Unit) string {
	if t.d.Kind() == endpoint.Cluster {
		return keyUnit + t.id + ":" + link + ":{" + keyspace.SlotTag(uint16(u)) + "}"
	}
	return keyUnit + t.id + ":" + link + ":" + strconv.Itoa(int(u))
}

// LinkKey returns the name of a link's record.
func (t *Target) LinkKey(link string) string { return keyLink + t.id + ":" + link }

// NodeKey returns the name of a link's record in a slot of a cluster.
func (t *Target) NodeKey(link string, slot uint16) string {
	return t.LinkKey(link) + ":{" + keyspace.SlotTag(slot) + "}"
}

// tempKey returns the key under which the value of another key is built, in the same slot. A run that resumes uses the same name again, so
// that nothing half built stays behind.
func tempKey(link, name string) string {
	return keyTemp + link + ":{" + keyspace.SlotTag(keyspace.Slot(name)) + "}:" + name
}

// FenceField returns the field of a unit's checkpoint that holds the fence of a key.
func FenceField(k keyspace.Key) string { return fieldFence + strconv.Itoa(k.DB) + ":" + k.Name }

// ErrRegressed says that the target does not hold what it has acknowledged.
var ErrRegressed = errors.New("the target has lost writes that it had acknowledged (it restarted without its data, or a replica was promoted that did not have them all): run the same command again if the target is one server that keeps its data on disk, else start again with a new Config.StateDir and Config.OnExisting replace")

// checkpointOffsets reads, in one pipeline, the offsets up to which the target has applied units; 0: nothing yet.
func (t *Target) checkpointOffsets(ctx context.Context, c *conn, link string, us []Unit) (map[Unit]int64, error) {
	if len(us) == 0 {
		return nil, nil
	}
	if !t.Cluster && c.db != t.OwnDB() {
		if err := c.dc.Do(ctx, arbitrary(c.dc, "SELECT", strconv.Itoa(t.OwnDB()))).Error(); err != nil {
			return nil, err
		}
		c.db = t.OwnDB()
	}
	cmds := make([]rueidis.Completed, len(us))
	for i, u := range us {
		cmds[i] = arbitrary(c.dc, "HGET", t.checkpointKey(link, u), fieldOffset)
	}
	offsets := make(map[Unit]int64, len(us))
	for i, r := range c.dc.DoMulti(ctx, cmds...) {
		offset, err := offsetOf(r)
		if err != nil {
			return nil, err
		}
		offsets[us[i]] = offset
	}
	return offsets, nil
}

// offsetOf reads an offset from a reply of HGET; 0 where there is no such field.
func offsetOf(r rueidis.RedisResult) (int64, error) {
	offset, err := r.AsInt64()
	if rueidis.IsRedisNil(err) {
		return 0, nil
	}
	return offset, err
}

// VerifyUnits returns ErrRegressed if the target holds a checkpoint below the one that it has acknowledged, as units has it.
func (t *Target) VerifyUnits(ctx context.Context, link string, units map[Unit]int64) error {
	if !t.Can.Transactions { // units have no checkpoints then
		return nil
	}
	left := slices.Collect(maps.Keys(units))
	return t.Retry(ctx, func() (again, err error) {
		byNode := map[string][]Unit{}
		for _, u := range left {
			n, _ := t.PrimaryOf(t.slotOf(u))
			byNode[n.Addr] = append(byNode[n.Addr], u)
		}
		left = nil
		for addr, us := range byNode {
			undone, why, err := t.verifyOn(ctx, addr, link, us, units)
			if err != nil {
				return nil, err
			}
			if left = append(left, undone...); why != nil {
				again = why
			}
		}
		return again, nil
	})
}

// verifyOn does what VerifyUnits does, for the units of one node. left are those for which the node did not answer.
func (t *Target) verifyOn(ctx context.Context, addr, link string, us []Unit, units map[Unit]int64) (left []Unit, again, err error) {
	client, err := t.d.Client(ctx, addr, t.OwnDB())
	if err != nil {
		again, err = AgainOrEnd(addr, err)
		return us, again, err
	}
	for portion := range slices.Chunk(us, 1000) {
		cmds := make([]rueidis.Completed, len(portion))
		for i, u := range portion {
			cmds[i] = arbitrary(client, "HGET", t.checkpointKey(link, u), fieldOffset)
		}
		for i, r := range client.DoMulti(ctx, cmds...) {
			offset, failed := offsetOf(r)
			switch why, err := AgainOrEnd(addr, failed); {
			case err != nil:
				return nil, nil, err
			case why != nil:
				left, again = append(left, portion[i]), why
			case offset < units[portion[i]]:
				return nil, nil, fmt.Errorf("target %s: checkpoint %d stands at offset %d, not %d: %w", addr, portion[i], offset, units[portion[i]], ErrRegressed)
			}
		}
	}
	return left, again, ctx.Err()
}

// RecordKey is a key that tells up to where all units of a link have applied the stream, where its node remembers it. A cluster has one on each
// node: the other nodes do not know what this one has lost. It lies in the slot of the node's witness, and moves with it.
type RecordKey struct {
	Name string
	Main bool // the link's own, which is always there
	Must bool // it was written before
}

// SaveRecord writes a record of a link at the offset at, after it has checked that the target holds one of at least the offset saved; -1:
// there need not be one. A record that is further stays: while one node of a cluster catches up, the units of the others are ahead, and
// their checkpoints may be gone. All steps use one connection, which breaks if the server restarts in between.
func (t *Target) SaveRecord(ctx context.Context, k RecordKey, saved, at int64, in *Instances, fields ...string) error {
	return t.at(ctx, t.Slot(k.Name), t.OwnDB(), func(addr string, c rueidis.Client) error {
		dc, release := c.Dedicate()
		defer release()
		var now Instance
		if t.Can.Ends {
			var err error
			if now, err = askInstance(ctx, dc); err != nil {
				return err
			}
			if err := in.Check(addr, now); err != nil {
				return err
			}
		}
		reply := dc.Do(ctx, arbitrary(dc, t.Reading("HGET", k.Name, "offset")...))
		offset, err := offsetOf(reply)
		switch absent := rueidis.IsRedisNil(reply.Error()); {
		case err != nil:
			return err
		case absent && !k.Main && !k.Must:
		case offset < saved, absent && saved >= 0:
			return ErrRegressed
		}
		if offset < at || rueidis.IsRedisNil(reply.Error()) {
			err = dc.Do(ctx, arbitrary(dc, append([]string{"HMSET", k.Name, "offset", strconv.FormatInt(at, 10)}, fields...)...)).Error()
		}
		if err == nil {
			in.record(addr, now)
		}
		return err
	})
}

// Records are the records of a link as the nodes of the target hold them.
type Records struct {
	Lowest map[string]string // the one that is furthest behind; empty: the link has none
	At     map[string]int64  // by address: up to where the node knows the stream to be applied
	Silent bool              // a node holds none, so that nothing would tell if it had gone back to an earlier state
	held   map[string]bool   // addresses of the nodes that hold one
	each   map[string]int64  // offset of each record, by its key
}

// ReadRecords reads the records of a link. A node that never had one counts as being as far as the link's own.
func (t *Target) ReadRecords(ctx context.Context, keys []RecordKey) (r Records, err error) {
	byNode := map[string]map[string]string{}
	r.At, r.held, r.each = map[string]int64{}, map[string]bool{}, map[string]int64{}
	var own map[string]string
	for _, k := range keys {
		fields, err := t.ownHash(ctx, k.Name)
		switch {
		case err != nil:
			return r, err
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
		n, _ := t.PrimaryOf(t.Slot(k.Name))
		r.held[n.Addr], r.each[k.Name] = true, offset
		if at, there := r.At[n.Addr]; !there || offset > at { // each of them is true of the node that holds it now
			r.At[n.Addr], byNode[n.Addr] = offset, fields
		}
	}
	least := int64(-1)
	for _, addr := range t.Primaries() {
		if byNode[addr] == nil {
			r.Silent, byNode[addr] = true, own
			r.At[addr], _ = strconv.ParseInt(own["offset"], 10, 64)
		}
		if least < 0 || r.At[addr] < least {
			least, r.Lowest = r.At[addr], byNode[addr]
		}
	}
	return r, nil
}

// Checkpoint is what the target remembers of one link.
type Checkpoint struct {
	ReplID string
	Offset int64          // offset up to which all units have applied the stream
	DB     int            // database that is selected in the stream at offset
	Units  map[Unit]int64 // offset of each unit

	Recorded map[Unit]int64  // offset up to which the record on the unit's node says that all units have applied the stream
	Nodes    map[string]bool // addresses that hold such a record

	Records map[string]int64 // offset of each record of the link, by its key. A run that was killed while it wrote them leaves some behind others

	Witnessed map[Unit]int64 // offset of each unit before its last transaction, whose replies the run may not have seen
	Fences    map[keyspace.Key]int64
	Present   bool // the target has a record of the link
}

// LoadCheckpoint reads a link's checkpoints and records from the target.
func (t *Target) LoadCheckpoint(ctx context.Context, link string, keys []RecordKey, units int) (*Checkpoint, error) {
	cp := &Checkpoint{Units: map[Unit]int64{}, Recorded: map[Unit]int64{}, Witnessed: map[Unit]int64{}, Fences: map[keyspace.Key]int64{}}
	r, err := t.ReadRecords(ctx, keys)
	if err != nil || len(r.Lowest) == 0 {
		return cp, err
	}
	cp.Present, cp.Nodes, cp.Records, cp.ReplID = true, r.held, r.each, r.Lowest["replication_id"]
	if cp.Offset, err = strconv.ParseInt(r.Lowest["offset"], 10, 64); err != nil {
		return nil, fmt.Errorf("target key %s: offset %q is not a number", t.LinkKey(link), r.Lowest["offset"])
	}
	cp.DB, _ = strconv.Atoi(r.Lowest["db"])
	if !t.Can.Transactions {
		return cp, nil
	}
	byNode := map[string][]Unit{}
	for u := range Unit(units) {
		n, ok := t.PrimaryOf(t.slotOf(u))
		if !ok {
			return nil, fmt.Errorf("target: no node holds slot %d", t.slotOf(u))
		}
		byNode[n.Addr] = append(byNode[n.Addr], u)
		if at := r.At[n.Addr]; at > cp.Offset {
			cp.Recorded[u] = at
		}
	}
	for addr, us := range byNode {
		if err := t.loadUnits(ctx, addr, link, us, cp); err != nil {
			return nil, fmt.Errorf("target %s: read checkpoints: %w", addr, err)
		}
	}
	for u, at := range cp.Recorded { // the replies to all that the record covers were seen
		cp.Witnessed[u] = max(cp.Witnessed[u], at)
	}
	return cp, nil
}

// slotOf returns a slot of a unit, by which its node is found. A standalone target has one node, so that any slot will do.
func (t *Target) slotOf(u Unit) uint16 {
	if t.Cluster {
		return uint16(u)
	}
	return 0
}

func (t *Target) loadUnits(ctx context.Context, addr, link string, us []Unit, cp *Checkpoint) error {
	client, err := t.d.Client(ctx, addr, t.OwnDB())
	if err != nil {
		return err
	}
	for len(us) > 0 {
		n := min(len(us), 1000)
		cmds := make([]rueidis.Completed, n)
		for i, u := range us[:n] {
			cmds[i] = arbitrary(client, "HGETALL", t.checkpointKey(link, u))
		}
		for i, r := range client.DoMulti(ctx, cmds...) {
			fields, err := r.AsStrMap()
			if err != nil {
				return err
			}
			if err := cp.add(us[i], fields); err != nil {
				return err
			}
		}
		us = us[n:]
	}
	return nil
}

func (cp *Checkpoint) add(u Unit, fields map[string]string) error {
	for f, v := range fields {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("unit %d: field %q: %q is not an offset", u, f, v)
		}
		if f == fieldOffset {
			cp.Units[u] = n
			continue
		}
		if f == fieldBefore {
			cp.Witnessed[u] = n
			continue
		}
		db, name, ok := strings.Cut(strings.TrimPrefix(f, fieldFence), ":")
		id, err := strconv.Atoi(db)
		if !ok || err != nil {
			return fmt.Errorf("unit %d: unknown field %q", u, f)
		}
		k := keyspace.Key{DB: id, Name: name}
		cp.Fences[k] = max(cp.Fences[k], n)
	}
	return nil
}

// ownHash reads one of surecut's own hashes; it is empty where the key does not exist.
func (ns *nodes) ownHash(ctx context.Context, key string) (map[string]string, error) {
	var m map[string]string
	err := ns.at(ctx, ns.Slot(key), ns.OwnDB(), func(_ string, c rueidis.Client) error {
		var err error
		m, err = c.Do(ctx, arbitrary(c, ns.Reading("HGETALL", key)...)).AsStrMap()
		return err
	})
	return m, err
}

// OwnKey is a key of surecut's own, with the slot by which its node is found. That need not be the slot of its name.
type OwnKey struct {
	slot uint16
	name string
}

// OwnKey returns a key of surecut's own by its name.
func (t *Target) OwnKey(name string) OwnKey { return OwnKey{t.Slot(name), name} }

// OwnUnit returns the key of the checkpoint of a unit.
func (t *Target) OwnUnit(link string, u Unit) OwnKey {
	return OwnKey{t.slotOf(u), t.checkpointKey(link, u)}
}

// ForgetOwn deletes keys of surecut's own, which need not exist.
func (t *Target) ForgetOwn(ctx context.Context, keys []OwnKey) error {
	for len(keys) > 0 {
		n := min(len(keys), 1000)
		byNode := map[string][]string{}
		for _, k := range keys[:n] {
			node, _ := t.PrimaryOf(k.slot)
			byNode[node.Addr] = append(byNode[node.Addr], k.name)
		}
		for addr, ks := range byNode {
			c, err := t.d.Client(ctx, addr, t.OwnDB())
			if err != nil {
				return err
			}
			cmds := make([]rueidis.Completed, len(ks))
			for i, k := range ks {
				cmds[i] = arbitrary(c, "DEL", k)
			}
			for _, r := range c.DoMulti(ctx, cmds...) {
				if err := r.Error(); err != nil {
					return fmt.Errorf("target %s: delete own keys: %w", addr, err)
				}
			}
		}
		keys = keys[n:]
	}
	return nil
}
