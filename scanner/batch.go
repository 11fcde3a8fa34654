package scanner

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// batch reads a few keys at a time in two pipelines: type, expiry and size; then the elements by a command of the
// type. What it has read stays until the next read.
type batch struct {
	conn    rueidis.DedicatedClient
	addr    string
	db      int
	samples int
	usage   bool  // MEMORY USAGE works
	refused error // why it no longer does, once it does not

	cmds     []rueidis.Completed
	readings []reading
	vanished int64
	failed   int64
	firstErr error
}

const attempts = 3 // at a key that changes its type between the two pipelines

// read fills readings; its error is one of the connection, those of keys are counted.
func (b *batch) read(ctx context.Context, names []string) error {
	b.readings, b.vanished, b.failed, b.firstErr = b.readings[:0], 0, 0, nil
	for try := 1; len(names) > 0; try++ {
		var err error
		if names, err = b.pass(ctx, names, try == attempts); err != nil {
			return err
		}
	}
	return nil
}

// pass reads the keys once and gives those that changed their type meanwhile; on the last pass these fail.
func (b *batch) pass(ctx context.Context, names []string, last bool) ([]string, error) {
	found, err := b.describe(ctx, names)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	b.cmds = b.cmds[:0]
	for _, r := range found {
		b.cmds = append(b.cmds, b.conn.B().Arbitrary(lengthCommand[r.typ], string(r.name)).Build())
	}
	var again []string
	for i, reply := range b.conn.DoMulti(ctx, b.cmds...) {
		r := found[i]
		n, err := reply.AsInt64()
		switch code := endpoint.Code(err); {
		case r.typ == keyspace.Module: // EXISTS
			n = 1
		case code == "WRONGTYPE" && !last:
			again = append(again, string(r.name))
			continue
		case err != nil && code == "":
			return nil, fmt.Errorf("%s: %w", lengthCommand[r.typ], err)
		case err != nil:
			b.fail(fmt.Errorf("%s: %w", lengthCommand[r.typ], err))
			continue
		}
		if n == 0 && r.typ != keyspace.String && r.typ != keyspace.Stream { // no other type can be empty
			b.vanished++
			continue
		}
		r.elements = n
		if r.typ == keyspace.String {
			r.elements, r.length = 1, n
		}
		if r.bytes == 0 { // MEMORY USAGE is never 0
			r.bytes = estimate(r, n)
		}
		b.readings = append(b.readings, r)
	}
	return again, nil
}

// describe reads type, expiry and size of each key.
func (b *batch) describe(ctx context.Context, names []string) ([]reading, error) {
	b.cmds = b.cmds[:0]
	per := 2
	if b.usage {
		per = 3
	}
	for _, name := range names {
		b.cmds = append(b.cmds, b.conn.B().Arbitrary("TYPE", name).Build(), b.conn.B().Arbitrary("PTTL", name).Build())
		if b.usage {
			b.cmds = append(b.cmds, b.usageOf(name))
		}
	}
	replies := b.conn.DoMulti(ctx, b.cmds...)
	found := make([]reading, 0, len(names))
	for i, name := range names {
		r, gone, err := b.described(replies[i*per : (i+1)*per])
		switch {
		case err != nil && endpoint.Code(err) == "":
			return nil, err
		case err != nil:
			b.fail(err)
		case gone:
			b.vanished++
		default:
			r.db, r.name = b.db, []byte(name)
			found = append(found, r)
		}
	}
	return found, nil
}

// described reads the replies of one key. Whoever may read its type but not its size may not use MEMORY USAGE.
func (b *batch) described(replies []rueidis.RedisResult) (r reading, gone bool, err error) {
	name, err := replies[0].ToString()
	if err != nil {
		return r, false, fmt.Errorf("TYPE: %w", err)
	}
	if r.typ = keyspace.ParseType(name); r.typ == keyspace.None {
		return r, true, nil
	}
	if r.ttlMs, err = replies[1].AsInt64(); err != nil {
		return r, false, fmt.Errorf("PTTL: %w", err)
	}
	if r.ttlMs < -1 {
		return r, true, nil
	}
	if len(replies) > 2 {
		r.bytes, err = replies[2].AsInt64()
		switch {
		case endpoint.IsNil(err):
			return r, true, nil
		case endpoint.Code(err) != "":
			r.bytes, b.usage, b.refused = 0, false, err
		case err != nil:
			return r, false, fmt.Errorf("MEMORY USAGE: %w", err)
		}
	}
	return r, false, nil
}

func (b *batch) fail(err error) {
	b.failed++
	if b.firstErr == nil {
		b.firstErr = err
	}
}

func (b *batch) usageOf(name string) rueidis.Completed {
	return b.conn.B().Arbitrary("MEMORY", "USAGE", name, "SAMPLES", strconv.Itoa(b.samples)).Build()
}

// lengthCommand counts the elements of a type; a module's value has none that a server would tell.
var lengthCommand = [...]string{
	keyspace.String: "STRLEN", keyspace.List: "LLEN", keyspace.Set: "SCARD", keyspace.ZSet: "ZCARD",
	keyspace.Hash: "HLEN", keyspace.Stream: "XLEN", keyspace.Module: "EXISTS",
}

// estimate is a rough model of the memory that a key takes: bytes for the key and for each element with short contents.
func estimate(r reading, n int64) int64 {
	const key = 64
	per := [...]int64{keyspace.String: 1, keyspace.List: 24, keyspace.Set: 48, keyspace.ZSet: 96, keyspace.Hash: 88, keyspace.Stream: 64, keyspace.Module: 0}
	return key + int64(len(r.name)) + n*per[r.typ]
}

// scanReply takes a reply of SCAN apart.
func scanReply(reply []rueidis.RedisMessage) (names []string, cursor string, err error) {
	if len(reply) != 2 {
		return nil, "", fmt.Errorf("SCAN answered %d elements, want a cursor and keys", len(reply))
	}
	if cursor, err = reply[0].ToString(); err != nil {
		return nil, "", fmt.Errorf("cursor of SCAN: %w", err)
	}
	if names, err = reply[1].AsStrSlice(); err != nil {
		return nil, "", fmt.Errorf("keys of SCAN: %w", err)
	}
	return names, cursor, nil
}

func isOwn(name string) bool { return strings.HasPrefix(name, keyspace.Prefix) }
