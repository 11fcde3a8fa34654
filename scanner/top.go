package scanner

import (
	"cmp"
	"container/heap"
	"slices"

	"surecut/internal/keyspace"
)

// topKey is one of the largest keys.
type topKey struct {
	db                             int
	name                           string
	typ                            keyspace.Type
	slot                           uint16
	bytes, elements, length, ttlMs int64
}

// compare orders the largest first, and is total, so that the list does not depend on the order of the scan.
func (a topKey) compare(b topKey) int {
	return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(b.elements, a.elements), cmp.Compare(a.db, b.db), cmp.Compare(a.name, b.name))
}

// topKeys holds the largest keys met so far, each once though SCAN may give it twice.
type topKeys struct {
	limit int
	heap  topHeap // the smallest at its root
	held  map[keyspace.Key]bool
}

func newTopKeys(limit int) topKeys {
	return topKeys{limit: limit, held: map[keyspace.Key]bool{}}
}

func (t *topKeys) add(r reading, slot uint16) {
	full := len(t.heap) == t.limit
	if full && r.bytes < t.heap[0].bytes {
		return
	}
	k := topKey{db: r.db, name: string(r.name), typ: r.typ, slot: slot, bytes: r.bytes, elements: r.elements, length: r.length, ttlMs: r.ttlMs}
	key := keyspace.Key{DB: k.db, Name: k.name}
	switch {
	case t.held[key]:
		return
	case !full:
		heap.Push(&t.heap, k)
	case k.compare(t.heap[0]) >= 0:
		return
	default:
		delete(t.held, keyspace.Key{DB: t.heap[0].db, Name: t.heap[0].name})
		t.heap[0] = k
		heap.Fix(&t.heap, 0)
	}
	t.held[key] = true
}

func (t *topKeys) sorted() []topKey {
	return slices.SortedFunc(slices.Values(t.heap), topKey.compare)
}

type topHeap []topKey

func (h topHeap) Len() int           { return len(h) }
func (h topHeap) Less(i, j int) bool { return h[i].compare(h[j]) > 0 }
func (h topHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *topHeap) Push(x any) { *h = append(*h, x.(topKey)) }

// Pop is for container/heap.
func (h *topHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
