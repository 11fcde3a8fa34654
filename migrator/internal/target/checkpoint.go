package target

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// Checkpoints are all that the target remembers of one link: the link's records, and the checkpoints of its units. They also know which
// server remembers it at each node, so that another server is noticed. A link and its writers share them.
type Checkpoints struct {
	nodes     *nodes
	left      *leftBehind
	link      string
	instances instances
	homes     atomic.Pointer[homes] // behind a proxy, once Servers was called
}

// Fields of the checkpoint of a unit.
const (
	fieldOffset = "o"
	fieldBefore = "p"
	fieldFence  = "f:"
)

// FenceField returns the field of a unit's checkpoint that holds the fence of a key.
func FenceField(k keyspace.Key) string { return fieldFence + strconv.Itoa(k.DB) + ":" + k.Name }

// key returns the name of the checkpoint of a unit.
func (cps *Checkpoints) key(u Unit) string {
	name := keyUnit + cps.nodes.id + ":" + cps.link + ":"
	if cps.nodes.d.Kind() == endpoint.Cluster {
		return name + "{" + keyspace.SlotTag(uint16(u)) + "}"
	}
	return name + strconv.Itoa(int(u))
}

// Resume reads how far the target has come, after it has ended the connections on which earlier writers may have left commands. From here
// on no server may take the place of another unnoticed, if commands go to it without a checkpoint. None do unless goesBack says that the
// link can apply the stream again from an earlier offset.
func (cps *Checkpoints) Resume(ctx context.Context, keys []RecordKey, goesBack bool) (cp *Checkpoint, err error) {
	if err := cps.left.endAll(ctx); err != nil {
		return nil, err
	}
	err = cps.nodes.Retry(ctx, func() (again, err error) {
		servers, err := cps.Servers(ctx)
		if err != nil {
			return AgainOrEnd("", err)
		}
		if cp, err = cps.load(ctx, keys); err == nil && goesBack && (cps.nodes.Can.Ends || cps.nodes.Can.Tells) {
			cps.instances.begin(servers, cp.held)
		}
		if cps.nodes.Can.Tells {
			cps.Rely()
		}
		return AgainOrEnd("", err)
	})
	return cp, err
}

// Reset forgets the servers: they find no fault with any until Resume is called again.
func (cps *Checkpoints) Reset() { cps.instances.begin(nil, nil) }

// Checkpoint is what the target remembers of one link, as it was read.
type Checkpoint struct {
	ReplID string
	Offset int64          // offset up to which all units have applied the stream
	DB     int            // database that is selected in the stream at offset
	Units  map[Unit]int64 // offset of each unit

	Recorded map[Unit]int64  // offset up to which the record on the unit's node says that all units have applied the stream
	held     map[string]bool // addresses that hold such a record

	Records map[string]int64 // offset of each record of the link, by its key. A run that was killed while it wrote them leaves some behind others

	Witnessed map[Unit]int64 // offset of each unit before its last transaction, whose replies the run may not have seen
	Fences    map[keyspace.Key]int64
	Present   bool // the target has a record of the link
}

// load reads the checkpoints and records of the link once.
func (cps *Checkpoints) load(ctx context.Context, keys []RecordKey) (*Checkpoint, error) {
	cp := &Checkpoint{Units: map[Unit]int64{}, Recorded: map[Unit]int64{}, Witnessed: map[Unit]int64{}, Fences: map[keyspace.Key]int64{}}
	r, err := cps.ReadRecords(ctx, keys)
	if err != nil || len(r.Lowest) == 0 {
		return cp, err
	}
	cp.Present, cp.held, cp.Records, cp.ReplID = true, r.held, r.each, r.Lowest["replication_id"]
	if cp.Offset, err = strconv.ParseInt(r.Lowest["offset"], 10, 64); err != nil {
		return nil, fmt.Errorf("target key %s: offset %q is not a number", cps.RecordName(), r.Lowest["offset"])
	}
	cp.DB, _ = strconv.Atoi(r.Lowest["db"])
	if !cps.nodes.Can.Transactions {
		return cp, nil
	}
	return cp, cps.loadUnits(ctx, r, cp)
}

// loadUnits reads the checkpoints of all units.
func (cps *Checkpoints) loadUnits(ctx context.Context, r Records, cp *Checkpoint) error {
	byNode := map[string][]Unit{}
	for u := range Unit(cps.nodes.Units()) {
		addr, err := cps.nodes.node(cps.nodes.slotOf(u))
		if err != nil {
			return err
		}
		byNode[addr] = append(byNode[addr], u)
		if at := r.At[addr]; at > cp.Offset {
			cp.Recorded[u] = at
		}
	}
	for addr, us := range byNode {
		if err := cps.loadUnitsOn(ctx, addr, us, cp); err != nil {
			return fmt.Errorf("target %s: read checkpoints: %w", addr, err)
		}
	}
	for u, at := range cp.Recorded { // the replies to all that the record covers were seen
		cp.Witnessed[u] = max(cp.Witnessed[u], at)
	}
	return nil
}

func (cps *Checkpoints) loadUnitsOn(ctx context.Context, addr string, us []Unit, cp *Checkpoint) error {
	client, err := cps.nodes.d.Client(ctx, addr, cps.nodes.OwnDB())
	if err != nil {
		return err
	}
	for portion := range slices.Chunk(us, 1000) {
		cmds := make([]rueidis.Completed, len(portion))
		for i, u := range portion {
			cmds[i] = arbitrary(client, "HGETALL", cps.key(u))
		}
		for i, r := range client.DoMulti(ctx, cmds...) {
			fields, err := r.AsStrMap()
			if err != nil {
				return err
			}
			if err := cp.add(portion[i], fields); err != nil {
				return err
			}
		}
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

// Verify returns ErrRegressed if the target lacks a checkpoint that it has acknowledged, as units has it: a server that restarted without
// its data, or a replica that was promoted too early, has lost it together with the commands that were applied with it. Where other
// commands may be lost, which went without a checkpoint, it returns ErrReplaced.
func (cps *Checkpoints) Verify(ctx context.Context, units map[Unit]int64) error {
	if err := cps.verifyInstances(ctx); err != nil {
		return err
	}
	if !cps.nodes.Can.Transactions { // units have no checkpoints then
		return nil
	}
	return cps.verifyUnits(ctx, units)
}

func (cps *Checkpoints) verifyInstances(ctx context.Context) error {
	return cps.nodes.Retry(ctx, func() (again, err error) {
		servers, err := cps.Servers(ctx)
		if err != nil {
			return err, ctx.Err()
		}
		for addr, server := range servers {
			if err := cps.instances.check(addr, server); err != nil {
				return nil, fmt.Errorf("target %s: %w", addr, err)
			}
		}
		return nil, nil
	})
}

func (cps *Checkpoints) verifyUnits(ctx context.Context, units map[Unit]int64) error {
	left := slices.Collect(maps.Keys(units))
	return cps.nodes.Retry(ctx, func() (again, err error) {
		byNode := map[string][]Unit{}
		for _, u := range left {
			n, _ := cps.nodes.PrimaryOf(cps.nodes.slotOf(u))
			byNode[n.Addr] = append(byNode[n.Addr], u)
		}
		left = nil
		for addr, us := range byNode {
			undone, why, err := cps.verifyUnitsOn(ctx, addr, us, units)
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

// verifyUnitsOn does what verifyUnits does, for the units of one node. left are those for which the node did not answer.
func (cps *Checkpoints) verifyUnitsOn(ctx context.Context, addr string, us []Unit, units map[Unit]int64) (left []Unit, again, err error) {
	client, err := cps.nodes.d.Client(ctx, addr, cps.nodes.OwnDB())
	if err != nil {
		again, err = AgainOrEnd(addr, err)
		return us, again, err
	}
	for portion := range slices.Chunk(us, 1000) {
		for i, r := range client.DoMulti(ctx, cps.askOffsets(client, portion)...) {
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

// offsets reads, in one pipeline on a writer's connection, the offsets up to which the target has applied units; 0: nothing yet.
func (cps *Checkpoints) offsets(ctx context.Context, c *conn, us []Unit) (map[Unit]int64, error) {
	if len(us) == 0 {
		return nil, nil
	}
	if own := cps.nodes.OwnDB(); !cps.nodes.Cluster && c.db != own {
		if err := c.dc.Do(ctx, arbitrary(c.dc, "SELECT", strconv.Itoa(own))).Error(); err != nil {
			return nil, err
		}
		c.db = own
	}
	offsets := make(map[Unit]int64, len(us))
	for i, r := range c.dc.DoMulti(ctx, cps.askOffsets(c.dc, us)...) {
		offset, err := offsetOf(r)
		if err != nil {
			return nil, err
		}
		offsets[us[i]] = offset
	}
	return offsets, nil
}

// askOffsets returns the commands that ask for the offsets of units.
func (cps *Checkpoints) askOffsets(b builder, us []Unit) []rueidis.Completed {
	cmds := make([]rueidis.Completed, len(us))
	for i, u := range us {
		cmds[i] = arbitrary(b, "HGET", cps.key(u), fieldOffset)
	}
	return cmds
}

// offsetOf reads an offset from a reply of HGET; 0 where there is no such field.
func offsetOf(r rueidis.RedisResult) (int64, error) {
	offset, err := r.AsInt64()
	if rueidis.IsRedisNil(err) {
		return 0, nil
	}
	return offset, err
}

// Forget deletes records of the link, and the checkpoints of units. They need not exist.
func (cps *Checkpoints) Forget(ctx context.Context, records []RecordKey, units []Unit) error {
	keys := make([]ownKey, 0, len(records)+len(units))
	for _, k := range records {
		keys = append(keys, cps.nodes.own(k.Name))
	}
	for _, u := range units {
		keys = append(keys, ownKey{cps.nodes.slotOf(u), cps.key(u)})
	}
	return cps.nodes.forgetOwn(ctx, keys)
}
