package verifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// atomicReader reads keys of a source in a transaction that ends with a command whose reply tells the offset of that
// instant.
type atomicReader struct{ source *side }

// readAt reads keys of one database and returns the offset at which they were read. Its error concerns the node;
// errors of single keys are in their readings.
func (a atomicReader) readAt(ctx context.Context, link AppliedLink, keys []record) ([]reading, int64, error) {
	node, err := a.source.linkNode(link)
	if err != nil {
		return nil, 0, err
	}
	keys = slices.Clone(keys)
	for i := range keys {
		keys[i].name = a.source.named(keys[i].keyID)
	}
	r := a.source.borrow(node, keys[0].db)
	defer a.source.giveBack(r)
	r.keepTimes(mostTimes / a.source.cfg.Workers)
	defer r.keepTimes(0)
	at := instantReader{reader: r, keys: keys}
	var offset int64
	err = node.retry(ctx, a.source.cfg.Patience, func() (err error) {
		offset, err = at.read(ctx)
		return err
	})
	return at.out, offset, err
}

// errLater says that a key was not read yet, because other keys filled up what may be asked for at a time.
var errLater = errors.New("it has not been read yet, because other keys were read first")

// instantReader reads keys as of one offset of their node, without asking for more bytes at a time than the node may be asked for.
type instantReader struct {
	*reader
	keys []record  // as they were when they were last read
	out  []reading // by key
}

// read reads as many of the keys as it can, and returns the offset. Small values are read in a transaction. Larger values are read in
// pieces under WATCH, which tells whether they changed meanwhile. So are all values where the server refuses the transaction because it
// is over its maxmemory. Keys that do not fit get errLater.
func (r *instantReader) read(ctx context.Context) (int64, error) {
	r.out = nil
	small, large, err := r.bySize(ctx)
	if err != nil {
		return 0, err
	}
	r.out = make([]reading, len(r.keys))
	for i := range r.out {
		r.out[i].Err = errLater
	}
	if len(small) == 0 {
		return r.watchSome(ctx, large)
	}
	some := make([]record, len(small))
	for j, i := range small {
		some[j] = r.keys[i]
	}
	got, offset, err := r.transaction(ctx, some)
	if no := (*refusal)(nil); errors.As(err, &no) && !passing(err) {
		// One refused command makes EXEC fail for all keys, and a server over its maxmemory queues no command. Reading
		// without a transaction tells which keys are refused.
		return r.watchSome(ctx, append(small, large...))
	}
	if err != nil {
		r.out = nil
		return 0, err
	}
	for j, i := range small {
		r.out[i] = got[j]
	}
	return offset, nil
}

// bySize divides the keys into small ones, which one transaction may read together, and large ones.
func (r *instantReader) bySize(ctx context.Context) (small, large []int, err error) {
	sizes, err := r.sizesOf(ctx)
	if err != nil {
		return nil, nil, err
	}
	room := r.node.flight.ask.Load()
	for i := range r.keys {
		switch {
		case sizes[i] > r.node.flight.window(), r.inPieces(r.keys[i].t):
			large = append(large, i)
		case sizes[i]+headBytes <= room || len(small) == 0:
			room -= sizes[i] + headBytes
			small = append(small, i)
		}
	}
	return small, large, nil
}

// inPieces says that no transaction can read values of a type, whatever their size: times of fields are asked for as what is left of
// them, or nothing returns a stream with its groups at once (before 6.0).
func (r *instantReader) inPieces(t keyspace.Type) bool {
	return t == keyspace.Hash && r.fields.onlyLeft() || t == keyspace.Stream && r.depth == DepthValue && !r.node.fullStreams
}

// sizesOf asks how much memory the values take, and estimates it where the server does not say.
func (r *instantReader) sizesOf(ctx context.Context) ([]int64, error) {
	sizes := make([]int64, len(r.keys))
	for i := range r.keys {
		sizes[i] = estimate(&r.keys[i])
	}
	if r.weights.unsized || r.depth != DepthValue {
		return sizes, nil
	}
	results, err := r.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, len(r.keys))
		for i := range r.keys {
			cmds[i] = b.MemoryUsage().Key(r.keys[i].name).Samples(sizeSamples).Build()
		}
		return cmds
	})
	if err != nil {
		return nil, err
	}
	for i := range r.keys {
		if n := r.weights.take(results[i]); n != unknownSize {
			sizes[i] = int64(float64(n) * r.weights.swell[r.keys[i].t])
		}
	}
	return sizes, nil
}

// transaction reads small values at one instant and returns its offset.
func (r *instantReader) transaction(ctx context.Context, keys []record) ([]reading, int64, error) {
	fields, err := r.fieldNames(ctx, keys)
	if err != nil {
		return nil, 0, err
	}
	results, err := r.ask(ctx, r.node.flight.ask.Load(), func(b rueidis.Builder) rueidis.Commands {
		cmds := rueidis.Commands{command(b, "MULTI"), command(b, "TIME")}
		for i := range keys {
			cmds = append(cmds, command(b, "TYPE", keys[i].name), command(b, r.heads.command(), keys[i].name))
			for _, args := range r.wholeRead(&keys[i], fields[i]) {
				cmds = append(cmds, command(b, args...))
			}
		}
		return append(cmds, command(b, r.node.facts.OffsetCommand()...), command(b, "EXEC"))
	})
	if err != nil {
		return nil, 0, err
	}
	replies, err := execReplies(results)
	if err != nil {
		return nil, 0, err
	}
	offset, err := endpoint.ParseOffset(replies[len(replies)-1])
	if err != nil {
		return nil, 0, fmt.Errorf("ask %s for its offset: %w", r.node.addr(), err)
	}
	out, err := r.parseTransaction(keys, fields, replies[:len(replies)-1])
	return out, offset, err
}

// execReplies returns the replies of the commands between MULTI and EXEC. Its error is the reply to the command that
// was refused when it was queued.
func execReplies(results []rueidis.RedisResult) ([]rueidis.RedisMessage, error) {
	for i := range results[:len(results)-1] {
		if err := results[i].Error(); err != nil {
			return nil, replyError("a command of the transaction", err)
		}
	}
	replies, err := results[len(results)-1].ToArray()
	if err != nil {
		return nil, replyError("EXEC", err)
	}
	if len(replies) != len(results)-2 {
		return nil, fmt.Errorf("EXEC returned %d replies instead of %d", len(replies), len(results)-2)
	}
	return replies, nil
}

// fieldNames asks for the fields of hashes before the transaction, because HPEXPIRETIME must name them.
func (r *instantReader) fieldNames(ctx context.Context, keys []record) ([][]string, error) {
	names := make([][]string, len(keys))
	if !r.node.fieldTTLs || r.depth != DepthValue {
		return names, nil
	}
	for i := range keys {
		if keys[i].t != keyspace.Hash {
			continue
		}
		m, err := r.one(ctx, "HKEYS", keys[i].name)
		if passing(err) {
			return nil, err
		}
		if err == nil {
			names[i], _ = m.AsStrSlice()
		}
	}
	return names, nil
}

// wholeRead returns the commands that read a whole value of the type that the key had when it was last read.
func (r *instantReader) wholeRead(k *record, fields []string) [][]string {
	if r.depth == DepthKeys {
		return nil
	}
	if r.depth == DepthLength {
		c, ok := lengthCommands[k.t]
		switch {
		case !ok:
			return nil
		case k.t == keyspace.String && maybeHLL(k.fp.Length): // only its registers tell its length
			return [][]string{{c, k.name}, {"GETRANGE", k.name, "0", strconv.Itoa(keyspace.LongestHLL - 1)}}
		}
		return [][]string{{c, k.name}}
	}
	switch k.t {
	case keyspace.String:
		return [][]string{{"GET", k.name}}
	case keyspace.List:
		return [][]string{{"LRANGE", k.name, "0", "-1"}}
	case keyspace.Set:
		return [][]string{{"SMEMBERS", k.name}}
	case keyspace.ZSet:
		return [][]string{{"ZRANGE", k.name, "0", "-1", "WITHSCORES"}}
	case keyspace.Hash:
		cmds := [][]string{{"HGETALL", k.name}}
		if len(fields) > 0 {
			cmds = append(cmds, append([]string{r.fields.command(), k.name, "FIELDS", strconv.Itoa(len(fields))}, fields...))
		}
		return cmds
	case keyspace.Stream:
		return [][]string{{"XINFO", "STREAM", k.name, "FULL", "COUNT", "0"}}
	case keyspace.Module:
		return [][]string{{"DUMP", k.name}}
	}
	return nil
}

func (r *instantReader) parseTransaction(keys []record, fields [][]string, replies []rueidis.RedisMessage) ([]reading, error) {
	now := int64(0)
	if !r.heads.expireTimes {
		var err error
		if now, err = timeOf(&replies[0]); err != nil {
			return nil, err
		}
	}
	replies = replies[1:]
	out := make([]reading, len(keys))
	for i := range keys {
		n := len(r.wholeRead(&keys[i], fields[i]))
		head, body := replies[:2], replies[2:2+n]
		replies = replies[2+n:]
		if err := r.heads.take(&out[i], &head[0], &head[1], now); err != nil {
			return nil, err
		}
		if out[i].Err != nil || !out[i].present() || r.depth == DepthKeys {
			continue
		}
		if out[i].Type != keys[i].t {
			t := out[i].Type
			out[i] = reading{Type: t, Err: errOtherShape}
			continue
		}
		if n == 0 { // at depth length, nothing tells the length of a module's value
			continue
		}
		if err := r.takeWhole(&out[i], body, fields[i]); err != nil {
			if err := out[i].refused(firstCommands[keys[i].t], err); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func (r *instantReader) takeWhole(out *reading, body []rueidis.RedisMessage, fields []string) error {
	if err := body[0].Error(); err != nil {
		return err
	}
	if r.depth == DepthLength {
		return r.takeLength(out, body)
	}
	sink := r.sink(out.Type, frameKeep)
	var err error
	switch out.Type {
	case keyspace.String:
		var p []byte
		if p, err = body[0].AsBytes(); err == nil {
			err = sink.StringChunk(p)
		}
	case keyspace.Stream:
		err = feedFullStream(&body[0], sink)
	case keyspace.Module:
		err = feedModule(out.TypeName, &body[0], sink)
	default:
		var page []rueidis.RedisMessage
		if page, err = body[0].ToArray(); err != nil {
			return err
		}
		if out.Type == keyspace.Hash && r.node.fieldTTLs {
			err = feedKnownFields(page, body[1:], fields, sink)
		} else {
			err = feedPage(out.Type, page, sink)
		}
	}
	if err == nil {
		sink.finish(out)
	}
	return err
}

// takeLength reads the length of a value, and that of a HyperLogLog as readHLLs does.
func (r *instantReader) takeLength(out *reading, body []rueidis.RedisMessage) error {
	n, err := body[0].ToInt64()
	if out.FP.Length = n; err != nil || out.Type != keyspace.String || !maybeHLL(n) {
		return err
	}
	if len(body) < 2 {
		return errOtherShape
	}
	p, err := body[1].AsBytes()
	if err != nil {
		return err
	}
	out.FP.Length = r.stringLength(p)
	return nil
}

// feedKnownFields feeds a hash whose field names were asked for before the transaction, provided that it still has
// exactly those fields, in any order.
func feedKnownFields(page, expiries []rueidis.RedisMessage, fields []string, to keyspace.Visitor) error {
	if len(expiries) != 1 || len(page) != 2*len(fields) {
		return errOtherShape
	}
	at, err := expiries[0].ToArray()
	if err != nil {
		return err
	}
	if len(at) != len(fields) {
		return errOtherShape
	}
	byName := make(map[string]int64, len(fields))
	for i, name := range fields {
		ms, err := at[i].ToInt64()
		if err != nil {
			return err
		}
		if ms == fieldGone { // HGETALL has listed it: the server's clock went on in between
			return errOtherShape
		}
		byName[name] = max(ms, 0)
	}
	for i := 0; i < len(page); i += 2 {
		name, err := page[i].AsBytes()
		if err != nil {
			return err
		}
		value, err := page[i+1].AsBytes()
		if err != nil {
			return err
		}
		ms, ok := byName[string(name)]
		if !ok {
			return errOtherShape
		}
		if err := to.HashField(name, value, ms); err != nil {
			return err
		}
	}
	return nil
}
