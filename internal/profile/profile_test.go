package profile_test

import (
	"slices"
	"strings"
	"testing"

	"surecut/internal/command"
	"surecut/internal/profile"
)

func TestEveryKindHasOneDefault(t *testing.T) {
	defaults := map[string]int{}
	for _, p := range profile.All() {
		if p.Default {
			defaults[p.Kind]++
		}
	}
	for _, kind := range []string{"cluster", "codis", "twemproxy", "tencent-proxy", "alibaba-proxy"} {
		if defaults[kind] != 1 {
			t.Errorf("%s has %d default profiles, want 1", kind, defaults[kind])
		}
		if p, err := profile.Get(kind); err != nil || p.Kind != kind {
			t.Errorf("Get(%s) = %v, %v", kind, p, err)
		}
	}
	if _, err := profile.Get("memcached"); err == nil || !strings.Contains(err.Error(), "tencent-proxy-2022") {
		t.Errorf("unknown kind: %v, want an error that lists the known ones", err)
	}
}

// TestCommandsExist: a slip in a name would make a rule that never holds.
func TestCommandsExist(t *testing.T) {
	for _, p := range profile.All() {
		for _, r := range p.Rules {
			for _, name := range slices.Concat(r.Commands, r.Except) {
				words := strings.Fields(name)
				args := make([][]byte, len(words))
				for i, w := range words {
					args[i] = []byte(w)
				}
				if spec, ok := command.Lookup(args); name != "*" && (!ok || spec.Name != name) {
					t.Errorf("%s, rule %s: %q is no command of the table", p.Name, r.ID, name)
				}
			}
		}
	}
}

func TestRule(t *testing.T) {
	cluster, _ := profile.Get("cluster")
	twemproxy, _ := profile.Get("twemproxy")
	for _, tt := range []struct {
		p       *profile.Profile
		when    profile.Condition
		command string
		version int
		want    profile.Level // "": none
		why     string
	}{
		{cluster, profile.CrossSlot, "MGET", 0, profile.Block, ""},
		{cluster, profile.Called, "MGET", 0, "", "a call of one key is fine"},
		{cluster, profile.Called, "SCRIPT LOAD", 0, profile.Silent, "a subcommand by its full name"},
		{cluster, profile.Called, "SCRIPT KILL", 0, "", "another subcommand"},
		{cluster, profile.Pattern, "SORT", 70000, profile.Block, "before 8.0"},
		{cluster, profile.Pattern, "SORT", 80000, "", "a pattern with the tag is fine from 8.0 on"},
		{cluster, profile.Pattern, "SORT", 0, profile.Block, "no version is any version"},
		{twemproxy, profile.Called, "CLIENT SETNAME", 0, profile.Block, "by its container, by exception"},
		{twemproxy, profile.Called, "CLIENT LIST", 0, profile.Info, "the first rule holds"},
		{twemproxy, profile.Called, "GET", 0, "", "excepted"},
		{twemproxy, profile.Called, "NO.SUCH", 0, profile.Block, "what it does not know it refuses"},
	} {
		var got profile.Level
		if r := tt.p.Rule(tt.when, tt.command, tt.version); r != nil {
			got = r.Level
		}
		if got != tt.want {
			t.Errorf("%s, %s, %s, version %d: %q, want %q (%s)", tt.p.Name, tt.when, tt.command, tt.version, got, tt.want, tt.why)
		}
	}
}

// TestCodisWords: what a report quotes is what codis-proxy 3.2.2 was seen to answer.
func TestCodisWords(t *testing.T) {
	codis, err := profile.Get("codis")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		when           profile.Condition
		command, reply string
	}{
		{profile.Called, "KEYS", "ERR handle request, command 'KEYS' is not allowed"},
		{profile.Called, "CONFIG GET", "ERR handle request, command 'CONFIG' is not allowed"},
		{profile.OtherDatabase, "SELECT", "ERR invalid DB index, only accept DB [0,16)"},
	} {
		if r := codis.Rule(tt.when, tt.command, 0); r == nil || r.Error == "" || !strings.Contains(tt.reply, r.Error) {
			t.Errorf("%s: %+v, want the words of %q", tt.command, r, tt.reply)
		}
	}
	for _, passed := range []string{"SWAPDB", "SPUBLISH", "FUNCTION LOAD", "FCALL", "RESTORE-ASKING"} {
		if r := codis.Rule(profile.Called, passed, 0); r != nil {
			t.Errorf("%s is called refused by the proxy (%s), which passes it on to its server", passed, r.ID)
		}
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	const good = `
kind: k
name: k
title: K
version: "1"
dated: "2026-01-02"
routing: cluster
sources: {s: "somewhere"}
rules:
  - {id: a, when: called, commands: [GET], level: block, reason: r, remedy: m, source: s}
`
	if _, err := profile.Parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{"level: block", "level: bad", `level is "bad"`},
		{"when: called", "when: never", `when is "never"`},
		{"source: s}", "source: x}", `source "x"`},
		{"reason: r, ", "", "lacks its id, reason or remedy"},
		{"routing: cluster", "routing: x", `routing is "x"`},
		{`"2026-01-02"`, `"yesterday"`, "dated"},
		{"commands: [GET]", "commands: []", "names no commands"},
		{"title: K", "titel: K", "titel"},
		{"level: block", `level: block, since: "eight"`, `version "eight"`},
		{"kind: k", "kind: ''", "kind is missing"},
	} {
		_, err := profile.Parse([]byte(strings.Replace(good, tt.old, tt.new, 1)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s for %s: %v, want an error with %q", tt.new, tt.old, err, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("kind: a\nrules: []"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := profile.Parse(text); err == nil && p.Rule(profile.Called, "GET", 0) != nil && len(p.Rules) == 0 {
			t.Error("a rule of no rules")
		}
	})
}
