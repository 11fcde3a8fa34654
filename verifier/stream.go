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

// readStream reads a stream with its groups: at one instant where the stream is small and the server supports it (since 6.0), else
// in windows.
func (r *reader) readStream(ctx context.Context, name string, size int64, sink *sink) error {
	length, err := r.integer(ctx, "XLEN", name)
	if err != nil {
		return err
	}
	groups, err := r.array(ctx, "XINFO", "GROUPS", name)
	if err != nil {
		return vanished(err)
	}
	pending, longest, err := r.pendingOf(ctx, name, groups)
	if err != nil {
		return err
	}
	small, err := r.isSmallStream(ctx, name, length, size)
	if err != nil {
		return err
	}
	if r.node.fullStreams && small && pending <= fullEntries && pending*longest <= r.node.flight.window() {
		m, err := r.askOne(ctx, r.node.flight.window(), "XINFO", "STREAM", name, "FULL", "COUNT", "0") // 0: all; without COUNT, ten
		if err != nil {
			return vanished(err)
		}
		return feedFullStream(&m, sink)
	}
	entries := int64(unknownSize)
	if size != unknownSize {
		entries = max(size-pending*pendingMemory, 1)
	}
	return r.readStreamWindows(ctx, name, length, entries, groups, sink)
}

// pendingMemory is about how many bytes a server takes for a pending entry.
const pendingMemory = 150

// pendingOf returns how many pending entries a stream has, and the length of the longest name of a consumer: each pending entry is
// listed with the name of its consumer.
func (r *reader) pendingOf(ctx context.Context, name string, groups []rueidis.RedisMessage) (pending, longest int64, err error) {
	for i := range groups {
		g, n, err := reply.Group(&groups[i])
		if err != nil {
			return 0, 0, err
		}
		if pending += n; n == 0 {
			continue
		}
		long, err := r.longestConsumer(ctx, name, string(g.Name))
		if err != nil {
			return 0, 0, err
		}
		longest = max(longest, long)
	}
	return pending, longest, nil
}

func (r *reader) longestConsumer(ctx context.Context, name, group string) (longest int64, err error) {
	consumers, err := r.page(ctx, "XINFO", "CONSUMERS", name, group)
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

// isSmallStream says whether all entries fit into one reply. It judges by the memory that the stream takes according to the server,
// and by the size of the first entry: a server keeps the names of fields once for many entries, but lists them with each.
func (r *reader) isSmallStream(ctx context.Context, name string, length, size int64) (bool, error) {
	window := r.node.flight.window()
	if length > fullEntries || size > window || size == unknownSize {
		return length == 0, nil
	}
	page, err := r.page(ctx, "XRANGE", name, "-", "+", "COUNT", "1")
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

func (r *reader) readStreamWindows(ctx context.Context, name string, length, size int64, groups []rueidis.RedisMessage, sink *sink) error {
	pages := newPager(size, length, r.node.flight.window()).inOrder(besideOf[keyspace.Stream])
	for from := "-"; ; {
		page, err := r.page(ctx, "XRANGE", name, from, "+", "COUNT", strconv.Itoa(pages.size))
		if err != nil {
			return err
		}
		for i := range page {
			if err := feedEntry(&page[i], sink); err != nil {
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
	return r.readStreamRest(ctx, name, groups, sink)
}

// readStreamRest reads everything of a stream but its entries.
func (r *reader) readStreamRest(ctx context.Context, name string, groups []rueidis.RedisMessage, to keyspace.Visitor) error {
	m, err := r.one(ctx, "XINFO", "STREAM", name)
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
	if err := to.StreamMeta(meta); err != nil {
		return err
	}
	for i := range groups {
		if err := r.readGroup(ctx, name, &groups[i], to); err != nil {
			return err
		}
	}
	return nil
}

// pendingBytes is about how many bytes the reply about a pending entry takes, apart from the name of its consumer.
const pendingBytes = 64

// readGroup reads a group's position and pending entries. All pending entries of one group are held in memory at once, because the
// digest covers a whole group.
func (r *reader) readGroup(ctx context.Context, name string, m *rueidis.RedisMessage, to keyspace.Visitor) error {
	g, pending, err := reply.Group(m)
	if err != nil {
		return err
	}
	if pending == 0 {
		return to.StreamGroup(g)
	}
	longest, err := r.longestConsumer(ctx, name, string(g.Name))
	if err != nil {
		return err
	}
	size := int(clamp(r.node.flight.window()/(longest+pendingBytes), 1, mostElements))
	consumers := map[string][]byte{} // each name is kept once, however many entries the consumer has
	for from := "-"; ; {
		page, err := r.page(ctx, "XPENDING", name, string(g.Name), from, "+", strconv.Itoa(size))
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
	return to.StreamGroup(g)
}

func feedEntry(m *rueidis.RedisMessage, to keyspace.Visitor) error {
	e, err := reply.Entry(m)
	if err != nil {
		return err
	}
	return to.StreamEntry(e.ID, e.Fields)
}
