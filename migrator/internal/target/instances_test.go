package target

import (
	"errors"
	"testing"
)

func TestInstances(t *testing.T) {
	first, second := Instance{"a", "1"}, Instance{"a", "2"} // the same process, promoted
	in := &instances{}
	if in.goBare("x", first) || in.check("x", first) != nil {
		t.Error("one that has not begun finds fault, or lets commands go without a checkpoint")
	}
	in.begin(map[string]Instance{"x": first, "y": first}, map[string]bool{"x": true})
	if in.goBare("y", first) || in.goBare("x", second) || in.goBare("x", Instance{}) {
		t.Error("commands go without a checkpoint to a node that holds no record, or to another server")
	}
	if err := in.check("x", second); err != nil {
		t.Errorf("nothing can be lost that no checkpoint tells of: %v", err)
	}
	if in.goBare("x", second) {
		t.Error("the record of the server that was replaced counts")
	}
	in.record("x", first) // by a connection that has not noticed
	if in.goBare("x", second) {
		t.Error("the record of another server counts")
	}
	in.record("x", second)
	if !in.goBare("x", second) || in.check("x", second) != nil {
		t.Error("the server that holds the record gets nothing without a checkpoint")
	}
	for addr, server := range map[string]Instance{"x": first, "y": second, "z": first} { // also one that nobody knows: a replica that was promoted
		if err := in.check(addr, server); !errors.Is(err, ErrReplaced) || !errors.Is(err, ErrRegressed) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	in.begin(nil, nil)
	if in.check("x", first) != nil || in.goBare("x", second) {
		t.Error("something is left after a reset")
	}
}
