package keyspace

import (
	"testing"
)

// anyDatabase is a target whose URL names no database.
var anyDatabase = Databases{Home: -1}

func TestMapping(t *testing.T) {
	cluster, five, proxied := Databases{Only: true}, Databases{Home: 5}, Databases{Home: 5, Only: true}
	three := Filter{}.From(3)
	for _, tt := range []struct {
		name, why string
		filter    Filter
		target    Databases
		lands     map[int]int // database of the source -> database of the target, -1: it has none
		covers    map[int]bool
	}{
		{name: "as it is", target: anyDatabase, lands: map[int]int{0: 0, 3: 3}, covers: map[int]bool{0: true, 9: true}},
		{name: "beyond the last", why: "the target has 16", target: Databases{Home: -1, Count: 16}, lands: map[int]int{15: 15, 16: -1}},
		{name: "beyond the last of one", why: "its URL names a database that is not there", target: Databases{Home: 20, Count: 16}, lands: map[int]int{0: -1}},
		{name: "named on the target", why: "all databases go there, and its others are not the source's to decide", target: five,
			lands: map[int]int{0: 5, 3: 5, 5: 5}, covers: map[int]bool{5: true, 0: false, 3: false}},
		{name: "named on both", why: "what was named on the source arrives in what was named on the target", filter: three, target: five,
			lands: map[int]int{3: 5}, covers: map[int]bool{5: true, 3: false}},
		{name: "named on the source", filter: three, target: anyDatabase, lands: map[int]int{3: 3}, covers: map[int]bool{3: true, 0: false}},
		{name: "asked for", why: "the filter wins over the URL", filter: Filter{DBs: []int{0, 1}}.From(3), target: anyDatabase, covers: map[int]bool{0: true, 1: true, 3: false}},
		{name: "a map wins over the target's URL", filter: Filter{DBMap: map[int]int{2: 7}}, target: five, lands: map[int]int{2: 7, 0: 0, 5: 5}, covers: map[int]bool{0: true, 5: true, 7: true}},
		{name: "a map and a selection", filter: Filter{DBs: []int{0, 3}, DBMap: map[int]int{3: 1}}, target: anyDatabase, lands: map[int]int{3: 1, 0: 0}, covers: map[int]bool{0: true, 1: true, 3: false}},
		{name: "prefix", why: "names of its own make room in database 0", filter: Filter{DBPrefix: map[int]string{3: "p:"}}, target: anyDatabase, lands: map[int]int{3: 0, 4: 4}},
		{name: "prefix and map", filter: Filter{DBPrefix: map[int]string{3: "p:"}, DBMap: map[int]int{3: 2}}, target: anyDatabase, lands: map[int]int{3: 2}},
		{name: "prefix and URL", filter: Filter{DBPrefix: map[int]string{3: "p:"}}, target: five, lands: map[int]int{3: 5, 4: 5}},
		{name: "cluster", why: "it has database 0 alone", target: cluster, lands: map[int]int{0: 0, 3: -1}, covers: map[int]bool{0: true, 3: true}},
		{name: "one database to a cluster", why: "it can only be meant for database 0", filter: three, target: cluster, lands: map[int]int{3: 0}, covers: map[int]bool{0: true, 3: false}},
		{name: "two databases to a cluster", why: "they would be merged", filter: Filter{DBs: []int{1, 2}}, target: cluster, lands: map[int]int{1: -1, 2: -1}},
		{name: "prefixes to a cluster", filter: Filter{DBPrefix: map[int]string{3: "p:"}}, target: cluster, lands: map[int]int{3: 0, 0: 0, 4: -1}},
		{name: "a map to a cluster", filter: Filter{DBMap: map[int]int{3: 0, 4: 1}}, target: cluster, lands: map[int]int{3: 0, 0: 0, 4: -1, 5: -1}},
		{name: "a proxy of database 5", why: "it has no other", target: proxied, lands: map[int]int{0: 5, 5: 5, 3: -1}},
		{name: "a map to a proxy of database 5", filter: Filter{DBMap: map[int]int{3: 5}}, target: proxied, lands: map[int]int{3: 5, 0: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.filter.To(tt.target)
			for db, want := range tt.lands {
				if to, ok := m.Map(db); ok != (want >= 0) || ok && to != want {
					t.Errorf("database %d lands in %d, %v, want %d (%s)", db, to, ok, want, tt.why)
				}
			}
			for db, want := range tt.covers {
				if m.Covers(db) != want {
					t.Errorf("database %d of the target is covered: %v, want %v (%s)", db, !want, want, tt.why)
				}
			}
		})
	}
}

func TestMappingPrefix(t *testing.T) {
	m := Filter{DBPrefix: map[int]string{3: "app3:", 4: "app3:x:"}, DBMap: map[int]int{7: 0}, Exclude: []string{"no*"}}.To(anyDatabase)
	names := []struct {
		db       int
		name     string
		target   string
		targetDB int
	}{
		{3, "k", "app3:k", 0},
		{4, "k", "app3:x:k", 0},
		{4, "", "app3:x:", 0},
		{0, "k", "k", 0},
		{7, "k", "k", 0},
		{5, "app3:k", "app3:k", 5},
		{3, "app3:app3:k", "app3:app3:app3:k", 0},
	}
	for _, tt := range names {
		got := m.TargetName(tt.db, tt.name)
		if to, _ := m.Map(tt.db); got != tt.target || to != tt.targetDB || m.SourceName(tt.db, got) != tt.name {
			t.Errorf("key %q of %d became %q of %d and back %q, want %q of %d", tt.name, tt.db, got, to, m.SourceName(tt.db, got), tt.target, tt.targetDB)
		}
	}
	rivals := []struct {
		key  Key
		want Key
		ok   bool
		why  string
	}{
		{Key{0, "app3:k"}, Key{3, "k"}, true, "begins with the prefix of another database"},
		{Key{7, "app3:k"}, Key{3, "k"}, true, "mapped to the same database"},
		{Key{0, "app3:x:k"}, Key{3, "x:k"}, true, "with two prefixes; the first database is named"},
		{Key{3, "x:k"}, Key{4, "k"}, true, "its own prefix makes it begin with a longer one"},
		{Key{4, "k"}, Key{}, false, "the longest prefix: the names are its own"},
		{Key{3, "k"}, Key{}, false, "the only prefix that its name begins with is its own"},
		{Key{5, "app3:k"}, Key{}, false, "another database of the target"},
		{Key{0, "app3:no"}, Key{}, false, "the other key is left out"},
		{Key{0, "nope"}, Key{}, false, "left out itself"},
	}
	for _, tt := range rivals {
		if got, ok := m.Rival(tt.key); got != tt.want || ok != tt.ok {
			t.Errorf("Rival(%v) = %v, %v, want %v, %v (%s)", tt.key, got, ok, tt.want, tt.ok, tt.why)
		}
	}
	origins := []struct {
		db   int
		name string
		want int
		ok   bool
	}{
		{0, "app3:k", 3, true}, {0, "app3:x:k", 4, true}, {0, "k", 0, true}, {5, "app3:k", 5, true}, {3, "k", -1, false},
	}
	for _, tt := range origins {
		if got, ok := m.Origin(tt.db, tt.name); got != tt.want || ok != tt.ok {
			t.Errorf("Origin(%d, %q) = %d, %v, want %d, %v", tt.db, tt.name, got, ok, tt.want, tt.ok)
		}
	}
	only := Filter{DBs: []int{3}, DBPrefix: map[int]string{3: "app3:"}}.To(anyDatabase)
	if db, ok := only.Origin(0, "other"); ok {
		t.Errorf("a name outside of the prefix comes from database %d, though only 3 is selected", db)
	}
	if r, ok := only.Rival(Key{0, "app3:k"}); ok {
		t.Errorf("a key of a database that is not selected has rival %v", r)
	}
}

// FuzzMapping: a key that lands comes from where it was, unless it has a rival or databases are merged.
func FuzzMapping(f *testing.F) {
	f.Add(3, "k", "app3:", "app3:x:", 0, -1, false)
	f.Add(4, "k", "a", "ab", 1, 5, true)
	f.Fuzz(func(t *testing.T, db int, name, p3, p4 string, mapped, home int, only bool) {
		if db < 0 || home < -1 || mapped < 0 {
			return
		}
		m := Filter{DBPrefix: map[int]string{3: p3, 4: p4}, DBMap: map[int]int{4: mapped}}.To(Databases{Home: home, Only: only && home >= 0})
		to, ok := m.Map(db)
		landed := m.TargetName(db, name)
		if m.SourceName(db, landed) != name {
			t.Errorf("%q of %d became %q and does not come back", name, db, landed)
		}
		if !ok || !m.MatchName(name) {
			return
		}
		from, known := m.Origin(to, landed)
		if _, rival := m.Rival(Key{DB: db, Name: name}); known && (from == db || rival || m.lands(from, to) && m.DBPrefix[from] == m.DBPrefix[db]) {
			return
		}
		if !known && m.DBPrefix[db] == "" && db != to && db != 4 { // no list of databases names it
			return
		}
		t.Errorf("%q of %d landed as %q in %d and comes from %d, %v", name, db, landed, to, from, known)
	})
}
