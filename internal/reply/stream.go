package reply

import (
	"fmt"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
)

// StreamID reads the ID of an entry.
func StreamID(m *rueidis.RedisMessage) (keyspace.StreamID, error) {
	text, err := m.ToString()
	if err != nil {
		return keyspace.StreamID{}, err
	}
	return keyspace.ParseStreamID(text)
}

// Entry reads an entry from a reply of XRANGE or XINFO STREAM FULL.
func Entry(m *rueidis.RedisMessage) (e keyspace.Entry, err error) {
	list, err := parts(m, 2)
	if err != nil {
		return e, fmt.Errorf("an entry of a stream: %w", err)
	}
	if e.ID, err = StreamID(&list[0]); err != nil {
		return e, err
	}
	fields, err := list[1].ToArray()
	if err != nil {
		return e, fmt.Errorf("entry %v of a stream: %w", e.ID, err)
	}
	e.Fields = make([][]byte, len(fields))
	for i := range fields {
		if e.Fields[i], err = fields[i].AsBytes(); err != nil {
			return e, fmt.Errorf("entry %v of a stream: %w", e.ID, err)
		}
	}
	return e, nil
}

// Pending reads a pending entry: its ID, its consumer, a time in milliseconds, and how often it was delivered. In a reply of
// XPENDING the time is that since the last delivery; in one of XINFO STREAM FULL it is that of the last delivery.
func Pending(m *rueidis.RedisMessage) (p keyspace.Pending, ms int64, err error) {
	list, err := parts(m, 4)
	if err != nil {
		return p, 0, fmt.Errorf("a pending entry: %w", err)
	}
	if p.ID, err = StreamID(&list[0]); err != nil {
		return p, 0, err
	}
	if p.Consumer, err = list[1].AsBytes(); err != nil {
		return p, 0, err
	}
	if ms, err = list[2].ToInt64(); err != nil {
		return p, 0, err
	}
	count, err := list[3].ToInt64()
	p.DeliveryCount = uint64(count)
	return p, ms, err
}

// Stream reads what XINFO STREAM tells about a stream apart from its entries. The counters exist since Redis 7.0.
func Stream(f Fields) (s keyspace.StreamMeta, err error) {
	length, err := f.Int("length")
	if err != nil {
		return s, err
	}
	s.Length = uint64(length)
	if s.LastID, err = field(f, "last-generated-id", StreamID); err != nil || f.Find("max-deleted-entry-id") == nil {
		return s, err
	}
	if s.MaxDeletedID, err = field(f, "max-deleted-entry-id", StreamID); err != nil {
		return s, err
	}
	added, err := f.Int("entries-added")
	s.EntriesAdded, s.HasCounters = uint64(added), true
	return s, err
}

// Group reads what XINFO tells about a group, without its consumers and pending entries, and the number of its pending entries.
// XINFO GROUPS calls that number "pending", XINFO STREAM FULL "pel-count".
func Group(m *rueidis.RedisMessage) (g keyspace.Group, pending int64, err error) {
	f, err := FieldsOf(m)
	if err != nil {
		return g, 0, err
	}
	if g.Name, err = field(f, "name", (*rueidis.RedisMessage).AsBytes); err != nil {
		return g, 0, err
	}
	if g.LastID, err = field(f, "last-delivered-id", StreamID); err != nil {
		return g, 0, err
	}
	g.EntriesRead = -1
	if read := f.Find("entries-read"); read != nil && !read.IsNil() { // since 7.0; nil if the server does not know the number
		if g.EntriesRead, err = f.Int("entries-read"); err != nil {
			return g, 0, err
		}
	}
	count := "pending"
	if f.Find("pel-count") != nil {
		count = "pel-count"
	}
	pending, err = f.Int(count)
	return g, pending, err
}

// Consumer reads the name of a consumer from a reply of XINFO CONSUMERS.
func Consumer(m *rueidis.RedisMessage) ([]byte, error) {
	f, err := FieldsOf(m)
	if err != nil {
		return nil, err
	}
	return field(f, "name", (*rueidis.RedisMessage).AsBytes)
}
