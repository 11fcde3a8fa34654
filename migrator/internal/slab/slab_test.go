package slab

import (
	"slices"
	"testing"
	"unsafe"
)

// TestTake: parts are zero, lie side by side as long as an allocation lasts, and none reaches into another, even if it grows.
func TestTake(t *testing.T) {
	for _, c := range []struct {
		name, why string
		takes     []int
		size      int
		allocated int
	}{
		{"several from one", "that is what it is for", []int{1, 3, 4}, 8, 1},
		{"what is left is too little", "a part lies in one allocation", []int{6, 3, 5}, 8, 2},
		{"larger than an allocation", "it gets one of its own", []int{20, 8}, 8, 2},
		{"nothing", "it takes no room", []int{0, 8, 0}, 8, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Of[int]
			var parts [][]int
			var next uintptr // what follows the part before
			allocated := 0
			for _, n := range c.takes {
				part := s.Take(n, c.size)
				if len(part) != n || cap(part) != n {
					t.Fatalf("a part of %d has %d elements, and room for %d", n, len(part), cap(part))
				}
				if n == 0 {
					continue
				}
				at := uintptr(unsafe.Pointer(unsafe.SliceData(part)))
				if at != next {
					allocated++
				}
				next = at + uintptr(n)*unsafe.Sizeof(n)
				parts = append(parts, part)
			}
			if allocated != c.allocated {
				t.Errorf("%s: %d allocations, want %d", c.why, allocated, c.allocated)
			}
			for i, part := range parts {
				if slices.ContainsFunc(part, func(n int) bool { return n != 0 }) {
					t.Errorf("part %d is not zero: %v", i, part)
				}
				for j := range part {
					part[j] = i + 1
				}
				_ = append(part, -1)
			}
			for i, part := range parts {
				if slices.ContainsFunc(part, func(n int) bool { return n != i+1 }) {
					t.Errorf("part %d was written over: %v", i, part)
				}
			}
		})
	}
}

// TestView: the string has the bytes themselves.
func TestView(t *testing.T) {
	p := []byte("a\x00b")
	if got := View(p); got != "a\x00b" || unsafe.StringData(got) != &p[0] {
		t.Errorf("%q of %q", got, p)
	}
	if View(nil) != "" || View([]byte{}) != "" {
		t.Error("no bytes are no empty string")
	}
}
