package migrator

import "unsafe"

// slab hands out parts of large allocations, to save an allocation for each part. The memory of a whole allocation is kept as long as any
// part of it is in use.
type slab[T any] struct{ left []T }

// take returns n zero elements. size is how many are allocated at once.
func (s *slab[T]) take(n, size int) []T {
	if len(s.left) < n {
		s.left = make([]T, max(n, size))
	}
	part := s.left[:n:n]
	s.left = s.left[n:]
	return part
}

// view reads bytes as a string without copying; the bytes must not change any more.
func view(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }
