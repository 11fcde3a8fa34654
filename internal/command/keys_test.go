package command

import (
	"errors"
	"strings"
	"testing"
)

// keySamples are commands with the keys they name. Tests with servers hold them against COMMAND GETKEYS.
var keySamples = []struct {
	line, want string
	since      int // first Redis version that knows this form
}{
	{line: "GET k", want: "k"},
	{line: "SET k v EX 10", want: "k"},
	{line: "SET GET GET", want: "GET"},
	{line: "MGET a b c", want: "a b c"},
	{line: "MSET a 1 b 2", want: "a b"},
	{line: "MSETNX a 1 b 2", want: "a b"},
	{line: "DEL a b", want: "a b"},
	{line: "UNLINK a", want: "a", since: 40000},
	{line: "TOUCH a b", want: "a b", since: 30201},
	{line: "EXISTS a b", want: "a b"},
	{line: "RENAME a b", want: "a b"},
	{line: "COPY a b DB 1 REPLACE", want: "a b", since: 60200},
	{line: "BITOP AND d a b", want: "d a b"},
	{line: "BITOP NOT d a", want: "d a"},
	{line: "BLPOP a b 0", want: "a b"},
	{line: "BRPOPLPUSH a b 0", want: "a b"},
	{line: "LMOVE a b LEFT RIGHT", want: "a b", since: 60200},
	{line: "LMPOP 2 a b LEFT", want: "a b", since: 70000},
	{line: "BLMPOP 0 2 a b LEFT COUNT 3", want: "a b", since: 70000},
	{line: "ZMPOP 1 a MIN", want: "a", since: 70000},
	{line: "BZMPOP 0 1 a MAX", want: "a", since: 70000},
	{line: "BZPOPMIN a b 0", want: "a b", since: 50000},
	{line: "SINTERCARD 2 a b LIMIT 1", want: "a b", since: 70000},
	{line: "SINTERSTORE d a b", want: "d a b"},
	{line: "SDIFF a b", want: "a b"},
	{line: "SMOVE a b m", want: "a b"},
	{line: "ZUNIONSTORE d 2 a b WEIGHTS 1 2", want: "d a b"},
	{line: "ZINTERSTORE d 1 a AGGREGATE MAX", want: "d a"},
	{line: "ZDIFFSTORE d 2 a b", want: "d a b", since: 60200},
	{line: "ZUNION 2 a b WITHSCORES", want: "a b", since: 60200},
	{line: "ZINTER 2 a b", want: "a b", since: 60200},
	{line: "ZDIFF 2 a b", want: "a b", since: 60200},
	{line: "ZINTERCARD 2 a b", want: "a b", since: 70000},
	{line: "ZRANGESTORE d s 0 -1", want: "d s", since: 60200},
	{line: "PFCOUNT a b", want: "a b"},
	{line: "PFMERGE d a b", want: "d a b"},
	{line: "PFMERGE d", want: "d"},
	{line: "SORT k", want: "k"},
	{line: "SORT k BY w_* LIMIT 0 10 GET # GET o_* DESC ALPHA STORE d", want: "k d"},
	{line: "SORT k STORE d STORE e", want: "k e"},
	{line: "SORT k BY STORE STORE d", want: "k d"},
	{line: "SORT_RO k BY w_*", want: "k", since: 70000},
	{line: "GEORADIUS k 1 2 3 km", want: "k", since: 30200},
	{line: "GEORADIUS k 1 2 3 km WITHDIST COUNT 3 ASC", want: "k", since: 30200},
	{line: "GEORADIUS k 1 2 3 km STORE d", want: "k d", since: 30200},
	{line: "GEORADIUS k 1 2 3 km ASC STOREDIST d", want: "k d", since: 30200},
	{line: "GEORADIUSBYMEMBER k m 3 km STORE d", want: "k d", since: 30200},
	{line: "GEORADIUSBYMEMBER k store 3 km", want: "k", since: 30200},
	{line: "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km", want: "d s", since: 60200},
	{line: "EVAL x 2 a b c", want: "a b"},
	{line: "EVAL x 0 c", want: ""},
	{line: "EVALSHA x 1 a", want: "a"},
	{line: "FCALL f 2 a b c", want: "a b", since: 70000},
	{line: "FCALL_RO f 1 a", want: "a", since: 70000},
	{line: "XADD k * f v", want: "k", since: 50000},
	{line: "XREAD COUNT 2 BLOCK 5 STREAMS a b 0 0", want: "a b", since: 50000},
	{line: "XREADGROUP GROUP g c COUNT 1 NOACK STREAMS a >", want: "a", since: 50000},
	{line: "XREADGROUP GROUP streams streams STREAMS a b > >", want: "a b", since: 50000},
	{line: "XGROUP CREATE k g 0 MKSTREAM", want: "k", since: 70000},
	{line: "XGROUP DESTROY k g", want: "k", since: 70000},
	{line: "XINFO STREAM k FULL", want: "k", since: 70000},
	{line: "XSETID k 5-0 ENTRIESADDED 3 MAXDELETEDID 1-0", want: "k", since: 70000},
	{line: "OBJECT ENCODING k", want: "k", since: 70000},
	{line: "MEMORY USAGE k SAMPLES 0", want: "k", since: 40000},
	{line: "MIGRATE h 6379 k 0 1000", want: "k", since: 30000},
	{line: "MIGRATE h 6379 k 0 1000 COPY REPLACE AUTH KEYS", want: "k", since: 60000},
	{line: `MIGRATE h 6379 "" 0 1000 AUTH2 u KEYS KEYS a b`, want: "a b", since: 70000},
	{line: "RESTORE k 0 x REPLACE", want: "k"},
	{line: "DUMP k", want: "k"},
	{line: "WATCH a b", want: "a b"},
	{line: "LCS a b LEN", want: "a b", since: 70000},
	{line: "HEXPIRE k 1 FIELDS 1 f", want: "k", since: 70400},
	{line: "HSETEX k EX 1 FIELDS 1 f v", want: "k", since: 80000},
	{line: "XACKDEL k g IDS 1 1-1", want: "k", since: 80200},
	{line: "MSETEX 2 a 1 b 2 EX 5", want: "a b", since: 80400},
}

func TestKeys(t *testing.T) {
	for _, tt := range keySamples {
		args := words(tt.line)
		s, ok := Lookup(args)
		if !ok {
			t.Errorf("%s: unknown", tt.line)
			continue
		}
		got, err := s.Keys(args, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		if names := at(args, got); names != tt.want {
			t.Errorf("%s: keys %q, want %q", tt.line, names, tt.want)
		}
		if tt.since > 0 && s.Since > tt.since {
			t.Errorf("%s: the table says since %d, but %d has this form", tt.line, s.Since, tt.since)
		}
	}
}

func at(args [][]byte, indexes []int) string {
	var names []string
	for _, i := range indexes {
		names = append(names, string(args[i]))
	}
	return strings.Join(names, " ")
}

func TestKeysAppends(t *testing.T) {
	args := words("MSET a 1 b")
	s, _ := Lookup(args)
	got, err := s.Keys(args, []int{42})
	if err == nil || len(got) != 1 || got[0] != 42 {
		t.Errorf("a malformed command gave %v, %v; want dst as it was, and an error", got, err)
	}
	args = words("MSET a 1 b 2")
	if got, err = s.Keys(args, []int{42}); err != nil || len(got) != 3 || got[0] != 42 {
		t.Errorf("Keys gave %v, %v; want the keys behind what dst held", got, err)
	}
}

func TestKeysMalformed(t *testing.T) {
	tests := []struct{ line, why string }{
		{"GET", "no key"},
		{"GET a b", "too many arguments"},
		{"MSET a 1 b", "a key without value"},
		{"ZUNIONSTORE d 3 a b", "there are fewer keys than their number says"},
		{"ZUNIONSTORE d x a", "no number"},
		{"ZUNIONSTORE d -1 a", "negative"},
		{"ZUNIONSTORE d 0 a", "none"},
		{"ZUNIONSTORE d 9223372036854775807 a", "would overflow"},
		{"ZUNIONSTORE d 99999999999999999999 a", "too large a number"},
		{"EVAL x 2 a", "there are fewer keys than their number says"},
		{"EVAL x -1", "negative"},
		{"XREAD COUNT 1 FOO", "no STREAMS"},
		{"XREAD BLOCK 1 STREAMS", "nothing follows STREAMS"},
		{"XREAD STREAMS a b 0", "keys and IDs do not pair up"},
		{"SORT k STORE", "no key after STORE"},
		{"SORT k LIMIT 0", "an option lacks its argument"},
		{"SORT k FOO", "unknown option"},
		{"GEORADIUS k 1 2 3 km STORE", "no key after STORE"},
		{"MIGRATE h 1 k 0 1 KEYS a", "both a key and KEYS"},
		{"XGROUP NOSUCH k", "unknown subcommand"},
		{"MSETEX 2 a 1 b", "a key without value"},
	}
	for _, tt := range tests {
		args := words(tt.line)
		s, ok := Lookup(args)
		if !ok {
			t.Errorf("%s: unknown", tt.line)
			continue
		}
		got, err := s.Keys(args, nil)
		var malformed *MalformedError
		if !errors.As(err, &malformed) || len(got) > 0 {
			t.Errorf("%s: gave %v and %v, want a MalformedError (%s)", tt.line, got, err, tt.why)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows arguments", tt.line)
		}
	}
}

// FuzzKeys holds that no arguments make Lookup, Keys or the expiry functions panic, and that indexes lie in args.
func FuzzKeys(f *testing.F) {
	for _, s := range keySamples {
		f.Add(s.line)
	}
	for _, tt := range expiryTests {
		f.Add(tt.line)
	}
	for _, tt := range rewriteTests {
		f.Add(tt.line)
	}
	dialects := map[int]*Dialect{}
	for _, number := range []int{20800, 50000, 60200, 70400, 80000} {
		dialects[number] = DialectOf(number, 0)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var args [][]byte
		for w := range strings.SplitSeq(line, " ") {
			args = append(args, []byte(w))
		}
		for number, d := range dialects {
			cmds, _ := absoluteExpiry(nil, args, 1, d)
			if len(cmds) == 0 {
				t.Fatal("AbsoluteExpiry lost the command")
			}
			for _, c := range cmds {
				again, changed := absoluteExpiry(nil, c, 1_000_000, d)
				if changed && number > 50000 && !strings.HasPrefix(string(c[0]), "H") {
					t.Fatalf("%q is not absolute yet: it became %q", c, again)
				}
				if key, _, ok := ExpireAt(c); ok && (key < 1 || key >= len(c)) {
					t.Fatalf("ExpireAt points at %d of %d arguments", key, len(c))
				}
				WithoutExpiry(c)
				expectRewritten(t, d, c)
			}
		}
		s, ok := Lookup(args)
		if !ok {
			return
		}
		keys, err := s.Keys(args, nil)
		if err != nil && len(keys) > 0 {
			t.Fatalf("an error came with keys %v", keys)
		}
		for _, k := range keys {
			if k < 1 || k >= len(args) {
				t.Fatalf("key at %d of %d arguments", k, len(args))
			}
		}
	})
}

func TestSortsByKeys(t *testing.T) {
	for text, want := range map[string]bool{
		"SORT l STORE d": false, "SORT l BY nosort STORE d": false, "SORT l BY w:* STORE d": true, "SORT l GET # STORE d": false,
		"SORT l GET # GET o:*->f STORE d": true, "SORT l GET fixed": true, "SORT l LIMIT 0 5 ALPHA DESC": false, "SORT l LIMIT BY w:* STORE d": false,
		"SORT l STORE BY": false, "SORT l STORE GET by *": true, "SORT l BY": false,
	} {
		var args [][]byte
		for word := range strings.FieldsSeq(text) {
			args = append(args, []byte(word))
		}
		if got := SortsByKeys(args); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// absoluteExpiry is Spec.AbsoluteExpiry for a command that is not looked up yet; one that nobody knows stays as it is.
func absoluteExpiry(dst [][][]byte, args [][]byte, nowMs int64, d *Dialect) (cmds [][][]byte, changed bool) {
	if s, known := Lookup(args); known {
		return s.AbsoluteExpiry(dst, args, nowMs, d)
	}
	return append(dst, args), false
}
