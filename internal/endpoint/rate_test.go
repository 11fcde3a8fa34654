package endpoint

import (
	"math"
	"testing"
	"time"
)

// TestWriteRate: what surecut itself sends is never a rate of writes, nor what others read.
func TestWriteRate(t *testing.T) {
	begin := time.Unix(1_700_000_000, 0)
	at := func(seconds int, info map[string]string) Counters {
		return CountersOf(info, begin.Add(time.Duration(seconds)*time.Second))
	}
	for _, tt := range []struct {
		name, why   string
		first, last map[string]string
		want        float64
	}{
		{"stream of a primary", "its offset counts every write",
			map[string]string{"role": "master", "repl_backlog_active": "1", "master_repl_offset": "1000", "total_net_input_bytes": "0"},
			map[string]string{"role": "master", "repl_backlog_active": "1", "master_repl_offset": "5000", "total_net_input_bytes": "99999999"}, 2000},
		{"stream of a replica", "it comes from its primary",
			map[string]string{"role": "slave", "slave_repl_offset": "1000"}, map[string]string{"role": "slave", "slave_repl_offset": "3000"}, 1000},
		{"no stream, reads alone", "a check that samples ten thousand keys",
			map[string]string{"role": "master", "repl_backlog_active": "0", "master_repl_offset": "7", "total_net_input_bytes": "0", "cmdstat_type": "calls=1"},
			map[string]string{"role": "master", "repl_backlog_active": "0", "master_repl_offset": "7", "total_net_input_bytes": "4000000", "cmdstat_type": "calls=30001", "cmdstat_memory|usage": "calls=10000"}, 0},
		{"no stream, writes", "since 7.0 the offset goes on by one for each",
			map[string]string{"role": "master", "repl_backlog_active": "0", "master_repl_offset": "0", "total_net_input_bytes": "0", "cmdstat_set": "calls=0"},
			map[string]string{"role": "master", "repl_backlog_active": "0", "master_repl_offset": "100", "total_net_input_bytes": "20000", "cmdstat_set": "calls=100"}, 10000},
		{"no stream, writes among reads", "the bytes of reads are left out",
			map[string]string{"role": "master", "total_net_input_bytes": "0"},
			map[string]string{"role": "master", "total_net_input_bytes": "84000", "cmdstat_set": "calls=100", "cmdstat_get": "calls=1000"}, 10000},
		{"no stream, few bytes", "never less than writes take",
			map[string]string{"role": "master", "total_net_input_bytes": "0"},
			map[string]string{"role": "master", "total_net_input_bytes": "50000", "cmdstat_incr": "calls=100", "cmdstat_get": "calls=1000"}, 1600},
		{"bytes not counted", "servers before 3.0", map[string]string{"role": "master"}, map[string]string{"role": "master", "cmdstat_set": "calls=100"}, 1600},
		{"a module's commands", "whether they write is not known", map[string]string{"role": "master"}, map[string]string{"role": "master", "cmdstat_json.set": "calls=100"}, 1600},
		{"a replica that begins anew", "its offset is another stream's",
			map[string]string{"role": "slave", "slave_repl_offset": "9000"}, map[string]string{"role": "slave", "slave_repl_offset": "10"}, 0},
	} {
		if got, _ := WriteRate(at(0, tt.first), at(2, tt.last), Traffic{}); got != tt.want {
			t.Errorf("%s: %v B/s, want %v (%s)", tt.name, got, tt.want, tt.why)
		}
	}
	first, last := at(0, map[string]string{"total_net_input_bytes": "0"}), at(2, map[string]string{"total_net_input_bytes": "1020000", "cmdstat_set": "calls=100", "cmdstat_type": "calls=500"})
	if got, _ := WriteRate(first, last, Traffic{Calls: 500, Bytes: 1_000_000}); got != 10_000 {
		t.Errorf("beside 500 calls of our own with long names: %v B/s, want 10000", got)
	}
}

// TestAtRest: a server is at rest only by its own account, so that nobody's writes are overlooked to save half a second.
func TestAtRest(t *testing.T) {
	for _, tt := range []struct {
		name  string
		info  map[string]string
		rests bool
		rate  float64
	}{
		{"nobody but the check", map[string]string{"instantaneous_input_kbps": "1.50", "instantaneous_ops_per_sec": "20"}, true, 1536},
		{"large writes", map[string]string{"instantaneous_input_kbps": "900.00", "instantaneous_ops_per_sec": "1"}, false, 900 << 10},
		{"many small calls", map[string]string{"instantaneous_input_kbps": "2.00", "instantaneous_ops_per_sec": "90"}, false, 2048},
		{"a replica whose primary is written", map[string]string{"instantaneous_input_kbps": "0.00", "instantaneous_input_repl_kbps": "500.00", "instantaneous_ops_per_sec": "0"}, false, 500 << 10},
		{"a server that does not tell", map[string]string{}, false, math.Inf(1)},
	} {
		if rate, rests := AtRest(tt.info); rests != tt.rests || rate != tt.rate {
			t.Errorf("%s: %v B/s, at rest: %v; want %v, %v", tt.name, rate, rests, tt.rate, tt.rests)
		}
	}
}
