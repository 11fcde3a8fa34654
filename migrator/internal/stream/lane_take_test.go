package stream

import (
	"sync"
	"testing"
)

// TestBatchesOfALane: a transaction stays short, since the target does nothing else while it runs; commands that are applied one by one
// are sent in larger batches, since each batch costs a round trip.
func TestBatchesOfALane(t *testing.T) {
	absolute, other := &item{absolute: true}, &item{}
	for _, c := range []struct {
		name   string
		first  *item
		then   *item
		behind int // how many of the first stand before the others
		want   int
	}{
		{"absolute", absolute, absolute, 0, laneBareItems},
		{"others", other, other, 0, laneBatchItems},
		{"another early among absolute", absolute, other, 10, laneBatchItems},
		{"another late among absolute", absolute, other, laneBatchItems + 10, laneBatchItems + 10},
	} {
		n := &lane{}
		n.changed = sync.NewCond(&n.mu)
		for i := range laneQueueItems {
			it := c.then
			if i < c.behind {
				it = c.first
			}
			n.queue = append(n.queue, it)
		}
		if got := len(n.take()); got != c.want || len(n.queue) != laneQueueItems-c.want {
			t.Errorf("%s: %d items are taken, and %d are left; want %d", c.name, got, len(n.queue), c.want)
		}
	}
}

// TestBytesOfABatch: what a lane applies at once is not larger than the least that a target may be set to take in a transaction, unless it is
// one item.
func TestBytesOfABatch(t *testing.T) {
	const kib = 1 << 10
	for _, c := range []struct {
		name  string
		sizes []int
		want  int
	}{
		{"small ones", []int{1, 2, 3}, 3},
		{"a large one behind", []int{400 * kib, 500 * kib, 300 * kib}, 2},
		{"a large one alone", []int{3000 * kib, 1, 1}, 1},
		{"a large one behind a small one", []int{1, 3000 * kib}, 1},
	} {
		n := &lane{}
		n.changed = sync.NewCond(&n.mu)
		for _, size := range c.sizes {
			n.queue = append(n.queue, &item{bytes: size})
			n.bytes += size
		}
		if got := len(n.take()); got != c.want {
			t.Errorf("%s: %d items are taken, want %d", c.name, got, c.want)
		}
	}
}
