package rdb

import (
	"encoding/binary"
	"math"
	"sort"

	"surecut/internal/keyspace"
)

// stream is the layout of a stream: nodes, length and IDs, groups of consumers. Each newer form adds fields to the one before.
type stream struct {
	counters bool // entries added, entries read and two more IDs, since 7.0
	active   bool // the times at which consumers were active, since 7.2
}

// metaCounts returns the number of lengths between the nodes and the groups: the length and the last ID, and with counters the
// first ID, the highest deleted ID and the number of entries added.
func (l *stream) metaCounts() int {
	if l.counters {
		return 8
	}
	return 3
}

// groupCounts returns the number of lengths after the name of a group: the last ID, and with counters the entries read.
func (l *stream) groupCounts() int {
	if l.counters {
		return 3
	}
	return 2
}

// consumerTimes returns the number of bytes after the name of a consumer: when it was seen, and when it was active.
func (l *stream) consumerTimes() uint64 {
	if l.active {
		return 16
	}
	return 8
}

func (l *stream) skip(c *cursor) error {
	if err := c.skipPer(2); err != nil { // nodes: first ID, listpack
		return err
	}
	if err := c.skipCounts(l.metaCounts()); err != nil {
		return err
	}
	return c.skipEach(func() error { return l.skipGroup(c) })
}

func (l *stream) skipGroup(c *cursor) error {
	if err := c.skipString(); err != nil {
		return err
	}
	if err := c.skipCounts(l.groupCounts()); err != nil {
		return err
	}
	if err := c.skipEach(c.skipPending); err != nil {
		return err
	}
	return c.skipEach(func() error { // consumers
		if err := c.skipString(); err != nil {
			return err
		}
		if err := c.skip(l.consumerTimes()); err != nil {
			return err
		}
		return c.skipEach(c.skipID)
	})
}

// skipPending skips a pending entry of a group: ID, delivery time, delivery count.
func (c *cursor) skipPending() error {
	if err := c.skip(16 + 8); err != nil {
		return err
	}
	return c.skipCounts(1)
}

func (c *cursor) skipID() error { return c.skip(16) }

// streamLength reads the number of entries that a stream claims to have.
func (c *cursor) streamLength() (uint64, error) {
	n, err := c.count()
	if err == nil && n > math.MaxInt64 {
		err = damagedf("a stream claims %d entries, which is impossible", n)
	}
	return n, err
}

func (l *stream) walk(d *decoder) error {
	if err := d.c.skipEach(d.streamNode); err != nil {
		return err
	}
	var n [8]uint64
	var err error
	if n[0], err = d.c.streamLength(); err != nil {
		return err
	}
	for i := 1; i < l.metaCounts(); i++ {
		if n[i], err = d.c.count(); err != nil {
			return err
		}
	}
	m := keyspace.StreamMeta{Length: n[0], LastID: keyspace.StreamID{Ms: n[1], Seq: n[2]}}
	if l.counters { // n[3] and n[4] are the first ID, which the entries tell
		m.MaxDeletedID = keyspace.StreamID{Ms: n[5], Seq: n[6]}
		m.EntriesAdded, m.HasCounters = n[7], true
	}
	if err := d.v.StreamMeta(m); err != nil {
		return err
	}
	return d.c.skipEach(func() error { return l.walkGroup(d) })
}

// These are flags of a stream entry.
const (
	streamDeleted    = 1
	streamSameFields = 2
)

const errStreamNode = damaged("a stream's listpack is damaged")

// streamNode reads the ID to which the IDs of the entries are relative, and a listpack: number of valid entries, number of deleted
// entries, number of fields, the fields, 0, and then the entries.
func (d *decoder) streamNode() error {
	id, err := d.held()
	if err != nil {
		return err
	}
	if len(id) != 16 {
		return damagedf("a stream's node has an ID of %d bytes", len(id))
	}
	base := streamID(id)
	blob, err := d.c.string()
	if err != nil {
		return err
	}
	p, err := listpackOf(blob)
	if err != nil {
		return err
	}
	valid, err := p.integer()
	if err != nil {
		return err
	}
	deleted, err := p.integer()
	if err != nil {
		return err
	}
	n, err := p.integer()
	if err != nil {
		return err
	}
	if valid < 0 || deleted < 0 || n < 0 || max(valid, deleted, n) > int64(len(blob)) {
		return errStreamNode
	}
	master := streamFields{p: &p}
	if err := master.add(int(n)); err != nil {
		return err
	}
	if end, err := p.integer(); err != nil || end != 0 {
		return errStreamNode
	}
	p.arena = nil // keeps the texts of the master's integers from being overwritten
	entry := streamFields{p: &p}
	for range valid + deleted {
		if err := d.streamEntry(&entry, base, master.all); err != nil {
			return err
		}
	}
	if _, more, err := p.take(); err != nil || more {
		return errStreamNode
	}
	return nil
}

// streamFields collects elements of a listpack. The texts of integers are in the listpack's arena.
type streamFields struct {
	p   *packed
	all [][]byte
}

func (f *streamFields) add(n int) error {
	for range n {
		e, ok, err := f.p.take()
		if err != nil || !ok {
			return errStreamNode
		}
		f.all = append(f.all, f.p.text(e))
	}
	return nil
}

// streamEntry reads flags, the ID relative to the node's, the fields, and the number of elements that all of these take. If the
// names of the fields are those of the node's master entry, only the values are stored; otherwise their number, names and values.
func (d *decoder) streamEntry(f *streamFields, base keyspace.StreamID, master [][]byte) error {
	f.p.arena, f.all = f.p.arena[:0], f.all[:0]
	var head [3]int64
	for i := range head {
		var err error
		if head[i], err = f.p.integer(); err != nil {
			return err
		}
	}
	if head[0]&streamSameFields != 0 {
		for _, name := range master {
			f.all = append(f.all, name)
			if err := f.add(1); err != nil {
				return err
			}
		}
	} else {
		n, err := f.p.integer()
		if err != nil {
			return err
		}
		if n < 0 || n > int64(len(f.p.rest)) {
			return errStreamNode
		}
		if err := f.add(int(2 * n)); err != nil {
			return err
		}
	}
	if _, err := f.p.integer(); err != nil {
		return err
	}
	if head[0]&streamDeleted != 0 {
		return nil
	}
	return d.v.StreamEntry(keyspace.StreamID{Ms: base.Ms + uint64(head[1]), Seq: base.Seq + uint64(head[2])}, f.all)
}

func streamID(p []byte) keyspace.StreamID {
	return keyspace.StreamID{Ms: binary.BigEndian.Uint64(p), Seq: binary.BigEndian.Uint64(p[8:])}
}

// walkGroup reads the name, the last ID, the entries read, the pending entries of all consumers, and the consumers.
func (l *stream) walkGroup(d *decoder) error {
	name, err := d.held()
	if err != nil {
		return err
	}
	g := keyspace.Group{Name: append([]byte{}, name...), EntriesRead: -1}
	if g.LastID.Ms, err = d.c.count(); err != nil {
		return err
	}
	if g.LastID.Seq, err = d.c.count(); err != nil {
		return err
	}
	if l.counters {
		n, err := d.c.count()
		if err != nil {
			return err
		}
		g.EntriesRead = int64(n) // -1 is stored as its two's complement
		if n > math.MaxInt64 && g.EntriesRead != -1 {
			return damagedf("a group claims to have read %d entries, which is impossible", n)
		}
	}
	if err := d.c.skipEach(func() error { return d.pending(&g) }); err != nil {
		return err
	}
	if err := d.c.skipEach(func() error { return l.walkConsumer(d, &g) }); err != nil {
		return err
	}
	for i := range g.Pending {
		if g.Pending[i].Consumer == nil {
			return damagedf("pending entry %s belongs to no consumer", g.Pending[i].ID)
		}
	}
	return d.v.StreamGroup(g)
}

func (d *decoder) pending(g *keyspace.Group) error {
	p, err := d.c.fixed(16 + 8)
	if err != nil {
		return err
	}
	e := keyspace.Pending{ID: streamID(p), DeliveryMs: int64(binary.LittleEndian.Uint64(p[16:]))}
	if e.DeliveryCount, err = d.c.count(); err != nil {
		return err
	}
	if n := len(g.Pending); n > 0 && !g.Pending[n-1].ID.Less(e.ID) {
		return damagedf("pending entry %s is out of order", e.ID)
	}
	g.Pending = append(g.Pending, e)
	return nil
}

// walkConsumer reads the name, the times of last seen and last active, and the IDs of the pending entries.
func (l *stream) walkConsumer(d *decoder, g *keyspace.Group) error {
	name, err := d.held()
	if err != nil {
		return err
	}
	c := keyspace.Consumer{Name: append([]byte{}, name...), ActiveMs: -1}
	seen, err := d.c.uint64()
	if err != nil {
		return err
	}
	c.SeenMs = int64(seen)
	if l.active {
		active, err := d.c.uint64()
		if err != nil {
			return err
		}
		c.ActiveMs = int64(active)
	}
	g.Consumers = append(g.Consumers, c)
	return d.c.skipEach(func() error {
		p, err := d.c.fixed(16)
		if err != nil {
			return err
		}
		id := streamID(p)
		i := sort.Search(len(g.Pending), func(i int) bool { return !g.Pending[i].ID.Less(id) })
		if i == len(g.Pending) || g.Pending[i].ID != id || g.Pending[i].Consumer != nil {
			return damagedf("consumer %.50q holds entry %s, which is not pending or belongs to another consumer", c.Name, id)
		}
		g.Pending[i].Consumer = c.Name
		return nil
	})
}
