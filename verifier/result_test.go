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
		{"one database", keyspace.Filter{DBs: []int{3}}, "Only keys of database 3 were compared."},
		{"patterns", keyspace.Filter{DBs: []int{0, 3}, Include: []string{"a*", "b\n"}, Exclude: []string{"x"}},
			`Only keys of database 0, 3 whose names match "a*" or "b\n" and whose names do not match "x" were compared.`},
		{"left out", keyspace.Filter{Exclude: []string{"x"}}, `Only keys whose names do not match "x" were compared.`},
	} {
		got := selectionOf(&Options{Filter: tt.filter})
		switch {
		case tt.want == "" && got != nil:
			t.Errorf("%s: %v, want none", tt.name, got)
		case tt.want != "" && (got == nil || got.String() != tt.want):
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
}
