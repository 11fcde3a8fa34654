package migrator

import (
	"fmt"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// scope is the part of the keys that a link carries: those of its shard that the filter selects. It also knows under which name and
// in which database of the target they arrive. It does not change while the link runs.
//
// Links speak of a key by the database of the source and the name of the target. So a key has one name in the commands of the
// source, whose keys the parser renames, and in the calls to the target, and its slot is that of the target.
type scope struct {
	keyspace.Mapping
	slots   keyspace.SlotRanges // of the shard; nil: all
	slotOf  func(name string) uint16
	proxied bool // the source's servers stand behind proxies, which may not look for a key where it lies
}

func newScope(mapping keyspace.Mapping, shard endpoint.Shard, source *endpoint.Deployment) scope {
	return scope{Mapping: mapping, slots: shard.Slots, slotOf: source.Slot, proxied: len(source.Proxies()) > 0}
}

// arriving returns the key that a key of the source becomes, as links speak of it.
func (s *scope) arriving(db int, name string) keyspace.Key {
	return keyspace.Key{DB: db, Name: s.TargetName(db, name)}
}

// carries says whether the link copies a key: one that the filter selects, and of servers behind a proxy only what the proxy finds
// there.
func (s *scope) carries(k keyspace.Key) bool {
	name := s.SourceName(k.DB, k.Name)
	return s.MatchDB(k.DB) && s.MatchName(name) && (!s.proxied || s.owns(name))
}

// brings says whether a key of the target comes from the link's shard, as far as its name tells, and as which key.
func (s *scope) brings(db int, name string) (keyspace.Key, bool) {
	k := keyspace.Key{DB: db, Name: name}
	if len(s.DBPrefix) == 0 {
		return k, s.MatchName(name) && s.owns(name)
	}
	var ok bool
	if k.DB, ok = s.Origin(db, name); !ok {
		return k, false
	}
	return k, s.carries(k) && s.owns(s.SourceName(k.DB, name))
}

// owns says whether a key with that name on the source lies in the link's shard.
func (s *scope) owns(name string) bool {
	return s.slots == nil || s.slots.Has(s.slotOf(name))
}

// firstSlot returns a slot of the shard; without slots any will do.
func (s *scope) firstSlot() uint16 {
	if len(s.slots) == 0 {
		return 0
	}
	return s.slots[0].First
}

// collision returns an error for a key that would become one with another key of the target: its name begins with the prefix that
// the keys of another database get.
func (s *scope) collision(k keyspace.Key) error {
	if len(s.DBPrefix) == 0 {
		return nil
	}
	k.Name = s.SourceName(k.DB, k.Name)
	rival, ok := s.Rival(k)
	if !ok {
		return nil
	}
	return fmt.Errorf("key %s of database %d and key %s of database %d would be one key of the target, %s: choose another Filter.DBPrefix, empty the target and start again with a new Config.StateDir, or leave one of them out with Filter.Exclude",
		printable(k.Name), k.DB, printable(rival.Name), rival.DB, printable(s.TargetName(k.DB, k.Name)))
}
