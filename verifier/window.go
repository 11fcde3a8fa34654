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

// readRest reads a value that was not read by its first piece, from the beginning, in windows. If the value is written meanwhile,
// pieces of different moments may be combined; that makes the key a suspect, never the same. The parameter size is what the server
// says that the value takes.
func (r *reader) readRest(ctx context.Context, name string, out *reading, size, keep int64) error {
	select {
	case r.bigs <- struct{}{}:
		defer func() { <-r.bigs }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	switch {
	case out.Type == keyspace.String:
	case size == unknownSize, besideOf[out.Type] > 0: // the size of a value that is listed in order must be known more exactly
		size = r.measure(ctx, name, size)
	}
	sink := r.sink(out.Type, keep)
	var err error
	switch out.Type {
	case keyspace.String:
		err = r.readString(ctx, name, out, sink)
	case keyspace.List:
		err = r.readRanges(ctx, name, out, size, sink)
	case keyspace.ZSet:
		err = r.readZSet(ctx, name, out, size, sink, keep)
	case keyspace.Set, keyspace.Hash:
		err = r.readScanned(ctx, name, out, size, sink, keep)
	case keyspace.Stream:
		err = (&streamReader{r.conn, name, sink}).read(ctx, size)
	case keyspace.Module:
		err = r.readModule(ctx, name, out, size, sink)
	}
	if passing(err) {
		return err
	}
	if err != nil {
		*out = reading{Err: err}
		return nil
	}
	sink.finish(out)
	return nil
}

func (r *reader) readString(ctx context.Context, name string, out *reading, sink *sink) error {
	length, err := r.integer(ctx, "STRLEN", name)
	if err != nil {
		return err
	}
	if length == 0 {
		return r.readEmpty(ctx, name, out, sink)
	}
	for at := int64(0); at < length; {
		window := r.node.flight.window()
		m, err := r.askOne(ctx, window, "GETRANGE", name, strconv.FormatInt(at, 10), strconv.FormatInt(at+window-1, 10))
		if err != nil {
			return err
		}
		p, err := m.AsBytes()
		if err != nil {
			return err
		}
		if len(p) == 0 {
			return fmt.Errorf("%w: it became shorter", errChanged)
		}
		if err := sink.StringChunk(p); err != nil {
			return err
		}
		at += int64(len(p))
	}
	return nil
}

// readEmpty tells an empty string from a deleted key, for which STRLEN returns 0 as well.
func (r *reader) readEmpty(ctx context.Context, name string, out *reading, sink *sink) error {
	m, err := r.one(ctx, "GET", name)
	if err != nil {
		return err
	}
	if m.IsNil() {
		*out = reading{}
		return nil
	}
	p, err := m.AsBytes()
	if err != nil {
		return err
	}
	return sink.StringChunk(p)
}

// readModule reads a module value, which no command returns in pieces.
func (r *reader) readModule(ctx context.Context, name string, out *reading, size int64, sink *sink) error {
	if size == unknownSize {
		size = nodeBytes
	}
	m, err := r.askOne(ctx, size, "DUMP", name)
	if err != nil {
		return err
	}
	if m.IsNil() {
		*out = reading{}
		return nil
	}
	return feedModule(out.TypeName, &m, sink)
}

// deepSamples is how many elements, or nodes of a list or stream, MEMORY USAGE looks at in a large value, so that the result shows
// whether large elements come after small ones. That takes a server some milliseconds.
const deepSamples = 1 << 16

// measure asks how much memory a large value takes, more exactly than before.
func (r *reader) measure(ctx context.Context, name string, size int64) int64 {
	if r.weights.unsized {
		return unknownSize
	}
	n, err := r.integer(ctx, "MEMORY", "USAGE", name, "SAMPLES", strconv.Itoa(deepSamples))
	if err != nil || n < size/2 {
		return size
	}
	return n
}

// besideOf is how many bytes a server may take for an element in addition to those in the reply.
var besideOf = map[keyspace.Type]int64{keyspace.List: 16, keyspace.ZSet: 96, keyspace.Stream: 32}

// readRanges reads a list or a sorted set by ranks.
func (r *reader) readRanges(ctx context.Context, name string, out *reading, size int64, sink *sink) error {
	args, step := []string{"LRANGE", name, "", ""}, 1
	if out.Type == keyspace.ZSet {
		args, step = []string{"ZRANGE", name, "", "", "WITHSCORES"}, 2
	}
	count, err := r.integer(ctx, lengthCommands[out.Type], name)
	if err != nil {
		return err
	}
	pages := newPager(size, count, r.node.flight.window()).inOrder(besideOf[out.Type])
	if out.Type == keyspace.ZSet && count > deepSamples { // the largest members may come after those that MEMORY USAGE looked at
		pages.total = unknownSize
	}
	for at := 0; ; {
		args[2], args[3] = strconv.Itoa(at), strconv.Itoa(at+pages.size-1)
		page, err := r.page(ctx, args...)
		if err != nil {
			return err
		}
		if err := feedPage(out.Type, page, sink); err != nil {
			return err
		}
		if len(page) < pages.size*step {
			return nil
		}
		at += pages.size
		pages.took(page, len(page)/step)
	}
}

// readZSet reads a sorted set by ranks, or by scanning where MEMORY USAGE does not look at all of its members: large members may be
// adjacent in the order of scores, but are scattered in the order of a scan.
func (r *reader) readZSet(ctx context.Context, name string, out *reading, size int64, sink *sink, keep int64) error {
	count, err := r.integer(ctx, "ZCARD", name)
	if err != nil {
		return err
	}
	if count > deepSamples {
		if err := r.readScanned(ctx, name, out, size, sink, keep); !errors.Is(err, errResized) {
			return err
		}
		*sink = *r.sink(out.Type, keep)
	}
	return r.readRanges(ctx, name, out, size, sink)
}

// scanAttempts is how often a collection is scanned before it is read whole: a scan may return elements twice while the table is
// resized.
const scanAttempts = 3

var errResized = errors.New("its table kept being resized while it was scanned, and it is too large to read at once")

// scanCommands list the elements of a collection in the order of its hash table.
var scanCommands = map[keyspace.Type]string{keyspace.Set: "SSCAN", keyspace.Hash: "HSCAN", keyspace.ZSet: "ZSCAN"}

// readScanned reads a set, a hash or a sorted set: whole where it is small enough, else by scanning. After a scan, the number of
// elements shows whether some were returned twice.
func (r *reader) readScanned(ctx context.Context, name string, out *reading, size int64, sink *sink, keep int64) error {
	expiring, err := r.fields.mayExpire(ctx, out.Type)
	if err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		*sink = *r.sink(out.Type, keep) // an earlier attempt may have fed it
		count, err := r.integer(ctx, lengthCommands[out.Type], name)
		if err != nil {
			return err
		}
		if out.Type != keyspace.ZSet && size != unknownSize && (size <= r.node.flight.window() || attempt == scanAttempts && size <= r.bigValue) {
			return r.readCollection(ctx, name, out, size, expiring, sink)
		}
		if attempt == scanAttempts {
			return errResized
		}
		read, err := r.scanCollection(ctx, name, out, newPager(size, count, r.node.flight.window()), expiring, sink)
		if err != nil {
			return err
		}
		if size == unknownSize {
			size = read
		}
		after, err := r.integer(ctx, lengthCommands[out.Type], name)
		if err != nil {
			return err
		}
		if n := sink.Sum().Length; n == count && n == after {
			return nil
		}
	}
}

func (r *reader) readCollection(ctx context.Context, name string, out *reading, size int64, expiring bool, sink *sink) error {
	command := "SMEMBERS"
	if out.Type == keyspace.Hash {
		command = "HGETALL"
	}
	m, err := r.askOne(ctx, size, command, name)
	if err != nil {
		return err
	}
	page, err := m.ToArray()
	if err != nil {
		return err
	}
	return r.feedCollection(ctx, name, out.Type, page, expiring, sink)
}

// scanCollection scans a collection once and returns how many bytes it has read.
func (r *reader) scanCollection(ctx context.Context, name string, out *reading, pages *pager, expiring bool, sink *sink) (int64, error) {
	step := 2
	if out.Type == keyspace.Set {
		step = 1
	}
	for cursor := "0"; ; {
		m, err := r.askOne(ctx, r.node.flight.window(), scanCommands[out.Type], name, cursor, "COUNT", strconv.Itoa(pages.size))
		if err != nil {
			return pages.read, err
		}
		next, page, err := reply.Scan(&m)
		if err != nil {
			return pages.read, err
		}
		if err := r.feedCollection(ctx, name, out.Type, page, expiring, sink); err != nil {
			return pages.read, err
		}
		pages.took(page, len(page)/step)
		if next == "0" {
			return pages.read, nil
		}
		cursor = next
	}
}

// feedCollection feeds a page of a collection. It feeds fields of a hash with their expiries, where they may have any.
func (r *reader) feedCollection(ctx context.Context, name string, t keyspace.Type, page []rueidis.RedisMessage, expiring bool, sink *sink) error {
	if !expiring || len(page) == 0 {
		return feedPage(t, page, sink)
	}
	return r.fields.feedPage(ctx, name, page, sink)
}
