package scanner

import (
	"cmp"
	"container/heap"
	"slices"
)

// ranking returns the figure by which keys are ranked.
type ranking func(*reading) int64

// rankings are those of the result's lists, in the same order: by bytes, by elements, by the largest element.
var rankings = [...]ranking{
	func(r *reading) int64 { return r.bytes },
	func(r *reading) int64 { return r.elements },
	func(r *reading) int64 { return r.largest },
}

// topKey is one of the largest keys.
type topKey struct {
	reading // without its name
	name    keptName
	slot    uint16
	node    string
	rank    int64
}

// compare puts the largest key first. The order is total, so that the list does not depend on the order of the scan.
func (a topKey) compare(b topKey) int {
	return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(b.bytes, a.bytes), cmp.Compare(b.elements, a.elements), cmp.Compare(a.db, b.db),
		a.name.compare(b.name), cmp.Compare(a.node, b.node))
}

// topKeys holds the largest keys so far, each once although SCAN may return it twice.
type topKeys struct {
	limit int
	by    ranking
	least int64   // no key with less gets into the list
	heap  topHeap // the smallest key is at its root
	held  map[topID]bool
}

type topID struct {
	db   int
	name keptName
	node string
}

func newTopKeys(limit int, by ranking) topKeys {
	return topKeys{limit: limit, by: by, held: map[topID]bool{}}
}

func (t *topKeys) add(r *reading, slot uint16, node string) {
	rank := t.by(r)
	if rank < t.least {
		return
	}
	k := topKey{reading: *r, name: keepName(r.name), slot: slot, node: node, rank: rank}
	k.reading.name = nil
	t.take(k)
}

func (t *topKeys) take(k topKey) {
	id := topID{k.db, k.name, k.node}
	switch {
	case t.held[id]:
		return
	case len(t.heap) < t.limit:
		heap.Push(&t.heap, k)
	case k.compare(t.heap[0]) >= 0:
		return
	default:
		delete(t.held, topID{t.heap[0].db, t.heap[0].name, t.heap[0].node})
		t.heap[0] = k
		heap.Fix(&t.heap, 0)
	}
	t.held[id] = true
	if len(t.heap) == t.limit {
		t.least = t.heap[0].rank
	}
}

func (t *topKeys) merge(o *topKeys) {
	for _, k := range o.heap {
		t.take(k)
	}
}

func (t *topKeys) sorted() []topKey {
	return slices.SortedFunc(slices.Values(t.heap), topKey.compare)
}

type topHeap []topKey

func (h topHeap) Len() int           { return len(h) }
func (h topHeap) Less(i, j int) bool { return h[i].compare(h[j]) > 0 }
func (h topHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *topHeap) Push(x any) { *h = append(*h, x.(topKey)) }

// Pop implements heap.Interface.
func (h *topHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
