package target

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"surecut/internal/command"
	"surecut/internal/keyspace"
)

const (
	maxClaimsPerCommand  = chunkElements
	placeholderGroupName = "__surecut"
)

// streamRebuild remembers the IDs of a stream's entries, since a pending entry can be made only for an entry that exists.
type streamRebuild struct {
	ids idLog
}

// StreamEntry adds an entry.
func (b *rebuild) StreamEntry(id keyspace.StreamID, fields [][]byte) error {
	if !b.dialect.Knows("XADD") {
		return streamUnsupported
	}
	b.stream.ids.add(id)
	b.made = true
	return b.send("XADD", append([][]byte{b.key, []byte(id.String())}, fields...)...)
}

// StreamMeta creates the stream if it has no entries, and sets its last ID and its counters.
func (b *rebuild) StreamMeta(m keyspace.StreamMeta) error {
	if !b.dialect.Knows("XADD") {
		return streamUnsupported
	}
	if !b.made {
		if err := b.makeEmptyStream(m.LastID); err != nil {
			return err
		}
	}
	if m.LastID == (keyspace.StreamID{}) {
		return nil
	}
	args := [][]byte{b.key, []byte(m.LastID.String())}
	if b.dialect.Has(command.StreamCounters) {
		if !m.HasCounters { // a server that loads the stream of an older one does the same
			m.EntriesAdded, m.MaxDeletedID = m.Length, keyspace.StreamID{}
		}
		args = append(args, []byte("ENTRIESADDED"), strconv.AppendUint(nil, m.EntriesAdded, 10),
			[]byte("MAXDELETEDID"), []byte(m.MaxDeletedID.String()))
	}
	return b.send("XSETID", args...)
}

// makeEmptyStream creates a stream without entries, by an entry that is trimmed at once. No entry can have the ID 0-0; in that case it
// creates the stream with a group, which it then deletes.
func (b *rebuild) makeEmptyStream(last keyspace.StreamID) error {
	b.made = true
	if last != (keyspace.StreamID{}) {
		return b.send("XADD", b.key, []byte("MAXLEN"), []byte("0"), []byte(last.String()), []byte("x"), []byte("x"))
	}
	group := []byte(placeholderGroupName)
	if err := b.send("XGROUP", []byte("CREATE"), b.key, group, []byte("0"), []byte("MKSTREAM")); err != nil {
		return err
	}
	return b.send("XGROUP", []byte("DESTROY"), b.key, group)
}

// StreamGroup creates a group with its consumers and pending entries.
func (b *rebuild) StreamGroup(g keyspace.Group) error {
	args := [][]byte{[]byte("CREATE"), b.key, g.Name, []byte(g.LastID.String())}
	if b.dialect.Has(command.StreamCounters) && g.EntriesRead >= 0 {
		args = append(args, []byte("ENTRIESREAD"), strconv.AppendInt(nil, g.EntriesRead, 10))
	}
	if err := b.send("XGROUP", args...); err != nil {
		return err
	}
	for _, c := range g.Consumers {
		if err := b.makeConsumer(g.Name, c.Name); err != nil {
			return err
		}
	}
	return b.claim(g)
}

// makeConsumer creates a consumer: by XGROUP CREATECONSUMER where the target has it, else by reading the consumer's (empty) history.
func (b *rebuild) makeConsumer(group, name []byte) error {
	if b.dialect.Has(command.CreateConsumer) {
		return b.send("XGROUP", []byte("CREATECONSUMER"), b.key, group, name)
	}
	return b.send("XREADGROUP", []byte("GROUP"), group, name, []byte("COUNT"), []byte("1"), []byte("STREAMS"), b.key, []byte("0"))
}

// claim creates the pending entries of a group, with one command for each run of entries that have the same consumer, time and count.
func (b *rebuild) claim(g keyspace.Group) error {
	ids := b.stream.ids.reader()
	for i := 0; i < len(g.Pending); {
		first := g.Pending[i]
		args := [][]byte{b.key, g.Name, first.Consumer, []byte("0")}
		head := len(args)
		for ; i < len(g.Pending) && len(args)-head < maxClaimsPerCommand; i++ {
			p := g.Pending[i]
			if p.DeliveryMs != first.DeliveryMs || p.DeliveryCount != first.DeliveryCount || string(p.Consumer) != string(first.Consumer) {
				break
			}
			if !ids.has(p.ID) {
				b.Lost = append(b.Lost, fmt.Sprintf("pending entry %s of consumer %q in group %q is missing on the target, since its message was deleted", p.ID, p.Consumer, g.Name))
				continue
			}
			args = append(args, []byte(p.ID.String()))
		}
		if len(args) == head {
			continue
		}
		args = append(args, []byte("TIME"), strconv.AppendInt(nil, max(0, first.DeliveryMs), 10),
			[]byte("RETRYCOUNT"), strconv.AppendUint(nil, first.DeliveryCount, 10), []byte("FORCE"), []byte("JUSTID"))
		if err := b.send("XCLAIM", args...); err != nil {
			return err
		}
	}
	return nil
}

// idLog holds ascending stream IDs in a few bytes each: the difference of the times, then the sequence number, or the difference of the
// sequence numbers if the time is the same.
type idLog struct {
	log  []byte
	last keyspace.StreamID
}

func (l *idLog) add(id keyspace.StreamID) {
	l.log = binary.AppendUvarint(l.log, id.Ms-l.last.Ms)
	if id.Ms == l.last.Ms {
		id.Seq -= l.last.Seq
	}
	l.log = binary.AppendUvarint(l.log, id.Seq)
	if id.Ms == l.last.Ms {
		id.Seq += l.last.Seq
	}
	l.last = id
}

func (l *idLog) reader() *idReader { return &idReader{rest: l.log} }

// idReader tells whether the log holds an ID, for IDs that it is asked for in ascending order.
type idReader struct {
	rest []byte
	at   keyspace.StreamID
}

func (r *idReader) has(id keyspace.StreamID) bool {
	for r.at.Less(id) && len(r.rest) > 0 {
		ms, n := binary.Uvarint(r.rest)
		seq, k := binary.Uvarint(r.rest[n:])
		r.rest = r.rest[n+k:]
		if ms == 0 {
			seq += r.at.Seq
		}
		r.at = keyspace.StreamID{Ms: r.at.Ms + ms, Seq: seq}
	}
	return r.at == id
}
