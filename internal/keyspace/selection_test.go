package keyspace

import "testing"

var noneNamed = NamedDatabases{Source: -1, Target: -1}

// TestSelectionInWords: a report of a part says which, since "same" of some keys is no "same" of all. A mapping alone is no part.
func TestSelectionInWords(t *testing.T) {
	for _, tt := range []struct {
		name          string
		filter        Filter
		named         NamedDatabases
		part, mapping string
	}{
		{name: "all", named: noneNamed},
		{name: "one database", filter: Filter{DBs: []int{3}}, named: noneNamed, part: "keys of database 3"},
		{name: "the database of the source's URL", named: NamedDatabases{Source: 7, Target: -1}, part: "keys of database 7"},
		{name: "database 0 in the source's URL", named: NamedDatabases{Source: 0, Target: -1}, part: "keys of database 0"},
		{name: "the database of the target's URL", named: NamedDatabases{Source: -1, Target: 0}, part: "keys that belong in database 0 of the target"},
		{name: "a map wins over the target's URL", filter: Filter{DBMap: map[int]int{3: 0, 1: 1}}, named: NamedDatabases{Source: -1, Target: 5},
			mapping: "database 1 arrives in database 1, database 3 arrives in database 0"},
		{name: "a prefix", filter: Filter{DBPrefix: map[int]string{3: "app:3:"}}, named: noneNamed,
			mapping: `database 3 arrives in database 0 with names that begin with "app:3:"`},
		{name: "patterns", filter: Filter{DBs: []int{3, 0, 1}, Include: []string{"b\n", "a*"}, Exclude: []string{"x"}}, named: noneNamed,
			part: `keys of databases 0, 1 and 3 whose names match "a*" or "b\n" and whose names do not match "x"`},
		{name: "left out", filter: Filter{Exclude: []string{"x"}}, named: noneNamed, part: `keys whose names do not match "x"`},
	} {
		s := tt.filter.Selection(tt.named)
		if s.Part() != tt.part || s.Mapping() != tt.mapping {
			t.Errorf("%s: %q and %q, want %q and %q", tt.name, s.Part(), s.Mapping(), tt.part, tt.mapping)
		}
		if (s == nil) != (tt.part+tt.mapping == "") {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
}

// TestSelectionsThatAreEqual: the order and the repetition of flags select nothing else, and a URL's database is one like --db.
func TestSelectionsThatAreEqual(t *testing.T) {
	one := Filter{DBs: []int{0, 3}, Include: []string{"a", "b", "a"}}
	other := Filter{DBs: []int{3, 0, 3}, Include: []string{"b", "a"}}
	if a, b := one.Selection(noneNamed), other.Selection(noneNamed); !a.Equal(b) {
		t.Errorf("%v and %v select the same", a, b)
	}
	if a, b := (&Filter{DBs: []int{7}}).Selection(noneNamed), (&Filter{}).Selection(NamedDatabases{Source: 7, Target: -1}); !a.Equal(b) {
		t.Errorf("%v and %v select the same", a, b)
	}
	var all *Selection
	if !all.Equal(&Selection{Include: []string{}, Exclude: []string{}, Databases: []int{}}) || all.String() != "all keys" {
		t.Error("a selection that selects nothing is none")
	}
	for _, different := range []*Selection{{Include: []string{"a"}}, {Databases: []int{0}}, {Repaired: true}, {Sample: 5}, {DBMap: []string{"0:1"}}, {TargetDatabase: new(int)}} {
		if all.Equal(different) || different.Equal(all) {
			t.Errorf("%v is not everything", different)
		}
	}
}
