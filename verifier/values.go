package verifier

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/reply"
)

const (
	// sinceMemoryUsage is the first version that has MEMORY USAGE.
	sinceMemoryUsage = 40000
	// sizeSamples is how many elements, or nodes of a list, MEMORY USAGE looks at. A collection with no more elements is measured
	// exactly, and a value that takes no more than wholeBytes has no more.
	sizeSamples = 1024
	// unknownSize is the size of a value for which the server does not say what it takes.
	unknownSize = -1
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
		n := r.fits(out[from:], func(i int) int64 {
			if out[from+i].Type == keyspace.String {
				return r.usual[keyspace.String]
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

// fits returns how many of the keys, at least one, may be asked for at a time, given how many bytes each is expected to take.
func (r *reader) fits(out []reading, expect func(i int) int64) int {
	room := r.node.flight.ask.Load()
	for i := range out {
		if room -= expect(i); room < 0 && i > 0 {
			return i
		}
	}
	return len(out)
}

// readPieces reads the beginnings of strings and finishes those that are no longer; it returns the others. For keys of other types
// it asks how much memory they take.
func (r *reader) readPieces(ctx context.Context, names []string, out []reading, sizes []int64, keep int64) (long []int, err error) {
	asked := make([]int, 0, len(names))
	results, err := r.ask(ctx, int64(len(names))*r.usual[keyspace.String], func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, 0, len(names))
		for i, name := range names {
			switch {
			case out[i].Err != nil || out[i].Type == keyspace.None:
				continue
			case out[i].Type == keyspace.String:
				cmds = append(cmds, b.Getrange().Key(name).Start(0).End(firstBytes-1).Build())
			case r.unsized || r.node.flight.isCalm(out[i].Type):
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
			sizes[i] = r.takeSize(results[j])
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
	if strings > 0 {
		r.usual[keyspace.String] = max(bytes/strings, r.usual[keyspace.String]/2)
	}
	return long, nil
}

// takeSize reads a reply of MEMORY USAGE. Where the command is refused, the read goes on without sizes: if the value itself cannot
// be read, the commands that read it will say why.
func (r *reader) takeSize(result rueidis.RedisResult) int64 {
	n, err := result.AsInt64()
	if err == nil {
		return n
	}
	if !endpoint.IsNil(err) { // nil: the key is gone, and the next read will show it
		r.unsized = r.unsized || forbids("MEMORY", err)
	}
	return unknownSize
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
		n := r.fits(make([]reading, len(fit)), func(j int) int64 { return sizes[fit[j]] + headBytes })
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
		n := r.fits(make([]reading, len(small)), func(j int) int64 { return r.expect(out[small[j]].Type, sizes[small[j]]) })
		some, err := r.readSmall(ctx, names, out, sizes, small[:n], keep)
		if err != nil {
			return nil, err
		}
		rest, small = append(rest, some...), small[n:]
	}
	return rest, nil
}

// expect returns how many bytes the first read of a collection is expected to bring.
func (r *reader) expect(t keyspace.Type, size int64) int64 {
	if size == unknownSize {
		return r.usual[t]
	}
	return headBytes + int64(float64(size)*r.swell[t])
}

// readSmall reads collections: whole where their sizes are known, otherwise their first elements. It returns those that have more.
func (r *reader) readSmall(ctx context.Context, names []string, out []reading, sizes []int64, some []int, keep int64) (rest []int, err error) {
	hashes, bytes := false, int64(0)
	for _, i := range some {
		hashes = hashes || out[i].Type == keyspace.Hash
		bytes += r.expect(out[i].Type, sizes[i])
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
	r.learn(out, sizes, some, results)
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

// learn takes in how many bytes the replies of a pipeline had.
func (r *reader) learn(out []reading, sizes []int64, asked []int, results []rueidis.RedisResult) {
	var bytes, keys, told, replies [keyspace.Module + 1]int64
	for j, i := range asked {
		m, _ := results[j].ToMessage() // the error is in the message
		t, got := out[i].Type, weight(&m)
		r.node.flight.saw(t, got)
		if sizes[i] == unknownSize {
			bytes[t], keys[t] = bytes[t]+got, keys[t]+1
		} else {
			told[t], replies[t] = told[t]+max(sizes[i], 1), replies[t]+got
		}
	}
	for t := range keys {
		if keys[t] > 0 {
			r.usual[t] = max(bytes[t]/keys[t], r.usual[t]/2)
		}
		if told[t] > 0 {
			r.swell[t] = max(float64(replies[t])/float64(told[t]), r.swell[t]/2, 1)
		}
	}
}

// weight returns about how many bytes a reply takes.
func weight(m *rueidis.RedisMessage) int64 {
	text, err := m.ToString()
	if err == nil {
		return int64(len(text)) + 16
	}
	parts, err := m.ToArray()
	if err != nil {
		return 16
	}
	bytes := int64(16)
	for i := range parts {
		bytes += weight(&parts[i])
	}
	return bytes
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
