package verifier

import (
	"testing"

	"surecut/internal/keyspace"
)

// TestSelection: a report of a part says so, since "same" of some keys is no "same" of all.
func TestSelection(t *testing.T) {
	for _, tt := range []struct {
		name   string
		filter keyspace.Filter
		want   string // "" for everything
	}{
		{"all", keyspace.Filter{DBMap: map[int]int{3: 0}}, ""},
		{"one database", keyspace.Filter{DBs: []int{3}}, "keys of database 3"},
		{"patterns", keyspace.Filter{DBs: []int{0, 3}, Include: []string{"a*", "b\n"}, Exclude: []string{"x"}},
			`keys of databases 0 and 3 whose names match "a*" or "b\n" and whose names do not match "x"`},
		{"left out", keyspace.Filter{Exclude: []string{"x"}}, `keys whose names do not match "x"`},
	} {
		got := selectionOf(&Options{Filter: tt.filter})
		if got.Part() != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, got, tt.want)
		}
	}
}
