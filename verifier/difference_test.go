package verifier

import (
	"fmt"
	"testing"

	"surecut/internal/keyspace"
)

// The same two values give the same words each time: a report can be compared with another.
func TestDifferenceIsStable(t *testing.T) {
	stream := func(pending int) *keyspace.Value {
		g := keyspace.Group{Name: []byte("g")}
		for i := range pending {
			g.Pending = append(g.Pending, keyspace.Pending{ID: keyspace.StreamID{Ms: uint64(i + 1)}, Consumer: []byte("c"), DeliveryCount: 1})
		}
		return &keyspace.Value{Type: keyspace.Stream, Groups: []keyspace.Group{g}}
	}
	for range 30 {
		d := compareValues(values{stream(0), stream(8), nil})
		if want := "group g: pending entry 1-0 is on the target only; in total 8 pending entries on the target only (the last one 8-0)"; d.text() != want {
			t.Fatalf("%q, want %q", d.text(), want)
		}
	}
	var s shortfall
	for i := range 8 {
		s.add("node %d", 7-i)
	}
	if got := fmt.Sprint(s.reasons()); got != "[node 0 node 1 node 2 node 3 node 4 node 5 node 6 node 7]" {
		t.Errorf("nodes are scanned side by side, and come in any order: %s", got)
	}
}
