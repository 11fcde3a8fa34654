package migrator

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

// Sizes of slabs, in elements. They bound how much other memory one command keeps in use if it is held for long.
const (
	slabBytes    = 64 << 10
	slabArgs     = 1024
	slabCommands = 256
	slabCalls    = 64
)
