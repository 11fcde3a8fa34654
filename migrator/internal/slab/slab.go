// Package slab saves allocations where many small things are made: parts of large allocations, and strings that share the bytes of a slice.
package slab

import "unsafe"

// Of hands out parts of large allocations, to save an allocation for each part. The memory of a whole allocation is kept as long as any
// part of it is in use.
type Of[T any] struct{ left []T }

// Take returns n zero elements. size is how many are allocated at once.
func (s *Of[T]) Take(n, size int) []T {
	if len(s.left) < n {
		s.left = make([]T, max(n, size))
	}
	part := s.left[:n:n]
	s.left = s.left[n:]
	return part
}

// View reads bytes as a string without copying; the bytes must not change any more.
func View(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }
