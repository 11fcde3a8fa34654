package target_test

import (
	"slices"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// TestNewNode: what concerns the whole target concerns a node that has joined since the target was opened as well.
func TestNewNode(t *testing.T) {
	r, c := clusterRig(t)
	if empty, err := r.to.IsEmpty(t.Context()); err != nil || !empty {
		t.Fatal(empty, err)
	}
	s := c.Join(t, "7.0.15")
	c.Move("{a}", s)
	s.Put("{a}", &keyspace.Value{Type: keyspace.String, Str: []byte("x")})
	if empty, err := r.to.IsEmpty(t.Context()); err != nil || empty {
		t.Errorf("a node that has joined holds a key, and the target counts as empty: %v, %v", empty, err)
	}
	second := c.Join(t, "7.0.15")
	for _, s := range c.Servers {
		s.Always("SCRIPT LOAD", endpointtest.Bulk("sha"))
	}
	c.Move("{b}", second)
	if err := r.to.Everywhere(t.Context(), []string{"SCRIPT", "LOAD", "return 1"}); err != nil || len(second.Calls("SCRIPT LOAD")) != 1 || len(s.Calls("SCRIPT LOAD")) != 1 {
		t.Errorf("the script was loaded %d and %d times, %v", len(s.Calls("SCRIPT LOAD")), len(second.Calls("SCRIPT LOAD")), err)
	}
}

// TestEachPrimary: as long as slots move while the primaries are visited, all of them are visited again.
func TestEachPrimary(t *testing.T) {
	r, c := clusterRig(t)
	var visited []string
	moves := 2
	err := r.to.EachPrimary(t.Context(), func(addr string) error {
		if visited = append(visited, addr); addr == c.Servers[2].Addr && moves > 0 {
			moves--
			c.Move("{a}", c.Servers[moves])
		}
		return nil
	})
	for _, s := range c.Servers {
		n := len(slices.DeleteFunc(slices.Clone(visited), func(addr string) bool { return addr != s.Addr }))
		if n < 2 || n > 3 { // one of the moves may lead to where the slot is
			t.Errorf("%s was visited %d times", s.Addr, n)
		}
	}
	if err != nil || moves > 0 {
		t.Error(err, moves)
	}
}
