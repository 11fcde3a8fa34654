package writes

import (
	"hash/maphash"
	"sync"
)

const (
	mostExact = 128 << 10 // names that are remembered one by one; more go into a filter
	filterLog = 26        // the filter has 2^26 bits, 8 MiB: with five million names, one key in 100 is in it by mistake
	filterUse = 3         // bits per name
)

// Set has names of keys. It is safe for concurrent use.
type Set struct {
	seed maphash.Seed // of this set alone, so that nobody can choose names that collide

	mu     sync.Mutex // guards all below
	exact  map[uint64]struct{}
	filter []uint64 // nil as long as exact is enough
	keys   int64
	all    string // why every key is in the set; "" where that is not so
}

// NewSet returns an empty Set.
func NewSet() *Set {
	return &Set{seed: maphash.MakeSeed(), exact: map[uint64]struct{}{}}
}

// Add puts a name into the set.
func (s *Set) Add(name []byte) { s.add(maphash.Bytes(s.seed, name)) }

// AddAll puts every key into the set. Of several reasons the first one is kept.
func (s *Set) AddAll(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == "" {
		s.all = why
	}
}

// Has reports whether a name may have been added.
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

// Keys returns about how many different names were added, leaving out reasons why every key was.
func (s *Set) Keys() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

// All returns why every key is in the set, "" where that is not so.
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

// bit returns the place of one of the bits of a hash. The three take 26 bits of the 64 each, from bit 0, 19 and 38 on.
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
