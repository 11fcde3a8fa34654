//go:build servers

package verifier

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/keyspace"
)

func fill(s *servers.Server, keys int) {
	s.Must("EVAL", "for i=1,ARGV[1] do redis.call('SET','k'..i,'v'..i) if i%10==0 then redis.call('HSET','h'..i,'f',i) end end", "0", strconv.Itoa(keys))
}

// The copies are the same; what is refused must not become a pass.
func TestRefusedCommandIsUnchecked(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	fill(source, 1000)
	fill(target, 1000)
	for _, tt := range []struct {
		denied, names string
		unchecked     int64
	}{
		{"-hgetall -hscan", "HSCAN", 100},
		{"-type", "TYPE", 1100},
		{"-pexpiretime -pttl", "PTTL", 1100},
		{"-getrange", "GETRANGE", 1000},
		{"-scan", "SCAN", 0},
	} {
		t.Run(tt.denied, func(t *testing.T) {
			target.Must("ACL", "SETUSER", "reader", "reset", "on", ">pw", "~*", "+@all")
			target.Must(append([]string{"ACL", "SETUSER", "reader"}, strings.Fields(tt.denied)...)...)
			url := strings.Replace(target.URL(), "redis://", "redis://reader:pw@", 1)
			report, err := Run(context.Background(), configFor(t, source.URL(), url, func(o *Config) { o.Interval = 10 * time.Millisecond }))
			if err != nil {
				t.Fatal(err)
			}
			if report.Verdict != Unchecked && tt.unchecked > 0 {
				t.Errorf("verdict %s, want unchecked: %q", report.Verdict, report.Reasons)
			}
			if report.Totals.Unchecked != tt.unchecked || report.Totals.Different+report.Totals.Missing+report.Totals.Extra != 0 {
				t.Errorf("totals %+v, want %d unchecked and no difference", report.Totals, tt.unchecked)
			}
			text := fmt.Sprint(report.Reasons)
			if len(report.Findings) > 0 {
				text += report.Findings[0].Reason
			}
			if tt.unchecked > 0 && !slices.Equal(report.ByReason, []ReasonTotal{{TargetReadFailed, tt.unchecked}}) {
				t.Errorf("by reason %v, want %d of %s", report.ByReason, tt.unchecked, TargetReadFailed)
			}
			if !strings.Contains(text, tt.names) || !strings.Contains(text, "NOPERM") {
				t.Errorf("%s must be named: %s", tt.names, text)
			}
			if report.Verdict == Same {
				t.Errorf("verdict same: %q", report.Reasons)
			}
		})
	}
}

func TestUnreachableMidwayIsUnchecked(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"source", "target"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
			fill(source, 100_000)
			fill(target, 100_000)
			victim := map[string]*servers.Server{"source": source, "target": target}[side]
			var once sync.Once
			report := verify(t, source, target, func(o *Config) {
				o.Workers, o.Patience, o.Interval = 1, 500*time.Millisecond, 10*time.Millisecond
				o.Progress = func(p Progress) {
					if p.Phase == "enumerate" && p.SourceKeys > 0 && p.TargetKeys > 0 {
						once.Do(victim.Kill)
					}
				}
			})
			if report.Verdict != Unchecked {
				t.Errorf("verdict %s, want unchecked: %q, %+v", report.Verdict, report.Reasons, report.Totals)
			}
			if n := report.Totals; n.Different+n.Missing+n.Extra != 0 || n.Unchecked == 0 {
				t.Errorf("totals %+v: no difference was proven", n)
			}
		})
	}
}

// Nothing is not the same as nothing: what was meant to be compared may be somewhere else.
func TestNothingComparedIsNotSame(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	nothing := func(name, sourceURL, want string, change func(*Config)) {
		t.Helper()
		r, err := Run(t.Context(), configFor(t, sourceURL, target.URL(), change))
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(r.Reasons, " "); r.Verdict != Unchecked || !strings.Contains(text, want) {
			t.Errorf("%s: %s, %q, want unchecked and %q", name, r.Verdict, text, want)
		}
	}
	nothing("two empty servers", source.URL(), "Nothing was compared; neither side holds any key.", nil)
	target.Must("SET", keyspace.Prefix+":checkpoint", "x")
	nothing("all keys are surecut's own", source.URL(), "the source holds no key; databases of the target that hold keys: 0", nil)
	source.Must("SET", "a", "x")
	sendTo(t, source, 3, "SET", "a", "x")
	target.Must("SET", "a", "x")
	nothing("a database that neither has", source.URL()+"/7", "Nothing was compared; databases that hold keys: 0, 3 of the source, 0 of the target", func(o *Config) {
		o.Filter.DBMap = map[int]int{7: 7}
	})
	nothing("a filter that leaves nothing", source.URL(), "Nothing was compared", func(o *Config) { o.Filter.Include = []string{"nothing*"} })
	nothing("a database that is not there, by a flag", source.URL(), "Nothing was compared", func(o *Config) {
		o.Filter.DBs = []int{9}
	})
	source.Must("SAVE")
	dir := t.TempDir()
	source.CopyData(dir)
	nothing("a file without keys of the selection", "rdb:"+filepath.Join(dir, "dump.rdb"), "Nothing was compared; databases that hold keys: 0, 3 of the source", func(o *Config) {
		o.Filter.DBs = []int{9}
	})
	sendTo(t, source, 3, "FLUSHDB")
	if r := verify(t, source, target, nil); r.Verdict != Same || r.Totals.Same != 1 {
		t.Errorf("one key: %s, %+v", r.Verdict, r.Totals)
	}
}

// Every large value goes through the windows, and must come to the same digest as on a side where it is read otherwise.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "valkey/valkey:8.1")
	for _, s := range []*servers.Server{source, target} {
		s.Must("EVAL", `for i=1,8000 do local v=i..string.rep('x',100)
			redis.call('RPUSH','list',v) redis.call('SADD','set',v) redis.call('HSET','hash',v,v)
			redis.call('ZADD','zset',i/3,v) redis.call('XADD','stream',i..'-1','f',v) end
			redis.call('SETRANGE','string',3000000,'end')`, "0")
		s.Must("XGROUP", "CREATE", "stream", "g", "0")
		s.Must("XREADGROUP", "GROUP", "g", "c", "COUNT", "2000", "STREAMS", "stream", ">")
	}
	small := func(o *Config) { o.BigValue, o.Rounds, o.Interval = 64<<10, 2, 10*time.Millisecond }
	if r := verify(t, source, target, small); r.Verdict != Same || r.Totals.Same != 6 {
		t.Fatalf("verdict %s, %+v: %q %+v", r.Verdict, r.Totals, r.Reasons, r.Findings)
	}
	target.Must("LSET", "list", "6000", "y")
	target.Must("SREM", "set", "7"+strings.Repeat("x", 100))
	target.Must("HSET", "hash", "8"+strings.Repeat("x", 100), "y")
	target.Must("ZINCRBY", "zset", "0.001", "9"+strings.Repeat("x", 100))
	target.Must("XDEL", "stream", "8000-1")
	target.Must("SETRANGE", "string", "2000000", "y")
	r := verify(t, source, target, small)
	if r.Verdict != Different || r.Totals.Different != 6 {
		t.Errorf("verdict %s, %+v", r.Verdict, r.Totals)
	}
	want := map[string]string{"list": "element 6001", "set": "member 7x", "hash": "field 8x", "zset": "score of member 9x",
		"stream": "entry 8000-1 is missing", "string": "byte 2000001"}
	for _, f := range r.Findings {
		if !strings.Contains(f.Reason, want[f.Key]) {
			t.Errorf("%s: %q, want %q", f.Key, f.Reason, want[f.Key])
		}
	}
}

// Where values are too large to be held, the place of the first difference is found in windows.
func TestLocateLarge(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	for _, s := range []*servers.Server{source, target} {
		s.Must("EVAL", `for i=1,2000 do
			redis.call('RPUSH','list',i) redis.call('SADD','set','m'..i) redis.call('SADD','set2','m'..i) redis.call('HSET','hash',i,i) redis.call('HSET','hash2',i,i)
			redis.call('ZADD','zset',i/3,i) redis.call('ZADD','zset2',i/3,i) redis.call('XADD','stream',i..'-1','f',i) redis.call('XADD','stream2',i..'-1','f',i) end
			redis.call('SETRANGE','string',3000000,'end')`, "0")
		s.Must("XGROUP", "CREATE", "stream", "g", "0")
		s.Must("XREADGROUP", "GROUP", "g", "c", "COUNT", "10", "STREAMS", "stream", ">")
	}
	target.Must("LSET", "list", "1500", "y")
	target.Must("SREM", "set", "m7")
	target.Must("SADD", "set2", "more")
	target.Must("HSET", "hash", "8", "y")
	target.Must("HSET", "hash2", "more", "y")
	target.Must("ZINCRBY", "zset", "0.001", "900")
	target.Must("ZADD", "zset2", "7000", "more")
	target.Must("XACK", "stream", "g", "3-1")
	target.Must("XADD", "stream2", "2001-1", "f", "v")
	target.Must("SETRANGE", "string", "2000000", "y")
	o := configFor(t, source.URL(), target.URL(), nil)
	v, err := newVerification(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	defer v.source.close()
	defer v.target.close()
	for _, tt := range []struct{ key, typ, want string }{
		{"list", "list", "element 1501 of 2000 differs; all others are the same"}, {"set", "set", "member m7 is missing on the target"}, {"set2", "set", "member more is on the target only"},
		{"hash", "hash", "field 8 differs"}, {"hash2", "hash", "field more is on the target only"}, {"zset", "zset", "the score of member 900 is 300 on the source and 300.001 on the target"},
		{"zset2", "zset", "member more is on the target only"}, {"stream", "stream", "group g: pending entry 3-1 is missing on the target"},
		{"stream2", "stream", "entry 2001-1 is on the target only, and 2 more"}, {"string", "string", "byte 2000001 of 3000003 differs"},
	} {
		f := Finding{KeyBase64: base64Of(tt.key), Type: tt.typ, Source: &Side{}, Target: &Side{}}
		if v.locateLarge(t.Context(), &f); f.Reason != tt.want {
			t.Errorf("%s: %q, want %q", tt.key, f.Reason, tt.want)
		}
	}
}

func TestDatabaseMap(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Cluster(t, "redis:7.0", 3, 0)
	set := func(s *servers.Server, db int, args ...string) {
		t.Helper()
		c := s.Client(db)
		if err := c.Do(context.Background(), c.B().Arbitrary("SET").Args(args...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		key := "k" + strconv.Itoa(i)
		set(source, 3, key, "v")
		set(source, 0, "left out:"+key, "v")
		slot := keyspace.Slot(key)
		set(target[int(slot)*3/keyspace.Slots], 0, key, "v")
	}
	r := verify(t, source, target[0], func(o *Config) {
		o.Filter = keyspace.Filter{DBs: []int{3}, DBMap: map[int]int{3: 0}}
		o.Rounds = 1
	})
	if r.Verdict != Same || r.Totals.Same != 100 {
		t.Errorf("mapped: %s, %+v, %q", r.Verdict, r.Totals, r.Reasons)
	}
	r = verify(t, source, target[0], func(o *Config) { o.Rounds = 1 })
	if r.Totals.Missing != 200 || r.Totals.Extra != 100 {
		t.Errorf("not mapped: %s, %+v, %q: both databases of the source are missing, and database 0 of the target is extra", r.Verdict, r.Totals, r.Reasons)
	}
}

func TestRepair(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	fill(source, 100)
	fill(target, 100)
	source.Must("SET", "ttl", "v", "PXAT", far)
	target.Must("SET", "ttl", "v")
	target.Must("DEL", "k1")
	target.Must("SET", "k2", "other")
	target.Must("SET", "extra", "v")
	target.Must("SET", keyspace.Prefix+":checkpoint", "v")
	quick := func(o *Config) { o.Rounds, o.Interval = 1, 0 }
	before := verify(t, source, target, quick)
	repair := func(apply, deleteExtra bool) ([]Repaired, *Report) {
		t.Helper()
		done, report, err := Repair(context.Background(), RepairConfig{Config: configFor(t, source.URL(), target.URL(), quick),
			Findings: before.Findings, Apply: apply, DeleteExtra: deleteExtra})
		if err != nil {
			t.Fatal(err)
		}
		return done, report
	}
	done, report := repair(false, true)
	want := map[string]Remedy{"k1": RemedyCopy, "k2": RemedyCopy, "ttl": RemedyExpire, "extra": RemedyDelete}
	if len(done) != 4 || report != nil {
		t.Errorf("without Apply nothing is written: %+v", done)
	}
	for _, d := range done {
		if d.Remedy != want[d.Key] {
			t.Errorf("%s: %s, want %s", d.Key, d.Remedy, want[d.Key])
		}
	}
	if n, _ := target.Do("EXISTS", "k1").AsInt64(); n != 0 {
		t.Error("k1 was written without Apply")
	}
	if _, report = repair(true, false); report.Verdict != Different || report.Totals.Extra != 1 || report.Totals.Same != 3 {
		t.Errorf("without DeleteExtra: %s, %+v", report.Verdict, report.Totals)
	}
	if _, report = repair(true, true); report.Verdict != Same || report.Totals.Same != 3 || report.Selection == nil || !report.Selection.Repaired {
		t.Errorf("with DeleteExtra: %s, %+v, of %v", report.Verdict, report.Totals, report.Selection)
	}
	if after := verify(t, source, target, quick); after.Verdict != Same {
		t.Errorf("afterwards: %s, %+v", after.Verdict, after.Findings)
	}
	if n, _ := target.Do("EXISTS", keyspace.Prefix+":checkpoint").AsInt64(); n != 1 {
		t.Error("surecut's own key was deleted")
	}
}

// TestRepairAstray: a key where the proxy does not look for it is deleted there, and nowhere else.
func TestRepairAstray(t *testing.T) {
	t.Parallel()
	source := servers.Standalone(t, "redis:6.0")
	behind := []*servers.Server{servers.Standalone(t, "redis:6.0"), servers.Standalone(t, "redis:6.0")}
	for _, s := range append(behind, source) {
		s.Must("SET", "both", "v")
	}
	for _, s := range behind {
		s.Must("SET", "target only", "v") // extra on the one, astray on the other
	}
	codis := "redis+codis://" + servers.CodisStandIn(t, behind...).Addr
	options := func() Config {
		return configFor(t, source.URL(), codis, func(o *Config) { o.Rounds, o.Interval = 1, 0 })
	}
	before, err := Run(context.Background(), options())
	if err != nil || before.Totals.Extra != 3 || before.Totals.Same != 1 || !slices.Equal(before.ByReason, []ReasonTotal{{AbsentOnSource, 1}, {AstrayOnTarget, 2}}) {
		t.Fatalf("%+v, %v, %v", before.Totals, before.ByReason, err)
	}
	for _, deleteExtra := range []bool{false, true} {
		done, report, err := Repair(context.Background(), RepairConfig{Config: options(), Findings: before.Findings, Apply: true, DeleteExtra: deleteExtra})
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]Verdict{false: Different, true: Same}[deleteExtra]
		if after, err := Run(context.Background(), options()); err != nil || after.Verdict != want || report.Verdict != want || after.Totals.Same != 1 {
			t.Errorf("deleting extra keys %v: repair says %s, verify %s (%+v), %v: %+v", deleteExtra, report.Verdict, after.Verdict, after.Totals, err, done)
		}
	}
}

// TestRepairOlderTarget: a payload of a newer server is given in an encoding that the target reads.
func TestRepairOlderTarget(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:8.0"), servers.Standalone(t, "redis:6.0")
	source.Must("RPUSH", "list", "a", "b")
	source.Must("HSET", "hash", "f", "v")
	source.Must("XADD", "stream", "1-1", "f", "v")
	source.Must("VADD", "vectors", "VALUES", "3", "1", "2", "3", "a")
	quick := func(o *Config) { o.Rounds, o.Interval = 1, 0 }
	missing := verify(t, source, target, quick).Findings
	for i := range missing {
		missing[i].Verdict = Missing // also the one that cannot be compared
	}
	done, report, err := Repair(context.Background(), RepairConfig{Config: configFor(t, source.URL(), target.URL(), quick), Findings: missing, Apply: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(done) != 4 || report.Totals.Same != 3 {
		t.Errorf("%+v, %+v", done, report.Totals)
	}
	if target.Do("PING").Error() != nil {
		t.Error("a value of a module has ended the target's process")
	}
}
