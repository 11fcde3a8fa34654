package command

import (
	"strings"
	"testing"
)

// words splits a command line at spaces; "" stands for an empty argument.
func words(line string) [][]byte {
	var args [][]byte
	for _, w := range strings.Fields(line) {
		if w == `""` {
			w = ""
		}
		args = append(args, []byte(w))
	}
	return args
}

func TestLookup(t *testing.T) {
	tests := []struct {
		line, want, why string
		write, movable  bool
		class           Class
	}{
		{line: "set k v", want: "SET", write: true, why: "any case of letters"},
		{line: "XGroup create k g 0", want: "XGROUP CREATE", write: true, why: "a subcommand has facts of its own"},
		{line: "XINFO STREAM k", want: "XINFO STREAM", why: "a subcommand that reads"},
		{line: "OBJECT FREQ k", want: "OBJECT FREQ", why: "its key is behind the subcommand"},
		{line: "XGROUP NOSUCH k", want: "XGROUP", class: Keyless, why: "an unknown subcommand gives the container"},
		{line: "XGROUP", want: "XGROUP", class: Keyless, why: "no subcommand at all"},
		{line: "DEL a b", want: "DEL", write: true, class: Split, why: "may be split by key"},
		{line: "MSET a 1 b 2", want: "MSET", write: true, class: Split, why: "may be split by pair"},
		{line: "MSETNX a 1", want: "MSETNX", write: true, class: Ordinary, why: "its condition is over all keys"},
		{line: "EVAL x 0", want: "EVAL", movable: true, class: Script, why: "may touch undeclared keys"},
		{line: "FCALL f 1 k", want: "FCALL", movable: true, class: Script, why: "as EVAL"},
		{line: "FLUSHALL", want: "FLUSHALL", write: true, class: Keyless, why: "no key"},
		{line: "SWAPDB 0 1", want: "SWAPDB", write: true, class: Keyless, why: "no key"},
		{line: "SELECT 1", want: "SELECT", class: Keyless, why: "the connection's database"},
		{line: "PUBLISH c m", want: "PUBLISH", class: Keyless, why: "a channel is no key"},
		{line: "SPUBLISH c m", want: "SPUBLISH", class: Keyless, why: "nor is a shard channel, though COMMAND lists it as a key that is none"},
		{line: "FUNCTION LOAD x", want: "FUNCTION LOAD", write: true, class: Keyless, why: "functions travel in the stream"},
		{line: "SCRIPT LOAD x", want: "SCRIPT LOAD", class: Keyless, why: "so did scripts"},
		{line: "REPLCONF GETACK *", want: "REPLCONF", class: Keyless, why: "the stream's own words"},
		{line: "PING", want: "PING", class: Keyless, why: "a heartbeat"},
		{line: "MULTI", want: "MULTI", class: Keyless, why: "brackets"},
		{line: "EXEC", want: "EXEC", class: Keyless, why: "brackets"},
		{line: "XREADGROUP GROUP g c STREAMS s >", want: "XREADGROUP", write: true, movable: true, why: "writes the group"},
		{line: "HPEXPIREAT k 1 FIELDS 1 f", want: "HPEXPIREAT", write: true, why: "since 7.4, by hand"},
		{line: "JSON.SET k $ 1", want: "JSON.SET", write: true, why: "a module's command"},
	}
	for _, tt := range tests {
		s, ok := Lookup(words(tt.line))
		if !ok {
			t.Errorf("Lookup(%s): unknown (%s)", tt.line, tt.why)
			continue
		}
		if s.Name != tt.want || s.Write != tt.write || s.Movable != tt.movable || s.Class != tt.class {
			t.Errorf("Lookup(%s) = %s write %v movable %v %v, want %s %v %v %v (%s)",
				tt.line, s.Name, s.Write, s.Movable, s.Class, tt.want, tt.write, tt.movable, tt.class, tt.why)
		}
	}
	for _, line := range []string{"", "NOSUCH", strings.Repeat("x", 1000), "SE", "SETT"} {
		if s, ok := Lookup(words(line)); ok {
			t.Errorf("Lookup(%.10q) = %s, want nothing", line, s.Name)
		}
	}
}

func TestVersions(t *testing.T) {
	tests := []struct {
		line          string
		redis, valkey int
	}{
		{"GET k", 10000, 10000},
		{"UNLINK k", 40000, 40000},
		{"GETEX k", 60200, 60200},
		{"HEXPIRE k 1 FIELDS 1 f", 70400, 90000},
		{"HSETEX k FIELDS 1 f v", 80000, 90000},
		{"COMMANDLOG LEN slow", 0, 80100},
	}
	for _, tt := range tests {
		if s, _ := Lookup(words(tt.line)); s.Since != tt.redis || s.SinceValkey != tt.valkey {
			t.Errorf("%s since %d and %d, want %d and %d", s.Name, s.Since, s.SinceValkey, tt.redis, tt.valkey)
		}
	}
	if n := len(All()); n < 500 {
		t.Errorf("the table holds %d commands, want all of them", n)
	}
	for _, s := range All() {
		if s.Since == 0 && s.SinceValkey == 0 {
			t.Errorf("%s exists nowhere", s.Name)
		}
		if s.Arity == 0 {
			t.Errorf("%s has no arity", s.Name)
		}
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	lines := [][][]byte{words("set k v"), words("xgroup create k g 0"), words("zunionstore d 2 a b"), words("del a b c")}
	keys := make([]int, 0, 16)
	if n := testing.AllocsPerRun(100, func() {
		for _, args := range lines {
			s, _ := Lookup(args)
			keys, _ = s.Keys(args, keys[:0])
		}
	}); n != 0 {
		t.Errorf("Lookup and Keys allocate %v times, want never", n)
	}
}

func TestParseTableRefuses(t *testing.T) {
	tests := []struct{ name, text string }{
		{"columns", "GET\t-\t2"},
		{"number", "GET\t-\tx\t1\t1\t1"},
		{"rule", "GET\t-\t2\t1\t1\t1/x"},
		{"range", "GET\t-\t2\t1\t1\t1/r1,2"},
		{"step", "GET\t-\t2\t1\t1\t1/r1,0,0"},
		{"index", "GET\t-\t2\t1\t1\t0"},
		{"name of a rule", "GET\t-\t2\t1\t1\t@nosuch"},
		{"orphan", "XGROUP CREATE\t-\t2\t1\t1\t1"},
	}
	for _, tt := range tests {
		if _, err := parseTable(tt.text); err == nil {
			t.Errorf("%s: accepted", tt.name)
		}
	}
}

func TestMultiAndKeyFirst(t *testing.T) {
	for _, tt := range []struct {
		args            string
		multi, keyFirst bool
		why             string
	}{
		{"GET", false, true, ""},
		{"MGET", true, true, ""},
		{"SORT", true, true, "it may STORE"},
		{"GEORADIUS", true, true, "it may STORE"},
		{"RENAME", true, true, ""},
		{"XREAD", true, false, "keys stand behind STREAMS"},
		{"LMPOP", true, false, "the number of keys comes first"},
		{"BITOP", true, false, "the operation comes first"},
		{"EVAL", true, false, "the script comes first"},
		{"OBJECT ENCODING", false, false, "the subcommand comes first"},
		{"PING", false, false, "no key at all"},
	} {
		spec, ok := Lookup(words(tt.args))
		if !ok || spec.Multi() != tt.multi || spec.KeyFirst() != tt.keyFirst {
			t.Errorf("%s: several keys %v, key first %v, want %v, %v (%s)", tt.args, spec.Multi(), spec.KeyFirst(), tt.multi, tt.keyFirst, tt.why)
		}
	}
}
