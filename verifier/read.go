package verifier

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

const (
	// The first read of a value is bounded in bytes or elements, and a pipeline of many keys by what values of their types usually take.
	firstBytes    = 16 << 10
	firstElements = 128
	firstEntries  = 64 // of a stream, and pending entries of each of its groups
	pipelineBytes = 2 << 20
	usualString   = 2 << 10  // until some have been read
	usualOther    = 64 << 10 // of what has elements, or a payload of a module
	windowBytes   = 1 << 20
	windowPages   = 4096 // elements of a window, at most
)

// reading is what one read found out about one key. Err says why it is not known; then nothing else counts.
type reading struct {
	Type     keyspace.Type // None: absent, or expired
	TypeName string        // as the server names it; of a module its own name
	FP       keyspace.Fingerprint
	ExpireAt int64           // Unix ms by the server's clock, 0: never
	Value    *keyspace.Value // whole; only where asked for, and not too large
	Err      error
}

func (r *reading) present() bool { return r.Type != keyspace.None }

// reader reads keys over one connection. It is not safe for concurrent use.
type reader struct {
	*conn
	depth    Depth
	bigValue int64
	patience time.Duration
	bigs     chan struct{} // a token per big value that may be read at a time
	hasher   *keyspace.Hasher
	types    map[string]typeInfo
	usual    [keyspace.Module + 1]int64 // bytes that the first read of a type has taken lately
}

type typeInfo struct {
	t    keyspace.Type
	name string
}

func newReader(n *node, db int, o *Options, bigs chan struct{}) *reader {
	r := &reader{conn: &conn{node: n, db: db}, depth: o.Depth, bigValue: o.BigValue, patience: o.Patience,
		bigs: bigs, hasher: keyspace.NewHasher(), types: map[string]typeInfo{}}
	for t := range r.usual {
		r.usual[t] = usualOther
	}
	r.usual[keyspace.String], r.usual[keyspace.None] = usualString, 0
	return r
}

// read fills out, one reading per name. keep collects whole values up to so many bytes each. The error is
// that of the node; what concerns single keys is in their readings.
func (r *reader) read(ctx context.Context, names []string, out []reading, keep int64) error {
	return r.node.retry(ctx, r.patience, func() error {
		clear(out)
		return r.try(ctx, names, out, keep)
	})
}

func (r *reader) try(ctx context.Context, names []string, out []reading, keep int64) error {
	if err := r.readHeads(ctx, names, out); err != nil {
		return err
	}
	switch r.depth {
	case DepthKeys:
		return nil
	case DepthLength:
		return r.readLengths(ctx, names, out)
	}
	for len(names) > 0 {
		n := r.pipeline(out)
		rest, err := r.readFirst(ctx, names[:n], out[:n], keep)
		if err != nil {
			return err
		}
		for _, i := range rest {
			if err := r.readRest(ctx, names[i], &out[i], keep); err != nil {
				return err
			}
		}
		names, out = names[n:], out[n:]
	}
	return nil
}

// pipeline gives how many keys are read at a time.
func (r *reader) pipeline(out []reading) int {
	bytes := int64(0)
	for i := range out {
		if bytes += r.usual[out[i].Type]; bytes > pipelineBytes && i > 0 {
			return i
		}
	}
	return len(out)
}

// learn takes in what a pipeline has brought.
func (r *reader) learn(out []reading, asked []int, results []rueidis.RedisResult) {
	var bytes, keys [len(r.usual)]int64
	for j, i := range asked {
		m, _ := results[j].ToMessage() // the error is in the message
		bytes[out[i].Type] += weight(&m)
		keys[out[i].Type]++
	}
	for t := range keys {
		if keys[t] > 0 {
			r.usual[t] = max(bytes[t]/keys[t], r.usual[t]/2)
		}
	}
}

// weight is about how many bytes a reply takes.
func weight(m *rueidis.RedisMessage) int64 {
	text, err := m.ToString()
	if err == nil {
		return int64(len(text)) + 48
	}
	parts, err := m.ToArray()
	if err != nil {
		return 48
	}
	bytes := int64(48)
	for i := range parts {
		bytes += weight(&parts[i])
	}
	return bytes
}

// readHeads reads types and expiries.
func (r *reader) readHeads(ctx context.Context, names []string, out []reading) error {
	perKey := 2
	if r.depth == DepthKeys {
		perKey = 1
	}
	results, err := r.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, 0, perKey*len(names)+1)
		cmds = append(cmds, b.Time().Build())
		for _, name := range names {
			cmds = append(cmds, b.Type().Key(name).Build())
			if perKey == 1 {
				continue
			}
			if r.node.expireTimes {
				cmds = append(cmds, b.Pexpiretime().Key(name).Build())
			} else {
				cmds = append(cmds, b.Pttl().Key(name).Build())
			}
		}
		return cmds
	})
	if err != nil {
		return err
	}
	var now int64
	if !r.node.expireTimes && perKey == 2 {
		if now, err = serverTime(results[0]); err != nil {
			return err
		}
	}
	for i := range names {
		if err := r.parseHead(&out[i], results[1+perKey*i:][:perKey], now); err != nil {
			return err
		}
	}
	return nil
}

// parseHead reads the replies of TYPE and PEXPIRETIME, or PTTL where now is given. Its error is that of a node
// that cannot answer now; a refusal of this key is in its reading.
func (r *reader) parseHead(out *reading, results []rueidis.RedisResult, now int64) error {
	var m [2]rueidis.RedisMessage
	for i := range results {
		m[i], _ = results[i].ToMessage() // the error is in the message
	}
	if len(results) == 1 {
		return r.takeHead(out, &m[0], nil, now)
	}
	return r.takeHead(out, &m[0], &m[1], now)
}

func (r *reader) takeHead(out *reading, typeReply, expiry *rueidis.RedisMessage, now int64) error {
	name, err := typeReply.ToString()
	if err != nil {
		return out.refused("TYPE", err)
	}
	info, ok := r.types[name]
	if !ok {
		info = typeInfo{keyspace.ParseType(name), name}
		r.types[name] = info
	}
	if expiry != nil && info.t != keyspace.None {
		at, err := expiry.ToInt64()
		if err != nil {
			return out.refused(r.expiryCommand(), err)
		}
		switch {
		case at == -2 || now != 0 && at == 0: // gone, or just expired on a replica before 3.2
			return nil
		case at >= 0:
			out.ExpireAt = max(now+at, 1)
		}
	}
	out.Type, out.TypeName = info.t, info.name
	return nil
}

// refused takes an error reply into the reading, or gives it back where the whole node is concerned.
func (out *reading) refused(command string, err error) error {
	err = replyError(command, err)
	if passing(err) {
		return err
	}
	*out = reading{Err: err}
	return nil
}

func serverTime(result rueidis.RedisResult) (int64, error) {
	m, err := result.ToMessage()
	if err != nil {
		return 0, replyError("TIME", err)
	}
	return timeOf(&m)
}

// timeOf reads a reply of TIME as Unix ms.
func timeOf(m *rueidis.RedisMessage) (int64, error) {
	parts, err := m.AsStrSlice()
	if err != nil {
		return 0, replyError("TIME", err)
	}
	if len(parts) != 2 {
		return 0, fmt.Errorf("TIME gave %d parts, want 2", len(parts))
	}
	sec, err1 := strconv.ParseInt(parts[0], 10, 64)
	usec, err2 := strconv.ParseInt(parts[1], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("TIME gave %q", parts)
	}
	return sec*1000 + usec/1000, nil
}

// readLengths reads no values: a fingerprint of depth length holds the length alone.
func (r *reader) readLengths(ctx context.Context, names []string, out []reading) error {
	var asked []int
	results, err := r.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, 0, len(names))
		for i, name := range names {
			if c, ok := lengthCommands[out[i].Type]; ok {
				cmds = append(cmds, b.Arbitrary(c).Keys(name).Build())
				asked = append(asked, i)
			}
		}
		return cmds
	})
	if err != nil {
		return err
	}
	for j, i := range asked {
		n, err := results[j].ToInt64()
		if err != nil {
			if err := out[i].refused(lengthCommands[out[i].Type], err); err != nil {
				return err
			}
			continue
		}
		if n == 0 && out[i].Type != keyspace.String && out[i].Type != keyspace.Stream {
			out[i] = reading{} // no other type is empty: it has gone since
			continue
		}
		out[i].FP.Length = n
	}
	return nil
}

var lengthCommands = map[keyspace.Type]string{
	keyspace.String: "STRLEN", keyspace.List: "LLEN", keyspace.Set: "SCARD", keyspace.ZSet: "ZCARD",
	keyspace.Hash: "HLEN", keyspace.Stream: "XLEN",
}

// readFirst reads the first piece of every value and finishes those that are no longer than that. It gives the rest.
func (r *reader) readFirst(ctx context.Context, names []string, out []reading, keep int64) (rest []int, err error) {
	asked := make([]int, 0, len(names))
	hashes := false
	results, err := r.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, 0, len(names)+1)
		for i, name := range names {
			if out[i].Err != nil || out[i].Type == keyspace.None {
				continue
			}
			hashes = hashes || out[i].Type == keyspace.Hash
			cmds = append(cmds, r.firstRead(b, out[i].Type, name))
			asked = append(asked, i)
		}
		if hashes && r.node.fieldTTLs {
			cmds = append(cmds, b.Info().Section("keyspace").Build())
		}
		return cmds
	})
	if err != nil {
		return nil, err
	}
	r.learn(out, asked, results)
	expiring := false
	if hashes && r.node.fieldTTLs {
		expiring = fieldsExpire(results[len(results)-1], r.db)
	}
	var held []heldHash
	for j, i := range asked {
		if expiring && out[i].Type == keyspace.Hash {
			if page := wholeHash(results[j]); page != nil {
				held = append(held, heldHash{i, page})
				continue
			}
		}
		sink := r.sink(out[i].Type, keep)
		done, err := r.takeFirst(&out[i], results[j], sink)
		switch {
		case err != nil:
			if err := out[i].refused(firstCommands[out[i].Type], err); err != nil {
				return nil, err
			}
		case done:
			sink.finish(&out[i])
		default:
			rest = append(rest, i)
		}
	}
	return rest, r.readExpiring(ctx, names, out, held, keep)
}

// heldHash is a hash whose fields have been read and their expiries not yet.
type heldHash struct {
	i    int
	page []rueidis.RedisMessage
}

// wholeHash gives the fields of a hash that one page of HSCAN held; nil where it did not.
func wholeHash(result rueidis.RedisResult) []rueidis.RedisMessage {
	m, err := result.ToMessage()
	if err != nil {
		return nil
	}
	cursor, page, err := scanPage(&m)
	if err != nil || cursor != "0" || len(page) == 0 {
		return nil
	}
	return page
}

// readExpiring asks for the expiries of the fields of many hashes at once.
func (r *reader) readExpiring(ctx context.Context, names []string, out []reading, held []heldHash, keep int64) error {
	fields := make([][]string, len(held))
	for j, h := range held {
		for i := 0; i+1 < len(h.page); i += 2 {
			field, err := h.page[i].ToString()
			if err != nil {
				return err
			}
			fields[j] = append(fields[j], field)
		}
	}
	results, err := r.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, 0, len(held))
		for j, h := range held {
			args := append([]string{"HPEXPIRETIME", names[h.i], "FIELDS", strconv.Itoa(len(fields[j]))}, fields[j]...)
			cmds = append(cmds, command(b, args...))
		}
		return cmds
	})
	if err != nil {
		return err
	}
	for j, h := range held {
		expiries, err := results[j].ToArray()
		if endpoint.IsNil(err) || err == nil && len(expiries) != len(fields[j]) {
			err = errChanged
		}
		sink := r.sink(keyspace.Hash, keep)
		if err == nil {
			err = feedExpiring(h.page, expiries, sink)
		}
		if err == nil {
			sink.finish(&out[h.i])
			continue
		}
		if err := out[h.i].refused("HPEXPIRETIME", err); err != nil {
			return err
		}
	}
	return nil
}

var firstCommands = map[keyspace.Type]string{
	keyspace.String: "GETRANGE", keyspace.List: "LRANGE", keyspace.Set: "SSCAN", keyspace.ZSet: "ZRANGE",
	keyspace.Hash: "HSCAN", keyspace.Stream: "XLEN", keyspace.Module: "DUMP",
}

func (r *reader) firstRead(b rueidis.Builder, t keyspace.Type, name string) rueidis.Completed {
	switch t {
	case keyspace.String:
		return b.Getrange().Key(name).Start(0).End(firstBytes - 1).Build()
	case keyspace.List:
		return b.Lrange().Key(name).Start(0).Stop(firstElements - 1).Build()
	case keyspace.Set:
		return b.Sscan().Key(name).Cursor(0).Count(2 * firstElements).Build()
	case keyspace.ZSet:
		return b.Zrange().Key(name).Min("0").Max(strconv.Itoa(firstElements - 1)).Withscores().Build()
	case keyspace.Hash:
		return b.Hscan().Key(name).Cursor(0).Count(2 * firstElements).Build()
	case keyspace.Stream:
		if r.node.fullStreams {
			return b.XinfoStream().Key(name).Full().Count(firstEntries).Build()
		}
		return b.Xlen().Key(name).Build()
	}
	return b.Dump().Key(name).Build()
}

// takeFirst feeds a first piece into the sink and says whether it was the whole value.
func (r *reader) takeFirst(out *reading, result rueidis.RedisResult, sink *sink) (bool, error) {
	m, err := result.ToMessage()
	if err != nil {
		if endpoint.IsNil(err) { // DUMP of a key that has gone
			*out = reading{}
			return true, nil
		}
		if out.Type == keyspace.Stream { // it may have gone, which XINFO says by an untyped error
			return false, nil
		}
		return false, err
	}
	switch out.Type {
	case keyspace.String:
		p, err := m.AsBytes()
		if err != nil || len(p) == 0 || len(p) == firstBytes {
			return false, err // GETRANGE says "" of an absent key, too
		}
		return true, sink.StringChunk(p)
	case keyspace.Stream:
		if !r.node.fullStreams || !isWholeStream(&m) {
			return false, nil
		}
		return true, feedFullStream(&m, sink)
	case keyspace.Module:
		return true, feedModule(out.TypeName, &m, sink)
	case keyspace.Set, keyspace.Hash:
		cursor, page, err := scanPage(&m)
		if err != nil || cursor != "0" {
			return false, err
		}
		if len(page) == 0 {
			*out = reading{}
			return true, nil
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
	if len(page) == 0 {
		*out = reading{}
		return true, nil
	}
	if len(page) >= firstElements*perElement {
		return false, nil
	}
	return true, feedPage(out.Type, page, sink)
}
