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
		got := selectionOf(&Config{Filter: tt.filter})
		if got.Part() != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, got, tt.want)
		}
	}
}

// TestSidesAreNeeded: a configuration without deployments is an error that names the field, and no panic.
func TestSidesAreNeeded(t *testing.T) {
	const want = "Config.Sides: the source and the target must be open"
	if _, err := Run(t.Context(), DefaultConfig()); err == nil || err.Error() != want {
		t.Errorf("Run: %v", err)
	}
	if _, _, err := Repair(t.Context(), RepairConfig{Config: DefaultConfig()}); err == nil || err.Error() != want {
		t.Errorf("Repair: %v", err)
	}
}
