package verifier

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// readRest reads a value that its first piece did not hold, from the start, in windows. Pieces of different moments may come
// together when the value is being written; that makes it a suspect, never the same.
func (r *reader) readRest(ctx context.Context, name string, out *reading, keep int64) error {
	select {
	case r.bigs <- struct{}{}:
		defer func() { <-r.bigs }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	sink := r.sink(out.Type, keep)
	var err error
	switch out.Type {
	case keyspace.String:
		err = r.readString(ctx, name, out, sink)
	case keyspace.List, keyspace.ZSet:
		err = r.readRanges(ctx, name, out, sink)
	case keyspace.Set, keyspace.Hash:
		err = r.readScanned(ctx, name, out, sink, keep)
	case keyspace.Stream:
		err = r.readStream(ctx, name, out, sink)
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
	if length <= r.bigValue {
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
	for at := int64(0); at < length; {
		m, err := r.one(ctx, "GETRANGE", name, strconv.FormatInt(at, 10), strconv.FormatInt(at+windowBytes-1, 10))
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

// readRanges reads a list or a sorted set by ranks.
func (r *reader) readRanges(ctx context.Context, name string, out *reading, sink *sink) error {
	size, perElement := firstElements, 1
	args := []string{"LRANGE", name, "", ""}
	if out.Type == keyspace.ZSet {
		args, perElement = []string{"ZRANGE", name, "", "", "WITHSCORES"}, 2
	}
	for at := 0; ; {
		args[2], args[3] = strconv.Itoa(at), strconv.Itoa(at+size-1)
		page, err := r.array(ctx, args...)
		if err != nil {
			return err
		}
		if len(page) == 0 && at == 0 {
			*out = reading{}
			return nil
		}
		if err := feedPage(out.Type, page, sink); err != nil {
			return err
		}
		if len(page) < size*perElement {
			return nil
		}
		at += size
		size = nextWindow(page, size)
	}
}

// nextWindow sizes a window of elements such that it holds about windowBytes, going by the page before.
func nextWindow(page []rueidis.RedisMessage, size int) int {
	bytes := int64(1)
	for i := range page {
		bytes += weight(&page[i])
	}
	fit := int(windowBytes * int64(size) / bytes)
	return max(16, min(fit, 4*size, windowPages))
}

// scanAttempts is how often a collection is scanned before it is read whole: a scan gives elements twice while the table is resized.
const scanAttempts = 3

var errResized = errors.New("its table kept being resized while it was scanned, and it is too large to read at once")

// readScanned reads a set or a hash: whole where it is small enough, else by scanning, where the count tells elements given twice.
func (r *reader) readScanned(ctx context.Context, name string, out *reading, sink *sink, keep int64) error {
	countCommand := lengthCommands[out.Type]
	for attempt := 0; ; attempt++ {
		*sink = *r.sink(out.Type, keep) // an attempt before may have fed it
		count, err := r.integer(ctx, countCommand, name)
		if err != nil {
			return err
		}
		size, err := r.estimate(ctx, name, out.Type, count)
		if err != nil {
			return err
		}
		if size <= r.bigValue || attempt == scanAttempts && size <= 16*r.bigValue {
			return r.readCollection(ctx, name, out, sink)
		}
		if attempt == scanAttempts {
			return errResized
		}
		if err := r.scanCollection(ctx, name, out, sink); err != nil {
			return err
		}
		after, err := r.integer(ctx, countCommand, name)
		if err != nil {
			return err
		}
		if n := sink.Sum().Length; n == count && n == after {
			return nil
		}
	}
}

// estimate guesses the bytes of a collection from its count and one page of it.
func (r *reader) estimate(ctx context.Context, name string, t keyspace.Type, count int64) (int64, error) {
	m, err := r.one(ctx, firstCommands[t], name, "0", "COUNT", "16")
	if err != nil {
		return 0, err
	}
	_, page, err := scanPage(&m)
	if err != nil || len(page) == 0 {
		return 0, err
	}
	bytes := int64(0)
	for i := range page {
		s, _ := page[i].ToString()
		bytes += int64(len(s)) + 16
	}
	perElement := int64(1)
	if t == keyspace.Hash {
		perElement = 2
	}
	return bytes * count * perElement / int64(len(page)), nil
}

func (r *reader) readCollection(ctx context.Context, name string, out *reading, sink *sink) error {
	command := "SMEMBERS"
	if out.Type == keyspace.Hash {
		command = "HGETALL"
	}
	page, err := r.array(ctx, command, name)
	if err != nil {
		return err
	}
	if len(page) == 0 {
		*out = reading{}
		return nil
	}
	return r.feedCollection(ctx, name, out.Type, page, sink)
}

func (r *reader) scanCollection(ctx context.Context, name string, out *reading, sink *sink) error {
	size := firstElements
	for cursor := "0"; ; {
		m, err := r.one(ctx, firstCommands[out.Type], name, cursor, "COUNT", strconv.Itoa(size))
		if err != nil {
			return err
		}
		next, page, err := scanPage(&m)
		if err != nil {
			return err
		}
		if err := r.feedCollection(ctx, name, out.Type, page, sink); err != nil {
			return err
		}
		if next == "0" {
			return nil
		}
		cursor, size = next, nextWindow(page, size)
	}
}

// feedCollection feeds a page of a set or a hash; of a hash with its field expiries, where the server has any.
func (r *reader) feedCollection(ctx context.Context, name string, t keyspace.Type, page []rueidis.RedisMessage, sink *sink) error {
	if t != keyspace.Hash || !r.node.fieldTTLs || len(page) == 0 {
		return feedPage(t, page, sink)
	}
	args := []string{"HPEXPIRETIME", name, "FIELDS", strconv.Itoa(len(page) / 2)}
	for i := 0; i < len(page); i += 2 {
		field, err := page[i].ToString()
		if err != nil {
			return err
		}
		args = append(args, field)
	}
	expiries, err := r.array(ctx, args...)
	if err != nil {
		return err
	}
	if len(expiries) != len(page)/2 {
		return fmt.Errorf("%w: it vanished", errChanged)
	}
	return feedExpiring(page, expiries, sink)
}

// feedExpiring feeds the fields of a hash with the replies of HPEXPIRETIME: -1 never, -2 gone since.
func feedExpiring(page, expiries []rueidis.RedisMessage, sink keyspace.Visitor) error {
	for i := range expiries {
		at, err := expiries[i].ToInt64()
		if err != nil {
			return err
		}
		if at == -2 {
			continue
		}
		name, err := page[2*i].AsBytes()
		if err != nil {
			return err
		}
		value, err := page[2*i+1].AsBytes()
		if err != nil {
			return err
		}
		if err := sink.HashField(name, value, max(at, 0)); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) integer(ctx context.Context, args ...string) (int64, error) {
	m, err := r.one(ctx, args...)
	if err != nil {
		return 0, err
	}
	return m.ToInt64()
}

// array gives an array reply; nil is an empty one.
func (r *reader) array(ctx context.Context, args ...string) ([]rueidis.RedisMessage, error) {
	m, err := r.one(ctx, args...)
	if err != nil {
		return nil, err
	}
	page, err := m.ToArray()
	if endpoint.IsNil(err) {
		return nil, nil
	}
	return page, err
}
