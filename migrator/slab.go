package migrator

// slab hands out parts of allocations that many share, in place of an allocation for each. A part lives as long as the whole does, and the
// whole as long as any part of it.
type slab[T any] struct{ left []T }

// take returns n zero elements; size is how many are allocated at once.
func (s *slab[T]) take(n, size int) []T {
	if len(s.left) < n {
		s.left = make([]T, max(n, size))
	}
	part := s.left[:n:n]
	s.left = s.left[n:]
	return part
}

// Sizes of slabs, in elements. They bound what one command that is held for long keeps in memory beside itself.
const (
	slabBytes    = 64 << 10
	slabArgs     = 1024
	slabCommands = 256
	slabCalls    = 64
)
