package target

import (
	"reflect"
	"strconv"
	"testing"

	"surecut/internal/keyspace"
)

// TestFencesOfUnits: of a key that was copied twice, the later copy counts, whichever unit's record is read last.
func TestFencesOfUnits(t *testing.T) {
	cp := &Checkpoint{Units: map[Unit]int64{}, Fences: map[keyspace.Key]int64{}}
	for u, offset := range []string{"500", "300"} {
		if err := cp.add(Unit(u), map[string]string{"f:0:k": offset}); err != nil {
			t.Fatal(err)
		}
	}
	if got := cp.Fences[keyspace.Key{Name: "k"}]; got != 500 {
		t.Errorf("the fence stands at %d", got)
	}
}

func TestCheckpointFields(t *testing.T) {
	cp := &Checkpoint{Units: map[Unit]int64{}, Fences: map[keyspace.Key]int64{}}
	want := map[keyspace.Key]int64{}
	fields := map[string]string{fieldOffset: "77"}
	for i, name := range []string{"", "a", "a:b", "f:0:x", "o", "\x00\xff", "{t}"} {
		k := keyspace.Key{DB: i, Name: name}
		want[k] = int64(i + 1)
		fields[FenceField(k)] = strconv.Itoa(i + 1)
	}
	if err := cp.add(5, fields); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cp.Fences, want) || cp.Units[5] != 77 {
		t.Errorf("read %v, %v", cp.Fences, cp.Units)
	}
	for _, bad := range []map[string]string{{"o": "x"}, {"x": "1"}, {"f:a:b": "1"}, {"f:1": "1"}} {
		if err := cp.add(1, bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}
