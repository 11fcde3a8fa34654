package keyspace

import (
	"math"
	"testing"
)

func TestStreamIDs(t *testing.T) {
	for _, tt := range []struct {
		id, next StreamID
		more     bool
		why      string
	}{
		{StreamID{1, 0}, StreamID{1, 1}, true, "the sequence goes on"},
		{StreamID{1, math.MaxUint64}, StreamID{2, 0}, true, "the sequence is used up"},
		{StreamID{math.MaxUint64, math.MaxUint64}, StreamID{}, false, "a walk must not begin again at 0-0"},
	} {
		if next, more := tt.id.Next(); next != tt.next || more != tt.more {
			t.Errorf("behind %v comes %v, %v, want %v, %v (%s)", tt.id, next, more, tt.next, tt.more, tt.why)
		}
	}
	for _, text := range []string{"", "1", "-", "1-", "-1", "1-2-3", "x-1", "1-x", "18446744073709551616-0", "1 -1"} {
		if id, err := ParseStreamID(text); err == nil {
			t.Errorf("%q became %v", text, id)
		}
	}
}

func FuzzStreamID(f *testing.F) {
	f.Add(uint64(0), uint64(0), "1-2")
	f.Fuzz(func(t *testing.T, ms, seq uint64, text string) {
		id := StreamID{ms, seq}
		if again, err := ParseStreamID(id.String()); err != nil || again != id {
			t.Errorf("%v became %v, %v", id, again, err)
		}
		if next, more := id.Next(); more != id.Less(next) {
			t.Errorf("behind %v comes %v, %v", id, next, more)
		}
		if id, err := ParseStreamID(text); err == nil {
			if again, err := ParseStreamID(id.String()); err != nil || again != id {
				t.Errorf("%q became %v, then %v, %v", text, id, again, err)
			}
		}
	})
}
