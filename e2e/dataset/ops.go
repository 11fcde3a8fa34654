package dataset

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const incrScript = "redis.call('SET', KEYS[2], ARGV[1]) return redis.call('INCRBY', KEYS[1], ARGV[1])"

// operation queues one or a few commands; weight is how often it comes among all.
type operation struct {
	weight int
	do     func(*round)
}

// groups is the number of key groups per worker. The keys of a group share a hash tag, so that commands over several
// keys run on a cluster.
const groups = 64

// trafficKeys starts the load's own keys.
const trafficKeys = "{t"

// name gives one of eight keys of a type in a random group of the worker; other keys of the same group come from
// sibling. Types never share names, so a reply of WRONGTYPE is a failure.
func (r *round) name(kind string) string {
	return trafficKeys + strconv.Itoa(r.number) + "." + strconv.Itoa(r.rng.IntN(groups)) + "}:" + kind + ":" + strconv.Itoa(r.rng.IntN(8))
}

func (r *round) sibling(key, kind string) string {
	return key[:strings.IndexByte(key, '}')+1] + ":" + kind + ":" + strconv.Itoa(r.rng.IntN(8))
}

func (r *round) word() string     { return "w" + strconv.FormatUint(r.rng.Uint64()>>20, 36) }
func (r *round) few(n int) string { return strconv.Itoa(r.rng.IntN(n)) }

// operations lists what this side can run.
func (w *worker) operations() []operation {
	ops := [][]operation{stringOps, keyOps, listOps, setOps, zsetOps, hashOps, scriptOps, bulkOps(w.options.BulkKeys)}
	for _, of := range []struct {
		known bool
		ops   []operation
	}{
		{w.fits.payloads(), payloadOps},
		{w.fits.command("BITFIELD"), ops32},
		{w.fits.command("ZPOPMIN"), ops50},
		{w.fits.command("XADD"), streamOps}, // 5.0
		{w.fits.since(60000), ops60},
		{w.fits.command("GETEX"), ops62},
		{w.fits.command("LMPOP"), ops70},
		{w.fits.command("HPEXPIRE"), fieldExpiryOps}, // Redis 7.4
		{w.fits.command("HSETEX"), fieldExpiryOps80},
		{w.options.To != nil && w.fits.command("VADD"), vectorOps}, // Redis 8.0
		{!w.side.Cluster && len(w.options.DBs) > 1, databaseOps(w.options, w.fits.command("SWAPDB"))},
		{w.options.BulkKeys > 0 && w.fits.command("XADD"), []operation{
			{3, func(r *round) { r.key("XADD", pickBulk(r, "stream"), "*", "f", r.word()) }},
		}},
	} {
		if of.known {
			ops = append(ops, of.ops)
		}
	}
	var all []operation
	for _, part := range ops {
		all = append(all, part...)
	}
	return all
}

var stringOps = []operation{
	{30, func(r *round) { r.key("SET", r.name("str"), r.word()) }},
	{20, func(r *round) { r.key("INCR", r.name("cnt")) }},
	{10, func(r *round) { r.key("INCRBY", r.name("cnt"), r.few(100)) }},
	{5, func(r *round) { r.key("DECRBY", r.name("cnt"), r.few(100)) }},
	{10, func(r *round) { r.key("INCRBYFLOAT", r.name("flt"), "0.1") }},
	{10, func(r *round) { r.key("SETEX", r.name("str"), strconv.Itoa(3+r.rng.IntN(100)), r.word()) }},
	{5, func(r *round) { r.key("PSETEX", r.name("str"), strconv.Itoa(500+r.rng.IntN(5000)), r.word()) }},
	{5, func(r *round) { r.key("SET", r.name("str"), r.word(), "XX", "EX", "200") }},
	{5, func(r *round) { r.key("SET", r.name("str"), r.word(), "NX", "PX", "3000") }},
	{3, func(r *round) { r.key("SETNX", r.name("str"), r.word()) }},
	{3, func(r *round) { r.key("GETSET", r.name("str"), r.word()) }},
	{5, func(r *round) {
		k := r.name("app")
		r.key("APPEND", k, r.word())
		if r.rng.IntN(20) == 0 {
			r.key("SETRANGE", k, r.few(50), r.word())
		}
		if r.rng.IntN(20) == 0 {
			r.key("DEL", k)
		}
	}},
	{5, func(r *round) {
		k := r.name("bit")
		if !r.fits.zeroes() {
			r.key("SETRANGE", k, "1249", "\x00")
		}
		r.key("SETBIT", k, r.few(10000), r.few(2))
	}},
	{2, func(r *round) {
		k := r.name("bit")
		r.add([]string{"BITOP", "OR"}, []string{r.sibling(k, "bit"), k, r.sibling(k, "bit")}, nil)
	}},
	{5, func(r *round) { r.key("PFADD", r.name("hll"), r.word(), r.word()) }},
	{2, func(r *round) { r.key("PFCOUNT", r.name("hll")) }},
	{2, func(r *round) {
		k := r.name("hll")
		r.add([]string{"PFMERGE"}, []string{k, r.sibling(k, "hll"), r.sibling(k, "hll")}, nil)
	}},
	{5, func(r *round) {
		k := r.name("str")
		r.add([]string{"MSET"}, []string{k}, []string{r.word(), r.sibling(k, "str"), r.word(), r.sibling(k, "str"), r.word()})
	}},
	{2, func(r *round) {
		k := r.name("str")
		r.add([]string{"MSETNX"}, []string{k}, []string{r.word(), r.sibling(k, "str"), r.word()})
	}},
}

var kinds = []string{"str", "cnt", "flt", "app", "bit", "hll", "list", "set", "zset", "geo", "hash", "stream", "vset"}

func (r *round) kind() string { return kinds[r.rng.IntN(len(kinds))] }

// expirable is a kind whose keys may be given an expiry. INCRBYFLOAT is none of them before 6.0: it is replicated as a SET, which
// takes the expiry from the copy and not from the source, on native replicas as well.
func (r *round) expirable() string {
	for {
		if kind := r.kind(); kind != "flt" || r.side.Number >= 60000 {
			return kind
		}
	}
}

// sameKey is what servers before 3.2 say of RENAME, and all of COPY.
const sameKey = "source and destination objects are the same"

// noCopy is what COPY says of a vector set.
const noCopy = "not supported for this module key"

var keyOps = []operation{
	{5, func(r *round) {
		kind := r.kind()
		k := r.name(kind)
		r.add([]string{"DEL"}, []string{k, r.sibling(k, r.kind()), r.sibling(k, r.kind())}, nil)
	}},
	{5, func(r *round) {
		k := r.name(r.kind())
		r.add([]string{r.fits.or("UNLINK", "DEL")}, []string{k, r.sibling(k, r.kind())}, nil)
	}},
	{5, func(r *round) { r.key("EXPIRE", r.name(r.expirable()), strconv.Itoa(2+r.rng.IntN(300))) }},
	{3, func(r *round) { r.key("PEXPIRE", r.name(r.expirable()), strconv.Itoa(500+r.rng.IntN(20000))) }},
	{2, func(r *round) {
		r.key("EXPIREAT", r.name(r.expirable()), strconv.FormatInt(time.Now().Unix()+int64(2+r.rng.IntN(300)), 10))
	}},
	{1, func(r *round) { r.key("EXPIRE", r.name(r.expirable()), "-1") }},
	{3, func(r *round) { r.key("PERSIST", r.name(r.kind())) }},
	{3, func(r *round) {
		kind := r.kind()
		k := r.name(kind)
		r.add([]string{"RENAME"}, []string{k, r.sibling(k, kind)}, nil).allow("no such key", sameKey)
	}},
	{2, func(r *round) {
		kind := r.kind()
		k := r.name(kind)
		r.add([]string{"RENAMENX"}, []string{k, r.sibling(k, kind)}, nil).allow("no such key", sameKey)
	}},
	{8, func(r *round) { r.key("PEXPIRE", RenewKey(r.rng.IntN(RenewKeys)), strconv.Itoa(8000+r.rng.IntN(4000))) }},
	{8, func(r *round) {
		tx := &round{worker: r.worker, db: r.db, client: r.client}
		k := r.name("cnt")
		tx.key("INCR", k)
		tx.key("RPUSH", r.sibling(k, "list"), r.word())
		tx.key("HINCRBY", r.sibling(k, "hash"), "count", "1")
		tx.key("SET", r.sibling(k, "str"), r.word(), "PX", "4000")
		tx.add([]string{r.fits.or("UNLINK", "DEL")}, []string{r.sibling(k, "str"), r.sibling(k, "set")}, nil)
		r.transactions = append(r.transactions, tx)
	}},
}

var payloadOps = []operation{
	{4, func(r *round) { // DUMP gives the payload of a later RESTORE
		k := r.name("hash")
		target := r.sibling(k, "hash")
		r.key("DUMP", k).reply = func(reply rueidis.RedisResult) {
			if payload, err := reply.ToString(); err == nil {
				r.later(func(r *round) { r.key("RESTORE", target, "60000", payload, "REPLACE") })
			}
		}
	}},
}

var ops32 = []operation{
	{2, func(r *round) { r.key("BITFIELD", r.name("bit"), "INCRBY", "u8", "#3", "1", "OVERFLOW", "SAT") }},
	{3, func(r *round) { r.key("TOUCH", r.name(r.kind())) }},
	{3, func(r *round) { r.key("SPOP", r.name("set"), "3") }},
	{4, func(r *round) {
		r.key("GEOADD", r.name("geo"), strconv.FormatFloat(r.rng.Float64()*90, 'f', 6, 64), "38.1", r.few(50))
	}},
	{1, func(r *round) {
		k := r.name("geo")
		r.add([]string{"GEORADIUS"}, []string{k}, []string{"15", "37", "2000", "km", "STORE", r.sibling(k, "geo")})
	}},
}

var ops50 = []operation{
	{4, func(r *round) { r.key("ZPOPMIN", r.name("zset")) }},
	{3, func(r *round) { r.key("ZPOPMAX", r.name("zset"), "2") }},
	{1, func(r *round) { // only its effect can be replicated
		r.add([]string{"EVAL", "return redis.call('SET', KEYS[1], redis.call('TIME')[2])", "1"}, []string{r.name("str")}, nil)
	}},
}

var ops60 = []operation{
	{5, func(r *round) { r.key("SET", r.name("str"), r.word(), "KEEPTTL") }},
}

// later queues commands for this round's database after its pipeline, in a transaction of their own.
func (r *round) later(do func(*round)) {
	tx := &round{worker: r.worker, db: r.db, client: r.client}
	do(tx)
	r.transactions = append(r.transactions, tx)
}

var listOps = []operation{
	{15, func(r *round) { r.key("LPUSH", r.name("list"), r.word()) }},
	{15, func(r *round) { r.key("RPUSH", r.name("list"), r.word(), r.few(1000)) }},
	{15, func(r *round) { r.key("LPOP", r.name("list")) }},
	{15, func(r *round) { r.key("RPOP", r.name("list")) }},
	{3, func(r *round) { r.key("LPUSHX", r.name("list"), r.word()) }},
	{3, func(r *round) { r.key("LTRIM", r.name("list"), "0", "30") }},
	{3, func(r *round) { r.key("LREM", r.name("list"), "1", r.few(1000)) }},
	{3, func(r *round) {
		r.key("LSET", r.name("list"), "0", r.word()).allow("no such key", "index out of range")
	}},
	{3, func(r *round) { r.key("LINSERT", r.name("list"), "BEFORE", r.few(1000), r.word()) }},
	{4, func(r *round) {
		k := r.name("list")
		r.add([]string{"RPOPLPUSH"}, []string{k, r.sibling(k, "list")}, nil)
	}},
	{3, func(r *round) { // what is pushed first lets the blocking pop return at once
		k := r.name("list")
		r.key("RPUSH", k, r.word())
		r.key("BLPOP", k, "1")
	}},
	{3, func(r *round) {
		k := r.name("list")
		r.add([]string{"SORT"}, []string{k}, []string{"ALPHA", "STORE", r.sibling(k, "list")})
	}},
}

var setOps = []operation{
	{12, func(r *round) { r.key("SADD", r.name("set"), r.few(1000), r.few(1000), r.word()) }},
	{8, func(r *round) { r.key("SPOP", r.name("set")) }},
	{5, func(r *round) { r.key("SREM", r.name("set"), r.few(1000), r.few(1000)) }},
	{3, func(r *round) {
		k := r.name("set")
		r.add([]string{"SMOVE"}, []string{k, r.sibling(k, "set")}, []string{r.few(1000)})
	}},
	{2, func(r *round) {
		k := r.name("set")
		r.add([]string{"SUNIONSTORE"}, []string{r.sibling(k, "set"), k, r.sibling(k, "set")}, nil)
	}},
	{2, func(r *round) {
		k := r.name("set")
		r.add([]string{"SDIFFSTORE"}, []string{r.sibling(k, "set"), k, r.sibling(k, "set")}, nil)
	}},
}

var zsetOps = []operation{
	{12, func(r *round) {
		r.key("ZADD", r.name("zset"), strconv.FormatFloat(r.rng.NormFloat64(), 'g', -1, 64), r.word(), r.few(100), r.few(50))
	}},
	{6, func(r *round) { r.key("ZINCRBY", r.name("zset"), "0.1", r.few(50)) }},
	{5, func(r *round) { r.key("ZREM", r.name("zset"), r.few(50)) }},
	{3, func(r *round) { r.key("ZREMRANGEBYRANK", r.name("zset"), "20", "-1") }},
	{2, func(r *round) { r.key("ZREMRANGEBYSCORE", r.name("zset"), "0.5", "0.6") }},
	{2, func(r *round) {
		k := r.name("zset")
		r.add([]string{"ZUNIONSTORE"}, []string{r.sibling(k, "zset")}, []string{"2", k, r.sibling(k, "zset"), "WEIGHTS", "1", "0.5"})
	}},
}

var hashOps = []operation{
	{15, func(r *round) {
		r.key(r.side.hset(), r.name("hash"), "f"+r.few(50), r.word(), "name", r.word())
	}},
	{6, func(r *round) { r.key("HINCRBY", r.name("hash"), "count", r.few(10)) }},
	{6, func(r *round) { r.key("HINCRBYFLOAT", r.name("hash"), "sum", "0.1") }},
	{6, func(r *round) { r.key("HDEL", r.name("hash"), "f"+r.few(50), "f"+r.few(50)) }},
	{3, func(r *round) { r.key("HSETNX", r.name("hash"), "f"+r.few(50), r.word()) }},
	{2, func(r *round) { r.key("HMSET", r.name("hash"), "f"+r.few(50), r.word()) }},
}

var streamOps = []operation{
	{10, func(r *round) { r.key("XADD", r.name("stream"), "*", "f", r.word()) }},
	{3, func(r *round) { r.key("XADD", r.name("stream"), "MAXLEN", "~", r.length("50"), "*", "f", r.word()) }},
	{3, func(r *round) {
		r.key("XADD", r.name("stream"), "MAXLEN", r.length("40"), "*", "f", r.word(), "g", r.few(9))
	}},
	{2, func(r *round) { r.key("XTRIM", r.name("stream"), "MAXLEN", r.length("30")) }},
	{5, func(r *round) {
		r.add([]string{"XGROUP", "CREATE"}, []string{r.name("stream")}, []string{"g", "0", "MKSTREAM"}).allow("BUSYGROUP")
	}},
	{10, func(r *round) {
		k := r.name("stream")
		consumer := "c" + r.few(3)
		c := r.add([]string{"XREADGROUP", "GROUP", "g", consumer, "COUNT", "3", "STREAMS"}, []string{k}, []string{">"}).allow("NOGROUP")
		c.reply = func(reply rueidis.RedisResult) { r.delivered(k, reply) }
	}},
	{8, func(r *round) {
		if k, id := r.undelivered(true); id != "" {
			r.key("XACK", k, "g", id)
		}
	}},
	{3, func(r *round) {
		if k, id := r.undelivered(false); id != "" {
			r.key("XCLAIM", k, "g", "c"+r.few(3), "0", id).allow("NOGROUP")
		}
	}},
	{2, func(r *round) {
		k, id := r.undelivered(r.options.KeepPending)
		if id != "" && r.options.KeepPending {
			r.key("XACK", k, "g", id)
		}
		if id != "" {
			r.key("XDEL", k, id)
		}
	}},
	{1, func(r *round) {
		r.add([]string{"XGROUP", "SETID"}, []string{r.name("stream")}, []string{"g", "$"}).
			allow("NOGROUP", "The XGROUP subcommand requires the key to exist")
	}},
	{1, func(r *round) {
		r.add([]string{"XGROUP", "DELCONSUMER"}, []string{r.name("stream")}, []string{"g", "c" + r.few(3)}).
			allow("NOGROUP", "The XGROUP subcommand requires the key to exist")
	}},
}

// length is where a stream is cut off; never, where messages may be pending and are to be kept.
func (r *round) length(entries string) string {
	if r.options.KeepPending {
		return "1000000"
	}
	return entries
}

// delivered remembers the IDs that a group's consumer got.
func (r *round) delivered(key string, reply rueidis.RedisResult) {
	streams, err := reply.AsXRead()
	if err != nil {
		return
	}
	name := strconv.Itoa(r.db) + " " + key
	for _, entry := range streams[key] {
		if len(r.pending[name]) < 20 {
			r.pending[name] = append(r.pending[name], entry.ID)
		}
	}
}

// undelivered picks a remembered ID of this database; the entry may have been trimmed or its stream deleted since.
func (r *round) undelivered(take bool) (key, id string) {
	for range 4 {
		key = r.name("stream")
		name := strconv.Itoa(r.db) + " " + key
		if ids := r.pending[name]; len(ids) > 0 {
			if take {
				r.pending[name] = ids[1:]
			}
			return key, ids[0]
		}
	}
	return "", ""
}

var scriptOps = []operation{
	{4, func(r *round) {
		k := r.name("cnt")
		r.add([]string{"EVAL", incrScript, "2"}, []string{k, r.sibling(k, "str")}, []string{r.few(10)})
	}},
	{4, func(r *round) {
		k := r.name("cnt")
		r.add([]string{"EVALSHA", r.sha, "2"}, []string{k, r.sibling(k, "str")}, []string{r.few(10)})
	}},
}

var ops62 = []operation{
	{3, func(r *round) { r.key("ZADD", r.name("zset"), "GT", "CH", r.few(100), r.few(50)) }},
	{4, func(r *round) { r.key("GETEX", r.name("str"), "PX", strconv.Itoa(1000+r.rng.IntN(9000))) }},
	{2, func(r *round) { r.key("GETEX", r.name("str"), "PERSIST") }},
	{3, func(r *round) { r.key("GETDEL", r.name("str")) }},
	{4, func(r *round) {
		kind := r.kind()
		k := r.name(kind)
		r.add([]string{"COPY"}, []string{k, r.sibling(k, kind)}, []string{"REPLACE"}).
			allow(sameKey, noCopy)
	}},
	{4, func(r *round) {
		k := r.name("list")
		r.add([]string{"LMOVE"}, []string{k, r.sibling(k, "list")}, []string{"LEFT", "RIGHT"})
	}},
	{2, func(r *round) {
		k := r.name("zset")
		r.add([]string{"ZRANGESTORE"}, []string{r.sibling(k, "zset"), k}, []string{"0", "10"})
	}},
	{2, func(r *round) {
		r.key("XAUTOCLAIM", r.name("stream"), "g", "c"+r.few(3), "0", "0", "COUNT", "2").allow("NOGROUP")
	}},
	{1, func(r *round) {
		r.add([]string{"XGROUP", "CREATECONSUMER"}, []string{r.name("stream")}, []string{"g", "c" + r.few(3)}).
			allow("NOGROUP", "The XGROUP subcommand requires the key to exist")
	}},
	{2, func(r *round) { r.key("LPOP", r.name("list"), "2") }},
}

var ops70 = []operation{
	{3, func(r *round) {
		k := r.name("list")
		r.add([]string{"LMPOP", "2"}, []string{k, r.sibling(k, "list")}, []string{"LEFT", "COUNT", "2"})
	}},
	{3, func(r *round) {
		k := r.name("zset")
		r.add([]string{"ZMPOP", "2"}, []string{k, r.sibling(k, "zset")}, []string{"MAX"})
	}},
	{4, func(r *round) {
		r.add([]string{"FCALL", "counter_add", "1"}, []string{r.name("cnt")}, []string{r.few(10)})
	}},
	{2, func(r *round) { r.key("EXPIRE", r.name(r.expirable()), "100", "NX") }},
	{2, func(r *round) { r.key("EXPIRE", r.name(r.expirable()), "200", "GT") }},
}

var fieldExpiryOps = []operation{
	{4, func(r *round) {
		r.key("HEXPIRE", r.name("hash"), strconv.Itoa(2+r.rng.IntN(100)), "FIELDS", "1", "f"+r.few(50))
	}},
	{4, func(r *round) {
		r.key("HPEXPIRE", r.name("hash"), strconv.Itoa(500+r.rng.IntN(9000)), "FIELDS", "2", "f"+r.few(50), "name")
	}},
	{2, func(r *round) { r.key("HPERSIST", r.name("hash"), "FIELDS", "1", "name") }},
}

var fieldExpiryOps80 = []operation{
	{3, func(r *round) {
		r.key("HSETEX", r.name("hash"), "PX", strconv.Itoa(500+r.rng.IntN(9000)), "FIELDS", "2", "f"+r.few(50), r.word(), "name", r.word())
	}},
	{2, func(r *round) {
		r.key("HSETEX", r.name("hash"), "FNX", "KEEPTTL", "FIELDS", "1", "f"+r.few(50), r.word())
	}},
	{3, func(r *round) { r.key("HGETEX", r.name("hash"), "EX", "100", "FIELDS", "1", "f"+r.few(50)) }},
	{1, func(r *round) { r.key("HGETEX", r.name("hash"), "PERSIST", "FIELDS", "1", "name") }},
	{2, func(r *round) { r.key("HGETDEL", r.name("hash"), "FIELDS", "2", "f"+r.few(50), "f"+r.few(50)) }},
}

// vectorOps never give an element another vector: 8.0 tells no replica of that.
var vectorOps = []operation{
	{8, func(r *round) {
		args := append([]string{"VALUES", strconv.Itoa(vectorDimension)}, randomVector(r.rng)...)
		args = append(args, r.element())
		if r.rng.IntN(3) == 0 {
			args = append(args, "SETATTR", `{"n":`+r.few(100)+`}`)
		}
		r.key("VADD", r.name("vset"), args...)
	}},
	{2, func(r *round) { r.key("VREM", r.name("vset"), r.earlier()) }},
	{2, func(r *round) { r.key("VSETATTR", r.name("vset"), r.earlier(), `{"m":`+r.few(100)+`}`) }},
	{1, func(r *round) { r.key("VSETATTR", r.name("vset"), r.earlier(), "") }},
}

// element names an element that no vector set holds yet.
func (w *worker) element() string {
	w.elements++
	return "e" + strconv.Itoa(w.elements)
}

// earlier names an element that one of the vector sets may hold.
func (w *worker) earlier() string {
	return "e" + strconv.Itoa(w.elements-w.rng.IntN(200))
}

// vectorDimension is that of the vectors that the load adds.
const vectorDimension = 5

func randomVector(rng *rand.Rand) []string {
	v := make([]string, vectorDimension)
	for i := range v {
		v[i] = strconv.FormatFloat(rng.NormFloat64(), 'f', 4, 64)
	}
	return v
}

// bulkOps change keys of the data set while it is being copied.
func bulkOps(keys int) []operation {
	if keys == 0 {
		return nil
	}
	return []operation{
		{6, func(r *round) { r.key("INCR", pickBulk(r, "cnt")) }},
		{6, func(r *round) { r.key("APPEND", pickBulk(r, "str"), "+") }},
		{6, func(r *round) { r.key("HINCRBY", pickBulk(r, "hash"), "count", "1") }},
		{6, func(r *round) { r.key("RPUSH", pickBulk(r, "list"), r.word()) }},
		{3, func(r *round) { r.key("LPOP", pickBulk(r, "list")) }},
		{4, func(r *round) { r.key("SADD", pickBulk(r, "set"), r.few(1000)) }},
		{4, func(r *round) { r.key("ZINCRBY", pickBulk(r, "zset"), "0.5", r.few(10)) }},
		{3, func(r *round) { r.key(r.fits.or("UNLINK", "DEL"), pickBulk(r, "str")) }},
		{3, func(r *round) { r.key("PEXPIRE", pickBulk(r, "hash"), strconv.Itoa(1000+r.rng.IntN(100000))) }},
		{2, func(r *round) { r.key("PERSIST", pickBulk(r, "zset")) }},
	}
}

// pickBulk names a bulk key of a kind.
func pickBulk(r *round, kind string) string {
	for range 40 {
		if key, k := BulkKey(r.rng.IntN(r.options.BulkKeys)); k == kind {
			return key
		}
	}
	return "bulk:" + kind + ":0"
}

// databaseOps cross databases; Whole are flushed and swapped, which takes their data with them.
func databaseOps(o TrafficOptions, swap bool) []operation {
	other := func(r *round) string {
		for {
			if db := o.DBs[r.rng.IntN(len(o.DBs))]; db != r.db {
				return strconv.Itoa(db)
			}
		}
	}
	ops := []operation{
		{4, func(r *round) { r.key("MOVE", r.name(r.kind()), other(r)) }},
	}
	if len(o.Whole) == 2 {
		first, second := strconv.Itoa(o.Whole[0]), strconv.Itoa(o.Whole[1])
		ops = append(ops,
			operation{3, func(r *round) {
				r.whole(o.Whole[r.rng.IntN(2)], func(r *round) { r.key("SET", r.name("str"), r.word()) })
			}},
			operation{1, func(r *round) {
				if r.rng.IntN(20) == 0 {
					r.whole(o.Whole[1], func(r *round) { r.add([]string{"FLUSHDB"}, nil, nil) })
				}
			}})
		if swap {
			ops = append(ops, operation{1, func(r *round) {
				if r.rng.IntN(20) == 0 {
					r.add([]string{"SWAPDB", first, second}, nil, nil)
				}
			}})
		}
	}
	return ops
}

// whole queues commands for another database, after this round's pipeline.
func (r *round) whole(db int, do func(*round)) {
	client, err := r.side.client(db)
	if err != nil {
		r.traffic.fail(err)
		return
	}
	tx := &round{worker: r.worker, db: db, client: client}
	do(tx)
	r.transactions = append(r.transactions, tx)
}
