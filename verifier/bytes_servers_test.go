//go:build servers

package verifier

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
)

// watch is what a server and this process came to while something ran.
type watch struct {
	before, memory, clients, evicted int64 // of the server: used_memory at first and at most, connected_clients at most, evicted_keys in the end
	heap                             int64 // of this process, at most, beyond what it had
}

// watching samples a server's INFO, on a connection of its own, while f runs.
func watching(t *testing.T, s *servers.Server, f func()) (w watch) {
	t.Helper()
	info := func() map[string]string {
		text, err := s.Client(0).Do(context.Background(), s.Client(0).B().Info().Build()).ToString()
		if err != nil {
			return nil
		}
		return endpoint.ParseInfo(text)
	}
	number := func(info map[string]string, field string) int64 {
		n, _ := strconv.ParseInt(info[field], 10, 64)
		return n
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	heap := m.HeapAlloc
	w.before = number(info(), "used_memory")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			now := info()
			w.memory = max(w.memory, number(now, "used_memory"))
			w.clients = max(w.clients, number(now, "connected_clients"))
			runtime.ReadMemStats(&m)
			w.heap = max(w.heap, int64(m.HeapAlloc)-int64(heap))
		}
	})
	f()
	close(stop)
	wg.Wait()
	w.evicted = number(info(), "evicted_keys")
	t.Logf("the server's memory rose by %d KiB from %d KiB, to %d clients, and it evicted %d keys; ours rose by %d MiB", (w.memory-w.before)>>10, w.before>>10, w.clients, w.evicted, w.heap>>20)
	return w
}

// hugeElements are values whose lengths tell nothing: each has few elements, or small ones first and huge ones behind them. What is
// there keeps every worker busy, and the values of n elements do not fit into the room that the server has left.
var hugeElements = []struct{ name, script string }{
	{"lists", `for k=1,4 do for i=1,n do redis.call('RPUSH','k'..k,v) end end`},
	{"lists whose first elements are small", `for k=1,4 do for i=1,5000 do redis.call('RPUSH','k'..k,'small '..i) end for i=1,n do redis.call('RPUSH','k'..k,v) end end`},
	{"sets", `for k=1,4 do for i=1,n do redis.call('SADD','k'..k,v..i) end end`},
	{"hashes", `for k=1,4 do for i=1,n do redis.call('HSET','k'..k,'f'..i,v) end end`},
	{"hashes of few fields", `for k=1,4*n/10 do for i=1,10 do redis.call('HSET','k'..k,'f'..i,v) end end`},
	{"names of fields", `for k=1,4 do for i=1,n do redis.call('HSET','k'..k,v..i,i) end end`},
	{"sorted sets", `for k=1,4 do for i=1,n do redis.call('ZADD','k'..k,i,v..i) end end`},
	{"sorted sets whose first members are small", `for k=1,4 do for i=1,5000 do redis.call('ZADD','k'..k,i,i) end for i=1,n do redis.call('ZADD','k'..k,10000+i,v..i) end end`},
	{"streams", `for k=1,4 do for i=1,n do redis.call('XADD','k'..k,i..'-1','f',v) end end`},
	{"streams whose first entries are small", `for k=1,4 do for i=1,5000 do redis.call('XADD','k'..k,i..'-1','f',i) end for i=1,n do redis.call('XADD','k'..k,(10000+i)..'-1','f',v) end end`},
	{"strings", `for k=1,4 do redis.call('SET','k'..k,string.rep(v,n)) end`},
	{"among small keys", `for i=1,20000 do redis.call('RPUSH','s'..i,'a','b') end for k=1,4 do for i=1,n do redis.call('RPUSH','k'..k,v) end end`},
	{"consumers with long names", `for i=1,200 do redis.call('XADD','k',i..'-1','f',i) end redis.call('XGROUP','CREATE','k','g','0') redis.call('XREADGROUP','GROUP','g',v,'STREAMS','k','>')`},
	{"names", `for i=1,1.5*n do redis.call('SET',v..i,i) end`},
}

// hugeCount is the n of hugeElements: SURECUT_HUGE_ELEMENTS, or 30. What the server and this process may take goes by it.
func hugeCount(t *testing.T) int64 {
	text := os.Getenv("SURECUT_HUGE_ELEMENTS")
	if text == "" {
		return 30
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 30 {
		t.Fatalf("SURECUT_HUGE_ELEMENTS is %q, want a number of 30 or more", text)
	}
	return n
}

// TestHugeElements reads elements of 500 KB. A server builds its replies in its own memory: with no room for them it would evict its
// data, or refuse its clients.
func TestHugeElements(t *testing.T) {
	n := hugeCount(t)
	for _, policy := range []string{"allkeys-lru", "noeviction"} {
		cases := hugeElements
		if policy == "noeviction" { // what is asked for does not depend on it
			cases = cases[:2]
		}
		for _, tt := range cases {
			t.Run(policy+"/"+tt.name, func(t *testing.T) { readHuge(t, policy, tt.script, n) })
		}
	}
}

// readHuge compares a server of huge elements with itself, and bounds what that takes of the memory on both sides.
func readHuge(t *testing.T, policy, script string, n int64) {
	s := servers.Standalone(t, "redis:7.0", "--maxmemory-policy", policy)
	s.Must("EVAL", `local v,n=string.rep('x',500000),tonumber(ARGV[1]) `+script, "0", strconv.FormatInt(n, 10))
	keys, _ := s.Do("DBSIZE").AsInt64()
	text, _ := s.Do("INFO", "memory").ToString()
	used, _ := strconv.ParseInt(endpoint.ParseInfo(text)["used_memory"], 10, 64)
	s.Must("CONFIG", "SET", "maxmemory", strconv.FormatInt(used+40<<20, 10))
	var r *Report
	w := watching(t, s, func() {
		r = verify(t, s, s, func(o *Config) { o.Rounds, o.Interval = 1, 0 })
	})
	if r.Verdict != Same || r.Totals.Same != keys {
		t.Errorf("%s: %+v, %q", r.Verdict, r.Totals, r.Reasons)
	}
	if after, _ := s.Do("DBSIZE").AsInt64(); w.evicted != 0 || after != keys {
		t.Errorf("%d keys evicted, %d of %d left", w.evicted, after, keys)
	}
	if most := min(n*400_000, 32<<20); w.memory-w.before > most { // less than one key; two sides read one server
		t.Errorf("the server's memory rose by %d MiB, want %d at most", (w.memory-w.before)>>20, most>>20)
	}
	if most := min(64<<20+n*400_000, 100<<20); w.heap > most {
		t.Errorf("our memory rose by %d MiB, want %d at most", w.heap>>20, most>>20)
	}
}

// TestReadingIsNoUse holds that a verification does not decide what the server evicts next (since 7.2).
func TestReadingIsNoUse(t *testing.T) {
	t.Parallel()
	for _, image := range []string{"redis:8.0", "valkey/valkey:8.1"} {
		s := servers.Standalone(t, image, "--maxmemory-policy", "allkeys-lfu", "--lfu-log-factor", "0")
		s.Must("EVAL", `for i=1,50 do redis.call('SET','s'..i,i) redis.call('RPUSH','l'..i,i) redis.call('HSET','h'..i,'f',i) end redis.call('SET','big',string.rep('x',3000000))`, "0")
		keys := []string{"s1", "l1", "h1", "big"}
		before := make([]int64, len(keys))
		for i, k := range keys {
			before[i], _ = s.Do("OBJECT", "FREQ", k).AsInt64()
		}
		if r := verify(t, s, s, nil); r.Verdict != Same {
			t.Fatalf("%s: %q", r.Verdict, r.Reasons)
		}
		for i, k := range keys {
			if after, _ := s.Do("OBJECT", "FREQ", k).AsInt64(); after > before[i] {
				t.Errorf("%s: %s was used %d times, and now %d", image, k, before[i], after)
			}
		}
	}
}

// TestLittleRoom: a source that evicts, and has little room left, keeps its keys: what it is asked for at a time fits into the room.
func TestLittleRoom(t *testing.T) {
	source, target := servers.Standalone(t, "redis:7.0", "--maxmemory-policy", "allkeys-lru"), servers.Standalone(t, "redis:7.0")
	for _, s := range []*servers.Server{source, target} {
		s.Must("EVAL", `local v=string.rep('x',9000) for i=1,2000 do redis.call('SET','k'..i,v) end v=string.rep('y',100000) for i=1,60 do redis.call('RPUSH','l',v) end`, "0")
	}
	used, err := strconv.ParseInt(source.Info("memory")["used_memory"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	source.Must("CONFIG", "SET", "maxmemory", strconv.FormatInt(used+4<<20, 10))
	var r *Report
	w := watching(t, source, func() { r = verify(t, source, target, nil) })
	if w.evicted != 0 || r.Verdict != Same {
		t.Errorf("%d keys were evicted, and the verdict is %s: %+v", w.evicted, r.Verdict, r.Totals)
	}
}
