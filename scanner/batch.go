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

// batch reads a few keys at a time in two pipelines: first what describes a key (none of these commands makes it look used), then
// the elements by a command of its type. The results stay valid until the next read.
type batch struct {
	conn    *endpoint.Session
	addr    string
	db      int
	samples int
	model   memoryModel
	use     string // the subcommand of OBJECT that the server supports, FREQ or IDLETIME; "": neither
	counts  bool   // elements may be counted
	usage   bool   // MEMORY USAGE works
	refused error  // why MEMORY USAGE stopped working

	cmds     []rueidis.Completed
	sampled  int // number of keys whose elements are read at once, see sampleBytes
	sent     endpoint.Traffic
	readings []reading
	vanished int64
	failed   int64
	firstErr error
}

// mostSamples is the largest number of elements of a collection that MEMORY USAGE looks at: SAMPLES 0, which means all of them,
// would block a server for seconds where there are millions. A collection with no more elements is measured exactly.
const mostSamples = 10_000

func looksAt(samples int) int {
	if samples == 0 {
		return mostSamples
	}
	return min(samples, mostSamples)
}

const attempts = 3 // at a key that changes its type between the two pipelines

// read fills readings. It returns an error only for the connection; errors of single keys are counted.
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

// pass reads the keys once and returns those that changed their type meanwhile. On the last pass these count as failed.
func (b *batch) pass(ctx context.Context, names []string, last bool) (again []string, err error) {
	found, err := b.describe(ctx, names)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if !b.counts {
		for _, r := range found {
			b.take(r, unknown, nil)
		}
		return nil, nil
	}
	for len(found) > 0 {
		n := len(found)
		if !b.usage {
			n = min(n, max(b.sampled, 1))
		}
		changed, err := b.count(ctx, found[:n], last)
		if err != nil {
			return nil, err
		}
		again, found = append(again, changed...), found[n:]
	}
	return again, nil
}

// sampleBytes bounds the bytes of the elements that are read at once, where sizes are estimated from some elements of each key. The
// sizes of the next elements are not known; those of the last ones serve as an estimate.
const sampleBytes = 1 << 20

// count counts the elements of keys. Where the server does not tell how much memory a key takes, it also reads some of the
// elements.
func (b *batch) count(ctx context.Context, found []reading, last bool) (again []string, err error) {
	b.cmds = b.cmds[:0]
	per := 1
	if !b.usage {
		per = 2
	}
	for _, r := range found {
		b.ask(lengthCommand[r.typ], string(r.name))
		if per > 1 {
			b.ask(sampleCommand(r.typ, string(r.name), max(b.samples, leastSamples))...)
		}
	}
	replies, err := b.conn.Do(ctx, b.cmds...)
	if err != nil {
		return nil, err
	}
	seen := int64(0)
	for i, r := range found {
		n, err := replies[i*per].AsInt64()
		switch code := endpoint.Code(err); {
		case r.typ == keyspace.Module: // TYPE
			n = 1
		case code == "WRONGTYPE" && !last:
			again = append(again, string(r.name))
			continue
		case err != nil:
			b.fail(fmt.Errorf("%s: %w", lengthCommand[r.typ], err))
			continue
		}
		if n == 0 && r.typ != keyspace.String && r.typ != keyspace.Stream { // a collection of any other type is never empty
			b.vanished++
			continue
		}
		var sample []int64
		if per > 1 {
			sample = sampleLengths(r.typ, replies[i*per+1])
			for _, bytes := range sample {
				seen += bytes
			}
		}
		b.take(r, n, sample)
	}
	b.sampled = min(2*len(found), int(sampleBytes*int64(len(found))/max(seen, 1)), scanCount)
	return again, nil
}

const unknown = -1

// take completes a reading by the number of elements and, where the server does not tell how much memory the key takes, by the
// lengths of some elements.
func (b *batch) take(r reading, n int64, sample []int64) {
	r.elements, r.largest = n, unknown
	if r.typ == keyspace.String {
		r.elements, r.length, r.largest = 1, max(n, 0), n
	}
	if r.bytes == 0 { // MEMORY USAGE is never 0
		r.bytes = b.model.estimate(r, max(n, 0), sample)
	}
	r.serialized = b.model.serialized(r)
	b.readings = append(b.readings, r)
}

// ask adds a command to the pipeline.
func (b *batch) ask(args ...string) {
	b.sent.Calls++
	for _, a := range args {
		b.sent.Bytes += int64(len(a)) + 6 // about the bytes of "$12\r\n...\r\n"
	}
	b.cmds = append(b.cmds, b.conn.B().Arbitrary(args...).Build())
}

// describe reads the type, expiry, encoding, use and size of each key.
func (b *batch) describe(ctx context.Context, names []string) ([]reading, error) {
	b.cmds = b.cmds[:0]
	for _, name := range names {
		b.ask("TYPE", name)
		b.ask("PTTL", name)
		b.ask("OBJECT", "ENCODING", name)
		if b.use != "" {
			b.ask("OBJECT", b.use, name)
		}
		if b.usage {
			b.ask("MEMORY", "USAGE", name, "SAMPLES", strconv.Itoa(looksAt(b.samples)))
		}
	}
	per := len(b.cmds) / len(names)
	replies, err := b.conn.Do(ctx, b.cmds...)
	if err != nil {
		return nil, err
	}
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

// described reads the replies about one key. If the user may read the type but not the size, the user may not call MEMORY USAGE.
func (b *batch) described(replies []rueidis.RedisResult) (r reading, gone bool, err error) {
	r.idle, r.freq = unknown, unknown
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
	if r.encoding, err = replies[2].ToString(); err != nil {
		if r.encoding = ""; endpoint.Code(err) == "" && !endpoint.IsNil(err) {
			return r, false, fmt.Errorf("OBJECT ENCODING: %w", err)
		}
	}
	replies = replies[3:]
	if b.use != "" {
		n, err := replies[0].AsInt64()
		switch {
		case err != nil && endpoint.Code(err) == "" && !endpoint.IsNil(err):
			return r, false, fmt.Errorf("OBJECT %s: %w", b.use, err)
		case err != nil: // the policy has just changed, or the command is refused
		case b.use == useFreq:
			r.freq = n
		default:
			r.idle = n
		}
		replies = replies[1:]
	}
	if len(replies) > 0 {
		r.bytes, err = replies[0].AsInt64()
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

// These subcommands of OBJECT tell how a key is used.
const (
	useIdle = "IDLETIME"
	useFreq = "FREQ"
)

func (b *batch) fail(err error) {
	b.failed++
	if b.firstErr == nil {
		b.firstErr = err
	}
}

// lengthCommand returns the number of elements of a type. No command returns it for a module value.
var lengthCommand = [...]string{
	keyspace.String: "STRLEN", keyspace.List: "LLEN", keyspace.Set: "SCARD", keyspace.ZSet: "ZCARD",
	keyspace.Hash: "HLEN", keyspace.Stream: "XLEN", keyspace.Module: "TYPE",
}

func isOwn(name string) bool { return strings.HasPrefix(name, keyspace.Prefix) }
