package dataset

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Degenerate makes writing commands in the forms that nobody writes on purpose: the same key twice, empty names, empty ranges, negative counts,
// numbers at the ends of their range and beyond, infinities, keys of another type. Servers refuse many of them. What they do with the others is
// for a native replica to say.
type Degenerate struct {
	rng      *rand.Rand
	forms    []string
	payloads []string // for RESTORE
	tags     []string // hash tags: the keys of one command share one, or mostly do
	dbs      int
}

// NewDegenerate returns commands that depend on the seed alone. payloads are what DUMP has returned for some keys; spread says that the target
// is a cluster, where keys lie in several slots; dbs is how many databases there are.
func NewDegenerate(seed uint64, payloads []string, spread bool, dbs int) *Degenerate {
	d := &Degenerate{rng: rand.New(rand.NewPCG(seed, 7)), payloads: payloads, tags: []string{""}, dbs: dbs}
	if spread {
		d.tags = []string{"{a}", "{b}", "{c}"}
	}
	for _, f := range strings.Split(strings.TrimSpace(degenerateForms), "\n") {
		if spread && strings.HasPrefix(f, "SWAPDB") { // a migration to a cluster ends there
			continue
		}
		weight := 4
		if strings.HasPrefix(f, "FLUSH") || strings.HasPrefix(f, "SWAPDB") {
			weight = 1 // else there is little left to do anything to
		}
		for range weight {
			d.forms = append(d.forms, strings.TrimSpace(f))
		}
	}
	return d
}

// DegenerateNames lists the commands of which there are forms, in upper case; of a container with its subcommand.
func DegenerateNames() (names []string) {
	for _, f := range strings.Split(strings.TrimSpace(degenerateForms), "\n") {
		words := strings.Fields(f)
		name := words[0]
		if name == "XGROUP" {
			name += " " + words[1]
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// degenerateForms are commands with places for arguments; see degenerateWords. Three dots repeat the words since the bar, once to four times.
const degenerateForms = `
APPEND {str} {v}
BITFIELD {str} SET i64 {bit} {i} OVERFLOW FAIL INCRBY u2 {bit} {i}
BITFIELD {str} OVERFLOW SAT INCRBY i5 {bit} {i} GET u8 0
BITFIELD {str} OVERFLOW WRAP INCRBY u63 #1 {i}
BITOP AND {str} {str} {str}
BITOP NOT {str} {str}
BITOP XOR {str} | {str} ...
BITOP DIFF {str} {str} {str}
BLMOVE {list} {list} LEFT RIGHT 0
BLMPOP 0 2 {list} {list} LEFT COUNT {c}
BLPOP {list} {list} 0
BRPOP {list} 0
BRPOPLPUSH {list} {list} 0
BZMPOP 0 1 {zset} MIN COUNT {c}
BZPOPMAX {zset} {zset} 0
BZPOPMIN {zset} 0
COPY {any} {any}
COPY {any} {any} REPLACE
COPY {any} {any} DB {db} REPLACE
DECR {n}
DECRBY {n} {i}
DEL | {any} ...
DELEX {str} IFEQ {v}
DELIFEQ {str} {v}
EXPIRE {any} {ttl}
EXPIRE {any} {ttl} GT
EXPIREAT {any} {ttl} LT
PEXPIRE {any} {ttl} NX
PEXPIREAT {any} {ttl}
PERSIST {any}
FLUSHALL
FLUSHDB
SWAPDB {db} {db}
MOVE {any} {db}
GEOADD {zset} {f} {f} {m}
GEOADD {zset} NX CH 0 0 {m} 180 85 {m}
GEOADD {zset} -180 -85.05112878 {m}
GEORADIUS {zset} 0 0 {f} m STORE {zset}
GEORADIUS {zset} 0 0 30000 km COUNT 1 ANY STOREDIST {zset}
GEORADIUSBYMEMBER {zset} {m} {f} km STORE {zset}
GEOSEARCHSTORE {zset} {zset} FROMLONLAT 0 0 BYRADIUS {f} km
GEOSEARCHSTORE {zset} {zset} FROMMEMBER {m} BYBOX {f} {f} m STOREDIST
GETDEL {str}
GETEX {str} PX {ttl}
GETEX {str} EXAT {ttl}
GETEX {str} PERSIST
GETSET {str} {v}
HDEL {hash} | {m} ...
HEXPIRE {hash} {ttl} FIELDS 1 {m}
HEXPIREAT {hash} {ttl} GT FIELDS 2 {m} {m}
HPEXPIRE {hash} {ttl} NX FIELDS 1 {m}
HPEXPIREAT {hash} {ttl} FIELDS 1 {m}
HPERSIST {hash} FIELDS 2 {m} {m}
HGETDEL {hash} FIELDS 2 {m} {m}
HGETEX {hash} PX {ttl} FIELDS 1 {m}
HGETEX {hash} PERSIST FIELDS 2 {m} {m}
HSETEX {hash} FNX EX {ttl} FIELDS 2 {m} {v} {m} {v}
HSETEX {hash} KEEPTTL FIELDS 1 {m} {v}
HINCRBY {hash} {m} {i}
HINCRBYFLOAT {hash} {m} {f}
HMSET {hash} | {m} {v} ...
HSET {hash} | {m} {v} ...
HSET {hash} {m} {i}
HSETNX {hash} {m} {v}
INCR {n}
INCRBY {n} {i}
INCRBYFLOAT {n} {f}
LINSERT {list} BEFORE {v} {v}
LINSERT {list} AFTER {v} {v}
LMOVE {list} {list} LEFT LEFT
LMOVE {list} {list} RIGHT LEFT
LMPOP 2 {list} {list} RIGHT COUNT {c}
LPOP {list}
LPOP {list} {c}
LPUSH {list} | {v} ...
LPUSHX {list} | {v} ...
LREM {list} {i} {v}
LSET {list} {i} {v}
LTRIM {list} {i} {i}
MSET | {str} {v} ...
MSETEX 2 {str} {v} {str} {v} EX {ttl}
MSETNX | {str} {v} ...
PFADD {hll} | {v} ...
PFADD {hll}
PFMERGE {hll} | {hll} ...
PFMERGE {hll}
PSETEX {str} {ttl} {v}
RENAME {any} {any}
RENAMENX {any} {any}
RESTORE {any} {ms} {dump} REPLACE
RESTORE {any} {at} {dump} REPLACE ABSTTL IDLETIME 0
RESTORE {any} 0 {v} REPLACE
RPOP {list}
RPOP {list} {c}
RPOPLPUSH {list} {list}
RPUSH {list} | {v} ...
RPUSHX {list} | {v} ...
SADD {set} | {m} ...
SDIFFSTORE {set} | {set} ...
SINTERSTORE {set} | {set} ...
SUNIONSTORE {set} | {set} ...
SMOVE {set} {set} {m}
SPOP {set}
SPOP {set} {c}
SREM {set} | {m} ...
SET {str} {v}
SET {n} {i}
SET {any} {v} NX GET
SET {str} {v} XX KEEPTTL
SET {str} {v} PX {ttl}
SET {str} {v} EXAT {ttl}
SET {str} {v} IFEQ {v}
SETBIT {str} {bit} 1
SETBIT {str} {bit} 0
SETEX {str} {ttl} {v}
SETNX {str} {v}
SETRANGE {str} {bit} {v}
SORT {list} STORE {list}
SORT {set} ALPHA DESC LIMIT {i} {i} STORE {list}
SORT {zset} BY nosort STORE {list}
SORT {list} BY {v} GET # GET {v} STORE {list}
UNLINK | {any} ...
XACK {stream} {g} {id} {id}
XACKDEL {stream} {g} ACKED IDS 1 {id}
XADD {stream} {id} | {m} {v} ...
XADD {stream} NOMKSTREAM MAXLEN = {c} {id} {m} {v}
XADD {stream} MAXLEN ~ {c} LIMIT {c} {id} {m} {v}
XADD {stream} MINID {id} {id} {m} {v}
XAUTOCLAIM {stream} {g} {m} 0 {id} COUNT {c}
XAUTOCLAIM {stream} {g} {m} 0 0-0 JUSTID
XCLAIM {stream} {g} {m} 0 {id} {id} IDLE {i} RETRYCOUNT {c} FORCE
XCLAIM {stream} {g} {m} 0 {id} TIME {i} JUSTID LASTID {id}
XDEL {stream} {id} {id}
XDELEX {stream} KEEPREF IDS 1 {id}
XGROUP CREATE {stream} {g} {id}
XGROUP CREATE {stream} {g} {id} MKSTREAM ENTRIESREAD {i}
XGROUP CREATECONSUMER {stream} {g} {m}
XGROUP DELCONSUMER {stream} {g} {m}
XGROUP DESTROY {stream} {g}
XGROUP SETID {stream} {g} {id}
XGROUP SETID {stream} {g} {id} ENTRIESREAD {i}
XREADGROUP GROUP {g} {m} COUNT {c} STREAMS {stream} {id}
XREADGROUP GROUP {g} {m} NOACK STREAMS {stream} {stream} > >
XREADGROUP GROUP {g} {m} STREAMS {stream} >
XSETID {stream} {id}
XSETID {stream} {id} ENTRIESADDED {i} MAXDELETEDID {id}
XTRIM {stream} MAXLEN {c}
XTRIM {stream} MAXLEN ~ {c} LIMIT {c}
XTRIM {stream} MINID = {id}
ZADD {zset} | {f} {m} ...
ZADD {zset} NX CH {f} {m}
ZADD {zset} XX GT {f} {m}
ZADD {zset} LT CH {f} {m} {f} {m}
ZADD {zset} INCR {f} {m}
ZDIFFSTORE {zset} 2 {zset} {zset}
ZINCRBY {zset} {f} {m}
ZINTERSTORE {zset} 2 {zset} {set} WEIGHTS {f} {f} AGGREGATE MIN
ZINTERSTORE {zset} 1 {zset} WEIGHTS {f}
ZMPOP 2 {zset} {zset} MAX COUNT {c}
ZPOPMAX {zset}
ZPOPMAX {zset} {c}
ZPOPMIN {zset} {c}
ZRANGESTORE {zset} {zset} {i} {i}
ZRANGESTORE {zset} {zset} {score} {score} BYSCORE LIMIT {i} {c}
ZRANGESTORE {zset} {zset} {lex} {lex} BYLEX REV
ZREM {zset} | {m} ...
ZREMRANGEBYLEX {zset} {lex} {lex}
ZREMRANGEBYRANK {zset} {i} {i}
ZREMRANGEBYSCORE {zset} {score} {score}
ZUNIONSTORE {zset} 2 {zset} {zset} AGGREGATE MAX
ZUNIONSTORE {zset} 2 {zset} {set} WEIGHTS {f} {f}
ZUNIONSTORE {zset} 3 {zset} {zset} {zset}
`

// degenerateWords are what the places of degenerateForms hold, besides keys, databases and payloads.
var degenerateWords = map[string][]string{
	"i":     {"0", "-1", "1", "2", "-2", "7", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "-0", "00", "+1", " 1", "1.5", ""},
	"c":     {"0", "1", "2", "-1", "10000", "4294967296", "9223372036854775807", "-9223372036854775808", "x"},
	"bit":   {"0", "1", "7", "100", "#3", "-1", "4294967296"}, // SETRANGE at the end of int64 ends Redis 6.0
	"f":     {"0", "-0", "0.0", "1", "-1", "1.5", "1e17", "0.1", "1e308", "-1e308", "1.7976931348623157e308", "5e-324", "inf", "-inf", "+inf", "nan", "0x10", "1e400", "180", "85.06", ""},
	"v":     {"", "x", "y", "0", "-0", "1", "\x00", "\r\n", "\xff\xfe", "9223372036854775807", "1e3", "*", "#", strings.Repeat("long", 40)},
	"m":     {"a", "b", "c", "", "1", "\x00", "-1", strings.Repeat("m", 70)},
	"score": {"-inf", "+inf", "0", "(0", "1", "(1", "(inf", "(-inf", "nan", "1e308", ""},
	"lex":   {"-", "+", "[", "(", "[a", "(a", "[c", "a", ""},
	"ttl":   {"0", "-1", "1", "100000000", "4000000000", "4000000000000", "9223372036854775807", "-9223372036854775808", "9223372036854775", "x"},
	"ms":    {"0", "-1", "1", "100000000"}, // a sum that overflows is kept by Valkey 8.1 as an expiry that ends it later
	"at":    {"0", "-1", "1", "4000000000000"},
	"id":    {"*", "0-0", "0-1", "0", "1-1", "1-2", "2", "5-*", "5-5", "18446744073709551615-18446744073709551615", "18446744073709551615", "-", "+", "$", ">", "", "(1-1"},
	"g":     {"g", "h", ""},
}

// degenerateKinds are the types of keys that degenerateForms name.
var degenerateKinds = []string{"str", "n", "list", "set", "zset", "hash", "stream", "hll"}

// Next returns a command, and a database to run it in. A command that would wait belongs into a transaction.
func (d *Degenerate) Next() (db int, args []string, waits bool) {
	tag := d.tags[d.rng.IntN(len(d.tags))]
	form := strings.Fields(d.forms[d.rng.IntN(len(d.forms))])
	if form[len(form)-1] == "..." {
		form = form[:len(form)-1]
		from := slices.Index(form, "|")
		again := slices.Clone(form[from+1:])
		form = slices.Delete(form, from, from+1)
		for range d.rng.IntN(4) {
			form = append(form, again...)
		}
	}
	for _, w := range form {
		place, ok := strings.CutPrefix(w, "{")
		if !ok {
			args = append(args, w)
			continue
		}
		args = append(args, d.word(strings.TrimSuffix(place, "}"), tag))
	}
	return d.rng.IntN(min(d.dbs, 2)), args, args[0][0] == 'B' && !strings.HasPrefix(args[0], "BIT")
}

// word returns an argument for a place.
func (d *Degenerate) word(place, tag string) string {
	if d.rng.IntN(8) == 0 {
		tag = d.tags[d.rng.IntN(len(d.tags))]
	}
	switch {
	case place == "db":
		return strconv.Itoa(d.rng.IntN(min(d.dbs, 3)))
	case place == "dump":
		return d.payloads[d.rng.IntN(len(d.payloads))]
	case place == "any", slices.Contains(degenerateKinds, place) && d.rng.IntN(20) == 0:
		place = degenerateKinds[d.rng.IntN(len(degenerateKinds))]
	}
	if from := degenerateWords[place]; from != nil {
		return from[d.rng.IntN(len(from))]
	}
	if n := d.rng.IntN(4); n > 0 || tag != "" {
		return place + strconv.Itoa(n) + tag
	}
	return []string{"", "\x00", " "}[d.rng.IntN(3)] // of any type
}
