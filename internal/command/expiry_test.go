package command

import (
	"bytes"
	"strings"
	"testing"
)

const nowMs = 1_000_000

var expiryTests = []struct {
	line   string
	number int // version of the target
	want   string
	why    string
}{
	{"EXPIRE k 10", 20812, "PEXPIREAT k 1010000", "relative seconds"},
	{"PEXPIRE k 10", 80000, "PEXPIREAT k 1000010", "relative milliseconds"},
	{"expire k 10 gt", 70000, "PEXPIREAT k 1010000", "what was propagated met its condition"},
	{"EXPIRE k -1", 70000, "PEXPIREAT k 999000", "the past deletes"},
	{"PEXPIREAT k 5 NX", 60000, "PEXPIREAT k 5", "no condition before 7.0, nor any need"},
	{"EXPIREAT k 5 XX", 70000, "PEXPIREAT k 5000", "as PEXPIREAT"},
	{"EXPIREAT k 5", 70000, "", "absolute already"},
	{"PEXPIREAT k 5", 70000, "", "absolute already"},
	{"EXPIRE k x", 70000, "", "malformed stays as it is"},
	{"EXPIRE k 9223372036854775807", 70000, "", "would overflow"},
	{"EXPIRE k 9223372036853775", 70000, "PEXPIREAT k 9223372036854775000", "the last second"},
	{"EXPIRE k 9223372036853776", 70000, "", "would overflow with the time of now"},
	{"EXPIREAT k 9223372036854775 XX", 70000, "PEXPIREAT k 9223372036854775000", "the last second"},
	{"EXPIREAT k 9223372036854776 XX", 70000, "", "would overflow"},
	{"PEXPIRE k 9223372036853775807", 70000, "PEXPIREAT k 9223372036854775807", "the last millisecond"},
	{"PEXPIRE k 9223372036853775808", 70000, "", "would overflow"},
	{"PEXPIREAT k 9223372036854775807 NX", 70000, "PEXPIREAT k 9223372036854775807", "the last millisecond"},
	{"PEXPIRE k -9223372036854775808", 70000, "", "deletes wherever it runs"},
	{"SET k v PX 9223372036853775807", 70000, "SET k v PXAT 9223372036854775807", "the last millisecond"},
	{"SET k v PX 9223372036853775808", 70000, "", "would overflow"},
	{"SET k v EX 9223372036853775", 60000, "SET k v; PEXPIREAT k 9223372036854775000", "the last second"},
	{"SET k v PXAT 9223372036854775807", 60000, "SET k v; PEXPIREAT k 9223372036854775807", "the last millisecond"},
	{"SET k v EXAT 9223372036854775", 70000, "SET k v PXAT 9223372036854775000", "the last second"},
	{"SET k v EXAT 9223372036854776", 70000, "", "would overflow"},
	{"SETEX k 9223372036853775 v", 70000, "SET k v PXAT 9223372036854775000", "the last second"},
	{"PSETEX k 9223372036853775807 v", 70000, "SET k v PXAT 9223372036854775807", "the last millisecond"},
	{"GETEX k PXAT 9223372036854775807", 50000, "PEXPIREAT k 9223372036854775807", "the last millisecond"},
	{"GETEX k EX 9223372036854775807", 50000, "", "would overflow"},
	{"RESTORE k 9223372036853775807 x", 50000, "RESTORE k 9223372036854775807 x ABSTTL", "the last millisecond"},

	{"SET k v", 70000, "", "no expiry"},
	{"SET k v KEEPTTL", 70000, "", "kept"},
	{"SET k v EX 10", 70000, "SET k v PXAT 1010000", "since 6.2 one command says it"},
	{"SET k v EX 10", 60200, "SET k v PXAT 1010000", "6.2 is the first"},
	{"SET k v EX 10", 60020, "SET k v; PEXPIREAT k 1010000", "before 6.2 two are needed"},
	{"SET k v PX 10 NX", 60000, "SET k v; PEXPIREAT k 1000010", "the condition was met"},
	{"SET k v NX PX 10 GET", 70000, "SET k v PXAT 1000010", "options in any order"},
	{"SET k v PXAT 5", 70000, "", "absolute, and known"},
	{"SET k v PXAT 5", 60000, "SET k v; PEXPIREAT k 5", "absolute, but not known"},
	{"SET k v EXAT 5", 60000, "SET k v; PEXPIREAT k 5000", "absolute seconds"},
	{"SET k v EXAT 5", 70000, "SET k v PXAT 5000", "one form only"},
	{"SET k v XX", 70000, "SET k v", "the condition was met"},
	{"SET k v XX KEEPTTL", 70000, "SET k v KEEPTTL", "the condition goes, KEEPTTL stays"},
	{"SET k v IFEQ EX EX 3", 70000, "SET k v PXAT 1003000", "the compared value is no option"},
	{"SET k EX EX 3", 70000, "SET k EX PXAT 1003000", "a value is no option"},
	{"SET k v EX", 70000, "", "malformed"},
	{"SET k v FOO", 70000, "", "malformed"},
	{"SET k v EX 1 KEEPTTL", 70000, "", "malformed"},
	{"SETEX k 10 v", 70000, "SET k v PXAT 1010000", "as SET EX"},
	{"SETEX k 10 v", 20812, "SET k v; PEXPIREAT k 1010000", "as SET EX"},
	{"PSETEX k 10 v", 50000, "SET k v; PEXPIREAT k 1000010", "as SET PX"},
	{"GETEX k EX 10", 70000, "PEXPIREAT k 1010000", "only the expiry changes"},
	{"GETEX k PXAT 5", 50000, "PEXPIREAT k 5", "GETEX is not known before 6.2"},
	{"GETEX k PERSIST", 50000, "PERSIST k", "the same"},
	{"GETEX k", 70000, "", "a plain read"},
	{"MSETEX 2 a 1 b 2 EX 5", 80400, "SET a 1 PXAT 1005000; SET b 2 PXAT 1005000", "keys may lie in several slots"},
	{"MSETEX 1 a 1 NX", 60000, "SET a 1", "the condition was met"},
	{"MSETEX 1 a 1 KEEPTTL", 80400, "SET a 1 KEEPTTL", "kept"},
	{"MSETEX 3 a 1 b 2", 80400, "", "malformed"},

	{"RESTORE k 0 x", 70000, "", "no expiry"},
	{"RESTORE k 0 x REPLACE", 30000, "", "no expiry"},
	{"RESTORE k 10 x", 50000, "RESTORE k 1000010 x ABSTTL", "since 5.0"},
	{"RESTORE k 10 x REPLACE FREQ 3", 50000, "RESTORE k 1000010 x REPLACE FREQ 3 ABSTTL", "the others stay"},
	{"RESTORE k 5 x ABSTTL", 70000, "", "absolute already"},
	{"RESTORE k 10 x REPLACE", 40014, "RESTORE k 0 x REPLACE; PEXPIREAT k 1000010", "no ABSTTL before 5.0"},
	{"RESTORE k 5 x ABSTTL IDLETIME 9", 40014, "RESTORE k 0 x; PEXPIREAT k 5", "nor IDLETIME"},
	{"RESTORE k 0 x FREQ 9", 40014, "RESTORE k 0 x", "nor FREQ"},
	{"RESTORE k 0 x REPLACE", 20812, "DEL k; RESTORE k 0 x", "no REPLACE before 3.0"},
	{"RESTORE k 10 x REPLACE", 20812, "DEL k; RESTORE k 0 x; PEXPIREAT k 1000010", "neither of both"},
	{"RESTORE k ten x", 40014, "", "malformed"},
	{"RESTORE k 10 x FOO", 40014, "", "malformed"},

	{"HEXPIRE k 10 FIELDS 1 f", 70400, "HPEXPIREAT k 1010000 FIELDS 1 f", "relative seconds"},
	{"HPEXPIRE k 10 NX FIELDS 1 f", 70400, "HPEXPIREAT k 1000010 NX FIELDS 1 f", "this condition is field by field"},
	{"HPEXPIREAT k 10 FIELDS 1 f", 70400, "", "absolute already"},
	{"HGETEX k EX 10 FIELDS 1 f", 80000, "HPEXPIREAT k 1010000 FIELDS 1 f", "only the expiry changes"},
	{"HGETEX k PERSIST FIELDS 1 f", 70400, "HPERSIST k FIELDS 1 f", "the same"},
	{"HGETEX k FIELDS 1 f", 80000, "", "a plain read"},
	{"HSETEX k EX 10 FIELDS 1 f v", 80000, "HSETEX k PXAT 1010000 FIELDS 1 f v", "since 8.0"},
	{"HSETEX k EX 10 FIELDS 2 f v g w", 70400, "HSET k f v g w; HPEXPIREAT k 1010000 FIELDS 2 f g", "before 8.0"},
	{"HSETEX k FNX FIELDS 1 f v", 80000, "HSETEX k FIELDS 1 f v", "the condition was met"},
	{"HSETEX k FIELDS 1 f v", 80000, "", "no expiry"},
	{"HSETEX k FIELDS 1 f v", 60000, "HSET k f v", "not known before 8.0"},
	{"HSETEX k FIELDS 1 f v", 30200, "HMSET k f v", "HSET takes one field before 4.0"},
	{"HSETEX k KEEPTTL FIELDS 1 f v", 70400, "", "HSET would drop the expiry: let the target refuse it"},
	{"HSETEX k EX 10 FIELDS 2 f v", 80000, "", "malformed"},

	{"LPUSH k v", 70000, "", "nothing to do with expiry"},
	{"NOSUCH k v", 70000, "", "unknown"},
}

func TestAbsoluteExpiry(t *testing.T) {
	for _, tt := range expiryTests {
		args := words(tt.line)
		before := [][]byte{[]byte("EARLIER")}
		cmds, changed := absoluteExpiry([][][]byte{before}, args, nowMs, DialectOf(tt.number, 0))
		if len(cmds) < 2 || string(cmds[0][0]) != "EARLIER" {
			t.Fatalf("%s: gave %q, want it appended", tt.line, cmds)
		}
		want := tt.want
		if want == "" {
			want = tt.line
		}
		if got := join(cmds[1:]); got != want || changed != (tt.want != "") {
			t.Errorf("%s for %d = %s (changed %v), want %s (%s)", tt.line, tt.number, got, changed, want, tt.why)
		}
		if bytes.Join(args, []byte(" ")) == nil || join([][][]byte{args}) != tt.line {
			t.Errorf("%s: the arguments were changed to %s", tt.line, args)
		}
	}
}

func join(cmds [][][]byte) string {
	var lines []string
	for _, c := range cmds {
		lines = append(lines, string(bytes.Join(c, []byte(" "))))
	}
	return strings.Join(lines, "; ")
}

func TestExpireAt(t *testing.T) {
	tests := []struct {
		line    string
		at      int64
		ok      bool
		without string
	}{
		{"PEXPIREAT k 5", 5, true, ""},
		{"EXPIREAT k 5", 5000, true, ""},
		{"SET k v PXAT 5", 5, true, "SET k v"},
		{"SET k v EXAT 5 NX", 5000, true, "SET k v"},
		{"RESTORE k 5 x ABSTTL REPLACE", 5, true, "RESTORE k 0 x REPLACE"},
		{"RESTORE k 0 x ABSTTL", 0, false, "RESTORE k 0 x ABSTTL"},
		{"RESTORE k 5 x", 0, false, "RESTORE k 5 x"},
		{"GETEX k PXAT 5", 5, true, ""},
		{"GETEX k EX 5", 0, false, "GETEX k EX 5"},
		{"EXPIRE k 5", 0, false, "EXPIRE k 5"},
		{"SET k v EX 5", 0, false, "SET k v EX 5"},
		{"SET k v", 0, false, "SET k v"},
		{"HPEXPIREAT k 5 FIELDS 1 f", 0, false, "HPEXPIREAT k 5 FIELDS 1 f"},
		{"PEXPIREAT k", 0, false, "PEXPIREAT k"},
		{"PEXPIREAT k 9223372036854775807", 9223372036854775807, true, ""},
		{"SET k v PXAT 9223372036854775807", 9223372036854775807, true, "SET k v"},
		{"EXPIREAT k 9223372036854776", 0, false, "EXPIREAT k 9223372036854776"},
	}
	for _, tt := range tests {
		args := words(tt.line)
		key, at, ok := ExpireAt(args)
		if ok != tt.ok || at != tt.at || ok && key != 1 {
			t.Errorf("ExpireAt(%s) = %d, %d, %v; want 1, %d, %v", tt.line, key, at, ok, tt.at, tt.ok)
		}
		if got := string(bytes.Join(WithoutExpiry(args), []byte(" "))); got != tt.without {
			t.Errorf("WithoutExpiry(%s) = %s, want %s", tt.line, got, tt.without)
		}
	}
}
