package verifier

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/reply"
)

// fieldTimeCommands are the commands that read when the fields of a hash expire, the best one first: one returns
// times, the other the time that is left.
var fieldTimeCommands = []string{"HPEXPIRETIME", "HPTTL"}

// fieldGone stands in place of an expiry for a field that was removed since its hash was read.
const fieldGone = -2

// heldHash is a hash whose fields have been read but not yet their expiries.
type heldHash struct {
	i    int
	page []rueidis.RedisMessage
}

// wholeHash returns the fields and values of a hash if one reply held all of them, and nil otherwise. The reply is
// that of HGETALL where the hash was asked for whole, else that of HSCAN.
func wholeHash(result rueidis.RedisResult, whole bool) []rueidis.RedisMessage {
	m, err := result.ToMessage()
	if err != nil {
		return nil
	}
	if whole {
		page, err := m.ToArray()
		if err != nil || len(page) == 0 {
			return nil
		}
		return page
	}
	cursor, page, err := reply.Scan(&m)
	if err != nil || cursor != "0" || len(page) == 0 {
		return nil
	}
	return page
}

// namesOf returns the field names of a page that holds fields and values in turn.
func namesOf(page []rueidis.RedisMessage) ([]string, error) {
	fields := make([]string, 0, len(page)/2)
	for i := 0; i+1 < len(page); i += 2 {
		field, err := page[i].ToString()
		if err != nil {
			return nil, err
		}
		fields = append(fields, field)
	}
	return fields, nil
}

// expiring asks for the expiries of the fields of many hashes at once, and finishes their readings.
func (b *valueBatch) expiring(ctx context.Context, held []heldHash) error {
	if len(held) == 0 {
		return nil
	}
	asked := make([]hashFields, len(held))
	for j, h := range held {
		fields, err := namesOf(h.page)
		if err != nil {
			return err
		}
		asked[j] = hashFields{name: b.names[h.i], fields: fields}
	}
	if err := b.fields.times(ctx, asked); err != nil {
		return err
	}
	for j, h := range held {
		err := asked[j].err
		sink := b.sink(keyspace.Hash, b.keep)
		if err == nil {
			err = feedExpiring(h.page, asked[j].at, sink)
		}
		if err == nil {
			sink.finish(&b.out[h.i])
			continue
		}
		if err := b.out[h.i].refused(b.fields.command(), err); err != nil {
			return err
		}
	}
	return nil
}

// hashFields are fields of one hash and their expiries, once they were asked for.
type hashFields struct {
	name   string
	fields []string
	at     []int64 // Unix ms; 0: never; fieldGone
	err    error
}

// fieldExpiries reads when the fields of hashes expire, by the best of the commands that the server allows.
type fieldExpiries struct {
	*conn
	at int // index of that command in fieldTimeCommands
}

// command returns the name of the command that is used.
func (f *fieldExpiries) command() string { return fieldTimeCommands[f.at] }

// onlyLeft says that the server tells only how much time is left, which is no instant.
func (f *fieldExpiries) onlyLeft() bool { return f.at > 0 }

// mayExpire says whether hashes in the connection's database may have fields that expire.
func (f *fieldExpiries) mayExpire(ctx context.Context, t keyspace.Type) (bool, error) {
	if t != keyspace.Hash || !f.node.fieldTTLs {
		return false, nil
	}
	results, err := f.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		return rueidis.Commands{b.Info().Section("keyspace").Build()}
	})
	if err != nil {
		return false, err
	}
	return fieldsExpire(results[0], f.db), nil
}

// times fills in when fields expire. Where the server refuses one command, it tries the next. Where the
// server refuses all of them, a hash whose encoding cannot hold expiring fields is known to have none, and the others
// carry the refusal.
func (f *fieldExpiries) times(ctx context.Context, hashes []hashFields) error {
	ask := f.askInstants
	if f.onlyLeft() {
		ask = f.askLeft
	}
	if err := ask(ctx, hashes); err != nil {
		return err
	}
	refused := slices.ContainsFunc(hashes, func(h hashFields) bool { return forbids(f.command(), h.err) })
	if refused && f.at+1 < len(fieldTimeCommands) {
		f.at++
		return f.times(ctx, hashes)
	}
	for i := range hashes {
		hashes[i].err = replyError(f.command(), hashes[i].err)
	}
	if refused {
		return f.encodings(ctx, hashes)
	}
	return nil
}

func (f *fieldExpiries) askInstants(ctx context.Context, hashes []hashFields) error {
	results, err := f.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, len(hashes))
		for i := range hashes {
			cmds[i] = f.ask(b, &hashes[i])
		}
		return cmds
	})
	for i := range results {
		hashes[i].take(results[i], 0)
	}
	return err
}

// askLeft asks for the time that is left. It makes an exact instant only where the server's clock shows the same
// millisecond before and after the reply, so that a hash for which it does not is asked for again.
func (f *fieldExpiries) askLeft(ctx context.Context, hashes []hashFields) error {
	const tries = 100
	open := make([]*hashFields, len(hashes))
	for i := range hashes {
		open[i] = &hashes[i]
	}
	for try := 0; len(open) > 0; try++ {
		results, err := f.do(ctx, func(b rueidis.Builder) rueidis.Commands {
			cmds := rueidis.Commands{b.Time().Build()}
			for _, h := range open {
				cmds = append(cmds, f.ask(b, h), b.Time().Build())
			}
			return cmds
		})
		if err != nil {
			return err
		}
		before, err := serverTime(results[0])
		if err != nil {
			return err
		}
		inexact := open[:0]
		for i, h := range open {
			after, err := serverTime(results[2*i+2])
			if err != nil {
				return err
			}
			switch h.take(results[2*i+1], before); {
			case h.err != nil || before == after || !h.expires():
			case try == tries:
				h.err = fmt.Errorf("%w: its fields' times to live could not be read within one millisecond", errChanged)
			default:
				inexact = append(inexact, h)
			}
			before = after
		}
		open = inexact
	}
	return nil
}

// ask returns the command that asks when the fields of h expire.
func (f *fieldExpiries) ask(b rueidis.Builder, h *hashFields) rueidis.Completed {
	args := append([]string{h.name, "FIELDS", strconv.Itoa(len(h.fields))}, h.fields...)
	return b.Arbitrary(f.command()).Args(args...).Build()
}

// expires says whether a field of h expires.
func (h *hashFields) expires() bool {
	return slices.ContainsFunc(h.at, func(at int64) bool { return at > 0 })
}

// take reads a reply to ask: the time now, in Unix ms, is added to what is left of the fields' time.
func (h *hashFields) take(result rueidis.RedisResult, now int64) {
	h.at, h.err = takeFieldTimes(result, len(h.fields), now)
}

// takeFieldTimes reads a reply of HPEXPIRETIME, or of HPTTL where the time now is given: -1 means that the field never
// expires, -2 that it is gone.
func takeFieldTimes(result rueidis.RedisResult, want int, now int64) ([]int64, error) {
	list, err := result.ToArray()
	if endpoint.IsNil(err) || err == nil && len(list) != want {
		return nil, fmt.Errorf("%w: some of its fields have disappeared", errChanged)
	}
	if err != nil {
		return nil, err
	}
	at := make([]int64, len(list))
	for i := range list {
		n, err := list[i].ToInt64()
		switch {
		case err != nil:
			return nil, err
		case n == fieldGone:
			at[i] = fieldGone
		case n >= 0:
			at[i] = max(n+now, 1)
		}
	}
	return at, nil
}

// encodings clears the refusals of hashes whose encoding has no room for expiries. A server changes the encoding
// of a hash as soon as one of its fields gets an expiry.
func (f *fieldExpiries) encodings(ctx context.Context, hashes []hashFields) error {
	results, err := f.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := make(rueidis.Commands, len(hashes))
		for i := range hashes {
			cmds[i] = b.ObjectEncoding().Key(hashes[i].name).Build()
		}
		return cmds
	})
	if err != nil {
		return err
	}
	for i := range hashes {
		if encoding, err := results[i].ToString(); err == nil && (encoding == "listpack" || encoding == "ziplist") {
			hashes[i].at, hashes[i].err = make([]int64, len(hashes[i].fields)), nil
		}
	}
	return nil
}

// feedExpiring feeds the fields of a hash with the times at which they expire. It leaves out fields that are gone.
func feedExpiring(page []rueidis.RedisMessage, at []int64, to keyspace.Visitor) error {
	for i := range at {
		if at[i] == fieldGone {
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
		if err := to.HashField(name, value, at[i]); err != nil {
			return err
		}
	}
	return nil
}

// feedPage asks for the expiries of the fields of a page, and feeds the fields with them.
func (f *fieldExpiries) feedPage(ctx context.Context, name string, page []rueidis.RedisMessage, to keyspace.Visitor) error {
	fields, err := namesOf(page)
	if err != nil {
		return err
	}
	asked := []hashFields{{name: name, fields: fields}}
	if err := f.times(ctx, asked); err != nil {
		return err
	}
	if asked[0].err != nil {
		return asked[0].err
	}
	return feedExpiring(page, asked[0].at, to)
}
