package compat

import (
	"cmp"
	"container/heap"
	"slices"
)

// counter counts names in bounded memory (the space-saving algorithm): when it is full, a new name takes the place and the count of
// the rarest one. Frequent names are always kept.
type counter struct {
	room  int
	names map[string]*counted
	heap  countedHeap // used once the counter is full: the rarest name is at its root
}

type counted struct {
	name string
	n    int64
	at   int // index in the heap
}

func newCounter(room int) counter { return counter{room: room} }

func (c *counter) add(name string) {
	if c.names == nil {
		c.names = map[string]*counted{}
	}
	e := c.names[name]
	switch {
	case e != nil:
		e.n++
	case len(c.names) < c.room:
		c.names[name] = &counted{name: name, n: 1}
		return
	default:
		if c.heap == nil {
			c.fill()
		}
		e = c.heap[0]
		delete(c.names, e.name)
		e.name, e.n = name, e.n+1
		c.names[name] = e
	}
	if c.heap != nil {
		heap.Fix(&c.heap, e.at)
	}
}

func (c *counter) fill() {
	for _, e := range c.names {
		e.at = len(c.heap)
		c.heap = append(c.heap, e)
	}
	heap.Init(&c.heap)
}

// top returns the n most frequent names. Names with the same count are in alphabetical order.
func (c *counter) top(n int) []string {
	out := make([]string, 0, len(c.names))
	for name := range c.names {
		out = append(out, name)
	}
	slices.SortFunc(out, func(a, b string) int {
		return cmp.Or(cmp.Compare(c.names[b].n, c.names[a].n), cmp.Compare(a, b))
	})
	return out[:min(n, len(out))]
}

// countedHeap is ordered by count, then by name, so that the names that stay do not depend on chance.
type countedHeap []*counted

func (h countedHeap) Len() int { return len(h) }

func (h countedHeap) Less(i, j int) bool {
	return h[i].n < h[j].n || h[i].n == h[j].n && h[i].name < h[j].name
}

func (h countedHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface. A full counter only exchanges names.
func (h *countedHeap) Push(x any) { *h = append(*h, x.(*counted)) }

// Pop implements heap.Interface.
func (h *countedHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
