package verifier

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/rdb/fixtures"
)

// repairTold repairs the findings of a report, as they stand in its JSON.
func repairTold(t *testing.T, source, target string, findings []Finding, change func(*RepairConfig)) (map[string]Repaired, *Report) {
	t.Helper()
	text, err := json.Marshal(findings)
	if err != nil {
		t.Fatal(err)
	}
	c := RepairConfig{Config: toldConfig(t), Apply: true}
	c.Rounds, c.Interval = 1, 0
	c.Source, c.Target = endpointtest.Open(t, source), endpointtest.Open(t, target)
	if err := json.Unmarshal(text, &c.Findings); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&c)
	}
	done, r, err := Repair(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[string]Repaired{}
	for _, d := range done {
		byKey[d.Key] = d
	}
	return byKey, r
}

// TestRepairTold: each key gets the remedy for what both sides hold at that moment, in the form that the target's version takes, and is
// compared again.
func TestRepairTold(t *testing.T) {
	hour := time.Now().Add(time.Hour).UnixMilli()
	expiring := func(v *keyspace.Value, at int64) *keyspace.Value {
		v.ExpireAt = at
		return v
	}
	keys := []struct {
		name, why      string
		source, target *keyspace.Value                           // when the report was made
		now            func(source, target *endpointtest.Server) // what has happened since
		remedy         Remedy
		fails          string
		left           Verdict // what the key is after the repair; "": the same
	}{
		{name: "missing", source: valueOf(keyspace.Hash, 3, 10), remedy: RemedyCopy},
		{name: "missing-expires", source: expiring(stringOf("abc"), hour), remedy: RemedyCopy},
		{name: "value", source: stringOf("abc"), target: stringOf("abd"), remedy: RemedyCopy},
		{name: "type", source: stringOf("abc"), target: valueOf(keyspace.List, 2, 5), remedy: RemedyCopy},
		{name: "large", source: valueOf(keyspace.List, 12, 8_000), target: valueOf(keyspace.List, 11, 8_000), remedy: RemedyCopy},
		{name: "expires-later", why: "the value need not be sent", source: expiring(stringOf("abc"), hour), target: expiring(stringOf("abc"), hour+60_000), remedy: RemedyExpire},
		{name: "never-expires", source: stringOf("abc"), target: expiring(stringOf("abc"), hour), remedy: RemedyExpire},
		{name: "extra", target: stringOf("abc"), remedy: RemedyDelete},
		{name: "extra-and-back", why: "it would be lost", target: stringOf("abc"), now: func(source, _ *endpointtest.Server) { source.Put("extra-and-back", stringOf("abd")) }, remedy: RemedyNone, left: Different},
		{name: "the-same-by-now", source: stringOf("abc"), target: stringOf("abd"), now: func(source, _ *endpointtest.Server) { source.Put("the-same-by-now", stringOf("abd")) }, remedy: RemedyNone},
		{name: "gone-by-now", why: "at the moment of the copy", source: stringOf("abc"), target: stringOf("abd"), now: func(source, _ *endpointtest.Server) {
			source.Before("DUMP gone-by-now", func() { source.Put("gone-by-now", nil) })
		}, remedy: RemedyCopy, fails: "the source no longer has it", left: Extra},
		{name: "back-while-it-is-deleted", why: "it is asked for once more, at one instant", target: stringOf("abc"), now: func(source, _ *endpointtest.Server) {
			n := 0
			for _, c := range []string{"PEXPIRETIME", "PTTL"} {
				source.On(c+" back-while-it-is-deleted", func([]string) string {
					if n++; n == 2 {
						source.Put("back-while-it-is-deleted", stringOf("abd"))
					}
					return endpointtest.Usual
				})
			}
		}, remedy: RemedyNone, left: Different},
		{name: "not-to-be-read", source: stringOf("abc"), target: stringOf("abd"), now: func(source, _ *endpointtest.Server) {
			source.Always("GETRANGE not-to-be-read", "-NOPERM No permissions to access a key\r\n")
		}, remedy: RemedyNone, left: Unchecked},
		{name: "not-to-be-copied", source: stringOf("abc"), target: stringOf("abd"), now: func(source, _ *endpointtest.Server) {
			source.Always("DUMP not-to-be-copied", "-WRONGTYPE x\r\n")
		}, remedy: RemedyCopy, fails: "DUMP was answered by: WRONGTYPE", left: Different},
		{name: "refused-by-the-target", source: stringOf("abc"), target: stringOf("abd"), now: func(_, target *endpointtest.Server) {
			for _, c := range []string{"RESTORE refused-by-the-target", "RENAME " + asideOf("refused-by-the-target")} {
				target.Always(c, "-OOM command not allowed when used memory > 'maxmemory'.\r\n")
			}
		}, remedy: RemedyCopy, fails: "OOM", left: Different},
	}
	for _, versions := range [][2]string{{"7.0.15", "7.0.15"}, {"5.0.14", "3.2.13"}} {
		source, target := endpointtest.Serve(t, versions[0]), endpointtest.Serve(t, versions[1])
		for _, k := range keys {
			source.Put(k.name, k.source)
			target.Put(k.name, k.target)
		}
		found, err := verifyTold(t, source, target, nil)
		if err != nil || len(found.Findings) != len(keys) {
			t.Fatal(found, err)
		}
		dry, none := repairTold(t, source.URL(), target.URL(), found.Findings, func(c *RepairConfig) { c.Apply = false })
		if writes := slices.Concat(target.Calls("DEL"), target.Calls("PEXPIREAT"), target.Calls("PERSIST"), target.Calls("RENAME")); len(writes) > 0 || none != nil || dry["extra"].Remedy != RemedyNone {
			t.Fatalf("%v: a repair that is only looked at: %q, %+v", versions, writes, dry["extra"])
		}
		for _, k := range keys {
			if k.now != nil {
				k.now(source, target)
			}
		}
		done, again := repairTold(t, source.URL(), target.URL(), found.Findings, func(c *RepairConfig) { c.DeleteExtra = true })
		left := map[string]Verdict{}
		for _, f := range again.Findings {
			left[f.Key] = f.Verdict
		}
		for _, k := range keys {
			if d := done[k.name]; d.Remedy != k.remedy || !strings.Contains(d.Error, k.fails) || k.fails == "" && d.Error != "" {
				t.Errorf("%v, %s: %+v, want %s, %q (%s)", versions, k.name, d, k.remedy, k.fails, k.why)
			}
			if left[k.name] != k.left {
				t.Errorf("%v, %s: is %q after the repair, want %q (%s)", versions, k.name, left[k.name], k.left, k.why)
			}
		}
		for name, want := range map[string]int64{"missing-expires": hour, "expires-later": hour, "never-expires": 0} {
			exact := int64(0)
			if versions[0] < "7" && want > 0 { // it tells only how much time is left, and its clock goes on
				exact = time.Second.Milliseconds()
			}
			if v := target.Get(name); v == nil || v.ExpireAt > want || v.ExpireAt < want-exact {
				t.Errorf("%v, %s: %+v, want an expiry of %d", versions, name, v, want)
			}
		}
	}
}

// asideOf returns the name under which a key is restored on a server before 5.0.
func asideOf(name string) string {
	return keyspace.Prefix + ":repair:{" + keyspace.SlotTag(keyspace.Slot(name)) + "}:" + name
}

// TestFileTold: an RDB file that a real server wrote, and a server that holds the same; a key of each type is changed, found, and copied
// from the file.
func TestFileTold(t *testing.T) {
	for _, f := range fixtures.All(t) {
		if !slices.Contains([]string{"5.0.14", "7.4.1"}, f.Version) {
			continue
		}
		path := filepath.Join(t.TempDir(), "dump.rdb")
		if err := os.WriteFile(path, f.RDB(), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		target := endpointtest.Serve(t, "7.4.1")
		one := map[keyspace.Type]string{}
		for r := rdb.NewReader(file, rdb.Options{MaxValue: 64 << 20}); ; {
			e, err := r.Next()
			if err != nil {
				break
			}
			if e.Kind != rdb.KindKey {
				continue
			}
			c := keyspace.Collector{V: keyspace.Value{Type: rdb.TypeOf(e.Type), ExpireAt: e.ExpireAt}}
			if err := rdb.WalkValue(e.Type, e.Raw, &c); err != nil {
				t.Fatal(err)
			}
			if target.PutIn(e.DB, string(e.Key), &c.V); e.DB == 0 && e.ExpireAt == 0 {
				one[c.V.Type] = string(e.Key)
			}
		}
		compare := func() *Report {
			r, err := verifyDeployments(t, endpointtest.Open(t, "rdb:"+path), endpointtest.Open(t, target.URL()), nil)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		if r := compare(); r.Totals.Same == 0 || len(r.Findings) > 0 {
			t.Fatalf("%s: %s, %+v, %+v", f.Version, r.Verdict, r.Totals, r.Findings)
		}
		for _, name := range one {
			target.Put(name, stringOf("other"))
		}
		target.Put("more", stringOf("x"))
		r := compare()
		if r.Totals.Different != int64(len(one)) || r.Totals.Extra != 1 || r.Writes.KnownBy != ByFile {
			t.Errorf("%s: %+v, %+v", f.Version, r.Totals, r.Findings)
		}
		done, again := repairTold(t, "rdb:"+path, target.URL(), r.Findings, func(c *RepairConfig) { c.DeleteExtra = true })
		for key, d := range done {
			if d.Error != "" {
				t.Errorf("%s: %s: %+v", f.Version, key, d)
			}
		}
		if again.Verdict != Same || again.Totals.Same != int64(len(one)) {
			t.Errorf("%s: after the repair %s, %+v, %+v", f.Version, again.Verdict, again.Totals, again.Findings)
		}
	}
}

// TestLongNamesAreFound: a name that is too long for a report is found again by its length and digest, also where another database of
// the source holds a key of the same name.
func TestLongNamesAreFound(t *testing.T) {
	source, target := endpointtest.Serve(t, "7.0.15"), endpointtest.Serve(t, "7.0.15")
	long, other := strings.Repeat("n", 2000), strings.Repeat("n", 1999)+"o"
	source.Put(long, stringOf("abc"))
	target.Put(long, stringOf("abd"))
	target.Put(other, stringOf("abc"))
	source.PutIn(3, long, stringOf("x"))
	r, err := verifyTold(t, source, target, func(c *Config) { c.Filter.DBPrefix = map[int]string{3: "app:"} })
	if err != nil || len(r.Findings) != 3 {
		t.Fatal(r, err)
	}
	for i := range r.Findings {
		if f := &r.Findings[i]; f.KeyBase64 != "" || f.KeyLength == 0 || len(f.Key) > 300 {
			t.Errorf("%+v", f)
		}
	}
	done, again := repairTold(t, source.URL(), target.URL(), r.Findings, func(c *RepairConfig) { c.DeleteExtra = true })
	for key, d := range done {
		if d.Error != "" || again.Verdict != Same {
			t.Errorf("%.10s: %+v, %s", key, d, again.Verdict)
		}
	}
	if v := target.Get(long); v == nil || string(v.Str) != "abc" {
		t.Errorf("%+v", v)
	}
	if v := target.Get("app:" + long); v == nil || string(v.Str) != "x" {
		t.Errorf("with a prefix: %+v", v)
	}
	if v := target.Get(other); v != nil {
		t.Errorf("the extra one: %+v", v)
	}
	target.Put("app:"+long, nil)
	gone := slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Verdict != Extra })
	if done, again := repairTold(t, source.URL(), target.URL(), gone, nil); len(done) != 1 || again.Totals.Unchecked != 1 {
		t.Errorf("a name that nobody has any more: %+v, %+v", done, again.Totals)
	}
}
