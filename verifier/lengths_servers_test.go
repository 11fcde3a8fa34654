//go:build servers

package verifier

import (
	"strings"
	"testing"

	"surecut/e2e/servers"
)

// TestLengthsOfOtherEncodings: at depth length, what is the same has the same length, however each side encodes it.
func TestLengthsOfOtherEncodings(t *testing.T) {
	t.Parallel()
	packed, table := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0", unpacked...)
	for _, s := range []*servers.Server{packed, table} {
		s.Must("PFADD", "hll", "a", "b", "c")
		s.Must("SET", "text", "HYLL but no HyperLogLog at all")
		s.Must("SET", "like one", "HYLL\x01 but none at all")
		s.Must("SET", "number", "12345")
		s.Must("RPUSH", "list", "1", "b", strings.Repeat("x", 9000))
		s.Must("SADD", "set", "1", "2", "3")
		s.Must("ZADD", "zset", "1", "a", "2", "b")
		s.Must("HSET", "hash", "f", "v", "g", "w")
		s.Must("XADD", "stream", "1-1", "f", "v")
	}
	table.Must("APPEND", "number", "")
	lengths := func(o *Config) { o.Depth, o.Rounds, o.Interval = DepthLength, 1, 0 }
	if n, _ := packed.Do("STRLEN", "hll").AsInt64(); n >= 12304 {
		t.Fatalf("the HyperLogLog of the source is not sparse: %d bytes", n)
	}
	if r := verify(t, packed, table, lengths); r.Verdict != Same || r.Totals.Same != 9 {
		t.Errorf("%s: %+v, %+v", r.Verdict, r.Totals, r.Findings)
	}
	table.Must("APPEND", "hll", "x")
	table.Must("APPEND", "text", "x")
	table.Must("APPEND", "like one", "x")
	if r := verify(t, packed, table, lengths); r.Totals.Different != 3 || r.Totals.Same != 6 {
		t.Errorf("one byte more: %+v, %+v", r.Totals, r.Findings)
	}
}
