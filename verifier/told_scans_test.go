package verifier

import (
	"slices"
	"strings"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// TestScansThatRepeat: elements that a scan returns twice, since the table is resized meanwhile, are not counted twice. The collection
// is scanned again, then read whole, and where it is too large for that, it stays unread.
func TestScansThatRepeat(t *testing.T) {
	large := func(of keyspace.Type) *keyspace.Value { return valueOf(of, 12, 8_000) }
	pageOf := func(cursor string, v *keyspace.Value, which ...int) string {
		var parts []string
		for _, i := range which {
			switch v.Type {
			case keyspace.Set:
				parts = append(parts, string(v.Set[i]))
			case keyspace.Hash:
				parts = append(parts, string(v.Hash[i].Name), string(v.Hash[i].Value))
			}
		}
		return endpointtest.Page(cursor, parts...)
	}
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	for _, of := range []keyspace.Type{keyspace.Set, keyspace.Hash} {
		scan := scanCommands[of] + " k"
		for _, tt := range []struct {
			name     string
			tell     func(s *endpointtest.Server, v *keyspace.Value)
			bigValue int64
			want     string // outcome, or part of the error
			scans    int    // how often it was begun
		}{
			{"as it is", func(*endpointtest.Server, *keyspace.Value) {}, 1 << 20, "value", 1},
			{"one twice", func(s *endpointtest.Server, v *keyspace.Value) { s.Once(scan, pageOf("0", v, append(all, 3)...)) }, 1 << 20, "value", 2},
			{"one twice, and one left out", func(s *endpointtest.Server, v *keyspace.Value) { s.Once(scan, pageOf("0", v, all[1:]...)) }, 1 << 20, "value", 2},
			{"an empty page, and one over two pages", func(s *endpointtest.Server, v *keyspace.Value) {
				s.Once(scan, pageOf("4", v), pageOf("5", v, 0, 1), pageOf("0", v, all[1:]...))
			}, 1 << 20, "value", 2},
			{"each time", func(s *endpointtest.Server, v *keyspace.Value) { s.Always(scan, pageOf("0", v, append(all, 3)...)) }, 1 << 20, "value", scanAttempts},
			{"each time, and too large", func(s *endpointtest.Server, v *keyspace.Value) { s.Always(scan, pageOf("0", v, append(all, 3)...)) }, leastBytes, "its table", scanAttempts},
			{"lengths that lie", func(s *endpointtest.Server, _ *keyspace.Value) { s.Always(lengthCommands[of]+" k", ":11\r\n") }, leastBytes, "its table", scanAttempts},
			{"an odd number of parts", func(s *endpointtest.Server, v *keyspace.Value) { s.Always(scan, endpointtest.Page("0", "one")) }, leastBytes, "its table", scanAttempts},
		} {
			s := endpointtest.Serve(t, "7.0.15")
			v := large(of)
			s.Put("k", v)
			tt.tell(s, v)
			c := toldConfig(t)
			c.BigValue = tt.bigValue
			got, err := readOne(t, toldReader(t, s, c), "k")
			begun := len(s.Calls(scan + " 0"))
			if err != nil || !strings.Contains(outcome(got, v), tt.want) && (tt.name != "an odd number of parts" || of == keyspace.Hash) || begun < tt.scans || lasting(got.Err) {
				t.Errorf("%v, %s: %s, %v, scanned %d times, want %s, %d", of, tt.name, outcome(got, v), err, begun, tt.want, tt.scans)
			}
		}
	}
}

// TestSortedSetsThatAreScanned: one with so many members that not all are measured is scanned, and listed by ranks where scans repeat
// members.
func TestSortedSetsThatAreScanned(t *testing.T) {
	v := &keyspace.Value{Type: keyspace.ZSet}
	for i := range deepSamples + 10 {
		v.ZSet = append(v.ZSet, keyspace.Member{Name: element(i, 8), Score: float64(i % 7)})
	}
	for _, repeats := range []bool{false, true} {
		s := endpointtest.Serve(t, "7.0.15")
		s.Put("k", v)
		if repeats {
			s.Always("ZSCAN k", endpointtest.Page("0", "e00000", "0", "e00000", "0"))
		}
		got, err := readOne(t, toldReader(t, s, toldConfig(t)), "k")
		if err != nil || outcome(got, v) != "value" || (len(s.Calls("ZRANGE k")) > 0) != repeats {
			t.Errorf("scans repeat members %v: %s, %v, by ranks %d times", repeats, outcome(got, v), err, len(s.Calls("ZRANGE k")))
		}
	}
}

// TestLengthsUnderFaults: at depth length, a key that is gone is not one of length 0, and a refusal concerns its key alone.
func TestLengthsUnderFaults(t *testing.T) {
	gone := func(s *endpointtest.Server, name string) func() { return func() { s.Put(name, nil) } }
	keys := map[string]*keyspace.Value{"h": valueOf(keyspace.Hash, 3, 5), "l": valueOf(keyspace.List, 3, 5), "p": sparseHLL(), "s": stringOf("abc"), "v": stringOf(""), "x": valueOf(keyspace.Stream, 3, 5)}
	for _, tt := range []struct {
		name string
		tell func(s *endpointtest.Server)
		want string // lengths, or outcomes, in the order of the names
	}{
		{"as they are", func(*endpointtest.Server) {}, "3 3 12304 3 0 3"},
		{"a list is gone", func(s *endpointtest.Server) { s.Before("LLEN l", gone(s, "l")) }, "3 gone 12304 3 0 3"},
		{"all are gone", func(s *endpointtest.Server) {
			for _, name := range sortedKeys(keys) {
				s.Before("HLEN h", gone(s, name))
			}
		}, "gone gone gone gone gone gone"},
		{"another type", func(s *endpointtest.Server) { s.Before("HLEN h", func() { s.Put("h", stringOf("x")) }) }, "WRONGTYPE 3 12304 3 0 3"},
		{"a length is refused", func(s *endpointtest.Server) { s.Always("STRLEN s", "-NOPERM No permissions to access a key\r\n") }, "3 3 12304 NOPERM 0 3"},
		{"the beginning of a HyperLogLog is refused", func(s *endpointtest.Server) { s.Always("GETRANGE p", "-NOPERM No permissions to access a key\r\n") }, "3 3 NOPERM 3 0 3"},
		{"the rest of it is", func(s *endpointtest.Server) {
			s.On("GETRANGE p 0", func(args []string) string {
				if args[3] == "4" {
					return endpointtest.Usual
				}
				return "-WRONGTYPE x\r\n"
			})
		}, "3 3 WRONGTYPE 3 0 3"},
		{"loading in between", func(s *endpointtest.Server) { s.Once("STRLEN s", "-LOADING Redis is loading\r\n") }, "3 3 12304 3 0 3"},
		{"loading at the rest", func(s *endpointtest.Server) { s.Once("GETRANGE p", "-LOADING Redis is loading\r\n") }, "3 3 12304 3 0 3"},
		{"a type is refused", func(s *endpointtest.Server) { s.Always("TYPE l", "-NOPERM No permissions to access a key\r\n") }, "3 NOPERM 12304 3 0 3"},
		{"an expiry is refused", func(s *endpointtest.Server) { s.Always("PEXPIRETIME l", "-NOPERM No permissions to access a key\r\n") }, "3 NOPERM 12304 3 0 3"},
		{"PEXPIRETIME is forbidden", func(s *endpointtest.Server) {
			s.Always("PEXPIRETIME", "-NOPERM User u has no permissions to run the 'pexpiretime' command\r\n")
		}, "3 3 12304 3 0 3"},
	} {
		s := endpointtest.Serve(t, "7.4.1")
		for name, v := range keys {
			s.Put(name, v)
		}
		tt.tell(s)
		c := toldConfig(t)
		c.Depth = DepthLength
		names := sortedKeys(keys)
		out := make([]reading, len(names))
		if err := toldReader(t, s, c).read(t.Context(), names, out, 0); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var words []string
		for i := range out {
			if out[i].known() {
				words = append(words, strings.ReplaceAll(expiryText(out[i].FP.Length), "never", "0"))
			} else {
				words = append(words, outcome(out[i], nil))
			}
		}
		if text := strings.Join(words, " "); text != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, text, tt.want)
		}
	}
}

// TestRepairBesideMigration: a key is written only while its link stands still, at the offset at which it was read, and not where the
// migration has copied it as of later.
func TestRepairBesideMigration(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(m *toldMigration)
		fails  string
		odd    string // what the target holds then
	}{
		{"it stands still", func(*toldMigration) {}, "", "abc"},
		{"it cannot be stopped", func(m *toldMigration) { m.fails = ErrLags }, "has not caught up", "abd"},
		{"it cannot be brought to the offset", func(m *toldMigration) { m.apply = ErrLags }, "has not caught up", "abd"},
		{"it has copied the key as of later", func(m *toldMigration) { m.ahead = []keyspace.Key{{Name: "odd"}} }, "later offset", "abd"},
	} {
		p := newToldPair(t, "7.0.15")
		r, err := verifyTold(t, p.source, p.target, nil)
		if err != nil {
			t.Fatal(err)
		}
		m := &toldMigration{p: p}
		tt.change(m)
		for _, c := range []string{"RESTORE", "DEL"} {
			p.target.On(c, func(args []string) string {
				m.mu.Lock()
				defer m.mu.Unlock()
				if !m.frozen {
					t.Errorf("%s: %q while the migration goes on", tt.name, args[:2])
				}
				return endpointtest.Usual
			})
		}
		findings := slices.DeleteFunc(r.Findings, func(f Finding) bool { return f.Verdict == Unchecked })
		done, _ := repairTold(t, p.source.URL(), p.target.URL(), findings, func(c *RepairConfig) { c.DeleteExtra, c.Applier = true, m })
		if d := done["odd"]; !strings.Contains(d.Error, tt.fails) || tt.fails == "" && d.Error != "" {
			t.Errorf("%s: %+v, want %q", tt.name, d, tt.fails)
		}
		if v := p.target.Get("odd"); v == nil || string(v.Str) != tt.odd {
			t.Errorf("%s: the target holds %+v, want %s", tt.name, v, tt.odd)
		}
		if gone := p.target.Get("more") == nil; tt.fails == "" && !gone {
			t.Errorf("%s: the extra key is there", tt.name)
		}
	}
}
