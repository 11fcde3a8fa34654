package endpoint

import (
	"slices"
	"strings"
	"testing"
)

// TestPagesOfSCAN: what a server has to hold for one page is bounded by the names, whatever their length.
func TestPagesOfSCAN(t *testing.T) {
	of := func(n, length int) []string { return slices.Repeat([]string{strings.Repeat("x", length)}, n) }
	s := &Session{count: 2}
	for range 10 {
		s.size(of(s.count, 20))
	}
	if s.count != pageKeys {
		t.Errorf("COUNT is %d after pages of short names, want %d", s.count, pageKeys)
	}
	s.size(of(s.count, 1<<10))
	if s.count != 256 {
		t.Errorf("COUNT is %d after names of 1 KiB, want 256", s.count)
	}
	s.size(of(1, 1<<20))
	if s.count != 1 {
		t.Errorf("COUNT is %d after a name of 1 MiB, want 1", s.count)
	}
	s.size(nil)
	if s.count != 2 {
		t.Errorf("COUNT is %d after an empty page, want 2", s.count)
	}
}

func TestByNames(t *testing.T) {
	short, long := "a", strings.Repeat("x", pageBytes)
	for _, tt := range []struct {
		names []string
		want  []int
	}{
		{nil, nil},
		{[]string{short, short, short, short, short}, []int{2, 2, 1}},
		{[]string{short, long, long, short, short}, []int{1, 1, 1, 2}},
	} {
		var got []int
		for _, piece := range ByNames(tt.names, 2) {
			got = append(got, len(piece))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%d names are cut into %v, want %v", len(tt.names), got, tt.want)
		}
	}
}
