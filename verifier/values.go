package verifier

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/reply"
)

// readValues reads the values of keys whose types are known.
func (r *reader) readValues(ctx context.Context, names []string, out []reading, keep int64) error {
	b := valueBatch{reader: r, names: names, out: out, sizes: make([]int64, len(names)), keep: keep}
	return b.read(ctx)
}

// valueBatch is a batch of keys whose values are read over one connection.
type valueBatch struct {
	*reader
	names []string
	out   []reading // by name
	sizes []int64   // by name: what the server says that the value takes, or the length of a string
	keep  int64     // bytes up to which a whole value is collected
}

// read reads the values with a bound on the bytes that are asked for at a time. First it reads the beginnings of strings, and asks
// how much memory collections take; then it reads small values whole and many at a time; then large ones one by one.
func (b *valueBatch) read(ctx context.Context) error {
	if err := b.look(ctx); err != nil {
		return err
	}
	var long []int
	for from := 0; from < len(b.names); {
		n := b.node.flight.fits(len(b.out)-from, func(i int) int64 {
			if b.out[from+i].Type == keyspace.String {
				return b.weights.usual[keyspace.String]
			}
			return headBytes
		})
		some, err := b.pieces(ctx, from, from+n)
		if err != nil {
			return err
		}
		long = append(long, some...)
		from += n
	}
	large, err := b.longer(ctx, long)
	if err != nil {
		return err
	}
	more, err := b.collections(ctx)
	if err != nil {
		return err
	}
	for _, i := range append(large, more...) {
		if err := b.readRest(ctx, b.names[i], &b.out[i], b.sizes[i], b.keep); err != nil {
			return err
		}
	}
	return nil
}

// pieces reads the beginnings of the strings in a part of the batch and finishes those that are no longer; it returns the others. For
// keys of other types it asks how much memory they take.
func (b *valueBatch) pieces(ctx context.Context, from, to int) (long []int, err error) {
	asked := make([]int, 0, to-from)
	results, err := b.ask(ctx, int64(to-from)*b.weights.usual[keyspace.String], func(build rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, 0, to-from)
		for i := from; i < to; i++ {
			switch {
			case b.out[i].Err != nil || b.out[i].Type == keyspace.None:
				continue
			case b.out[i].Type == keyspace.String:
				cmds = append(cmds, build.Getrange().Key(b.names[i]).Start(0).End(firstBytes-1).Build())
			case b.weights.unsized || b.node.flight.isCalm(b.out[i].Type):
				b.sizes[i] = unknownSize
				continue
			default:
				cmds = append(cmds, build.MemoryUsage().Key(b.names[i]).Samples(sizeSamples).Build())
			}
			asked = append(asked, i)
		}
		return cmds
	})
	if err != nil {
		return nil, err
	}
	strings, bytes := int64(0), int64(0)
	for j, i := range asked {
		if b.out[i].Type != keyspace.String {
			b.sizes[i] = b.weights.take(results[j])
			continue
		}
		p, err := results[j].AsBytes()
		if err != nil {
			if err := b.out[i].refused("GETRANGE", err); err != nil {
				return nil, err
			}
			continue
		}
		strings, bytes = strings+1, bytes+int64(len(p))+headBytes
		if len(p) == 0 || len(p) == firstBytes { // GETRANGE returns "" for an absent key, too
			long = append(long, i)
			continue
		}
		sink := b.sink(keyspace.String, b.keep)
		_ = sink.StringChunk(p)
		sink.finish(&b.out[i])
	}
	b.weights.tookStrings(strings, bytes)
	return long, nil
}

// longer reads strings that are longer than their first piece, as many at a time as their lengths allow. It returns those that
// must be read in windows.
func (b *valueBatch) longer(ctx context.Context, long []int) (large []int, err error) {
	results, err := b.do(ctx, func(build rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, len(long))
		for j, i := range long {
			cmds[j] = build.Strlen().Key(b.names[i]).Build()
		}
		return cmds
	})
	if err != nil {
		return nil, err
	}
	var fit []int
	for j, i := range long {
		if b.sizes[i], err = results[j].ToInt64(); err != nil {
			if err := b.out[i].refused("STRLEN", err); err != nil {
				return nil, err
			}
			continue
		}
		if b.sizes[i] == 0 || b.sizes[i] > b.node.flight.window() {
			large = append(large, i)
			continue
		}
		fit = append(fit, i)
	}
	for len(fit) > 0 {
		n := b.node.flight.fits(len(fit), func(j int) int64 { return b.sizes[fit[j]] + headBytes })
		grown, err := b.strings(ctx, fit[:n])
		if err != nil {
			return nil, err
		}
		large, fit = append(large, grown...), fit[n:]
	}
	return large, nil
}

// strings reads whole strings of known lengths. It returns those whose length has changed.
func (b *valueBatch) strings(ctx context.Context, some []int) (grown []int, err error) {
	bytes := int64(0)
	for _, i := range some {
		bytes += b.sizes[i] + headBytes
	}
	results, err := b.ask(ctx, bytes, func(build rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, len(some))
		for j, i := range some {
			cmds[j] = build.Getrange().Key(b.names[i]).Start(0).End(b.sizes[i]).Build() // one byte more than the string had
		}
		return cmds
	})
	if err != nil {
		return nil, err
	}
	for j, i := range some {
		p, err := results[j].AsBytes()
		if err != nil {
			if err := b.out[i].refused("GETRANGE", err); err != nil {
				return nil, err
			}
			continue
		}
		if int64(len(p)) != b.sizes[i] {
			grown = append(grown, i)
			continue
		}
		sink := b.sink(keyspace.String, b.keep)
		_ = sink.StringChunk(p)
		sink.finish(&b.out[i])
	}
	return grown, nil
}

// collections reads all values that are no strings: small ones whole and many at a time. It returns the large ones.
func (b *valueBatch) collections(ctx context.Context) (rest []int, err error) {
	var small []int
	for i := range b.out {
		switch {
		case b.out[i].Err != nil || b.out[i].Type == keyspace.None || b.out[i].Type == keyspace.String:
		case b.sizes[i] > wholeBytes:
			rest = append(rest, i)
			b.node.flight.saw(b.out[i].Type, b.sizes[i])
		default:
			small = append(small, i)
		}
	}
	for len(small) > 0 {
		n := b.node.flight.fits(len(small), func(j int) int64 { return b.weights.expect(b.out[small[j]].Type, b.sizes[small[j]]) })
		some, err := b.small(ctx, small[:n])
		if err != nil {
			return nil, err
		}
		rest, small = append(rest, some...), small[n:]
	}
	return rest, nil
}

// small reads collections: whole where their sizes are known, otherwise their first elements. It returns those that have more.
func (b *valueBatch) small(ctx context.Context, some []int) (rest []int, err error) {
	hashes, bytes := false, int64(0)
	for _, i := range some {
		hashes = hashes || b.out[i].Type == keyspace.Hash
		bytes += b.weights.expect(b.out[i].Type, b.sizes[i])
	}
	results, err := b.ask(ctx, bytes, func(build rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, 0, len(some)+1)
		for _, i := range some {
			cmds = append(cmds, b.firstRead(build, b.out[i].Type, b.names[i], b.sizes[i] != unknownSize))
		}
		if hashes && b.node.fieldTTLs {
			cmds = append(cmds, build.Info().Section("keyspace").Build())
		}
		return cmds
	})
	if err != nil {
		return nil, err
	}
	b.weights.learn(b.node.flight, b.out, b.sizes, some, results)
	expiring := hashes && b.node.fieldTTLs && fieldsExpire(results[len(results)-1], b.db)
	var held []heldHash
	for j, i := range some {
		whole := b.sizes[i] != unknownSize
		if expiring && b.out[i].Type == keyspace.Hash {
			if page := wholeHash(results[j], whole); page != nil {
				held = append(held, heldHash{i, page})
				continue
			}
		}
		sink := b.sink(b.out[i].Type, b.keep)
		done, err := b.takeFirst(&b.out[i], results[j], whole, sink)
		switch {
		case err != nil:
			if err := b.out[i].refused(firstCommands[b.out[i].Type], err); err != nil {
				return nil, err
			}
		case done:
			sink.finish(&b.out[i])
		default:
			rest = append(rest, i)
			b.node.flight.saw(b.out[i].Type, max(b.sizes[i], littleBytes+1))
		}
	}
	return rest, b.expiring(ctx, held)
}

var firstCommands = map[keyspace.Type]string{
	keyspace.String: "GETRANGE", keyspace.List: "LRANGE", keyspace.Set: "SSCAN", keyspace.ZSet: "ZRANGE",
	keyspace.Hash: "HSCAN", keyspace.Stream: "XINFO", keyspace.Module: "DUMP",
}

// firstRead returns the command that reads a collection: the whole of it, or its first elements.
func (r *reader) firstRead(b rueidis.Builder, t keyspace.Type, name string, whole bool) rueidis.Completed {
	last, count := int64(firstElements-1), int64(firstEntries)
	if whole {
		last, count = -1, 0
	}
	switch t {
	case keyspace.List:
		return b.Lrange().Key(name).Start(0).Stop(last).Build()
	case keyspace.Set:
		if whole {
			return b.Smembers().Key(name).Build()
		}
		return b.Sscan().Key(name).Cursor(0).Count(firstElements).Build()
	case keyspace.ZSet:
		return b.Zrange().Key(name).Min("0").Max(strconv.FormatInt(last, 10)).Withscores().Build()
	case keyspace.Hash:
		if whole {
			return b.Hgetall().Key(name).Build()
		}
		return b.Hscan().Key(name).Cursor(0).Count(firstElements).Build()
	case keyspace.Stream:
		if r.node.fullStreams {
			return b.XinfoStream().Key(name).Full().Count(count).Build() // 0: all entries
		}
		return b.Xlen().Key(name).Build()
	}
	return b.Dump().Key(name).Build()
}

// takeFirst feeds a first read into the sink and says whether it was the whole value.
func (r *reader) takeFirst(out *reading, result rueidis.RedisResult, whole bool, sink *sink) (bool, error) {
	m, err := result.ToMessage()
	if err != nil {
		if endpoint.IsNil(err) { // DUMP of a key that is gone
			*out = reading{}
			return true, nil
		}
		if out.Type == keyspace.Stream { // the key may be gone, for which XINFO returns an error without a code of its own
			return false, nil
		}
		return false, err
	}
	switch out.Type {
	case keyspace.Stream:
		if !r.node.fullStreams || !isWholeStream(&m) {
			return false, nil
		}
		return true, feedFullStream(&m, sink)
	case keyspace.Module:
		return true, feedModule(out.TypeName, &m, sink)
	case keyspace.Set, keyspace.Hash:
		if whole {
			break
		}
		cursor, page, err := reply.Scan(&m)
		if err != nil || cursor != "0" {
			return false, err
		}
		return true, feedPage(out.Type, page, sink)
	}
	page, err := m.ToArray()
	if err != nil {
		return false, err
	}
	perElement := 1
	if out.Type == keyspace.ZSet {
		perElement = 2
	}
	if !whole && len(page) >= firstElements*perElement {
		return false, nil
	}
	return true, feedPage(out.Type, page, sink)
}
