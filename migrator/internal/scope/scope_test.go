package scope

import (
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

func TestScope(t *testing.T) {
	const inSlots, beside = "b", "a" // their slots are 3300 and 15495
	lower := keyspace.SlotRanges{{First: 0, Last: 8191}}
	for _, c := range []struct {
		name, why string
		filter    keyspace.Filter
		slots     keyspace.SlotRanges
		proxied   bool
		key       keyspace.Key // as links speak of it
		carries   bool
		brings    bool // taken as a key of the target
	}{
		{name: "everything", key: keyspace.Key{Name: beside}, carries: true, brings: true},
		{name: "excluded", filter: keyspace.Filter{Exclude: []string{"a*"}}, key: keyspace.Key{Name: beside}},
		{name: "surecut's own", why: "it is no data", key: keyspace.Key{Name: keyspace.Prefix + "x"}},
		{name: "database that is not selected", why: "of a key of the target only the name is looked at",
			filter: keyspace.Filter{DBs: []int{2}}, key: keyspace.Key{DB: 1, Name: beside}, brings: true},
		{name: "other shard", why: "the source sends only what its shard holds, but the target holds all",
			slots: lower, key: keyspace.Key{Name: beside}, carries: true},
		{name: "own shard", slots: lower, key: keyspace.Key{Name: inSlots}, carries: true, brings: true},
		{name: "behind a proxy, elsewhere", why: "the proxy does not find it there", slots: lower, proxied: true, key: keyspace.Key{Name: beside}},
		{name: "behind a proxy", slots: lower, proxied: true, key: keyspace.Key{Name: inSlots}, carries: true, brings: true},
		{name: "with a prefix", filter: keyspace.Filter{DBPrefix: map[int]string{0: "p:"}}, key: keyspace.Key{Name: "p:" + beside}, carries: true, brings: true},
		{name: "prefix, excluded by its own name", filter: keyspace.Filter{DBPrefix: map[int]string{0: "p:"}, Exclude: []string{"a"}}, key: keyspace.Key{Name: "p:" + beside}},
		{name: "prefix, other shard", why: "the slot is that of the source's name",
			filter: keyspace.Filter{DBPrefix: map[int]string{0: "p:"}}, slots: lower, key: keyspace.Key{Name: "p:" + beside}, carries: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(c.filter.To(keyspace.Databases{Home: -1}), endpoint.Shard{Slots: c.slots}, &endpoint.Deployment{})
			s.proxied = c.proxied
			if got := s.Carries(c.key); got != c.carries {
				t.Errorf("%s: carries %v: %v", c.why, c.key, got)
			}
			if k, got := s.Brings(c.key.DB, c.key.Name); got != c.brings || got && k != c.key {
				t.Errorf("%s: brings %v: %v as %v", c.why, c.key, got, k)
			}
		})
	}
}

func TestScopeCollision(t *testing.T) {
	s := New(keyspace.Filter{DBPrefix: map[int]string{1: "one:"}}.To(keyspace.Databases{Home: 0, Only: true}), endpoint.Shard{}, &endpoint.Deployment{})
	if k := s.Arriving(1, "a"); k != (keyspace.Key{DB: 1, Name: "one:a"}) {
		t.Errorf("a of database 1 arrives as %v", k)
	}
	if err := s.Collision(s.Arriving(1, "a")); err != nil {
		t.Errorf("a key with a prefix: %v", err)
	}
	if err := s.Collision(s.Arriving(0, "a")); err != nil {
		t.Errorf("a key without a prefix: %v", err)
	}
	if err := s.Collision(s.Arriving(0, "one:a")); err == nil || !strings.Contains(err.Error(), "would both become one:a on the target") {
		t.Errorf("a name that begins with another database's prefix: %v", err)
	}
}

// TestFirstSlot: by its first slot the shard is found again in another topology.
func TestFirstSlot(t *testing.T) {
	for _, tt := range []struct {
		slots keyspace.SlotRanges
		want  uint16
	}{{nil, 0}, {keyspace.SlotRanges{}, 0}, {keyspace.SlotRanges{{First: 7, Last: 9}, {First: 20, Last: 30}}, 7}} {
		s := New(keyspace.Filter{}.To(keyspace.Databases{Home: -1}), endpoint.Shard{Slots: tt.slots}, &endpoint.Deployment{})
		if got := s.FirstSlot(); got != tt.want {
			t.Errorf("%v begins with %d, want %d", tt.slots, got, tt.want)
		}
	}
}

// TestForeignNames: with prefixes, a key of the target that no database of the source can have brought is nobody's to delete.
func TestForeignNames(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		prefixes  map[int]string
		key       keyspace.Key // of the target
		brings    bool
		as        keyspace.Key
	}{
		{name: "of the database with the prefix", prefixes: map[int]string{1: "one:"}, key: keyspace.Key{Name: "one:a"}, brings: true, as: keyspace.Key{DB: 1, Name: "one:a"}},
		{name: "of a database without one", prefixes: map[int]string{1: "one:"}, key: keyspace.Key{Name: "a"}, brings: true, as: keyspace.Key{Name: "a"}},
		{name: "in another database than prefixed keys are", prefixes: map[int]string{0: "zero:"}, key: keyspace.Key{DB: 0, Name: "b"}},
	} {
		s := New(keyspace.Filter{DBPrefix: tt.prefixes}.To(keyspace.Databases{Home: -1}), endpoint.Shard{}, &endpoint.Deployment{})
		if k, got := s.Brings(tt.key.DB, tt.key.Name); got != tt.brings || got && k != tt.as {
			t.Errorf("%s: brought %v, as %v (%s)", tt.name, got, k, tt.why)
		}
	}
}
