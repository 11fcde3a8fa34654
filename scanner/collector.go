package scanner

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// Collector scans the snapshots that a migration receives anyway, and estimates from the streams that follow them how much is
// written to each shard, and to the keys with the most writes. Several goroutines may use it.
type Collector struct {
	o Config

	mu     sync.Mutex
	shards map[string]*collected // guarded by mu
}

// collected is what was received from one shard.
type collected struct {
	*snapshot
	batch readings
	whole bool // the snapshot is complete

	first, last time.Time // times of the first and the last command of the stream
	written     int64     // bytes of the stream
	keys        hitters
	at          []int // positions of the keys in a command
}

// NewCollector returns an empty collector.
func NewCollector(o Config) *Collector {
	return &Collector{o: o, shards: map[string]*collected{}}
}

func (c *Collector) shard(name string) *collected {
	s := c.shards[name]
	if s == nil {
		s = &collected{snapshot: newSnapshot(name, c.o), keys: hitters{}}
		c.shards[name] = s
	}
	return s
}

// Begin says that a snapshot of the shard begins. Data of an earlier snapshot no longer counts.
func (c *Collector) Begin(shard string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.shard(shard)
	s.snapshot, s.whole = newSnapshot(shard, c.o), false
}

// Entry takes an entry of the snapshot, with its shape.
func (c *Collector) Entry(shard string, e *rdb.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.shard(shard)
	if e.Kind == rdb.KindKey && e.Shape == nil {
		return
	}
	s.entry(e, &s.batch)
	s.sum(&s.batch)
	s.batch.empty()
}

// End says that the snapshot of the shard is complete.
func (c *Collector) End(shard string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shard(shard).whole = true
}

// Write takes a command of the stream.
func (c *Collector) Write(shard string, db int, args [][]byte, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.shard(shard)
	n := int64(4)
	for _, a := range args {
		n += int64(len(a)) + 8
	}
	if s.first.IsZero() {
		s.first = at
	}
	s.last = at
	s.written += n
	if spec, ok := command.Lookup(args); ok {
		var err error
		if s.at, err = spec.Keys(args, s.at[:0]); err == nil && len(s.at) > 0 {
			s.keys.add(db, args[s.at[0]], n)
		}
	}
}

// Result returns the result of the scan. It returns nil unless there is a complete snapshot of every shard from which anything was
// received.
func (c *Collector) Result() *BigKeys {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := newTally(c.o)
	names := make([]string, 0, len(c.shards))
	for name, s := range c.shards {
		if !s.whole {
			return nil
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	for _, name := range names {
		sum.merge(c.shards[name].t)
	}
	sum.totals.SizeBy = SizeByModel
	out := sum.result(c.o)
	for _, name := range names {
		c.shards[name].writes(name, c.o, out)
	}
	return out
}

// leastSeconds is the shortest time for which a rate is computed from the stream.
const leastSeconds = 1

// writes adds the results of a shard's stream.
func (s *collected) writes(name string, o Config, out *BigKeys) {
	seconds := s.last.Sub(s.first).Seconds()
	if seconds < leastSeconds {
		return
	}
	b := Buffer{Node: name, WriteRate: int64(float64(s.written) / seconds), MeasuredBy: ByStream, Snapshot: s.t.totals.Serialized, CopyRate: o.CopyRate, HardLimit: unknown}
	b.reckon("")
	out.OutputBuffer = append(out.OutputBuffer, b)
	for _, h := range s.keys.sorted() {
		perSecond := float64(h.bytes) / seconds
		needed := int64(perSecond * b.Seconds)
		if needed <= b.SoftLimit {
			return
		}
		text := fmt.Sprintf("is written at %s/s; a full phase of %.0f s needs an output buffer of %s for this key alone", size(int64(perSecond)), b.Seconds, size(needed))
		remedy := "migrate when it is written less, or set client-output-buffer-limit on the source for the migration: " + fmt.Sprintf(`"slave %d 0 0"`, roomFor(max(needed, b.Needed)))
		out.Notes = append(out.Notes, fmt.Sprintf("Key %s of database %d %s. Remedy: %s.", keepName([]byte(h.name)).quoted(), h.db, text, remedy))
		for _, list := range [][]BigKey{out.Top, out.TopElements, out.TopLargest} {
			for i := range list {
				if k := &list[i]; k.DB == h.db && k.Node == name && k.Key == keepName([]byte(h.name)).quoted() {
					k.Risks, k.Remedies = append(k.Risks, text), append(k.Remedies, remedy)
				}
			}
		}
	}
}

// hitters counts the bytes written to keys in bounded memory: when there are too many keys, those with fewer bytes than the mean
// are dropped. The count of a key is never too high.
type hitters map[keyspace.Key]int64

const (
	hittersMost = 4096
	hittersName = 4096 // bytes of a name; keys with longer names are not counted
)

func (h hitters) add(db int, name []byte, n int64) {
	if len(name) > hittersName {
		return
	}
	k := keyspace.Key{DB: db, Name: string(name)}
	if h[k] += n; len(h) <= hittersMost {
		return
	}
	sum := int64(0)
	for _, bytes := range h {
		sum += bytes
	}
	mean := sum / int64(len(h))
	for k, bytes := range h {
		if bytes <= mean {
			delete(h, k)
		}
	}
}

type hitter struct {
	db    int
	name  string
	bytes int64
}

// sorted returns the keys, beginning with those with the most bytes.
func (h hitters) sorted() []hitter {
	list := make([]hitter, 0, len(h))
	for k, bytes := range h {
		list = append(list, hitter{k.DB, k.Name, bytes})
	}
	slices.SortFunc(list, func(a, b hitter) int {
		if a.bytes != b.bytes {
			return int(min(max(b.bytes-a.bytes, -1), 1))
		}
		return strings.Compare(a.name, b.name)
	})
	return list
}
