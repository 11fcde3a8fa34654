package compat

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMemoryOfHostileCalls: names that are long, many and all different do not pile up.
func TestMemoryOfHostileCalls(t *testing.T) {
	ta := newClusterTally(t)
	e := ta.Evidence(FromCapture, "f")
	long := strings.Repeat("part:", 40_000)
	heapBytes := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heapBytes()
	for i := range 100 {
		client := fmt.Sprint("10.0.0.1:", i)
		a, b := fmt.Sprint(long, i), fmt.Sprint(long, i, ":x")
		for _, args := range [][][]byte{words("MGET", a, b), words("WATCH", a), words("MULTI"), words("SET", b, "1"), words("EVAL", "x", "1", a)} {
			ta.Add(e, Call{Stream: "s", Client: client, Args: args})
		}
	}
	r := ta.Result()
	after := heapBytes()
	if grown := after - min(after, before); grown > 8<<20 {
		t.Errorf("100 clients with keys of 200 KB leave %d MiB behind", grown>>20)
	}
	f := findingOf(t, r, "MGET", "cross-slot")
	if f.Affected != 100 || len(f.ExampleKeys) > 0 {
		t.Errorf("%d of 100 calls, examples of %d", f.Affected, len(f.ExampleKeys))
	}
	runtime.KeepAlive(ta)
}

// TestLongKeysOfTransactions: of keys that are too long to be kept the places count.
func TestLongKeysOfTransactions(t *testing.T) {
	long := strings.Repeat("x", maxName)
	ta := newClusterTally(t)
	feed(ta, [][]string{
		{"MULTI"}, {"SET", "{a}" + long, "1"}, {"SET", "{b}" + long, "1"}, {"EXEC"},
		{"@2", "MULTI"}, {"@2", "SET", "{a}" + long, "1"}, {"@2", "SET", "{a}", "1"}, {"@2", "EXEC"},
	})
	if f := findingOf(t, ta.Result(), "EXEC", "transaction"); f.Affected != 1 || f.Examined != 2 {
		t.Errorf("%+v", f)
	}
}

// BenchmarkDistinctTemplates: a name that was never seen before must not cost more the more there are.
func BenchmarkDistinctTemplates(b *testing.B) {
	ta := newClusterTally(b)
	e := ta.Evidence(FromCapture, "f")
	for i := 0; b.Loop(); i++ {
		name := strings.Map(func(r rune) rune { return r - '0' + 'a' }, fmt.Sprint(i))
		ta.Add(e, Call{At: time.Unix(int64(i), 0), Stream: "s", Client: "10.0." + fmt.Sprint(i%9999) + ":1", Args: words("MGET", name+":x", name+":y:x")})
	}
}
