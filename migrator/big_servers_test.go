//go:build servers

package migrator

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// TestBigValues writes values of every type in chunks, into one server and into a cluster.
func TestBigValues(t *testing.T) {
	source := servers.Standalone(t, "redis:8.0")
	long := strings.Repeat("x", 40)
	source.Must("SET", "big:string", strings.Repeat("0123456789abcdef", 200<<10/16))
	source.Must("SETBIT", "big:bits", "9000000", "1")
	for from := 0; from < 6000; from += 500 {
		lists := map[string][]string{"RPUSH big:list": nil, "SADD big:set": nil, "HSET big:hash": nil, "ZADD big:zset": nil, "HSET big:fields": nil}
		for i := from; i < from+500; i++ {
			n := strconv.Itoa(i)
			lists["RPUSH big:list"] = append(lists["RPUSH big:list"], long+n)
			lists["SADD big:set"] = append(lists["SADD big:set"], long+n)
			lists["HSET big:hash"] = append(lists["HSET big:hash"], long+n, n)
			lists["HSET big:fields"] = append(lists["HSET big:fields"], "f"+n, long+n)
			lists["ZADD big:zset"] = append(lists["ZADD big:zset"], n+".25", long+n)
			source.Must("XADD", "big:stream", "*", "f", long+n)
		}
		for command, args := range lists {
			source.Must(append(strings.Fields(command), args...)...)
		}
	}
	source.Must("HEXPIRE", "big:fields", "900", "FIELDS", "2", "f1", "f2")
	source.Must("XGROUP", "CREATE", "big:stream", "g", "0")
	source.Must("XREADGROUP", "GROUP", "g", "c", "COUNT", "50", "STREAMS", "big:stream", ">")
	source.Must("EXPIRE", "big:list", "900")
	for _, kind := range []string{"standalone", "cluster"} {
		t.Run(kind, func(t *testing.T) {
			target := servers.Standalone
			u := urls{source: source.URL()}
			if kind == "cluster" {
				u.target = servers.Cluster(t, "redis:8.0", 3, 0)[0].URL()
			} else {
				u.target = target(t, "redis:8.0").URL()
			}
			r := begin(t, u, t.TempDir(), func(c *Config) { c.BigValue = 64 << 10 })
			r.caughtUp()
			source.Must("APPEND", "big:string", "tail")
			poll(t, "end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
			r.caughtUp()
			addsUp(t, r.stop())
			equal(t, u, dataset.CompareOptions{})
		})
	}
}

// TestBigVectorSet: no command builds a value of a module, so that it goes whole, as small ones do.
func TestBigVectorSet(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:8.0"), servers.Standalone(t, "redis:8.0")
	vector := make([]byte, 4*512)
	for i := range 100 {
		for at := 0; at < len(vector); at += 4 {
			binary.LittleEndian.PutUint32(vector[at:], math.Float32bits(rand.Float32()))
		}
		source.Must("VADD", "big:vectors", "FP32", string(vector), "e"+strconv.Itoa(i), "NOQUANT", "SETATTR", `{"n":`+strconv.Itoa(i)+"}")
	}
	source.Must("EXPIRE", "big:vectors", "9000")
	r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), func(c *Config) { c.BigValue = 64 << 10 })
	r.caughtUp()
	addsUp(t, r.stop())
	for i := range 100 {
		for _, args := range [][]string{{"VEMB", "big:vectors", "e" + strconv.Itoa(i), "RAW"}, {"VGETATTR", "big:vectors", "e" + strconv.Itoa(i)}} {
			if want, got := source.Must(args...), target.Must(args...); !reflect.DeepEqual(want, got) {
				t.Fatalf("%s: %.200v, want %.200v", args, got, want)
			}
		}
	}
	if want, got := source.Must("PEXPIRETIME", "big:vectors"), target.Must("PEXPIRETIME", "big:vectors"); want != got {
		t.Errorf("expires at %v, want %v", got, want)
	}
}

// TestSlotsMove migrates slots from one primary of the target to another by hand, in the middle of the stream.
func TestSlotsMove(t *testing.T) {
	t.Parallel()
	source := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb")
	target := servers.Cluster(t, "redis:7.0", 3, 0)
	u := urls{source.URL(), target[0].URL()}
	stop := writeTo(t, source, false)
	r := begin(t, u, t.TempDir(), nil)
	r.caughtUp()
	for slot := range 400 { // the keys of the load lie in some of them
		moveSlot(t, target[0], target[1], target, slot)
	}
	stop()
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, u, dataset.CompareOptions{NoFunctions: true})
}

func moveSlot(t *testing.T, from, to *servers.Server, all []*servers.Server, slot int) {
	t.Helper()
	n := strconv.Itoa(slot)
	fromID, toID := from.Must("CLUSTER", "MYID").(string), to.Must("CLUSTER", "MYID").(string)
	to.Must("CLUSTER", "SETSLOT", n, "IMPORTING", fromID)
	from.Must("CLUSTER", "SETSLOT", n, "MIGRATING", toID)
	for {
		keys := from.Must("CLUSTER", "GETKEYSINSLOT", n, "100").([]any)
		if len(keys) == 0 {
			break
		}
		for _, k := range keys {
			from.Must("MIGRATE", "127.0.0.1", strconv.Itoa(to.Port), k.(string), "0", "5000")
		}
	}
	for _, s := range []*servers.Server{to, from} {
		s.Must("CLUSTER", "SETSLOT", n, "NODE", toID)
	}
	for _, s := range all {
		s.Must("CLUSTER", "SETSLOT", n, "NODE", toID)
	}
}

// TestFailover promotes a replica of the target in good order.
func TestFailover(t *testing.T) {
	t.Parallel()
	source := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb")
	target := servers.Cluster(t, "redis:7.0", 3, 1)
	u := urls{source.URL(), target[1].URL()}
	stop := writeTo(t, source, false)
	r := begin(t, u, t.TempDir(), nil)
	r.caughtUp()
	target[3].Must("CLUSTER", "FAILOVER")
	poll(t, "promotion", func() bool { return target[3].Info("replication")["role"] == "master" })
	time.Sleep(200 * time.Millisecond) // some traffic to the new one
	stop()
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, u, dataset.CompareOptions{NoFunctions: true})
}

// TestFilters: groups and commands that a filter splits.
func TestFilters(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	r := begin(t, urls{source.URL(), target.URL()}, t.TempDir(), func(c *Config) {
		c.Filter.Exclude = []string{"no:*"}
		c.Filter.DBs = []int{0, 2}
		c.Filter.DBMap = map[int]int{2: 5}
	})
	r.caughtUp()
	one, two := source.Client(1), source.Client(2)
	source.Must("MSET", "a", "1", "no:b", "2", "c", "3")
	source.Must("RENAME", "a", "no:a")
	source.Must("RENAME", "no:b", "b")
	source.Must("SET", "m", "v")
	source.Must("MOVE", "m", "1")
	source.Must("SET", "m2", "v")
	source.Must("MOVE", "m2", "2")
	for _, args := range [][]string{{"SET", "back", "v"}, {"MOVE", "back", "0"}, {"SET", "never", "v"}, {"COPY", "never", "copied", "DB", "2"}} {
		if err := one.Do(t.Context(), endpoint.Arbitrary(one, args...)).Error(); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"SET", "DB", "v"}, {"COPY", "DB", "DB", "DB", "0"}, {"SET", "x", "v"}, {"EXPIRE", "x", "500"}} {
		if err := two.Do(t.Context(), endpoint.Arbitrary(two, args...)).Error(); err != nil {
			t.Fatal(err)
		}
	}
	dc, release := two.Dedicate()
	defer release()
	for _, res := range dc.DoMulti(t.Context(), endpoint.Arbitrary(dc, "MULTI"), endpoint.Arbitrary(dc, "INCR", "n"), endpoint.Arbitrary(dc, "SET", "no:n", "1"), endpoint.Arbitrary(dc, "SELECT", "0"), endpoint.Arbitrary(dc, "INCR", "n"), endpoint.Arbitrary(dc, "SELECT", "1"), endpoint.Arbitrary(dc, "INCR", "n"), endpoint.Arbitrary(dc, "EXEC"), endpoint.Arbitrary(dc, "SELECT", "2")) {
		if res.Error() != nil {
			t.Fatal(res.Error())
		}
	}
	r.caughtUp()
	addsUp(t, r.stop())
	for db, want := range map[int]string{0: "DB b back c n", 1: "", 2: "", 5: "DB copied m2 n x"} {
		c := target.Client(db)
		names, err := c.Do(t.Context(), endpoint.Arbitrary(c, "KEYS", "*")).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, keyspace.Prefix) })
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("database %d: %q, want %q", db, got, want)
		}
	}
}
