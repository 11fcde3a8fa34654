package verifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
)

// fullEntries is how many entries and pending entries a stream may have to be read by one XINFO STREAM FULL.
const fullEntries = 1024

// readStream reads a stream with its groups: at one instant where it is small and the server can (6.0), else in windows.
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
		m, err := r.askOne(ctx, r.node.flight.window(), "XINFO", "STREAM", name, "FULL", "COUNT", "0") // 0: all; without it, ten
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

// pendingMemory is about what a server takes for a pending entry.
const pendingMemory = 150

// pendingOf returns how many pending entries a stream has, and the length of the longest name of a consumer: each pending entry is
// listed with that of its own.
func (r *reader) pendingOf(ctx context.Context, name string, groups []rueidis.RedisMessage) (pending, longest int64, err error) {
	for i := range groups {
		info, err := pairs(&groups[i])
		if err != nil {
			return 0, 0, err
		}
		n := info.integer("pending")
		if pending += n; n == 0 {
			continue
		}
		long, err := r.longestConsumer(ctx, name, info.text("name"))
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
		info, err := pairs(&consumers[i])
		if err != nil {
			return 0, err
		}
		longest = max(longest, int64(len(info.text("name"))))
	}
	return longest, nil
}

// isSmallStream says whether all entries fit into one reply, by what the server says that the stream takes and by its first entry:
// the names of fields are kept once for many entries, and listed with each.
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

// vanished takes the untyped error of XINFO on a key that is no more, and that of a group that is no more, for a change.
func vanished(err error) error {
	var r *refusal
	if !forbidden(err) && errors.As(err, &r) && (r.code == "ERR" || r.code == "NOGROUP") {
		return fmt.Errorf("%w: %w", errChanged, err)
	}
	return err
}

// isWholeStream says whether a reply of XINFO STREAM FULL COUNT holds all entries, and all pending entries.
func isWholeStream(m *rueidis.RedisMessage) bool {
	info, err := pairs(m)
	if err != nil || info.find("length") == nil || info.integer("length") != int64(len(info.array("entries"))) {
		return false
	}
	groups := info.array("groups")
	for i := range groups {
		group, err := pairs(&groups[i])
		if err != nil || group.find("pel-count") == nil || group.integer("pel-count") != int64(len(group.array("pending"))) {
			return false
		}
	}
	return true
}

// feedFullStream feeds the reply of XINFO STREAM FULL.
func feedFullStream(m *rueidis.RedisMessage, to keyspace.Visitor) error {
	info, err := pairs(m)
	if err != nil {
		return err
	}
	entries := info.array("entries")
	for i := range entries {
		if err := feedEntry(&entries[i], to); err != nil {
			return err
		}
	}
	meta, err := info.meta()
	if err != nil {
		return err
	}
	if err := to.StreamMeta(meta); err != nil {
		return err
	}
	groups := info.array("groups")
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
	info, err := pairs(m)
	if err != nil {
		return keyspace.Group{}, err
	}
	g, err := info.group()
	if err != nil {
		return g, err
	}
	pel := info.array("pending")
	for i := range pel {
		p, err := pendingOf(&pel[i])
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
		last, err := entryID(&page[len(page)-1])
		if err != nil {
			return err
		}
		from = next(last).String()
		pages.took(page, len(page))
	}
	return r.readStreamRest(ctx, name, groups, sink)
}

// readStreamRest reads all of a stream but its entries.
func (r *reader) readStreamRest(ctx context.Context, name string, groups []rueidis.RedisMessage, to keyspace.Visitor) error {
	m, err := r.one(ctx, "XINFO", "STREAM", name)
	if err != nil {
		return vanished(err)
	}
	info, err := pairs(&m)
	if err != nil {
		return err
	}
	meta, err := info.meta()
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

// next is the ID after id; XRANGE knows exclusive IDs only since 6.2.
func next(id keyspace.StreamID) keyspace.StreamID {
	if id.Seq++; id.Seq == 0 {
		id.Ms++
	}
	return id
}

// pendingBytes is about what the reply about a pending entry takes beside the name of its consumer.
const pendingBytes = 64

// readGroup reads a group's position and pending entries. The pending entries of one group are held at once:
// its digest goes by group.
func (r *reader) readGroup(ctx context.Context, name string, m *rueidis.RedisMessage, to keyspace.Visitor) error {
	info, err := pairs(m)
	if err != nil {
		return err
	}
	g, err := info.group()
	if err != nil {
		return err
	}
	if info.integer("pending") == 0 {
		return to.StreamGroup(g)
	}
	longest, err := r.longestConsumer(ctx, name, string(g.Name))
	if err != nil {
		return err
	}
	size := int(clamp(r.node.flight.window()/(longest+pendingBytes), 1, mostElements))
	consumers := map[string][]byte{} // each name is kept once, however many entries it has
	for from := "-"; ; {
		page, err := r.page(ctx, "XPENDING", name, string(g.Name), from, "+", strconv.Itoa(size))
		if err != nil {
			return vanished(err)
		}
		for i := range page {
			p, err := pendingOf(&page[i])
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
		from = next(g.Pending[len(g.Pending)-1].ID).String()
	}
	return to.StreamGroup(g)
}

func entryID(m *rueidis.RedisMessage) (keyspace.StreamID, error) {
	parts, err := m.ToArray()
	if err != nil || len(parts) != 2 {
		return keyspace.StreamID{}, fmt.Errorf("a stream entry of %d parts: %w", len(parts), err)
	}
	return idOf(&parts[0])
}

func feedEntry(m *rueidis.RedisMessage, to keyspace.Visitor) error {
	id, err := entryID(m)
	if err != nil {
		return err
	}
	parts, _ := m.ToArray()
	texts, err := parts[1].ToArray()
	if err != nil {
		return fmt.Errorf("stream entry %v: %w", id, err)
	}
	fields := make([][]byte, len(texts))
	for i := range texts {
		if fields[i], err = texts[i].AsBytes(); err != nil {
			return fmt.Errorf("stream entry %v: %w", id, err)
		}
	}
	return to.StreamEntry(id, fields)
}

// pendingOf reads ID, consumer, time (since or of delivery; not compared) and delivery count.
func pendingOf(m *rueidis.RedisMessage) (p keyspace.Pending, err error) {
	parts, err := m.ToArray()
	if err != nil || len(parts) != 4 {
		return p, fmt.Errorf("a pending entry of %d parts: %w", len(parts), err)
	}
	if p.ID, err = idOf(&parts[0]); err != nil {
		return p, err
	}
	if p.Consumer, err = parts[1].AsBytes(); err != nil {
		return p, err
	}
	count, err := parts[3].ToInt64()
	p.DeliveryCount = uint64(count)
	return p, err
}

func idOf(m *rueidis.RedisMessage) (keyspace.StreamID, error) {
	text, err := m.ToString()
	if err != nil {
		return keyspace.StreamID{}, err
	}
	return parseID(text)
}

func parseID(text string) (id keyspace.StreamID, err error) {
	ms, seq, _ := strings.Cut(text, "-")
	if id.Ms, err = strconv.ParseUint(ms, 10, 64); err == nil {
		id.Seq, err = strconv.ParseUint(seq, 10, 64)
	}
	if err != nil {
		return id, fmt.Errorf("stream ID %q is not like 1-0", text)
	}
	return id, nil
}

// infoPairs is a reply of names and values in turn, as XINFO gives.
type infoPairs []rueidis.RedisMessage

func pairs(m *rueidis.RedisMessage) (infoPairs, error) {
	list, err := m.ToArray()
	return list, err
}

func (p infoPairs) find(name string) *rueidis.RedisMessage {
	for i := 0; i+1 < len(p); i += 2 {
		if s, _ := p[i].ToString(); s == name {
			return &p[i+1]
		}
	}
	return nil
}

func (p infoPairs) text(name string) string {
	if m := p.find(name); m != nil {
		s, _ := m.ToString()
		return s
	}
	return ""
}

func (p infoPairs) integer(name string) int64 {
	if m := p.find(name); m != nil && m.IsInt64() {
		n, _ := m.ToInt64()
		return n
	}
	return 0
}

func (p infoPairs) array(name string) []rueidis.RedisMessage {
	if m := p.find(name); m != nil {
		list, _ := m.ToArray()
		return list
	}
	return nil
}

func (p infoPairs) meta() (m keyspace.StreamMeta, err error) {
	m.Length = uint64(p.integer("length"))
	if m.LastID, err = parseID(p.text("last-generated-id")); err != nil {
		return m, err
	}
	if deleted := p.find("max-deleted-entry-id"); deleted != nil {
		m.HasCounters = true
		m.EntriesAdded = uint64(p.integer("entries-added"))
		m.MaxDeletedID, err = idOf(deleted)
	}
	return m, err
}

func (p infoPairs) group() (g keyspace.Group, err error) {
	g.Name = slices.Clone([]byte(p.text("name")))
	g.EntriesRead = -1 // not compared
	g.LastID, err = parseID(p.text("last-delivered-id"))
	return g, err
}
