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

// readRest reads a value that was not read by its first piece, from the beginning, in windows. The parameter size is what the server
// says that the value takes.
func (r *reader) readRest(ctx context.Context, name string, out *reading, size, keep int64) error {
	l := largeValue{reader: r, name: name, out: out, size: size, keep: keep}
	return l.read(ctx)
}

// largeValue is one value that is read in windows. If it is written meanwhile, pieces of different moments may be combined; that
// makes the key a suspect, never the same.
type largeValue struct {
	*reader
	name string
	out  *reading // with its type and expiry
	size int64    // what the server says that the value takes
	keep int64    // bytes up to which the whole value is collected
	to   *sink    // the pieces that have been read

	expiring bool // of a hash: fields may expire
}

func (l *largeValue) read(ctx context.Context) error {
	select {
	case l.bigs <- struct{}{}:
		defer func() { <-l.bigs }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	switch {
	case l.out.Type == keyspace.String:
	case l.size == unknownSize, besideOf[l.out.Type] > 0: // the size of a value that is listed in order must be known more exactly
		l.size = l.measure(ctx, l.name, l.size)
	}
	l.begin()
	var err error
	switch l.out.Type {
	case keyspace.String:
		err = l.string(ctx)
	case keyspace.List:
		err = l.ranges(ctx)
	case keyspace.ZSet:
		err = l.zset(ctx)
	case keyspace.Set, keyspace.Hash:
		err = l.scanned(ctx)
	case keyspace.Stream:
		err = (&streamReader{l.conn, l.name, l.to}).read(ctx, l.size)
	case keyspace.Module:
		err = l.module(ctx)
	}
	if passing(err) {
		return err
	}
	if err != nil {
		*l.out = reading{Err: err}
		return nil
	}
	l.to.finish(l.out)
	return nil
}

// begin forgets what was read before.
func (l *largeValue) begin() { l.to = l.sink(l.out.Type, l.keep) }

// string reads a string by ranges.
func (l *largeValue) string(ctx context.Context) error {
	length, err := l.integer(ctx, "STRLEN", l.name)
	if err != nil {
		return err
	}
	if length == 0 {
		return l.empty(ctx)
	}
	for at := int64(0); at < length; {
		window := l.node.flight.window()
		m, err := l.askOne(ctx, window, "GETRANGE", l.name, strconv.FormatInt(at, 10), strconv.FormatInt(at+window-1, 10))
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
		if err := l.to.StringChunk(p); err != nil {
			return err
		}
		at += int64(len(p))
	}
	return nil
}

// empty tells an empty string from a deleted key, for which STRLEN returns 0 as well.
func (l *largeValue) empty(ctx context.Context) error {
	m, err := l.one(ctx, "GET", l.name)
	if err != nil {
		return err
	}
	if m.IsNil() {
		*l.out = reading{}
		return nil
	}
	p, err := m.AsBytes()
	if err != nil {
		return err
	}
	return l.to.StringChunk(p)
}

// module reads a module value, which no command returns in pieces.
func (l *largeValue) module(ctx context.Context) error {
	size := l.size
	if size == unknownSize {
		size = nodeBytes
	}
	m, err := l.askOne(ctx, size, "DUMP", l.name)
	if err != nil {
		return err
	}
	if m.IsNil() {
		*l.out = reading{}
		return nil
	}
	return feedModule(l.out.TypeName, &m, l.to)
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

// ranges reads a list or a sorted set by ranks.
func (l *largeValue) ranges(ctx context.Context) error {
	args, step := []string{"LRANGE", l.name, "", ""}, 1
	if l.out.Type == keyspace.ZSet {
		args, step = []string{"ZRANGE", l.name, "", "", "WITHSCORES"}, 2
	}
	count, err := l.integer(ctx, lengthCommands[l.out.Type], l.name)
	if err != nil {
		return err
	}
	pages := newPager(l.size, count, l.node.flight.window()).inOrder(besideOf[l.out.Type])
	if l.out.Type == keyspace.ZSet && count > deepSamples { // the largest members may come after those that MEMORY USAGE looked at
		pages.total = unknownSize
	}
	for at := 0; ; {
		args[2], args[3] = strconv.Itoa(at), strconv.Itoa(at+pages.size-1)
		page, err := l.page(ctx, args...)
		if err != nil {
			return err
		}
		if err := feedPage(l.out.Type, page, l.to); err != nil {
			return err
		}
		if len(page) < pages.size*step {
			return nil
		}
		at += pages.size
		pages.took(page, len(page)/step)
	}
}

// zset reads a sorted set by ranks, or by scanning where MEMORY USAGE does not look at all of its members: large members may be
// adjacent in the order of scores, but are scattered in the order of a scan.
func (l *largeValue) zset(ctx context.Context) error {
	count, err := l.integer(ctx, "ZCARD", l.name)
	if err != nil {
		return err
	}
	if count > deepSamples {
		if err := l.scanned(ctx); !errors.Is(err, errResized) {
			return err
		}
		l.begin()
	}
	return l.ranges(ctx)
}

// scanAttempts is how often a collection is scanned before it is read whole: a scan may return elements twice while the table is
// resized.
const scanAttempts = 3

var errResized = errors.New("its table kept being resized while it was scanned, and it is too large to read at once")

// scanCommands list the elements of a collection in the order of its hash table.
var scanCommands = map[keyspace.Type]string{keyspace.Set: "SSCAN", keyspace.Hash: "HSCAN", keyspace.ZSet: "ZSCAN"}

// scanned reads a set, a hash or a sorted set: whole where it is small enough, else by scanning. After a scan, the number of
// elements shows whether some were returned twice.
func (l *largeValue) scanned(ctx context.Context) error {
	var err error
	if l.expiring, err = l.fields.mayExpire(ctx, l.out.Type); err != nil {
		return err
	}
	size := l.size
	for attempt := 0; ; attempt++ {
		l.begin() // an earlier attempt may have fed it
		count, err := l.integer(ctx, lengthCommands[l.out.Type], l.name)
		if err != nil {
			return err
		}
		if l.out.Type != keyspace.ZSet && size != unknownSize && (size <= l.node.flight.window() || attempt == scanAttempts && size <= l.bigValue) {
			return l.whole(ctx, size)
		}
		if attempt == scanAttempts {
			return errResized
		}
		read, err := l.scan(ctx, newPager(size, count, l.node.flight.window()))
		if err != nil {
			return err
		}
		if size == unknownSize {
			size = read
		}
		after, err := l.integer(ctx, lengthCommands[l.out.Type], l.name)
		if err != nil {
			return err
		}
		if n := l.to.Sum().Length; n == count && n == after {
			return nil
		}
	}
}

// whole reads a set or a hash by one command.
func (l *largeValue) whole(ctx context.Context, size int64) error {
	command := "SMEMBERS"
	if l.out.Type == keyspace.Hash {
		command = "HGETALL"
	}
	m, err := l.askOne(ctx, size, command, l.name)
	if err != nil {
		return err
	}
	page, err := m.ToArray()
	if err != nil {
		return err
	}
	return l.feed(ctx, page)
}

// scan scans a collection once and returns how many bytes it has read.
func (l *largeValue) scan(ctx context.Context, pages *pager) (int64, error) {
	step := 2
	if l.out.Type == keyspace.Set {
		step = 1
	}
	for cursor := "0"; ; {
		m, err := l.askOne(ctx, l.node.flight.window(), scanCommands[l.out.Type], l.name, cursor, "COUNT", strconv.Itoa(pages.size))
		if err != nil {
			return pages.read, err
		}
		next, page, err := reply.Scan(&m)
		if err != nil {
			return pages.read, err
		}
		if err := l.feed(ctx, page); err != nil {
			return pages.read, err
		}
		pages.took(page, len(page)/step)
		if next == "0" {
			return pages.read, nil
		}
		cursor = next
	}
}

// feed feeds a page of a collection. It feeds fields of a hash with their expiries, where they may have any.
func (l *largeValue) feed(ctx context.Context, page []rueidis.RedisMessage) error {
	if !l.expiring || len(page) == 0 {
		return feedPage(l.out.Type, page, l.to)
	}
	return l.fields.feedPage(ctx, l.name, page, l.to)
}
