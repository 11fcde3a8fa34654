package verifier

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/reply"
)

// readValues reads values with a bound on the bytes that are asked for at a time. First it reads the beginnings of strings, and
// asks how much memory collections take; then it reads small values whole and many at a time; then large ones one by one.
func (r *reader) readValues(ctx context.Context, names []string, out []reading, keep int64) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	sizes := make([]int64, len(names))
	var long []int
	for from := 0; from < len(names); {
		n := r.node.flight.fits(len(out)-from, func(i int) int64 {
			if out[from+i].Type == keyspace.String {
				return r.weights.usual[keyspace.String]
			}
			return headBytes
		})
		some, err := r.readPieces(ctx, names[from:from+n], out[from:from+n], sizes[from:from+n], keep)
		if err != nil {
			return err
		}
		for _, i := range some {
			long = append(long, from+i)
		}
		from += n
	}
	large, err := r.readLong(ctx, names, out, sizes, long, keep)
	if err != nil {
		return err
	}
	more, err := r.readCollections(ctx, names, out, sizes, keep)
	if err != nil {
		return err
	}
	for _, i := range append(large, more...) {
		if err := r.readRest(ctx, names[i], &out[i], sizes[i], keep); err != nil {
			return err
		}
	}
	return nil
}

// readPieces reads the beginnings of strings and finishes those that are no longer; it returns the others. For keys of other types
// it asks how much memory they take.
func (r *reader) readPieces(ctx context.Context, names []string, out []reading, sizes []int64, keep int64) (long []int, err error) {
	asked := make([]int, 0, len(names))
	results, err := r.ask(ctx, int64(len(names))*r.weights.usual[keyspace.String], func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, 0, len(names))
		for i, name := range names {
			switch {
			case out[i].Err != nil || out[i].Type == keyspace.None:
				continue
			case out[i].Type == keyspace.String:
				cmds = append(cmds, b.Getrange().Key(name).Start(0).End(firstBytes-1).Build())
			case r.weights.unsized || r.node.flight.isCalm(out[i].Type):
				sizes[i] = unknownSize
				continue
			default:
				cmds = append(cmds, b.MemoryUsage().Key(name).Samples(sizeSamples).Build())
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
		if out[i].Type != keyspace.String {
			sizes[i] = r.weights.take(results[j])
			continue
		}
		p, err := results[j].AsBytes()
		if err != nil {
			if err := out[i].refused("GETRANGE", err); err != nil {
				return nil, err
			}
			continue
		}
		strings, bytes = strings+1, bytes+int64(len(p))+headBytes
		if len(p) == 0 || len(p) == firstBytes { // GETRANGE returns "" for an absent key, too
			long = append(long, i)
			continue
		}
		sink := r.sink(keyspace.String, keep)
		_ = sink.StringChunk(p)
		sink.finish(&out[i])
	}
	r.weights.tookStrings(strings, bytes)
	return long, nil
}

// readLong reads strings that are longer than their first piece, as many at a time as their lengths allow. It returns those that
// must be read in windows.
func (r *reader) readLong(ctx context.Context, names []string, out []reading, sizes []int64, long []int, keep int64) (large []int, err error) {
	results, err := r.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, len(long))
		for j, i := range long {
			cmds[j] = b.Strlen().Key(names[i]).Build()
		}
		return cmds
	})
	if err != nil {
		return nil, err
	}
	var fit []int
	for j, i := range long {
		if sizes[i], err = results[j].ToInt64(); err != nil {
			if err := out[i].refused("STRLEN", err); err != nil {
				return nil, err
			}
			continue
		}
		if sizes[i] == 0 || sizes[i] > r.node.flight.window() {
			large = append(large, i)
			continue
		}
		fit = append(fit, i)
	}
	for len(fit) > 0 {
		n := r.node.flight.fits(len(fit), func(j int) int64 { return sizes[fit[j]] + headBytes })
		grown, err := r.readStrings(ctx, names, out, sizes, fit[:n], keep)
		if err != nil {
			return nil, err
		}
		large, fit = append(large, grown...), fit[n:]
	}
	return large, nil
}

// readStrings reads whole strings of known lengths. It returns those whose length has changed.
func (r *reader) readStrings(ctx context.Context, names []string, out []reading, sizes []int64, some []int, keep int64) (grown []int, err error) {
	bytes := int64(0)
	for _, i := range some {
		bytes += sizes[i] + headBytes
	}
	results, err := r.ask(ctx, bytes, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, len(some))
		for j, i := range some {
			cmds[j] = b.Getrange().Key(names[i]).Start(0).End(sizes[i]).Build() // one byte more than the string had
		}
		return cmds
	})
	if err != nil {
		return nil, err
	}
	for j, i := range some {
		p, err := results[j].AsBytes()
		if err != nil {
			if err := out[i].refused("GETRANGE", err); err != nil {
				return nil, err
			}
			continue
		}
		if int64(len(p)) != sizes[i] {
			grown = append(grown, i)
			continue
		}
		sink := r.sink(keyspace.String, keep)
		_ = sink.StringChunk(p)
		sink.finish(&out[i])
	}
	return grown, nil
}

// readCollections reads all values that are no strings: small ones whole and many at a time. It returns the large ones.
func (r *reader) readCollections(ctx context.Context, names []string, out []reading, sizes []int64, keep int64) (rest []int, err error) {
	var small []int
	for i := range out {
		switch {
		case out[i].Err != nil || out[i].Type == keyspace.None || out[i].Type == keyspace.String:
		case sizes[i] > wholeBytes:
			rest = append(rest, i)
			r.node.flight.saw(out[i].Type, sizes[i])
		default:
			small = append(small, i)
		}
	}
	for len(small) > 0 {
		n := r.node.flight.fits(len(small), func(j int) int64 { return r.weights.expect(out[small[j]].Type, sizes[small[j]]) })
		some, err := r.readSmall(ctx, names, out, sizes, small[:n], keep)
		if err != nil {
			return nil, err
		}
		rest, small = append(rest, some...), small[n:]
	}
	return rest, nil
}

// readSmall reads collections: whole where their sizes are known, otherwise their first elements. It returns those that have more.
func (r *reader) readSmall(ctx context.Context, names []string, out []reading, sizes []int64, some []int, keep int64) (rest []int, err error) {
	hashes, bytes := false, int64(0)
	for _, i := range some {
		hashes = hashes || out[i].Type == keyspace.Hash
		bytes += r.weights.expect(out[i].Type, sizes[i])
	}
	results, err := r.ask(ctx, bytes, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, 0, len(some)+1)
		for _, i := range some {
			cmds = append(cmds, r.firstRead(b, out[i].Type, names[i], sizes[i] != unknownSize))
		}
		if hashes && r.node.fieldTTLs {
			cmds = append(cmds, b.Info().Section("keyspace").Build())
		}
		return cmds
	})
	if err != nil {
		return nil, err
	}
	r.weights.learn(r.node.flight, out, sizes, some, results)
	expiring := hashes && r.node.fieldTTLs && fieldsExpire(results[len(results)-1], r.db)
	var held []heldHash
	for j, i := range some {
		whole := sizes[i] != unknownSize
		if expiring && out[i].Type == keyspace.Hash {
			if page := wholeHash(results[j], whole); page != nil {
				held = append(held, heldHash{i, page})
				continue
			}
		}
		sink := r.sink(out[i].Type, keep)
		done, err := r.takeFirst(&out[i], results[j], whole, sink)
		switch {
		case err != nil:
			if err := out[i].refused(firstCommands[out[i].Type], err); err != nil {
				return nil, err
			}
		case done:
			sink.finish(&out[i])
		default:
			rest = append(rest, i)
			r.node.flight.saw(out[i].Type, max(sizes[i], littleBytes+1))
		}
	}
	return rest, r.readExpiring(ctx, names, out, held, keep)
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
