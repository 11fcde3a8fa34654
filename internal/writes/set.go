package writes

import (
	"hash/maphash"
	"sync"
)

const (
	mostExact = 128 << 10 // names that are remembered exactly; more names go into a filter
	filterLog = 26        // the filter has 2^26 bits, 8 MiB: with five million names, it has one of 100 other keys by mistake
	filterUse = 3         // bits per name
)

// Set holds names of keys. It is safe for concurrent use.
type Set struct {
	seed maphash.Seed // drawn for this set, so that nobody can choose names that collide

	mu     sync.Mutex // guards all fields below
	exact  map[uint64]struct{}
	filter []uint64 // nil while exact is enough
	keys   int64
	all    string // why every key is in the set; "": not every key is
}

// NewSet returns an empty Set.
func NewSet() *Set {
	return &Set{seed: maphash.MakeSeed(), exact: map[uint64]struct{}{}}
}

// Add puts a name into the set.
func (s *Set) Add(name []byte) { s.add(maphash.Bytes(s.seed, name)) }

// AddAll puts every key into the set, for the given reason. Only the first reason is kept.
func (s *Set) AddAll(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == "" {
		s.all = why
	}
}

// Has says whether a name may have been added.
func (s *Set) Has(name string) bool {
	h := maphash.String(s.seed, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all != "" {
		return true
	}
	if s.filter == nil {
		_, ok := s.exact[h]
		return ok
	}
	return s.filtered(h)
}

// Keys returns about how many different names were added. AddAll does not count.
func (s *Set) Keys() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

// All returns why every key is in the set, or "" where not every key is.
func (s *Set) All() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

func (s *Set) add(h uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.filter != nil {
		if !s.filtered(h) {
			s.keys++
			s.mark(h)
		}
		return
	}
	if _, ok := s.exact[h]; ok {
		return
	}
	s.keys++
	s.exact[h] = struct{}{}
	if len(s.exact) <= mostExact {
		return
	}
	s.filter = make([]uint64, 1<<filterLog/64)
	for h := range s.exact {
		s.mark(h)
	}
	s.exact = nil
}

// bit returns the place of bit i of a hash. The three bits use 26 of the hash's 64 bits each, beginning at bits 0, 19 and 38.
func bit(h uint64, i int) (word, mask uint64) {
	at := h >> (19 * i) & (1<<filterLog - 1)
	return at / 64, 1 << (at % 64)
}

func (s *Set) mark(h uint64) {
	for i := range filterUse {
		word, mask := bit(h, i)
		s.filter[word] |= mask
	}
}

func (s *Set) filtered(h uint64) bool {
	for i := range filterUse {
		if word, mask := bit(h, i); s.filter[word]&mask == 0 {
			return false
		}
	}
	return true
}
