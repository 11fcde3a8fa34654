package scope

import (
	"fmt"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/slots"
)

// Scope says which keys a link carries: those of its shard that the filter selects. It also knows their names and databases on the target.
// It does not change while the link runs, except for the slots of a cluster, which may move between its shards.
//
// Links name a key by its database on the source and its name on the target. So a key has the same name in the commands of the source,
// whose keys the parser renames, and in the calls to the target, and its slot is the one on the target.
type Scope struct {
	keyspace.Mapping
	Slots   keyspace.SlotRanges // of the shard when it was first seen; nil: all
	Moving  *slots.Link         // which slots the shard has now; nil: they do not move while the link runs
	slotOf  func(name string) uint16
	proxied bool // the source's servers are behind proxies, which may look for a key on another server than the one that has it
}

// New returns the scope of the link of a shard of the source, whose keys land on the target as a mapping says.
func New(mapping keyspace.Mapping, shard endpoint.Shard, source *endpoint.Deployment) Scope {
	return Scope{Mapping: mapping, Slots: shard.Slots, slotOf: source.Slot, proxied: len(source.Proxies()) > 0}
}

// Arriving returns a key of the source as links name it.
func (s *Scope) Arriving(db int, name string) keyspace.Key {
	return keyspace.Key{DB: db, Name: s.TargetName(db, name)}
}

// Carries says whether the link copies a key: the filter must select it and, if the source is behind proxies, these must look for it in the
// link's shard.
func (s *Scope) Carries(k keyspace.Key) bool {
	name := s.SourceName(k.DB, k.Name)
	return s.MatchDB(k.DB) && s.MatchName(name) && (!s.proxied || s.Owns(name))
}

// Brings says whether a key of the target comes from the link's shard, as far as its name tells, and returns it as links name it.
func (s *Scope) Brings(db int, name string) (keyspace.Key, bool) {
	k := keyspace.Key{DB: db, Name: name}
	if len(s.DBPrefix) == 0 {
		return k, s.MatchName(name) && s.Owns(name)
	}
	var ok bool
	if k.DB, ok = s.Origin(db, name); !ok {
		return k, false
	}
	return k, s.Carries(k) && s.Owns(s.SourceName(k.DB, name))
}

// Owns says whether the key with this name on the source belongs to the link's shard.
func (s *Scope) Owns(name string) bool {
	if s.Moving != nil {
		return s.Moving.Owns(s.slotOf(name))
	}
	return s.Slots == nil || s.Slots.Has(s.slotOf(name))
}

// Here says whether a key, of a slot that may move, is to be found in the link's shard now.
func (s *Scope) Here(k keyspace.Key) bool { return s.Moving == nil || s.Moving.Owns(s.SourceSlot(k)) }

// Takes says whether the link applies a command to a key, of a slot that may move, that ends at an offset of its stream.
func (s *Scope) Takes(k keyspace.Key, end int64) bool {
	return s.Moving == nil || s.Moving.Applies(s.SourceSlot(k), end)
}

// SourceSlot returns the slot of a key on the source.
func (s *Scope) SourceSlot(k keyspace.Key) uint16 { return s.slotOf(s.SourceName(k.DB, k.Name)) }

// Stray says whether a key that a node of the source's shard holds is in a slot that the shard does not own, and returns the slot. No client
// of the cluster finds the key there. Behind proxies, Carries says so; where slots may move, such a key may show that one does.
func (s *Scope) Stray(k keyspace.Key) (slot uint16, is bool) {
	if s.Slots == nil || s.proxied || s.Moving != nil {
		return 0, false
	}
	slot = s.SourceSlot(k)
	return slot, !s.Slots.Has(slot)
}

// FirstSlot returns the first slot of the shard. If it has no slots, any will do.
func (s *Scope) FirstSlot() uint16 {
	if len(s.Slots) == 0 {
		return 0
	}
	return s.Slots[0].First
}

// Collision returns an error for a key that would have the same name on the target as a key of another database, because its name begins
// with the prefix that the keys of that database get.
func (s *Scope) Collision(k keyspace.Key) error {
	if len(s.DBPrefix) == 0 {
		return nil
	}
	k.Name = s.SourceName(k.DB, k.Name)
	rival, ok := s.Rival(k)
	if !ok {
		return nil
	}
	return fmt.Errorf("key %s of database %d and key %s of database %d would both become %s on the target: choose another Filter.DBPrefix, empty the target and start again with a new Config.StateDir, or exclude one of them with Filter.Exclude",
		keyspace.PrintableShort(k.Name), k.DB, keyspace.PrintableShort(rival.Name), rival.DB, keyspace.PrintableShort(s.TargetName(k.DB, k.Name)))
}
