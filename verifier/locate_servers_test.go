//go:build servers

package verifier

import (
	"strings"
	"testing"

	"surecut/e2e/servers"
)

// TestWhereAndHowMuch: a finding of a large value says what differs, where and how much.
func TestWhereAndHowMuch(t *testing.T) {
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	fill := `for i=1,100000 do redis.call('ZADD','zset',i,'m'..i) redis.call('ZADD','zset several',i,'m'..i) redis.call('SADD','set','m'..i) redis.call('HSET','hash','f'..i,i) end
		for i=1,20000 do local v=string.rep(i..' ',50) redis.call('RPUSH','list inserted',v) redis.call('RPUSH','list cut',v) redis.call('RPUSH','list changed',v) redis.call('XADD','stream cut',i..'-1','f',v) redis.call('XADD','stream changed',i..'-1','f',v) redis.call('XADD','stream both',i..'-1','f',v) end
		redis.call('XGROUP','CREATE','stream both','g','0') redis.call('XREADGROUP','GROUP','g','c','COUNT',3000,'STREAMS','stream both','>')
		redis.call('SET','string cut',string.rep('abcdefghij',2000000)) redis.call('SET','string longer',string.rep('abcdefghij',200000)) redis.call('SET','string changed',string.rep('abcdefghij',2000000))
		redis.call('RPUSH','small','a','b','c','d')`
	for _, s := range []*servers.Server{source, target} {
		s.Must("EVAL", fill, "0")
	}
	changes := commands{
		{"ZADD", "zset", "2", "m50000"},
		{"EVAL", "for i=1,300 do redis.call('ZINCRBY','zset several',0.5,'m'..(i*100)) end redis.call('ZREM','zset several','m7') redis.call('ZADD','zset several',1,'more')", "0"},
		{"EVAL", "for i=1,40 do redis.call('SREM','set','m'..i) redis.call('SADD','set','n'..i) end redis.call('SADD','set','last')", "0"},
		{"EVAL", "for i=1,10 do redis.call('HDEL','hash','f'..i) redis.call('HSET','hash','f'..(1000+i),'x') redis.call('HSET','hash','g'..i,'x') end", "0"},
		{"EVAL", "local at=redis.call('LINDEX','list inserted',12000) redis.call('LINSERT','list inserted','BEFORE',at,'new')", "0"},
		{"LTRIM", "list cut", "0", "-501"},
		{"LSET", "list changed", "77", "x"},
		{"EVAL", "for i=5000,5550 do redis.call('XDEL','stream cut',i..'-1') end", "0"},
		{"EVAL", "redis.call('XDEL','stream changed','700-1') redis.call('XADD','stream changed','30000-1','f','v')", "0"},
		{"EVAL", "for i=1,100 do redis.call('XACK','stream both','g',i..'-1') end", "0"},
		{"EVAL", "redis.call('SET','string cut',string.sub(redis.call('GET','string cut'),1,19000000))", "0"},
		{"APPEND", "string longer", "xyz"},
		{"EVAL", "redis.call('SETRANGE','string changed',15000000,'XYZ') redis.call('SETRANGE','string changed',100,'X')", "0"},
		{"LINSERT", "small", "BEFORE", "c", "new"},
	}
	for _, c := range changes {
		target.Must(c...)
	}
	want := map[string][]string{
		"zset":           {"the score of member m50000 is 50000 on the source and 2 on the target"},
		"zset several":   {"300 scores differing", "1 member on the source only (m7)", "1 member on the target only (more)"},
		"set":            {"40 members on the source only", "41 members on the target only"},
		"hash":           {"10 fields on the source only", "10 fields differing", "10 fields on the target only"},
		"list inserted":  {"element 12001 of 20001 is on the target only; all others are the same"},
		"list cut":       {"element 19501 of 20000 is missing on the target, and more up to element 20000, 500 in total"},
		"list changed":   {"element 78 of 20000 differs; all others are the same"},
		"stream cut":     {"entry 5000-1 is missing on the target", "551 entries on the source only (the last one 5550-1)"},
		"stream changed": {"entry 700-1 is missing on the target", "1 entry on the target only (30000-1)"},
		"stream both":    {"group g: pending entry 1-1 is missing on the target", "100 pending entries on the source only (the last one 100-1)"},
		"string cut":     {"the target ends at byte 19000000 of 20000000: 1000000 bytes are missing there; everything before it is the same"},
		"string longer":  {"the source ends at byte 2000000 of 2000003: 3 bytes are missing there; everything before it is the same"},
		"string changed": {"byte 101 of 20000000 differs", "4 bytes differing (the last one 15000003)"},
		"small":          {"element 3 of 5 is on the target only; all others are the same"},
	}
	var r *Report
	w := watching(t, source, func() {
		r = verify(t, source, target, func(o *Config) { o.Rounds, o.Interval = 1, 0 })
	})
	if len(r.Findings) != len(want) {
		t.Errorf("%d findings, want %d", len(r.Findings), len(want))
	}
	for _, f := range r.Findings {
		for _, part := range want[f.Key] {
			if !strings.Contains(f.Reason, part) {
				t.Errorf("%s: %q, want %q", f.Key, f.Reason, part)
			}
		}
	}
	if w.heap > 100<<20 {
		t.Errorf("our memory rose by %d MiB", w.heap>>20)
	}
}
