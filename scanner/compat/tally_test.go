package compat

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"surecut/internal/command"
	"surecut/internal/profile"
)

func newClusterTally(t testing.TB) *Tally {
	t.Helper()
	p, err := profile.Get("cluster")
	if err != nil {
		t.Fatal(err)
	}
	return NewTally(Config{Profile: p})
}

func findingOf(t *testing.T, r *Result, command, rule string) Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Command == command && f.Rule == rule {
			return f
		}
	}
	t.Fatalf("no finding %s %s among %v", command, rule, shortFindings(r))
	return Finding{}
}

// TestVerdicts: what the evidence can carry.
func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		name string
		fill func(*Tally)
		want Verdict
		why  string
	}{
		{"nothing", func(*Tally) {}, Unproven, "no evidence is never compatible"},
		{"a server without calls", func(ta *Tally) { ta.Evidence(FromStats, "a:1") }, Unproven, ""},
		{"counts of what surecut itself sends", func(ta *Tally) {
			for _, name := range []string{"info", "client|list", "hello", "function|list", "ping"} {
				ta.Count(ta.Evidence(FromStats, "a:1"), name, 10)
			}
		}, Unproven, "a server that nobody uses shows these"},
		{"counts of what tools send", func(ta *Tally) {
			for _, name := range []string{"scan", "dbsize", "keys", "type", "config|get"} {
				ta.Count(ta.Evidence(FromStats, "a:1"), name, 10)
			}
		}, Risky, "an exporter, or an earlier run of surecut, may have sent them all"},
		{"a server that was a replica once", func(ta *Tally) {
			ta.Count(ta.Evidence(FromStats, "a:1"), "replicaof", 1)
			ta.Count(ta.Evidence(FromStats, "a:1"), "get", 10)
		}, Risky, "a sentinel or an administrator did that"},
		{"a window in which nothing happened", func(ta *Tally) { feed(ta, [][]string{{"PING"}, {"INFO"}}) }, Unproven, ""},
		{"counts of single keys", func(ta *Tally) { ta.Count(ta.Evidence(FromStats, "a:1"), "get", 10) }, Compatible, "whatever the keys, GET runs"},
		{"counts of several keys", func(ta *Tally) { ta.Count(ta.Evidence(FromStats, "a:1"), "mget", 10) }, Risky, "its keys were not seen"},
		{"counts of what is refused", func(ta *Tally) { ta.Count(ta.Evidence(FromStats, "a:1"), "swapdb", 1) }, Incompatible, ""},
		{"writes only", func(ta *Tally) { ta.Writes(FromAOF, "f").Add(0, words("SET", "a", "1"), time.Time{}) }, Unproven, "reads were not seen"},
		{"a write that crosses", func(ta *Tally) { ta.Writes(FromAOF, "f").Add(0, words("RENAME", "a", "b"), time.Time{}) }, Incompatible, ""},
		{"another database", func(ta *Tally) { ta.Writes(FromAOF, "f").Add(2, words("SET", "a", "1"), time.Time{}) }, Incompatible, ""},
		{"calls that are fine", func(ta *Tally) { feed(ta, [][]string{{"GET", "a"}}) }, Compatible, ""},
		{"a cost", func(ta *Tally) { feed(ta, [][]string{{"PUBLISH", "a", "b"}}) }, Compatible, "it works"},
		{"luck", func(ta *Tally) { feed(ta, [][]string{{"EVAL", "x", "0"}, {"lua", "GET", "a"}}) }, Risky, ""},
	} {
		ta := newClusterTally(t)
		tt.fill(ta)
		if r := ta.Result(); r.Verdict != tt.want || len(r.Reasons) == 0 {
			t.Errorf("%s: %s, want %s (%s); %v", tt.name, r.Verdict, tt.want, tt.why, r.Reasons)
		}
	}
}

func words(list ...string) [][]byte {
	var args [][]byte
	for _, w := range list {
		args = append(args, []byte(w))
	}
	return args
}

// TestShare: of calls that were seen, those count that cross; a large sample without one takes the weight from a count.
func TestShare(t *testing.T) {
	ta := newClusterTally(t)
	ta.Count(ta.Evidence(FromStats, "a:1"), "mget", 1000)
	ta.Count(ta.Evidence(FromStats, "a:1"), "del", 1000)
	ta.Count(ta.Evidence(FromStats, "a:1"), "unlink", 1000)
	var calls [][]string
	for range 3 {
		calls = append(calls, []string{"MGET", "user:1", "user:1"}, []string{"UNLINK", "a"})
	}
	calls = append(calls, []string{"MGET", "user:1", "user:2"})
	for range sampleEnough {
		calls = append(calls, []string{"DEL", "a"})
	}
	feed(ta, calls)
	r := ta.Result()
	mget := findingOf(t, r, "MGET", "cross-slot")
	if mget.Certainty != Proven || mget.Count != 1000 || mget.Examined != 4 || mget.Affected != 1 || mget.CrossSlotShare == nil || *mget.CrossSlotShare != 0.25 {
		t.Errorf("MGET: %+v", mget)
	}
	if strings.Join(mget.KeyTemplates, " ") != "user:#" || len(mget.ExampleKeys) != 1 || mget.ExampleKeys[0] != "user:1 user:2" ||
		strings.Join(mget.Clients, " ") != "10.0.0.1" || mget.FirstSeen == "" || mget.Source != "monitor-file, commandstats" {
		t.Errorf("MGET: %+v", mget)
	}
	if del := findingOf(t, r, "DEL", "cross-slot"); del.Certainty != Possible || del.Level != profile.Info {
		t.Errorf("DEL after %d harmless calls: %+v", sampleEnough, del)
	}
	if unlink := findingOf(t, r, "UNLINK", "cross-slot"); unlink.Certainty != Possible || unlink.Level != profile.Block {
		t.Errorf("UNLINK after 3 harmless calls: %+v", unlink)
	}
}

// TestInterleaved: transactions and scripts of clients between each other's calls.
func TestInterleaved(t *testing.T) {
	ta := newClusterTally(t)
	feed(ta, [][]string{
		{"@1", "MULTI"}, {"@2", "MULTI"},
		{"@1", "SET", "a", "1"}, {"@2", "SET", "b", "1"}, {"@3", "SET", "c", "1"},
		{"@1", "EXEC"}, {"@2", "EXEC"},
		{"@1", "MULTI"}, {"@1", "SET", "a", "1"}, {"@1", "DISCARD"}, {"@1", "SET", "b", "1"},
		{"@2", "EXEC"},
	})
	if r := ta.Result(); len(r.Findings) != 0 {
		t.Errorf("each transaction is of one key: %v", shortFindings(r))
	}
	ta = newClusterTally(t)
	feed(ta, [][]string{
		{"@1", "MULTI"}, {"@1", "EVAL", "x", "1", "a"}, {"lua", "SET", "a", "1"}, {"lua", "SET", "b", "1"}, {"@1", "EXEC"},
	})
	if r := ta.Result(); len(r.Findings) != 2 {
		t.Errorf("a script within a transaction touches two slots: %v", shortFindings(r))
	}
	ta = newClusterTally(t)
	feed(ta, [][]string{{"lua", "SET", "a", "1"}, {"GET", "a"}})
	if r := ta.Result(); len(r.Findings) != 0 || !strings.Contains(strings.Join(r.Coverage.Blind, " "), "made by scripts whose own call was not seen") {
		t.Errorf("a window that begins within a script: %v, %v", shortFindings(r), r.Coverage.Blind)
	}
}

// TestScriptsAndFunctions: what a script with undeclared keys is refused for, gets by with, or is free to do.
func TestScriptsAndFunctions(t *testing.T) {
	together := [][]string{{"EVAL", "x", "1", "{a}1"}, {"lua", "GET", "{a}2"}}
	apart := func(name, body string) [][]string { return [][]string{{name, body, "1", "a"}, {"lua", "GET", "k1"}} } // slots of one node
	far := func(name, body string) [][]string { return [][]string{{name, body, "1", "a"}, {"lua", "GET", "b"}} }
	for _, tt := range []struct {
		name, want, why string
		calls           [][]string
	}{
		{"together", "EVAL script-keys-together info", "they have one hash tag", together},
		{"apart", "EVAL script-keys latent", "a node that holds both does it", apart("EVAL", "return 1")},
		{"on other nodes", "EVAL script-nodes block", "no node holds both", far("EVAL", "return 1")},
		{"undeclared on several nodes", "EVAL script-no-keys info, EVAL script-nodes block", "wherever it runs", [][]string{{"EVAL", "x", "0"}, {"lua", "GET", "a"}, {"lua", "GET", "b"}}},
		{"free function on other nodes", "FCALL script-nodes block", "its flag does not help it there", far("FCALL", "Free")},
		{"apart in one call", "EVAL script-slots block", "no node does it", [][]string{{"EVAL", "x", "1", "a"}, {"lua", "MGET", "a", "b"}}},
		{"shebang", "EVAL script-slots block", "", apart("EVAL", "#!lua\nreturn 1")},
		{"shebang with flags", "EVAL script-slots block", "", apart("EVAL", "#!lua flags=no-writes\nreturn 1")},
		{"free shebang", "EVAL script-keys latent", "", apart("EVAL", "#!lua flags=no-writes,allow-cross-slot-keys\nreturn 1")},
		{"comment", "EVAL script-keys latent", "not a shebang", apart("EVAL", "-- #!lua\nreturn 1")},
		{"function", "FCALL script-slots block", "", apart("FCALL", "held")},
		{"free function", "FCALL script-keys latent", "as FUNCTION LIST says", apart("FCALL", "Free")},
		{"declared apart", "EVAL cross-slot block", "refused before it runs", [][]string{{"EVAL", "x", "2", "a", "b"}, {"lua", "MGET", "a", "b"}}},
		{"no key", "EVAL script-keys latent, EVAL script-no-keys info", "any node runs it", [][]string{{"EVAL", "x", "0"}, {"lua", "GET", "b"}}},
		{"KEYS", "KEYS in-script silent", "", [][]string{{"EVAL", "x", "1", "a"}, {"lua", "KEYS", "*"}}},
		{"SELECT 0", "", "the only one there is", [][]string{{"EVAL", "x", "1", "a"}, {"lua", "SELECT", "0"}}},
		{"SELECT 2", "SELECT in-script block", "", [][]string{{"EVAL", "x", "1", "a"}, {"lua", "SELECT", "2"}}},
		{"SORT", "SORT sort-pattern block", "", [][]string{{"EVAL", "x", "1", "a"}, {"lua", "SORT", "a", "BY", "w_*"}}},
	} {
		ta := newClusterTally(t)
		ta.allow("free")
		feed(ta, tt.calls)
		if got := strings.Join(shortFindings(ta.Result()), ", "); got != tt.want {
			t.Errorf("%s: %s, want %s (%s)", tt.name, got, tt.want, tt.why)
		}
	}
}

// TestShebang: servers before 7.0 cannot compile it.
func TestShebang(t *testing.T) {
	for kind, versions := range map[string]map[string]string{
		"cluster": {"": "", "6.0": "EVAL unknown-shebang block", "7.0": "", "valkey-7.2": ""},
		"codis":   {"": "EVAL unknown-shebang block"},
	} {
		for version, want := range versions {
			r := judgeCalls(t, kind, version, [][]string{{"EVAL", "#!lua\nreturn 1", "1", "a"}})
			if got := strings.Join(shortFindings(r), ", "); got != want {
				t.Errorf("%s %s: %s, want %s", kind, version, got, want)
			}
		}
	}
}

// TestNewerCommands: what the target's version lacks is refused there.
func TestNewerCommands(t *testing.T) {
	p, _ := profile.Get("cluster")
	ta := NewTally(Config{Profile: p, Version: 60000})
	feed(ta, [][]string{{"GETEX", "a"}, {"GET", "a"}})
	ta.Count(ta.Evidence(FromStats, "a:1"), "lmpop", 3)
	r := ta.Result()
	if f := findingOf(t, r, "GETEX", RuleUnknown); f.Level != profile.Block || !strings.Contains(f.Reason, "6.2") {
		t.Errorf("%+v", f)
	}
	if f := findingOf(t, r, "LMPOP", RuleUnknown); f.Count != 3 || f.Certainty != Proven {
		t.Errorf("%+v", f)
	}
}

// TestNewerCommandsOfTools: what surecut's own reading made a newer server count is no command of the application.
func TestNewerCommandsOfTools(t *testing.T) {
	p, _ := profile.Get("cluster")
	for _, name := range []string{"pexpiretime", "hpexpiretime", "function|list"} {
		ta := NewTally(Config{Profile: p, Version: 60000})
		ta.Count(ta.Evidence(FromStats, "a:1"), name, 3)
		if f := ta.Result().Findings; len(f) != 1 || f[0].Certainty != Possible || !strings.Contains(f[0].Detail, "surecut itself") {
			t.Errorf("%s, only counted: %+v, want a possible finding", name, f)
		}
	}
	ta := NewTally(Config{Profile: p, Version: 60000})
	feed(ta, [][]string{{"PEXPIRETIME", "a"}})
	ta.Count(ta.Evidence(FromStats, "a:1"), "pexpiretime", 3)
	if f := findingOf(t, ta.Result(), "PEXPIRETIME", RuleUnknown); f.Certainty != Proven {
		t.Errorf("called by a client: %+v", f)
	}
}

func TestCommandsOfFlavors(t *testing.T) {
	p, _ := profile.Get("cluster")
	for _, tt := range []struct{ version, command, want string }{
		{"8.0", "HGETEX", ""},
		{"7.4", "HGETEX", "came with Redis 8.0"},
		{"valkey-8.1", "GET", ""},
		{"valkey-8.1", "HGETEX", "Valkey"},
		{"valkey-7.2", "LMPOP", ""},
		{"8.0", "DELIFEQ", "Redis does not have it"},
	} {
		version, valkey, err := ParseVersion(tt.version)
		if err != nil {
			t.Fatal(err)
		}
		ta := NewTally(Config{Profile: p, Version: version, Valkey: valkey})
		feed(ta, [][]string{{tt.command, "k", "FIELDS", "1", "f"}})
		got := ""
		for _, f := range ta.Result().Findings {
			if f.Rule == RuleUnknown {
				got = f.Reason
			}
		}
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s on %s: %q, want %q", tt.command, tt.version, got, tt.want)
		}
	}
	for _, bad := range []string{"", "seven", "valkey-", "valkey 8.1", "8"} {
		if _, _, err := ParseVersion(bad); err == nil {
			t.Errorf("%q is taken for a version", bad)
		}
	}
}

// TestModuleCommands: the server's own description gives the keys of what the table lacks.
func TestModuleCommands(t *testing.T) {
	p, _ := profile.Get("cluster")
	ta := NewTally(Config{Profile: p, Module: func(name string) *command.Spec {
		if name == "ACME.JOIN" {
			return command.Described(name, -2, true, 1, -1, 1)
		}
		return nil
	}})
	feed(ta, [][]string{{"ACME.JOIN", "a", "b"}, {"ACME.JOIN", "a"}, {"ACME.OTHER", "a", "b"}})
	if f := findingOf(t, ta.Result(), "ACME.JOIN", "cross-slot"); f.Affected != 1 || f.Examined != 2 {
		t.Errorf("%+v", f)
	}
}

func TestBounded(t *testing.T) {
	ta := newClusterTally(t)
	e := ta.Evidence(FromCapture, "f")
	for i := range 3 * maxClients {
		ta.Add(e, Call{Stream: "s", Client: "10.0.0.1:" + strings.Repeat("9", i%7) + string(rune('a'+i%26)) + time.Duration(i).String(), Args: words("MULTI")})
		ta.Add(e, Call{Stream: "s", Client: "c", Args: words("NO."+time.Duration(i).String(), "x")})
		ta.Add(e, Call{Stream: "s", Client: "c", Args: words("MGET", "t"+time.Duration(i).String()+"x:1", "q:1")})
	}
	if n := len(ta.streams["s"].clients); n > maxClients {
		t.Errorf("%d clients are remembered", n)
	}
	if len(ta.commands) > maxCommands || len(ta.pairs.nodes) > maxTemplates || len(ta.pairs.pairs) > maxPairs || len(ta.pairs.sample) > maxSample+maxKeysKept {
		t.Errorf("%d commands, %d templates, %d pairs, %d keys", len(ta.commands), len(ta.pairs.nodes), len(ta.pairs.pairs), len(ta.pairs.sample))
	}
	if blind := strings.Join(ta.Result().Coverage.Blind, " "); !strings.Contains(blind, "too much to remember") {
		t.Errorf("what was left out is not told: %s", blind)
	}
}

func TestHalved(t *testing.T) {
	for _, tt := range []struct {
		without, with float64
		want          bool
	}{{100_000, 60_000, false}, {100_000, 49_000, true}, {900, 1, false}, {0, 0, false}, {1000, 5000, false}} {
		if halved(tt.without, tt.with) != tt.want {
			t.Errorf("%v with, %v without: %v", tt.with, tt.without, !tt.want)
		}
	}
}

func TestCounterKeepsTheFrequent(t *testing.T) {
	c := newCounter(10)
	for i := range 10_000 {
		c.add("rare" + time.Duration(i).String())
		if i%4 == 0 {
			c.add("often")
		}
	}
	if len(c.names) != 10 || c.top(1)[0] != "often" {
		t.Errorf("%v", c.top(10))
	}
}

// TestCapture: whole, damaged and foreign MONITOR files.
func TestCapture(t *testing.T) {
	const line = `1339518083.107412 [0 127.0.0.1:60866] "MGET" "a" "b"` + "\n"
	for _, tt := range []struct {
		name, text string
		calls      int64
		err, note  string
	}{
		{"whole", "OK\n" + line + line, 2, "", ""},
		{"no newline at its end", strings.TrimSpace(line), 1, "", ""},
		{"windows line ends", strings.ReplaceAll(line, "\n", "\r\n"), 1, "", ""},
		{"other lines", line + "Error: Server closed the connection\n\n", 1, "", "1 lines are not lines"},
		{"redis-cli --csv", "\"OK\"\n" + `"1339518083.107412 [0 127.0.0.1:60866] \"MGET\" \"a\" \"b\\\\\\x00\""` + "\n", 1, "", ""},
		{"cut off", line + line[:len(line)-2], 2, "", "1 lines are longer"},
		{"one long line", line + `1.000001 [0 a:1] "SET" "k" "` + strings.Repeat("x", 2*maxLine) + "\"\n" + line, 3, "", "1 lines are longer"},
		{"empty", "", 0, "contains no line of MONITOR", ""},
		{"foreign", "hello\nworld\n", 0, "contains no line of MONITOR", ""},
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		ta := newClusterTally(t)
		err := ta.Capture(t.Context(), path)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want an error with %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		e := ta.Result().Coverage.Evidence[0]
		if e.Calls != tt.calls || !strings.Contains(e.Note, tt.note) || tt.note == "" && e.Note != "" {
			t.Errorf("%s: %d calls, note %q; want %d, %q", tt.name, e.Calls, e.Note, tt.calls, tt.note)
		}
	}
	if err := newClusterTally(t).Capture(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

// TestAOF: writes with their databases; SELECT there is the server's own mark.
func TestAOF(t *testing.T) {
	path := filepath.Join(t.TempDir(), "appendonly.aof")
	text := "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$6\r\nRENAME\r\n$1\r\na\r\n$1\r\nb\r\n" +
		"*2\r\n$6\r\nSELECT\r\n$1\r\n5\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n" +
		"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n1\r\n*1\r\n$4\r\nEXEC\r\n*3\r\n$3\r\nSE"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ta := newClusterTally(t)
	if err := ta.AOF(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	r := ta.Result()
	if got := strings.Join(shortFindings(r), ", "); got != "EXEC transaction block, RENAME cross-slot block, db5 databases block" {
		t.Errorf("found %s", got)
	}
	if e := r.Coverage.Evidence[0]; !strings.Contains(e.Note, "ends inside a command") {
		t.Errorf("the cut is not told: %q", e.Note)
	}
}
