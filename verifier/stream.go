package verifier

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
	"surecut/internal/reply"
)

// fullEntries is how many entries, and how many pending entries, a stream may have at most to be read by one XINFO STREAM FULL.
const fullEntries = 1024

// streamReader reads one stream over a connection, and passes its parts on.
type streamReader struct {
	*conn
	name string
	to   keyspace.Visitor
}

// read reads the stream with its groups: at one instant where the stream is small and the server supports it (since 6.0), else in
// windows. The parameter size is what the server says that the stream takes.
func (s *streamReader) read(ctx context.Context, size int64) error {
	length, err := s.integer(ctx, "XLEN", s.name)
	if err != nil {
		return err
	}
	groups, err := s.array(ctx, "XINFO", "GROUPS", s.name)
	if err != nil {
		return vanished(err)
	}
	pending, longest, err := s.pendingOf(ctx, groups)
	if err != nil {
		return err
	}
	small, err := s.isSmall(ctx, length, size)
	if err != nil {
		return err
	}
	if s.node.fullStreams && small && pending <= fullEntries && pending*longest <= s.node.flight.window() {
		m, err := s.askOne(ctx, s.node.flight.window(), "XINFO", "STREAM", s.name, "FULL", "COUNT", "0") // 0: all; without COUNT, ten
		if err != nil {
			return vanished(err)
		}
		return feedFullStream(&m, s.to)
	}
	entries := int64(unknownSize)
	if size != unknownSize {
		entries = max(size-pending*pendingMemory, 1)
	}
	return s.windows(ctx, length, entries, groups)
}

// pendingMemory is about how many bytes a server takes for a pending entry.
const pendingMemory = 150

// pendingOf returns how many pending entries a stream has, and the length of the longest name of a consumer: each pending entry is
// listed with the name of its consumer.
func (s *streamReader) pendingOf(ctx context.Context, groups []rueidis.RedisMessage) (pending, longest int64, err error) {
	for i := range groups {
		g, n, err := reply.Group(&groups[i])
		if err != nil {
			return 0, 0, err
		}
		if pending += n; n == 0 {
			continue
		}
		long, err := s.longestConsumer(ctx, string(g.Name))
		if err != nil {
			return 0, 0, err
		}
		longest = max(longest, long)
	}
	return pending, longest, nil
}

func (s *streamReader) longestConsumer(ctx context.Context, group string) (longest int64, err error) {
	consumers, err := s.page(ctx, "XINFO", "CONSUMERS", s.name, group)
	if err != nil {
		return 0, vanished(err)
	}
	for i := range consumers {
		consumer, err := reply.Consumer(&consumers[i])
		if err != nil {
			return 0, err
		}
		longest = max(longest, int64(len(consumer)))
	}
	return longest, nil
}

// isSmall says whether all entries fit into one reply. It judges by the memory that the stream takes according to the server,
// and by the size of the first entry: a server keeps the names of fields once for many entries, but lists them with each.
func (s *streamReader) isSmall(ctx context.Context, length, size int64) (bool, error) {
	window := s.node.flight.window()
	if length > fullEntries || size > window || size == unknownSize {
		return length == 0, nil
	}
	page, err := s.page(ctx, "XRANGE", s.name, "-", "+", "COUNT", "1")
	if err != nil || len(page) == 0 {
		return length == 0, err
	}
	return weight(&page[0])*length <= window, nil
}

// vanished turns the error of XINFO for a key or a group that no longer exists into errChanged.
func vanished(err error) error {
	var r *refusal
	if !forbidden(err) && errors.As(err, &r) && (r.code == "ERR" || r.code == "NOGROUP") {
		return fmt.Errorf("%w: %w", errChanged, err)
	}
	return err
}

// isWholeStream says whether a reply of XINFO STREAM FULL COUNT holds all entries and all pending entries.
func isWholeStream(m *rueidis.RedisMessage) bool {
	info, err := reply.FieldsOf(m)
	if err != nil || !info.Counts("length", "entries") {
		return false
	}
	groups, err := info.Array("groups")
	for i := range groups {
		group, err := reply.FieldsOf(&groups[i])
		if err != nil || !group.Counts("pel-count", "pending") {
			return false
		}
	}
	return err == nil
}

// feedFullStream feeds the reply of XINFO STREAM FULL.
func feedFullStream(m *rueidis.RedisMessage, to keyspace.Visitor) error {
	info, err := reply.FieldsOf(m)
	if err != nil {
		return err
	}
	entries, err := info.Array("entries")
	if err != nil {
		return err
	}
	for i := range entries {
		if err := feedEntry(&entries[i], to); err != nil {
			return err
		}
	}
	meta, err := reply.Stream(info)
	if err != nil {
		return err
	}
	if err := to.StreamMeta(meta); err != nil {
		return err
	}
	groups, err := info.Array("groups")
	if err != nil {
		return err
	}
	for i := range groups {
		g, err := fullGroup(&groups[i])
		if err != nil {
			return err
		}
		if err := to.StreamGroup(g); err != nil {
			return err
		}
	}
	return nil
}

func fullGroup(m *rueidis.RedisMessage) (keyspace.Group, error) {
	g, _, err := reply.Group(m)
	if err != nil {
		return g, err
	}
	info, err := reply.FieldsOf(m)
	if err != nil {
		return g, err
	}
	pel, err := info.Array("pending")
	if err != nil {
		return g, err
	}
	for i := range pel {
		p, _, err := reply.Pending(&pel[i])
		if err != nil {
			return g, err
		}
		g.Pending = append(g.Pending, p)
	}
	return g, nil
}

// windows reads the entries in windows, and then everything else.
func (s *streamReader) windows(ctx context.Context, length, size int64, groups []rueidis.RedisMessage) error {
	pages := newPager(size, length, s.node.flight.window()).inOrder(besideOf[keyspace.Stream])
	for from := "-"; ; {
		page, err := s.page(ctx, "XRANGE", s.name, from, "+", "COUNT", strconv.Itoa(pages.size))
		if err != nil {
			return err
		}
		for i := range page {
			if err := feedEntry(&page[i], s.to); err != nil {
				return err
			}
		}
		if len(page) < pages.size {
			break
		}
		last, err := reply.Entry(&page[len(page)-1])
		if err != nil {
			return err
		}
		next, more := last.ID.Next()
		if !more {
			break
		}
		from = next.String()
		pages.took(page, len(page))
	}
	return s.rest(ctx, groups)
}

// rest reads everything of the stream but its entries.
func (s *streamReader) rest(ctx context.Context, groups []rueidis.RedisMessage) error {
	m, err := s.one(ctx, "XINFO", "STREAM", s.name)
	if err != nil {
		return vanished(err)
	}
	info, err := reply.FieldsOf(&m)
	if err != nil {
		return err
	}
	meta, err := reply.Stream(info)
	if err != nil {
		return err
	}
	if err := s.to.StreamMeta(meta); err != nil {
		return err
	}
	for i := range groups {
		if err := s.group(ctx, &groups[i]); err != nil {
			return err
		}
	}
	return nil
}

// pendingBytes is about how many bytes the reply about a pending entry takes, apart from the name of its consumer.
const pendingBytes = 64

// group reads a group's position and pending entries. All pending entries of one group are held in memory at once, because the
// digest covers a whole group.
func (s *streamReader) group(ctx context.Context, m *rueidis.RedisMessage) error {
	g, pending, err := reply.Group(m)
	if err != nil {
		return err
	}
	if pending == 0 {
		return s.to.StreamGroup(g)
	}
	longest, err := s.longestConsumer(ctx, string(g.Name))
	if err != nil {
		return err
	}
	size := int(clamp(s.node.flight.window()/(longest+pendingBytes), 1, mostElements))
	consumers := map[string][]byte{} // each name is kept once, however many entries the consumer has
	for from := "-"; ; {
		page, err := s.page(ctx, "XPENDING", s.name, string(g.Name), from, "+", strconv.Itoa(size))
		if err != nil {
			return vanished(err)
		}
		for i := range page {
			p, _, err := reply.Pending(&page[i])
			if err != nil {
				return err
			}
			if known, ok := consumers[string(p.Consumer)]; ok {
				p.Consumer = known
			} else {
				consumers[string(p.Consumer)] = p.Consumer
			}
			g.Pending = append(g.Pending, p)
		}
		if len(page) < size {
			break
		}
		next, more := g.Pending[len(g.Pending)-1].ID.Next()
		if !more {
			break
		}
		from = next.String()
	}
	return s.to.StreamGroup(g)
}

func feedEntry(m *rueidis.RedisMessage, to keyspace.Visitor) error {
	e, err := reply.Entry(m)
	if err != nil {
		return err
	}
	return to.StreamEntry(e.ID, e.Fields)
}
