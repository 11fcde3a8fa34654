package dataset

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options says how much to write.
type Options struct {
	Seed        uint64
	Keys        int   // bulk keys per database named first in DBs; each further database gets a tenth
	DBs         []int // databases to fill; empty: 0 only
	BigKeys     int   // big keys of each type
	BigElements int   // elements of a big key; a big string has 64 bytes for each; 0: 20,000
	NoEdges     bool  // bulk and big keys only
	NoShortTTL  bool  // no key expires within the next ten minutes
	To          *Side // where the data will go: what it has no type for is left out; nil: nowhere in particular
}

// Stats says what was written.
type Stats struct {
	Commands int64
	Elapsed  time.Duration
}

// Fill writes the data set.
func Fill(ctx context.Context, s *Side, o Options) (Stats, error) {
	start := time.Now()
	if len(o.DBs) == 0 {
		o.DBs = []int{0}
	}
	var stats Stats
	for i, db := range o.DBs {
		if i == 1 {
			o.Keys /= 10
			o.BigKeys = 0
		}
		sent, err := fillDB(ctx, s, db, o)
		stats.Commands += sent
		if err != nil {
			return stats, fmt.Errorf("fill database %d: %w", db, err)
		}
	}
	if !o.NoEdges {
		if err := LoadFunctions(ctx, s, o.To); err != nil {
			return stats, err
		}
	}
	stats.Elapsed = time.Since(start)
	return stats, nil
}

func fillDB(ctx context.Context, s *Side, db int, o Options) (int64, error) {
	client, err := s.client(db)
	if err != nil {
		return 0, err
	}
	f := &filler{
		batch: batch{ctx: ctx, client: client}, fits: fits{s, o.To}, options: o,
		rng: rand.New(rand.NewPCG(o.Seed, uint64(db))),
	}
	var steps []func() error
	if !o.NoEdges {
		steps = append(steps, f.strings, f.lists, f.sets, f.zsets, f.hashes, f.keyNames, f.expiries)
		if f.fits.command("XADD") {
			steps = append(steps, f.streams)
		}
		if o.To != nil && f.fits.command("VADD") { // nobody is given vector sets unasked: few targets hold them
			steps = append(steps, f.vectors)
		}
	}
	steps = append(steps, f.big, f.flush)
	for _, step := range steps {
		if err := step(); err != nil {
			return f.sent, err
		}
	}
	sent, err := fillBulk(ctx, s, db, o)
	return f.sent + sent, err
}

// filler writes the edge cases of one database.
type filler struct {
	batch
	fits    fits
	options Options
	rng     *rand.Rand
}

// binary gives n bytes of any value.
func (f *filler) binary(n int) string { return randomBytes(f.rng, n) }

func randomBytes(rng *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

func (f *filler) strings() error {
	values := map[string]string{
		"int:0": "0", "int:small": "42", "int:negative": "-1", "int:8": "127", "int:16": "-32768", "int:32": "2147483647",
		"int:64": "9223372036854775807", "int:min": "-9223372036854775808", "int:over": "9223372036854775808",
		"int:not": "007", "int:plus": "+1", "int:spaced": " 1",
		"empty": "", "embstr": strings.Repeat("e", 44), "raw": strings.Repeat("r", 45), "binary": f.binary(3000),
		"crlf": "a\r\nb\r\n$3\r\nx\r\n", "nul": "\x00\x00", "compressible": strings.Repeat("abc", 20000),
		"utf8": "héllo wörld, 日本語 🙂", "63": strings.Repeat("x", 63), "64": strings.Repeat("x", 64), "16383": strings.Repeat("x", 16383),
		"16384": f.binary(16384), "1mb": f.binary(1 << 20), "float": "3.0000000000000004",
	}
	for _, name := range sortedKeys(values) {
		if err := f.key("SET", "k:str:"+name, values[name]); err != nil {
			return err
		}
	}
	for range 40 {
		if err := f.key("SETBIT", "k:bitmap", strconv.Itoa(f.rng.IntN(100000)), "1"); err != nil {
			return err
		}
	}
	elements := []string{"PFADD", "k:hll:dense"}
	for i := range 3000 {
		elements = append(elements, strconv.Itoa(i))
	}
	return errors.Join(
		f.key("PFADD", "k:hll:sparse", "a", "b", "c"),
		f.key("PFCOUNT", "k:hll:sparse"),
		f.key("PFADD", "k:hll:empty"),
		f.key(elements[0], elements[1], elements[2:]...),
		f.key("SETRANGE", "k:str:holes", "5000", "x"),
		f.key("APPEND", "k:str:appended", "one"), f.key("APPEND", "k:str:appended", "two"),
	)
}

func (f *filler) lists() error {
	return errors.Join(
		f.key("RPUSH", "k:list:one", "x"),
		f.key("RPUSH", "k:list:small", "a", "1", "-1", "", "300", "70000", "8589934592", "-9223372036854775808", f.binary(20), "a\r\nb"),
		f.many("RPUSH", "k:list:quick", 5000, 1, func(i int) []string { return []string{fmt.Sprintf("element %d", i)} }),
		f.many("RPUSH", "k:list:long", 300, 1, func(int) []string { return []string{f.binary(500)} }),
		f.key("RPUSH", "k:list:plain", "before", f.binary(200_000), "between", f.binary(70_000), "after"),
		f.key("RPUSH", "k:list:compressible", strings.Repeat("z", 7000), strings.Repeat("y", 7000)),
		f.key("RPUSH", "k:list:duplicates", "x", "x", "x", "y", "x"),
	)
}

func (f *filler) sets() error {
	return errors.Join(
		f.key("SADD", "k:set:int16", "1", "2", "-3"),
		f.key("SADD", "k:set:int32", "1", "100000", "-100000"),
		f.key("SADD", "k:set:int64", "1", "9223372036854775807", "-9223372036854775808"),
		f.key("SADD", "k:set:small", "a", "b", "", "1", f.binary(30)),
		f.many("SADD", "k:set:intset", 512, 1, func(i int) []string { return []string{strconv.Itoa(i * 7)} }),
		f.many("SADD", "k:set:table", 2000, 1, func(i int) []string { return []string{"member:" + strconv.Itoa(i)} }),
		f.key("SADD", "k:set:long", strings.Repeat("m", 65), "b"),
	)
}

func (f *filler) zsets() error {
	return errors.Join(
		f.key("ZADD", "k:zset:scores", "0.1", "tenth", "inf", "inf", "-inf", "-inf", "-0", "negative zero", "0", "zero",
			"1e300", "huge", "5e-324", "denormal", "3.0000000000000004", "odd", "-1.7976931348623157e308", "lowest",
			"9007199254740993", "beyond 2^53", "17179869184", "int", "0.30000000000000004", "sum", "1", "", "1", f.binary(20)),
		f.many("ZADD", "k:zset:small", 60, 2, func(i int) []string { return []string{strconv.Itoa(i % 7), "m" + strconv.Itoa(i)} }),
		f.many("ZADD", "k:zset:skip", 3000, 2, func(i int) []string {
			return []string{strconv.FormatFloat(f.rng.NormFloat64()*1e6, 'g', 17, 64), "member:" + strconv.Itoa(i)}
		}),
		f.key("ZADD", "k:zset:long", "1", strings.Repeat("m", 65), "2", "b", "inf", "c"),
		f.geo(),
	)
}

func (f *filler) geo() error {
	if !f.fits.side.Has("GEOADD") {
		return nil
	}
	return f.key("GEOADD", "k:geo", "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania")
}

// vectors makes vector sets of each quantization (since Redis 8.0), with and without attributes, and one whose vectors are reduced.
func (f *filler) vectors() error {
	var errs []error
	for _, kind := range []string{"Q8", "NOQUANT", "BIN"} {
		for i := range 200 {
			args := append([]string{"VALUES", strconv.Itoa(vectorDimension)}, randomVector(f.rng)...)
			args = append(args, "e"+strconv.Itoa(i), kind)
			if i%3 == 0 && kind == "Q8" {
				args = append(args, "SETATTR", `{"i":`+strconv.Itoa(i)+`}`)
			}
			errs = append(errs, f.key("VADD", "k:vset:"+kind, args...))
		}
	}
	reduced := append([]string{"REDUCE", "2", "VALUES", strconv.Itoa(vectorDimension)}, randomVector(f.rng)...)
	errs = append(errs, f.key("VADD", "k:vset:reduced", append(reduced, f.binary(20), "M", "8")...), f.key("VADD", "k:vset:one", "VALUES", "1", "0", "zero"))
	return errors.Join(errs...)
}

func (f *filler) hashes() error {
	hset := f.fits.side.hset()
	err := errors.Join(
		f.key(hset, "k:hash:small", "a", "1", "b", "", "", "empty field", f.binary(20), f.binary(40), "n", "-9223372036854775808"),
		f.many(hset, "k:hash:pack", 100, 2, func(i int) []string { return []string{"f" + strconv.Itoa(i), strconv.Itoa(i * 1000)} }),
		f.many(hset, "k:hash:table", 3000, 2, func(i int) []string { return []string{"field:" + strconv.Itoa(i), "value:" + strconv.Itoa(i)} }),
		f.key(hset, "k:hash:long", "f", f.binary(5000), "g", "1"),
	)
	if err != nil || !f.fits.command("HPEXPIRE") {
		return err
	}
	return errors.Join(
		f.key("HSET", "k:hash:ttl:small", "keep", "1", "long", "2", "short", "3"),
		f.key("HPEXPIRE", "k:hash:ttl:small", "7200000", "FIELDS", "1", "long"),
		f.key("HPEXPIRE", "k:hash:ttl:small", f.soon(), "FIELDS", "1", "short"),
		f.many("HSET", "k:hash:ttl:table", 1500, 2, func(i int) []string { return []string{"field:" + strconv.Itoa(i), "v"} }),
		f.key("HPEXPIRE", "k:hash:ttl:table", "3600000", "FIELDS", "3", "field:1", "field:700", "field:1499"),
		f.key("HSET", "k:hash:ttl:all", "a", "1", "b", "2"),
		f.key("HPEXPIRE", "k:hash:ttl:all", "7200000", "FIELDS", "2", "a", "b"),
		f.key("PEXPIRE", "k:hash:ttl:all", "9000000"),
		f.key("HSET", "k:hash:ttl:persisted", "a", "1"),
		f.key("HPEXPIRE", "k:hash:ttl:persisted", "7200000", "FIELDS", "1", "a"),
		f.key("HPERSIST", "k:hash:ttl:persisted", "FIELDS", "1", "a"),
	)
}

// hset names the command that sets several fields: HSET takes one only before 4.0.
func (s *Side) hset() string {
	if s.Number < 40000 {
		return "HMSET"
	}
	return "HSET"
}

// soon is a time to live, in ms, that ends while a test runs.
func (f *filler) soon() string {
	if f.options.NoShortTTL {
		return "700000"
	}
	return strconv.Itoa(3000 + f.rng.IntN(9000))
}

func (f *filler) streams() error {
	group := func(key string, args ...string) error {
		return f.add([]string{"XGROUP", "CREATE"}, []string{key}, args...)
	}
	read := func(key, group, consumer string, count int) error {
		return f.add([]string{"XREADGROUP", "GROUP", group, consumer, "COUNT", strconv.Itoa(count), "STREAMS"}, []string{key}, ">")
	}
	err := errors.Join(
		f.key("XADD", "k:stream:one", "1-1", "f", "v"),
		f.many("XADD", "k:stream:groups", 1000, 1000, func(i int) []string {
			return []string{fmt.Sprintf("%d-%d", 1000+i/3, i%3+1), "n", strconv.Itoa(i), "text", "entry " + strconv.Itoa(i)}
		}),
		group("k:stream:groups", "workers", "0"), group("k:stream:groups", "late", "$"), group("k:stream:groups", "middle", "1100-2"),
		read("k:stream:groups", "workers", "alice", 30), read("k:stream:groups", "workers", "bob", 20),
		f.key("XACK", "k:stream:groups", "workers", "1000-1", "1000-2", "1005-1"),
		read("k:stream:groups", "middle", "carol", 5),
		f.key("XDEL", "k:stream:groups", "1001-1", "1002-3", "1150-1"),
		f.key("XADD", "k:stream:fields", "5-1", "", "", "a", f.binary(100), "b\r\n", "\x00"),
		f.key("XADD", "k:stream:fields", "5-2", "other", "fields"),
		f.key("XADD", "k:stream:fields", "18446744073709551614-7", "far", "future"),
		f.many("XADD", "k:stream:trimmed", 500, 500, func(i int) []string {
			return []string{"MAXLEN", "100", fmt.Sprintf("%d-1", i+1), "i", strconv.Itoa(i)}
		}),
		f.key("XADD", "k:stream:emptied", "7-7", "gone", "soon"), group("k:stream:emptied", "g", "0"),
		read("k:stream:emptied", "g", "dave", 1), f.key("XDEL", "k:stream:emptied", "7-7"),
		f.add([]string{"XGROUP", "CREATE"}, []string{"k:stream:made"}, "g", "$", "MKSTREAM"),
		f.key("XADD", "k:stream:setid", "3-3", "a", "b"), f.key("XSETID", "k:stream:setid", "9-9"),
	)
	if err != nil || !f.fits.side.Has("XAUTOCLAIM") {
		return err
	}
	return f.add([]string{"XGROUP", "CREATECONSUMER"}, []string{"k:stream:groups"}, "workers", "idle")
}

func (f *filler) keyNames() error {
	names := []string{
		"", " ", "\x00", "nul\x00inside", "crlf\r\nSET x y\r\n", "\xff\xfe\x80", "日本語", "🙂", "{g}a", "{g}b", "{}empty tag", "a{b", "{{x}}",
		"<script>alert(1)</script>", "quote\"'`", "back\\slash", "glob*?[a]", "comma,semi;colon:", "\x1b[31mred", "123", strings.Repeat("long", 500),
	}
	for i, name := range names {
		var err error
		switch i % 3 {
		case 0:
			err = f.key("SET", name, "value of a strange key")
		case 1:
			err = f.key("RPUSH", name, "a", "b")
		default:
			err = f.key("HSET", name, "f", "v")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expiries writes keys that expire while a migration runs, keys that the traffic renews before they do (RenewKey),
// and expiries far away and at odd moments.
func (f *filler) expiries() error {
	for i := range 100 {
		if err := f.key("SET", "k:ttl:short:"+strconv.Itoa(i), "x", "PX", f.soon()); err != nil {
			return err
		}
	}
	for i := range RenewKeys {
		if err := f.key("SET", RenewKey(i), "renewed", "PX", strconv.Itoa(8000+f.rng.IntN(4000))); err != nil {
			return err
		}
	}
	if f.fits.command("XADD") {
		if err := errors.Join(f.key("XADD", "k:ttl:stream", "1-1", "a", "b"), f.key("PEXPIRE", "k:ttl:stream", "5000000")); err != nil {
			return err
		}
	}
	return errors.Join(
		f.key("SET", "k:ttl:far", "x", "PX", "3153600000000"),
		f.key("SET", "k:ttl:hour", "x", "EX", "3600"),
		f.key("RPUSH", "k:ttl:list", "a"), f.key("PEXPIRE", "k:ttl:list", "5000000"),
		f.key("SADD", "k:ttl:set", "a"), f.key("PEXPIRE", "k:ttl:set", f.soon()),
		f.key("ZADD", "k:ttl:zset", "1", "a"), f.key("PEXPIRE", "k:ttl:zset", "5000000"),
		f.key("SET", "k:ttl:persisted", "x", "EX", "3600"), f.key("PERSIST", "k:ttl:persisted"),
	)
}

// RenewKeys is the number of keys whose short time to live the traffic renews.
const RenewKeys = 50

// RenewKey names one of them.
func RenewKey(i int) string { return "k:ttl:renewed:" + strconv.Itoa(i) }

// big writes the big keys of each type.
func (f *filler) big() error {
	n := f.options.BigElements
	if n == 0 {
		n = 20_000
	}
	for i := range f.options.BigKeys {
		id := strconv.Itoa(i)
		err := errors.Join(
			f.key("SET", "big:str:"+id, f.binary(n*64)),
			f.many("RPUSH", "big:list:"+id, n, 1, func(e int) []string { return []string{"element:" + strconv.Itoa(e)} }),
			f.many("SADD", "big:set:"+id, n, 1, func(e int) []string { return []string{"member:" + strconv.Itoa(e)} }),
			f.many("ZADD", "big:zset:"+id, n, 2, func(e int) []string { return []string{strconv.Itoa(e), "member:" + strconv.Itoa(e)} }),
			f.many(f.fits.side.hset(), "big:hash:"+id, n, 2, func(e int) []string { return []string{"field:" + strconv.Itoa(e), "value:" + strconv.Itoa(e)} }),
		)
		if err == nil && f.fits.command("XADD") {
			err = errors.Join(
				f.many("XADD", "big:stream:"+id, n, n, func(e int) []string { return []string{strconv.Itoa(e+1) + "-1", "field", "value:" + strconv.Itoa(e)} }),
				f.add([]string{"XGROUP", "CREATE"}, []string{"big:stream:" + id}, "g", "0"),
			)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// many writes n elements of the given width (words each). A width of n or more says that a command takes one element.
func (f *filler) many(name, key string, n, width int, element func(i int) []string) error {
	perCommand := 200
	if width >= n {
		perCommand = 1
	}
	var args []string
	for i := range n {
		args = append(args, element(i)...)
		if (i+1)%perCommand == 0 || i == n-1 {
			if err := f.key(name, key, args...); err != nil {
				return err
			}
			args = args[:0]
		}
	}
	return nil
}

// fillBulk writes the bulk keys over several goroutines, each with a random sequence of its own.
func fillBulk(ctx context.Context, s *Side, db int, o Options) (int64, error) {
	const workers = 4
	client, err := s.client(db)
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	var sent [workers]int64
	var errs [workers]error
	for w := range workers {
		wg.Go(func() {
			b := &bulk{
				batch: batch{ctx: ctx, client: client}, fits: fits{s, o.To}, noShort: o.NoShortTTL,
				rng: rand.New(rand.NewPCG(o.Seed, uint64(db*workers+w)<<32)),
			}
			for i := w; i < o.Keys && errs[w] == nil; i += workers {
				errs[w] = b.write(i)
			}
			errs[w] = errors.Join(errs[w], b.flush())
			sent[w] = b.sent
		})
	}
	wg.Wait()
	var total int64
	for _, n := range sent {
		total += n
	}
	return total, errors.Join(errs[:]...)
}

// bulk writes keys of mixed types; the type follows from the number of the key.
type bulk struct {
	batch
	fits    fits
	noShort bool
	rng     *rand.Rand
}

// BulkKey names bulk key i and its type: of twenty keys nine are strings, three hashes, two each lists, sets and sorted
// sets, one a counter and one a stream with a group, which is left out where there are no streams.
func BulkKey(i int) (key, kind string) {
	kinds := [20]string{
		"str", "str", "str", "str", "str", "str", "str", "str", "str", "hash", "hash", "hash", "list", "list", "set", "set", "zset", "zset", "cnt", "stream",
	}
	kind = kinds[i%20]
	return "bulk:" + kind + ":" + strconv.Itoa(i), kind
}

func (b *bulk) write(i int) error {
	key, kind := BulkKey(i)
	small := func() string { return "value:" + strconv.FormatUint(b.rng.Uint64(), 36) }
	var err error
	switch kind {
	case "str":
		err = b.key("SET", key, strings.Repeat(small(), 1+b.rng.IntN(8)))
	case "cnt":
		err = b.key("SET", key, strconv.Itoa(b.rng.IntN(1_000_000)))
	case "hash":
		err = b.key(b.fits.side.hset(), key, "name", small(), "count", strconv.Itoa(b.rng.IntN(1000)), "note", small())
	case "list":
		err = b.key("RPUSH", key, small(), small(), strconv.Itoa(b.rng.IntN(1000)), small())
	case "set":
		err = b.key("SADD", key, strconv.Itoa(b.rng.IntN(1000)), strconv.Itoa(b.rng.IntN(1000)), small())
	case "zset":
		err = b.key("ZADD", key, strconv.Itoa(b.rng.IntN(1000)), small(), strconv.FormatFloat(b.rng.Float64(), 'g', -1, 64), small())
	case "stream":
		if !b.fits.command("XADD") {
			return nil
		}
		id := strconv.Itoa(1 + b.rng.IntN(1000))
		err = errors.Join(b.key("XADD", key, id+"-1", "f", small()), b.key("XADD", key, id+"-2", "f", small()),
			b.add([]string{"XGROUP", "CREATE"}, []string{key}, "g", id+"-1"))
	}
	if err != nil || b.rng.IntN(5) != 0 {
		return err
	}
	ttl := 600_000 + b.rng.IntN(10_000_000)
	if !b.noShort && b.rng.IntN(10) == 0 {
		ttl = 2000 + b.rng.IntN(20_000)
	}
	return b.key("PEXPIRE", key, strconv.Itoa(ttl))
}
