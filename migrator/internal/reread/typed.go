package reread

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/reply"
)

// Keys of a source that refuses DUMP are read by the commands of their types. A value with few elements is read at once and encoded as in
// an RDB; a larger one, or a stream, is read in pieces while it is written to the target. A value that changes meanwhile may be a mixture
// of several moments, which the comparison that follows finds.

// Bounds of what is read at once.
const (
	PageElements = 512
	typedBytes   = 256 << 10 // of a string, and of a piece of one
)

// These say that a value cannot be read to its end, though nothing says that its key has gone. The comparison that follows finds the key.
var (
	errSlotMoving = fmt.Errorf("its slot is moving: %w", keyspace.ErrGone)
	errChanged    = fmt.Errorf("the value was replaced while it was read: %w", keyspace.ErrGone)
)

// sourceError is the failure of a command that was sent to the source, as opposed to one of the visitor.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

func elsewhere(err error) bool {
	code := endpoint.Code(err)
	return code == "MOVED" || code == "ASK"
}

// refusesDump says whether the server refuses DUMP. If it does, refusesDump also finds out whether fields of hashes may expire.
func (s *Scan) refusesDump(ctx context.Context) (bool, error) {
	client, err := s.cfg.Source.Client(ctx, s.cfg.Node(), 0)
	if err != nil {
		return false, err
	}
	err = client.Do(ctx, endpoint.Arbitrary(client, "DUMP", keyspace.ProbePrefix+"dump")).Error()
	switch code := endpoint.Code(err); {
	case err == nil, rueidis.IsRedisNil(err), elsewhere(err):
		return false, nil
	case code == "ERR", code == "NOPERM":
		if s.fieldTTLs, err = s.fieldsExpire(ctx, client); err != nil {
			return false, err
		}
		if s.cfg.Keys == nil {
			s.cfg.Log.Warn("the source refuses DUMP: keys are read by the commands of their types")
		}
		return true, nil
	default:
		return false, err
	}
}

// typed reads keys of one database by the commands of their types.
type typed struct {
	ctx    context.Context
	s      *Scan
	client rueidis.Client
}

// ask sends one command that reads, and repeats it if the connection is lost.
func (t *typed) ask(args ...string) (m rueidis.RedisMessage, err error) {
	err = t.s.retry(t.ctx, func() error {
		m, err = t.client.Do(t.ctx, endpoint.Arbitrary(t.client, args...)).ToMessage()
		if rueidis.IsRedisNil(err) {
			err = nil
		}
		return err
	})
	if err != nil {
		err = sourceError{err}
	}
	return m, err
}

// strings sends a command whose reply is an array of strings.
func (t *typed) strings(args ...string) ([]string, error) {
	m, err := t.ask(args...)
	if err != nil {
		return nil, err
	}
	return m.AsStrSlice()
}

// fieldsExpire says whether the server may have fields of hashes that expire. INFO keyspace says so for each database (Redis since 7.4).
// Where it does not, fieldsExpire tries HPEXPIRETIME: any answer other than that the command is unknown, also that this user may not call
// it or that the slot is on another node, means that the server may have such fields.
func (s *Scan) fieldsExpire(ctx context.Context, client rueidis.Client) (bool, error) {
	err := client.Do(ctx, endpoint.Arbitrary(client, "HPEXPIRETIME", keyspace.ProbePrefix+"dump", "FIELDS", "1", "f")).Error()
	code := endpoint.Code(err)
	if code == "" && err != nil && !rueidis.IsRedisNil(err) {
		return false, err
	}
	known := code != "ERR"
	info, err := endpoint.Info(ctx, client, "keyspace")
	if endpoint.Code(err) != "" {
		return known, nil
	}
	if err != nil {
		return false, err
	}
	dbs, err := endpoint.Keyspace(info)
	for _, d := range dbs {
		if d.Hashes > 0 || d.Hashes < 0 && known {
			return true, err
		}
	}
	return false, err
}

// readTyped does what read does, without DUMP.
func (s *Scan) readTyped(ctx context.Context, db int, names []string, expireTimes bool) ([]scanned, error) {
	client, err := s.cfg.Source.Client(ctx, s.cfg.Node(), db)
	if err != nil {
		return nil, err
	}
	res, base, err := askOf(ctx, client, "TYPE", names, expireTimes)
	if err != nil {
		return nil, err
	}
	out := make([]scanned, 0, len(names))
	kinds := make([]string, 0, len(names))
	for i, name := range names {
		e := scanned{Entry: rdb.Entry{Kind: rdb.KindKey, DB: db, Key: []byte(name), Idle: -1, Freq: -1}}
		kind, err1 := res[2*i].ToString()
		at, err2 := res[2*i+1].AsInt64()
		if err := errors.Join(err1, err2); err != nil {
			if elsewhere(err) {
				continue
			}
			return nil, fmt.Errorf("TYPE %s: %w", keyspace.PrintableShort(name), err)
		}
		if at >= 0 {
			e.ExpireAt = max(base+at, 1)
		}
		e.gone = kind == "none" || at == -2
		out, kinds = append(out, e), append(kinds, kind)
	}
	t := &typed{s.ctx, s, client}
	if err := s.takeTyped(t, out, kinds); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(out, func(e scanned) bool { return e.skip || e.gone && s.cfg.Keys == nil }), nil
}

// lengths are the commands that return how many elements, or bytes, a value has.
var lengths = map[string]string{"string": "STRLEN", "list": "LLEN", "set": "SCARD", "zset": "ZCARD", "hash": "HLEN"}

// takeTyped reads the values that are small. It marks the others to be read in pieces.
func (s *Scan) takeTyped(t *typed, out []scanned, kinds []string) error {
	var cmds []rueidis.Completed
	var asked []int
	for i := range out {
		e := &out[i]
		length, small := lengths[kinds[i]]
		switch {
		case e.gone:
		case small:
			cmds, asked = append(cmds, endpoint.Arbitrary(t.client, length, string(e.Key))), append(asked, i)
		default:
			e.Big, e.typed, e.kind = true, t, kinds[i]
		}
	}
	res := t.client.DoMulti(t.ctx, cmds...)
	cmds = cmds[:0]
	var whole []int
	for j, i := range asked {
		e := &out[i]
		n, err := res[j].AsInt64()
		if e.skip = elsewhere(err); e.skip {
			continue
		}
		if err != nil && !changedType(err) {
			return fmt.Errorf("%s %s: %w", lengths[kinds[i]], keyspace.PrintableShort(string(e.Key)), err)
		}
		if limit := int64(PageElements); err != nil || n > limit && kinds[i] != "string" || n > typedBytes || kinds[i] == "hash" && t.s.fieldTTLs {
			if e.Big, e.typed = true, t; err == nil { // otherwise its type has to be asked again
				e.kind = kinds[i]
			}
			continue
		}
		cmds, whole = append(cmds, endpoint.Arbitrary(t.client, wholeValue(kinds[i], string(e.Key))...)), append(whole, i)
	}
	for j, r := range t.client.DoMulti(t.ctx, cmds...) {
		e := &out[whole[j]]
		v, err := typedValue(kinds[whole[j]], r)
		switch {
		case errors.Is(err, keyspace.ErrGone):
			e.gone = true
			continue
		case elsewhere(err):
			e.skip = true
			continue
		case err != nil && changedType(err):
			e.Big, e.typed, e.kind = true, t, "" // to be read again, by its new type
			continue
		case err != nil:
			return fmt.Errorf("read key %s: %w", keyspace.PrintableShort(string(e.Key)), err)
		}
		if e.Type, e.Raw, err = rdb.Encode(v); err != nil {
			return err
		}
		e.raw = e.Raw
	}
	return nil
}

func changedType(err error) bool { return endpoint.Code(err) == "WRONGTYPE" }

func wholeValue(kind, name string) []string {
	switch kind {
	case "list":
		return []string{"LRANGE", name, "0", "-1"}
	case "set":
		return []string{"SMEMBERS", name}
	case "zset":
		return []string{"ZRANGE", name, "0", "-1", "WITHSCORES"}
	case "hash":
		return []string{"HGETALL", name}
	}
	return []string{"GET", name}
}

// typedValue returns the value in the reply to the command of wholeValue. It returns keyspace.ErrGone if the key is not there.
func typedValue(kind string, r rueidis.RedisResult) (*keyspace.Value, error) {
	c := &keyspace.Collector{V: keyspace.Value{Type: keyspace.ParseType(kind)}}
	if kind == "string" {
		text, err := r.ToString()
		if rueidis.IsRedisNil(err) {
			err = keyspace.ErrGone
		}
		c.V.Str = []byte(text)
		return &c.V, err
	}
	list, err := r.AsStrSlice()
	if err == nil && len(list) == 0 {
		err = keyspace.ErrGone
	}
	if err == nil {
		err = feed(c.V.Type, list, c)
	}
	return &c.V, err
}

// feed hands elements over to v. They are in a list as the command of their type returns it.
func feed(t keyspace.Type, list []string, v keyspace.Visitor) (err error) {
	step := 1
	if t == keyspace.Hash || t == keyspace.ZSet {
		step = 2
	}
	for i := 0; i+step <= len(list) && err == nil; i += step {
		p := []byte(list[i])
		switch t {
		case keyspace.List:
			err = v.ListElement(p)
		case keyspace.Set:
			err = v.SetMember(p)
		case keyspace.Hash:
			err = v.HashField(p, []byte(list[i+1]), 0)
		case keyspace.ZSet:
			var score float64
			if score, err = strconv.ParseFloat(list[i+1], 64); err == nil { // a server prints as many digits as are needed
				err = v.ZSetMember(p, score)
			}
		}
	}
	return err
}

// walk reads a value in pieces, and hands them over to v in the order that a Visitor expects. It returns keyspace.ErrGone if the key has gone.
func (t *typed) walk(name, kind string, v keyspace.Visitor) (err error) {
	if kind == "" {
		var m rueidis.RedisMessage
		if m, err = t.ask("TYPE", name); err == nil {
			kind, err = m.ToString()
		}
	}
	if err == nil {
		err = t.walkAs(name, kind, v)
	}
	switch code := endpoint.Code(err); {
	case !errors.As(err, new(sourceError)):
		return err
	case changedType(err), code == "NOGROUP", code == "ERR" && kind == "stream": // XINFO on a key that has gone is an ERR
		err = t.ended(name, kind, err)
	}
	switch code := endpoint.Code(err); {
	case !errors.As(err, new(sourceError)):
		return err
	case elsewhere(err):
		return errSlotMoving
	case code != "": // the error must not be taken for an error reply of the target
		return fmt.Errorf("source %s: read key %s: %s", t.s.cfg.Node(), keyspace.PrintableShort(name), err.Error())
	}
	return fmt.Errorf("source %s: read key %s: %w", t.s.cfg.Node(), keyspace.PrintableShort(name), err)
}

// ended says what has become of a key if the source refused to read it as a value of its type. Only a key that is not there has gone.
func (t *typed) ended(name, kind string, refused error) error {
	m, err := t.ask("TYPE", name)
	if err != nil {
		return err
	}
	now, err := m.ToString()
	switch {
	case err != nil:
		return err
	case now == "none":
		return keyspace.ErrGone
	case now == kind && endpoint.Code(refused) == "ERR":
		return refused
	}
	return errChanged
}

// walkAs is walk for a type that is known. It passes on the errors of the visitor and, as a sourceError, those of the source.
func (t *typed) walkAs(name, kind string, v keyspace.Visitor) error {
	switch kind {
	case "none":
		return keyspace.ErrGone
	case "string":
		return t.walkString(name, v)
	case "list":
		return t.walkList(name, v)
	case "set":
		return t.walkScan("SSCAN", keyspace.Set, name, v)
	case "zset":
		return t.walkScan("ZSCAN", keyspace.ZSet, name, v)
	case "hash":
		return t.walkScan("HSCAN", keyspace.Hash, name, v)
	case "stream":
		return t.walkStream(name, v)
	}
	return &keyspace.UnsupportedError{What: "values of type " + keyspace.PrintableShort(kind) + " of a source that refuses DUMP"}
}

func (t *typed) walkString(name string, v keyspace.Visitor) error {
	for at := 0; ; {
		m, err := t.ask("GETRANGE", name, strconv.Itoa(at), strconv.Itoa(at+typedBytes-1))
		if err != nil {
			return err
		}
		p, err := m.ToString()
		if err != nil {
			return err
		}
		if len(p) == 0 && at == 0 { // the string is empty, or does not exist
			m, err := t.ask("EXISTS", name)
			if err != nil {
				return err
			}
			if n, err := m.AsInt64(); err != nil || n == 0 {
				return errors.Join(err, keyspace.ErrGone)
			}
		}
		if len(p) > 0 || at == 0 {
			if err := v.StringChunk([]byte(p)); err != nil {
				return err
			}
		}
		if at += len(p); len(p) < typedBytes {
			return nil
		}
	}
}

func (t *typed) walkList(name string, v keyspace.Visitor) error {
	for at := 0; ; at += PageElements {
		list, err := t.strings("LRANGE", name, strconv.Itoa(at), strconv.Itoa(at+PageElements-1))
		if err == nil && len(list) == 0 && at == 0 {
			return keyspace.ErrGone
		}
		if err == nil {
			err = feed(keyspace.List, list, v)
		}
		if err != nil || len(list) < PageElements {
			return err
		}
	}
}

// walkScan reads a set, a sorted set or a hash. The server may return an element twice, which does not matter, since it is added to the
// value.
func (t *typed) walkScan(command string, kind keyspace.Type, name string, v keyspace.Visitor) error {
	some := false
	for cursor := "0"; ; {
		m, err := t.ask(command, name, cursor, "COUNT", strconv.Itoa(PageElements))
		if err != nil {
			return err
		}
		next, page, err := reply.Scan(&m)
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		list, err := reply.Texts(page)
		if err != nil {
			return err
		}
		fed := len(list) > 0
		if kind == keyspace.Hash && t.s.fieldTTLs && fed {
			fed, err = t.feedExpiring(name, list, v)
		} else {
			err = feed(kind, list, v)
		}
		if err != nil {
			return err
		}
		some = some || fed
		if next == "0" && !some {
			return keyspace.ErrGone
		}
		if cursor = next; cursor == "0" {
			return nil
		}
	}
}

// feedExpiring hands fields over with their expiries, and says whether there were any. HPEXPIRETIME returns -1 for a field that never expires, and -2 for one that has gone.
func (t *typed) feedExpiring(name string, list []string, v keyspace.Visitor) (some bool, err error) {
	args := []string{"HPEXPIRETIME", name, "FIELDS", strconv.Itoa(len(list) / 2)}
	for i := 0; i < len(list); i += 2 {
		args = append(args, list[i])
	}
	m, err := t.ask(args...)
	if err != nil {
		return false, err
	}
	at, err := m.AsIntSlice()
	if rueidis.IsRedisNil(err) || err == nil && len(at) != len(list)/2 {
		return false, keyspace.ErrGone
	}
	for i := 0; i < len(at) && err == nil; i++ {
		if at[i] != -2 {
			some = true
			err = v.HashField([]byte(list[2*i]), []byte(list[2*i+1]), max(at[i], 0))
		}
	}
	return some, err
}

// walkStream reads the entries of a stream in pieces, then its other properties and its groups. It holds all pending entries of a group in
// memory.
func (t *typed) walkStream(name string, v keyspace.Visitor) error {
	length := uint64(0)
	for from := "-"; ; {
		page, err := t.ask("XRANGE", name, from, "+", "COUNT", strconv.Itoa(PageElements))
		if err != nil {
			return err
		}
		entries, err := page.ToArray()
		if err != nil {
			return err
		}
		var next keyspace.StreamID
		more := len(entries) == PageElements
		for i := range entries {
			e, err := reply.Entry(&entries[i])
			if err == nil {
				err = v.StreamEntry(e.ID, e.Fields)
			}
			if err != nil {
				return err
			}
			if i == PageElements-1 {
				next, more = e.ID.Next()
			}
		}
		if length += uint64(len(entries)); !more {
			break
		}
		from = next.String()
	}
	info, err := t.fields("XINFO", "STREAM", name)
	if err != nil {
		return err
	}
	meta, err := reply.Stream(info)
	meta.Length = length
	if err == nil {
		err = v.StreamMeta(meta)
	}
	if err != nil {
		return err
	}
	m, err := t.ask("XINFO", "GROUPS", name)
	if err != nil {
		return err
	}
	groups, err := m.ToArray()
	for i := range groups {
		var g keyspace.Group
		if g, err = t.group(name, &groups[i]); err == nil {
			err = v.StreamGroup(g)
		}
		if err != nil {
			return err
		}
	}
	return err
}

// fields sends a command whose reply is a list of names and values.
func (t *typed) fields(args ...string) (reply.Fields, error) {
	m, err := t.ask(args...)
	if err != nil {
		return nil, err
	}
	return reply.FieldsOf(&m)
}

// group reads a group with its consumers and pending entries.
func (t *typed) group(name string, m *rueidis.RedisMessage) (g keyspace.Group, err error) {
	if g, _, err = reply.Group(m); err != nil {
		return g, err
	}
	list, err := t.ask("XINFO", "CONSUMERS", name, string(g.Name))
	if err != nil {
		return g, err
	}
	consumers, err := list.ToArray()
	if err != nil {
		return g, err
	}
	for i := range consumers {
		consumer, err := reply.Consumer(&consumers[i])
		if err != nil {
			return g, err
		}
		g.Consumers = append(g.Consumers, keyspace.Consumer{Name: consumer, ActiveMs: -1})
	}
	return g, t.pending(name, &g)
}

// pending reads the pending entries of a group. The server tells how long ago each was delivered.
func (t *typed) pending(name string, g *keyspace.Group) error {
	m, err := t.ask("TIME")
	if err != nil {
		return err
	}
	now, err := reply.Time(&m)
	if err != nil {
		return err
	}
	for from := "-"; ; {
		m, err := t.ask("XPENDING", name, string(g.Name), from, "+", strconv.Itoa(PageElements))
		if err != nil {
			return err
		}
		page, err := m.ToArray()
		if err != nil {
			return err
		}
		for i := range page {
			p, idle, err := reply.Pending(&page[i])
			if err != nil {
				return err
			}
			p.DeliveryMs = now.UnixMilli() - idle
			g.Pending = append(g.Pending, p)
		}
		if len(page) < PageElements {
			return nil
		}
		next, more := g.Pending[len(g.Pending)-1].ID.Next()
		if !more {
			return nil
		}
		from = next.String()
	}
}
