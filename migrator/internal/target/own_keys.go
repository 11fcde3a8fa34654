package target

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
)

// These are surecut's own keys on a target:
//
//	__surecut:migration              hash: id, run, epoch, place, state, host, db, fence, heartbeat_ms, seen_ms of the run that holds
//	                                 the target; see claim.go
//	__surecut:witness:<id>...        string: while it exists, its node or database has not lost its keys; see witness.go
//	__surecut:link:<id>:<link>       hash: replication_id, offset, db, shard; all units have applied the stream up to offset; see records.go
//	__surecut:link:<id>:<link>:{..}  hash: the same, on each node of a cluster
//	__surecut:cp:<id>:<link>:<unit>  hash: o = offset up to which the unit has applied the stream; p = the value of o before the
//	                                 unit's last transaction; f:<db>:<key> = fence of a copied key; see checkpoint.go
//	__surecut:tmp:<link>...          a big value while it is built
//
// <id> is that of the migration, so that keys which another migration has left are not taken for this one's. The key of a unit has a hash
// tag that puts it into the unit's slot, so that one transaction can write the data and the checkpoint.
const (
	KeyMigration = keyspace.Prefix + ":migration"
	keyWitness   = keyspace.Prefix + ":witness:"
	keyLink      = keyspace.Prefix + ":link:"
	keyUnit      = keyspace.Prefix + ":cp:"
	keyTemp      = keyspace.Prefix + ":tmp:"
)

// tempKey returns the key under which the value of another key is built, in the same slot. A run that resumes uses the same name again, so
// that nothing half built stays behind.
func tempKey(link, name string) string {
	return keyTemp + link + ":{" + keyspace.SlotTag(keyspace.Slot(name)) + "}:" + name
}

// ownKey is a key of surecut's own, with the slot by which its node is found. That need not be the slot of its name.
type ownKey struct {
	slot uint16
	name string
}

// own returns a key of surecut's own by its name.
func (ns *nodes) own(name string) ownKey { return ownKey{ns.Slot(name), name} }

// atOwn runs f on the node that holds one of surecut's own keys, and repeats it where the target may recover or the key has moved.
func (ns *nodes) atOwn(ctx context.Context, name string, f func(addr string, c rueidis.Client) error) error {
	return ns.at(ctx, ns.Slot(name), ns.OwnDB(), f)
}

// ownHash reads one of surecut's own hashes; it is empty where the key does not exist.
func (ns *nodes) ownHash(ctx context.Context, name string) (map[string]string, error) {
	var m map[string]string
	err := ns.atOwn(ctx, name, func(_ string, c rueidis.Client) error {
		var err error
		m, err = c.Do(ctx, arbitrary(c, ns.Reading("HGETALL", name)...)).AsStrMap()
		return err
	})
	return m, err
}

// forgetOwn deletes keys of surecut's own, which need not exist.
func (ns *nodes) forgetOwn(ctx context.Context, keys []ownKey) error {
	for portion := range slices.Chunk(keys, 1000) {
		byNode := map[string][]string{}
		for _, k := range portion {
			node, _ := ns.PrimaryOf(k.slot)
			byNode[node.Addr] = append(byNode[node.Addr], k.name)
		}
		for addr, names := range byNode {
			if err := ns.deleteAt(ctx, addr, names); err != nil {
				return err
			}
		}
	}
	return nil
}

// deleteAt does what forgetOwn does, at one node.
func (ns *nodes) deleteAt(ctx context.Context, addr string, names []string) error {
	return ns.calls.write("del", len(names), func() error {
		if _, err := ns.Delete(ctx, addr, ns.OwnDB(), names); err != nil {
			return fmt.Errorf("target %s: delete own keys: %w", addr, err)
		}
		return nil
	})
}
