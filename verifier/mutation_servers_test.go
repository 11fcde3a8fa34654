//go:build servers

package verifier

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
)

type commands [][]string

// mutation is one key, or a few, that both sides are given alike, and what is then done to the target.
type mutation struct {
	name, why string
	both      commands
	source    commands // what the source alone gets, in the place of both's equal
	target    commands
	db        int
	want      Verdict // Same: no finding at all
	code      Reason  // left out where it follows from the verdict: the key is absent, or its value differs
	reason    string  // part of the text
	fieldTTL  bool    // needs HPEXPIRE on both sides
	since     int     // of both sides
}

func do(args ...string) commands { return commands{args} }

const far = "4102444800000" // 2100

func mutations() []mutation {
	elements := []string{"RPUSH", "f:list"}
	for i := range 100 {
		elements = append(elements, "e"+strconv.Itoa(i))
	}
	return []mutation{
		{name: "missing key", both: nil, source: do("SET", "f:missing", "v"), want: Missing},
		{name: "missing empty string", why: "0 bytes are not no key", source: do("SET", "f:empty", ""), want: Missing},
		{name: "extra key", target: do("SET", "f:extra", "v"), want: Extra},
		{name: "extra database", why: "the source has no database 9", db: 9, target: do("SET", "f:extradb", "v"), want: Extra},
		{name: "one byte", both: do("SET", "f:byte", "abcdefgh"), target: do("SETRANGE", "f:byte", "3", "X"), want: Different, reason: "byte 4 of 8"},
		{name: "one byte of many", both: do("SETRANGE", "f:bytes", "6000000", "x"), target: do("SETRANGE", "f:bytes", "5000000", "X"), want: Different, reason: "byte 5000001"},
		{name: "list prefix", why: "comparing as far as both go passes it", both: do("RPUSH", "f:prefix", "a", "b", "c"), target: do("RPOP", "f:prefix"), want: Different, reason: "element 3 of 3 is missing"},
		{name: "list element", both: do(elements...), target: do("LSET", "f:list", "40", "z"), want: Different, reason: "element 41 of 100 differs"},
		{name: "list elements swapped", both: do("RPUSH", "f:swap", "a", "b"), target: commands{{"LSET", "f:swap", "0", "b"}, {"LSET", "f:swap", "1", "a"}}, want: Different, reason: "element 1 of 2"},
		{name: "set member", both: do("SADD", "f:set", "a", "b"), target: commands{{"SREM", "f:set", "b"}, {"SADD", "f:set", "c"}}, want: Different, reason: "member b is missing"},
		{name: "hash value of the same length", both: do("HSET", "f:hash", "a", "1", "b", "2"), target: do("HSET", "f:hash", "b", "3"), want: Different, reason: "field b differs"},
		{name: "score", both: do("ZADD", "f:zset", "0.1", "a", "2", "b"), target: do("ZADD", "f:zset", "0.1000000001", "a"), want: Different, reason: "score of member a"},
		{name: "list element added", both: do("RPUSH", "f:longer:list", "a", "b"), target: do("LPUSH", "f:longer:list", "z"), want: Different, reason: "element 1 of 3 is on the target only; all others are the same"},
		{name: "set member added", both: do("SADD", "f:set:more", "a"), target: do("SADD", "f:set:more", "b"), want: Different, reason: "member b is on the target only"},
		{name: "hash field missing", both: do("HSET", "f:hash:less", "a", "1", "b", "2"), target: do("HDEL", "f:hash:less", "b"), want: Different, reason: "field b is missing"},
		{name: "hash field added", both: do("HSET", "f:hash:more", "a", "1"), target: do("HSET", "f:hash:more", "b", "2"), want: Different, reason: "field b is on the target only"},
		{name: "name and value change places", why: "what is put together must not read the same", source: do("HSET", "f:hash:cut", "ab", "c"), target: do("HSET", "f:hash:cut", "a", "bc"), want: Different, reason: "field ab is missing"},
		{name: "elements cut otherwise", source: do("RPUSH", "f:list:cut", "ab", "c"), target: do("RPUSH", "f:list:cut", "a", "bc"), want: Different, reason: "element 1 of 2"},
		{name: "member of a sorted set missing", both: do("ZADD", "f:zset:less", "1", "a", "2", "b"), target: do("ZREM", "f:zset:less", "b"), want: Different, reason: "member b is missing"},
		{name: "member of a sorted set added", both: do("ZADD", "f:zset:more", "1", "a"), target: do("ZADD", "f:zset:more", "2", "b"), want: Different, reason: "member b is on the target only"},
		{name: "the last bit of a score", source: do("ZADD", "f:zset:bit", "0.1", "a"), target: do("ZADD", "f:zset:bit", "0.10000000000000002", "a"), want: Different, reason: "score of member a"},
		{name: "infinite score", source: do("ZADD", "f:zset:inf", "inf", "a"), target: do("ZADD", "f:zset:inf", "-inf", "a"), want: Different, reason: "score of member a"},
		{name: "a number", source: do("SET", "f:number", "12345"), target: do("SET", "f:number", "12346"), want: Different, reason: "byte 5 of 5"},
		{name: "register of a HyperLogLog", both: do("PFADD", "f:hll", "a", "b", "c"), target: do("PFADD", "f:hll", "d", "e", "f"), want: Different},
		{name: "other type", source: do("SADD", "f:type", "a"), target: do("RPUSH", "f:type", "a"), want: Different, code: TypeDiffers, reason: "the type is set on the source and list"},
		{name: "TTL lost", both: do("SET", "f:ttl", "v", "PX", "9000000"), target: do("PERSIST", "f:ttl"), want: Different, code: ExpiryOnSourceOnly, reason: "the key expires on the source only"},
		{name: "TTL gained", both: do("SET", "f:persist", "v"), target: do("PEXPIREAT", "f:persist", far), want: Different, code: ExpiryOnTargetOnly, reason: "the key expires on the target only"},
		{name: "TTL 10 % longer", source: do("SET", "f:longer", "v", "PX", "9000000"), target: do("SET", "f:longer", "v", "PX", "9900000"), want: Different, code: ExpiryDiffers, reason: "later on the target"},
		{name: "field TTL lost", both: commands{{"HSET", "f:field", "a", "1"}, {"HPEXPIREAT", "f:field", far, "FIELDS", "1", "a"}}, target: do("HPERSIST", "f:field", "FIELDS", "1", "a"), want: Different, code: FieldExpiryDiffers, reason: "the expiry of field a", fieldTTL: true},
		{name: "field TTL and TTL lost", why: "a policy that tolerates the one does not tolerate the other", both: commands{{"HSET", "f:field:both", "a", "1"}, {"HPEXPIREAT", "f:field:both", far, "FIELDS", "1", "a"}, {"PEXPIREAT", "f:field:both", far}},
			target: commands{{"HPERSIST", "f:field:both", "FIELDS", "1", "a"}, {"PERSIST", "f:field:both"}}, want: Different, code: ExpiryAndMoreDiffer, reason: "the expiry of field a differs; the expiry of the key differs as well", fieldTTL: true},
		{name: "field TTL changed", both: commands{{"HSET", "f:field2", "a", "1", "b", "2"}, {"HPEXPIREAT", "f:field2", far, "FIELDS", "1", "a"}}, target: do("HPEXPIREAT", "f:field2", "4102444900000", "FIELDS", "1", "a"), want: Different, code: FieldExpiryDiffers, reason: "the expiry of field a", fieldTTL: true},
		{name: "field TTL within the tolerance", both: commands{{"HSET", "s:field", "a", "1", "b", "2"}, {"HPEXPIREAT", "s:field", far, "FIELDS", "2", "a", "b"}}, target: do("HPEXPIREAT", "s:field", "4102444800001", "FIELDS", "1", "a"), want: Same, fieldTTL: true},
		{name: "field TTL at the tolerance", both: commands{{"HSET", "s:field:edge", "a", "1"}, {"HPEXPIREAT", "s:field:edge", far, "FIELDS", "1", "a"}}, target: do("HPEXPIREAT", "s:field:edge", "4102444801000", "FIELDS", "1", "a"), want: Same, fieldTTL: true},
		{name: "field TTL beyond the tolerance", both: commands{{"HSET", "f:field:edge", "a", "1", "b", "2"}, {"HPEXPIREAT", "f:field:edge", far, "FIELDS", "2", "a", "b"}},
			target: commands{{"HPEXPIREAT", "f:field:edge", "4102444800900", "FIELDS", "1", "a"}, {"HPEXPIREAT", "f:field:edge", "4102444803000", "FIELDS", "1", "b"}}, want: Different, code: FieldExpiryDiffers, reason: "the expiry of field b", fieldTTL: true},
		{name: "field TTL lost beside one within the tolerance", both: commands{{"HSET", "f:field:lost", "a", "1", "b", "2"}, {"HPEXPIREAT", "f:field:lost", far, "FIELDS", "2", "a", "b"}},
			target: commands{{"HPEXPIREAT", "f:field:lost", "4102444800001", "FIELDS", "1", "a"}, {"HPERSIST", "f:field:lost", "FIELDS", "1", "b"}}, want: Different, code: FieldExpiryDiffers, reason: "the expiry of field b", fieldTTL: true},
		{name: "TTLs of two fields change places", both: commands{{"HSET", "f:field:swap", "a", "1", "b", "2"}}, source: do("HPEXPIREAT", "f:field:swap", far, "FIELDS", "1", "a"), target: do("HPEXPIREAT", "f:field:swap", far, "FIELDS", "1", "b"), want: Different, code: FieldExpiryDiffers, reason: "the expiry of field", fieldTTL: true},
		{name: "field value beside a TTL within the tolerance", both: commands{{"HSET", "f:field:value", "a", "1", "b", "2"}, {"HPEXPIREAT", "f:field:value", far, "FIELDS", "1", "a"}},
			target: commands{{"HSET", "f:field:value", "b", "3"}, {"HPEXPIREAT", "f:field:value", "4102444800001", "FIELDS", "1", "a"}}, want: Different, reason: "field b", fieldTTL: true},
		{name: "field TTLs of a large hash within the tolerance", both: manyFields("s:field:many", far), target: manyFields("s:field:many", "4102444800001"), want: Same, fieldTTL: true},
		{name: "a field TTL of a large hash lost", both: manyFields("f:field:many", far), target: append(manyFields("f:field:many", "4102444800001"), []string{"HPERSIST", "f:field:many", "FIELDS", "1", "777"}), want: Different, code: FieldExpiryDiffers, reason: "the expiry of field 777", fieldTTL: true},
		{name: "last stream entry", both: commands{{"XADD", "f:stream", "1-0", "f", "v"}, {"XADD", "f:stream", "2-0", "f", "v"}}, target: do("XDEL", "f:stream", "2-0"), want: Different, reason: "entry 2-0 is missing"},
		{name: "stream entry's value", source: do("XADD", "f:value", "1-0", "f", "v"), target: do("XADD", "f:value", "1-0", "f", "w"), want: Different, reason: "entry 1-0 differs"},
		{name: "stream entry added", source: commands{{"XADD", "f:entry", "1-0", "f", "v"}, {"XADD", "f:entry", "3-0", "f", "v"}},
			target: commands{{"XADD", "f:entry", "1-0", "f", "v"}, {"XADD", "f:entry", "2-0", "f", "v"}, {"XADD", "f:entry", "3-0", "f", "v"}}, want: Different, reason: "entry 2-0 is on the target only"},
		{name: "group added", both: do("XADD", "f:group:more", "1-0", "f", "v"), target: do("XGROUP", "CREATE", "f:group:more", "g", "0"), want: Different, reason: "group g is on the target only"},
		{name: "delivery count", both: commands{{"XADD", "f:count", "1-0", "f", "v"}, {"XGROUP", "CREATE", "f:count", "g", "0"}, {"XREADGROUP", "GROUP", "g", "c", "STREAMS", "f:count", ">"}},
			target: do("XCLAIM", "f:count", "g", "c", "0", "1-0", "RETRYCOUNT", "7", "JUSTID"), want: Different, reason: "group g: pending entry 1-0 differs"},
		{name: "last ID", both: do("XADD", "f:lastid", "1-0", "f", "v"), target: do("XSETID", "f:lastid", "5-0"), want: Different, reason: "the last ID"},
		{name: "group missing", both: commands{{"XADD", "f:group", "1-0", "f", "v"}, {"XGROUP", "CREATE", "f:group", "g", "0"}}, target: do("XGROUP", "DESTROY", "f:group", "g"), want: Different, reason: "group g is missing"},
		{name: "group position", both: commands{{"XADD", "f:pos", "1-0", "f", "v"}, {"XGROUP", "CREATE", "f:pos", "g", "0"}}, target: do("XGROUP", "SETID", "f:pos", "g", "1-0"), want: Different, reason: "group g: the last delivered ID"},
		{name: "pending entry", both: commands{{"XADD", "f:pel", "1-0", "f", "v"}, {"XGROUP", "CREATE", "f:pel", "g", "0"}, {"XREADGROUP", "GROUP", "g", "c", "STREAMS", "f:pel", ">"}}, target: do("XACK", "f:pel", "g", "1-0"), want: Different, reason: "group g: pending entry 1-0 is missing"},
		{name: "pending entry of another consumer", both: commands{{"XADD", "f:owner", "1-0", "f", "v"}, {"XGROUP", "CREATE", "f:owner", "g", "0"}, {"XREADGROUP", "GROUP", "g", "c", "STREAMS", "f:owner", ">"}}, target: do("XCLAIM", "f:owner", "g", "d", "0", "1-0", "JUSTID"), want: Different, reason: "group g: pending entry 1-0 differs"},
		{name: "highest deleted ID", both: do("XADD", "f:deleted", "2-0", "f", "v"), target: do("XSETID", "f:deleted", "2-0", "ENTRIESADDED", "1", "MAXDELETEDID", "1-0"), want: Different, code: StreamCountersDiffer, reason: "highest deleted ID", since: 70000},
		{name: "entries added", both: do("XADD", "f:added", "1-0", "f", "v"), target: do("XSETID", "f:added", "1-0", "ENTRIESADDED", "7", "MAXDELETEDID", "0-0"), want: Different, code: StreamCountersDiffer, reason: "entries added", since: 70000},
		{name: "vector", both: do("VADD", "f:vector", "VALUES", "2", "1", "2", "a"), target: do("VADD", "f:vector", "VALUES", "2", "1", "-2", "a"), want: Different, reason: "the vector of element a differs", since: 80000},
		{name: "vector of another length", why: "its direction is the same", both: do("VADD", "f:scale", "VALUES", "2", "1", "2", "a"), target: do("VADD", "f:scale", "VALUES", "2", "2", "4", "a"), want: Different, reason: "the vector of element a differs", since: 80000},
		{name: "attributes of a vector", both: do("VADD", "f:attr", "VALUES", "2", "1", "2", "a", "SETATTR", "{}"), target: do("VSETATTR", "f:attr", "a", `{"x":1}`), want: Different, reason: "the attributes of element a differ", since: 80000},
		{name: "element of a vector set", both: commands{{"VADD", "f:vset", "VALUES", "2", "1", "2", "a"}, {"VADD", "f:vset", "VALUES", "2", "3", "2", "b"}}, target: do("VREM", "f:vset", "b"), want: Different, reason: "element b is missing", since: 80000},
		{name: "hostile key", source: do("SET", "f:\x00\xff\n</script>", "v"), want: Missing},
		{name: "database 3", db: 3, both: do("SET", "f:db3", "a"), target: do("SET", "f:db3", "b"), want: Different, reason: "byte 1 of 1"},
		{name: "empty key name", source: do("SET", "", "a"), target: do("SET", "", "b"), want: Different, reason: "byte 1 of 1"},

		{name: "score 0.1", why: "its text depends on the version", both: do("ZADD", "s:zset", "0.1", "a", "3.3", "b", "inf", "c"), want: Same},
		{name: "stream with groups", both: commands{{"XADD", "s:stream", "1-0", "f", "v"}, {"XADD", "s:stream", "2-0", "f", "v"}, {"XGROUP", "CREATE", "s:stream", "g", "0"},
			{"XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "s:stream", ">"}}, want: Same},
		{name: "group without pending entries", why: "redis-full-check crashes on it", both: commands{{"XADD", "s:empty", "1-0", "f", "v"}, {"XGROUP", "CREATE", "s:empty", "g", "$"}}, want: Same},
		{name: "empty stream", both: commands{{"XADD", "s:none", "1-0", "f", "v"}, {"XDEL", "s:none", "1-0"}}, want: Same},
		{name: "other encoding", why: "a hash that was large stays a hashtable", both: do("HSET", "s:hash", "a", "1", "b", "2"),
			target: commands{{"HSET", "s:hash", "long", strings.Repeat("x", 500)}, {"HDEL", "s:hash", "long"}}, want: Same},
		{name: "intset and hashtable", both: do("SADD", "s:set", "1", "2"), target: commands{{"SADD", "s:set", "x"}, {"SREM", "s:set", "x"}}, want: Same},
		{name: "order of a set", source: do("SADD", "s:order", "a", "b", "c"), target: do("SADD", "s:order", "c", "b", "a"), want: Same},
		{name: "graph of a vector set", why: "it depends on the order of the elements", source: vectors("s:vset", false), target: vectors("s:vset", true), want: Same, since: 80000},
		{name: "HyperLogLog cache", why: "PFCOUNT rewrites it", both: do("PFADD", "s:hll", "a", "b", "c"), target: do("PFCOUNT", "s:hll"), want: Same},
		{name: "expired on both", both: do("SET", "s:expired", "v", "PX", "1"), want: Same},
		{name: "expiring", why: "it goes while it is looked at", source: do("SET", "s:expiring", "v", "PX", "1500"), want: Same},
		{name: "TTL within the tolerance", source: do("SET", "s:ttl", "v", "PXAT", "4102444800000"), target: do("SET", "s:ttl", "v", "PXAT", "4102444800900"), want: Same, since: 60200},
		{name: "consumer without pending entries", why: "replicas are not told of it", both: commands{{"XADD", "s:idle:consumer", "1-0", "f", "v"}, {"XGROUP", "CREATE", "s:idle:consumer", "g", "0"},
			{"XREADGROUP", "GROUP", "g", "c", "STREAMS", "s:idle:consumer", ">"}}, source: do("XREADGROUP", "GROUP", "g", "idle", "STREAMS", "s:idle:consumer", ">"), want: Same},
		{name: "entries read", why: "7.0 does not tell its replicas", both: commands{{"XADD", "s:read", "1-0", "f", "v"}, {"XGROUP", "CREATE", "s:read", "g", "0"}},
			target: do("XGROUP", "SETID", "s:read", "g", "0", "ENTRIESREAD", "1"), want: Same, since: 70000},
		{name: "minus zero", why: "it is one score with 0", source: do("ZADD", "s:zero", "-0", "a"), target: do("ZADD", "s:zero", "0", "a"), want: Same},
		{name: "surecut's own key", target: do("SET", "__surecut:checkpoint", "v"), want: Same},
		{name: "LFU and idle", both: do("SET", "s:idle", "v"), target: do("GET", "s:idle"), want: Same},
	}
}

// manyFields is a hash that is too large to be held, with an expiry for each field.
func manyFields(key, at string) commands {
	return commands{{"DEL", key}, {"EVAL", `for i=1,20000 do redis.call('HSET',KEYS[1],i,string.rep('x',300)) redis.call('HPEXPIREAT',KEYS[1],ARGV[1],'FIELDS',1,i) end`, "1", key, at}}
}

// vectors adds elements to a vector set (since Redis 8.0), in one order or the other.
func vectors(key string, backwards bool) (list commands) {
	for i := range 100 {
		n := strconv.Itoa(i)
		list = append(list, []string{"VADD", key, "VALUES", "3", n, "7", strconv.Itoa(i * i % 31), "e" + n})
	}
	if backwards {
		slices.Reverse(list)
	}
	return list
}

// mutationPairs are the images that the suite runs on: of one version, upwards, downwards, and with other encodings on the target.
var mutationPairs = []struct {
	source, target string
	fieldTTL       bool // both sides have field TTLs
	version        int  // the lower one
	encodings      bool // the target keeps in a table what the source keeps packed
}{
	{source: "redis:7.0", target: "redis:7.0", version: 70000},
	{source: "redis:7.0", target: "redis:7.0", version: 70000, encodings: true},
	{source: "redis:6.0", target: "redis:8.0", version: 60000, encodings: true},
	{source: "redis:7.0", target: "valkey/valkey:8.1", version: 70000},
	{source: "valkey/valkey:8.1", target: "valkey/valkey:8.1", version: 70000, encodings: true},
	{source: "redis:8.0", target: "redis:8.0", fieldTTL: true, version: 80000},
	{source: "redis:8.0", target: "redis:8.0", fieldTTL: true, version: 80000, encodings: true},
	{source: "redis:8.0", target: "redis:7.0", version: 70000},
}

// unpacked makes a server keep every collection as it keeps large ones.
var unpacked = []string{"--hash-max-ziplist-entries", "0", "--zset-max-ziplist-entries", "0", "--set-max-intset-entries", "0",
	"--list-max-ziplist-size", "1", "--stream-node-max-entries", "1", "--hll-sparse-max-bytes", "0"}

func TestMutations(t *testing.T) {
	t.Parallel()
	for _, pair := range mutationPairs {
		name, args := pair.source+" to "+pair.target, []string(nil)
		if pair.encodings {
			name, args = name+", other encodings", unpacked
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, target := servers.Standalone(t, pair.source), servers.Standalone(t, pair.target, args...)
			send := func(s *servers.Server, db int, list commands) {
				t.Helper()
				c := s.Client(db)
				for _, args := range list {
					if err := c.Do(context.Background(), c.B().Arbitrary(args...).Build()).Error(); err != nil && !endpoint.IsNil(err) {
						t.Fatalf("%s: %q: %v", s.Image, args, err)
					}
				}
			}
			var used []mutation
			for _, m := range mutations() {
				if m.since > pair.version || m.fieldTTL && !pair.fieldTTL {
					continue
				}
				send(source, m.db, m.both)
				send(target, m.db, m.both)
				// Relative expiries were set one after the other; give both sides one instant.
				for _, args := range m.both {
					if len(args) > 3 && args[3] == "PX" {
						at := strconv.FormatInt(time.Now().UnixMilli()+9_000_000, 10)
						if args[4] == "1" {
							continue
						}
						send(source, m.db, do("PEXPIREAT", args[1], at))
						send(target, m.db, do("PEXPIREAT", args[1], at))
					}
				}
				send(source, m.db, m.source)
				send(target, m.db, m.target)
				used = append(used, m)
			}
			if pair.encodings {
				for _, key := range []string{"s:zset", "f:hash:less"} { // s:zset is what both have alike
					if a, b := source.Must("OBJECT", "ENCODING", key), target.Must("OBJECT", "ENCODING", key); a == b {
						t.Errorf("%s: both sides encode it as %v", key, a)
					}
				}
			}
			report := verify(t, source, target, func(o *Config) { o.Rounds, o.Interval = 2, 100*time.Millisecond })
			if report.Verdict != Different {
				t.Errorf("verdict %s, want different: %q", report.Verdict, report.Reasons)
			}
			checkMutations(t, used, report)
		})
	}
}

// codes are the reasons that the mutation may be found for.
func (m *mutation) codes() []Reason {
	switch {
	case m.code != "":
		return []Reason{m.code}
	case m.want == Missing:
		return []Reason{AbsentOnTarget}
	case m.want == Extra:
		return []Reason{AbsentOnSource}
	}
	return []Reason{ValueDiffers, LengthDiffers}
}

// TestMutationsCoverTheReasons: each reason is found by a mutation, or by the test that is named beside its seed.
func TestMutationsCoverTheReasons(t *testing.T) {
	covered := map[Reason]bool{}
	for _, m := range mutations() {
		if m.want != Same {
			for _, r := range m.codes() {
				covered[r] = true
			}
		}
	}
	for _, s := range seeds() {
		if s.servers != "" {
			covered[s.reason] = true
		}
	}
	for _, r := range Reasons() {
		if !covered[r] {
			t.Errorf("no mutation leads to %s, and no other test is named", r)
		}
	}
}

func checkMutations(t *testing.T, used []mutation, report *Report) {
	t.Helper()
	found := map[string]Finding{}
	for _, f := range report.Findings {
		found[fmt.Sprintf("%d/%s", f.TargetDB, keyOf(&f))] = f
	}
	wanted := 0
	for _, m := range used {
		key := ""
		for _, list := range []commands{m.both, m.source, m.target} {
			if len(list) > 0 {
				key = list[0][1]
				break
			}
		}
		f, ok := found[fmt.Sprintf("%d/%s", m.db, key)]
		switch {
		case m.want == Same && ok:
			t.Errorf("%s: found %s (%s), want nothing: %s", m.name, f.Verdict, f.Reason, m.why)
		case m.want != Same && !ok:
			t.Errorf("%s: not found: %s", m.name, m.why)
		case m.want != Same && (f.Verdict != m.want || !strings.Contains(f.Reason, m.reason)):
			t.Errorf("%s: found %s (%s), want %s (%s)", m.name, f.Verdict, f.Reason, m.want, m.reason)
		case m.want != Same && !slices.Contains(m.codes(), f.Code):
			t.Errorf("%s: the reason is %s, want %v", m.name, f.Code, m.codes())
		}
		if m.want != Same {
			wanted++
		}
	}
	if len(report.Findings) != wanted {
		t.Errorf("%d findings, want %d", len(report.Findings), wanted)
	}
	for _, s := range report.Slots {
		if differs := s.SourceDigest != s.TargetDigest; differs != (s.Verdict == Different) {
			t.Errorf("slot %d is %s with digests %s and %s", s.Slot, s.Verdict, s.SourceDigest, s.TargetDigest)
		}
	}
}

// verify runs a verification of two servers with the options changed.
func verify(t *testing.T, source, target *servers.Server, change func(*Config)) *Report {
	t.Helper()
	report, err := Run(context.Background(), configFor(t, source.URL(), target.URL(), change))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func configFor(t *testing.T, source, target string, change func(*Config)) Config {
	t.Helper()
	o := DefaultConfig()
	o.Patience = 2 * time.Second
	o.TempDir = t.TempDir()
	for _, side := range []struct {
		url string
		to  **endpoint.Deployment
	}{{source, &o.Source}, {target, &o.Target}} {
		spec, err := endpoint.Parse(side.url)
		if err != nil {
			t.Fatal(err)
		}
		d, err := endpoint.Open(context.Background(), spec)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		*side.to = d
	}
	if change != nil {
		change(&o)
	}
	return o
}
