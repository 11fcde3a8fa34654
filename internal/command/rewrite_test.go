package command

import (
	"slices"
	"strings"
	"testing"
)

const (
	v28 = 20824
	v30 = 30007
	v32 = 30213
	v40 = 40014
	v50 = 50014
	v60 = 60020
	v62 = 60216
	v70 = 70015
	v74 = 70401
	v80 = 80000
)

// rewriteTests: "" as want is the Same; "SCRIPT x y" is an EVAL of some text with these arguments behind it.
var rewriteTests = []struct {
	line    string
	number  int
	outcome Outcome
	want    string
	why     string
}{
	{"SET k v", v28, Same, "", "everybody knows it"},
	{"SET k v KEEPTTL", v60, Same, "", "6.0 has it"},
	{"SET k v KEEPTTL", v50, Changed, "SCRIPT 1 k v", "what INCRBYFLOAT becomes since 6.0"},
	{"set k v keepttl", v28, Changed, "SCRIPT 1 k v", "any case"},
	{"SET k KEEPTTL", v28, Same, "", "a value is no option"},
	{"SET k v PXAT 5", v62, Same, "", "AbsoluteExpiry sees to it"},

	{"UNLINK a b", v32, Changed, "DEL a b", "UNLINK came with 4.0"},
	{"UNLINK a b", v40, Same, "", "known"},
	{"GETDEL k", v60, Changed, "DEL k", "it was there"},
	{"GETDEL k", v62, Same, "", "known"},
	{"DELEX k IFEQ v", v80, Changed, "DEL k", "the condition was met"},
	{"DELIFEQ k v", v80, Changed, "DEL k", "the same of Valkey"},
	{"HSET k f v", v28, Same, "", "one field"},
	{"HSET k f v g w", v32, Changed, "HMSET k f v g w", "several since 4.0"},
	{"HSET k f v g w", v40, Same, "", "known"},

	{"LMOVE a b RIGHT LEFT", v60, Changed, "RPOPLPUSH a b", "the one that always was"},
	{"LMOVE a b LEFT RIGHT", v60, Changed, "SCRIPT 2 a b LPOP RPUSH", "no command does it"},
	{"LMOVE a b LEFT LEFT", v28, Changed, "SCRIPT 2 a b LPOP LPUSH", "no command does it"},
	{"LMOVE a a RIGHT RIGHT", v28, Changed, "SCRIPT 2 a a RPOP RPUSH", "no command does it"},
	{"BLMOVE a b RIGHT LEFT 0", v60, Changed, "RPOPLPUSH a b", "it did not have to wait"},
	{"LMOVE a b LEFT RIGHT", v62, Same, "", "known"},
	{"BLMOVE a b LEFT RIGHT 0", v62, Same, "", "known"},
	{"LPOP k", v28, Same, "", "one element"},
	{"LPOP k 3", v60, Changed, "LTRIM k 3 -1", "what LMPOP becomes"},
	{"RPOP k 3", v60, Changed, "LTRIM k 0 -4", "the same at the other end"},
	{"LPOP k 0", v60, Changed, "", "nothing"},
	{"LPOP k 3", v62, Same, "", "known"},
	{"LPOP k x", v60, Same, "", "malformed: let the server refuse it"},
	{"LPOP k 9223372036854775807", v60, Same, "", "would overflow"},
	{"LPUSHX k a b", v32, Changed, "LPUSHX k a; LPUSHX k b", "several since 4.0"},
	{"RPUSHX k a", v32, Same, "", "one element"},
	{"RPUSHX k a b", v40, Same, "", "known"},
	{"LMPOP 1 k LEFT COUNT 2", v62, Copied, "", "a source sends what it came to; if not, the key is copied"},
	{"RPOPLPUSH a b", v28, Same, "", "known"},

	{"ZADD k 1 a", v28, Same, "", "no option"},
	{"ZADD k CH 1 a 2 b", v28, Changed, "ZADD k 1 a 2 b", "CH asks for another reply only"},
	{"ZADD k NX 1 a", v28, Changed, "ZADD k 1 a", "a single condition was met"},
	{"ZADD k XX CH 1 a", v30, Same, "", "since 3.0.2"},
	{"ZADD k NX 1 a 2 b", v28, Changed, "SCRIPT 1 k \"\" NX 1 a 2 b", "some may not have been met"},
	{"ZADD k GT 1 a", v60, Changed, "ZADD k 1 a", "a single condition was met"},
	{"ZADD k GT CH 1 a 2 b", v60, Changed, "SCRIPT 1 k GT \"\" 1 a 2 b", "some may not have been met"},
	{"ZADD k XX LT 1 a 2 b", v60, Changed, "SCRIPT 1 k LT XX 1 a 2 b", "both conditions"},
	{"ZADD k XX 1 a 2 b", v60, Same, "", "known"},
	{"ZADD k GT 1 a 2 b", v62, Same, "", "known"},
	{"ZADD k GT INCR 1 a", v60, Changed, "ZINCRBY k 1 a", "it was met"},
	{"ZADD k NX INCR 1 a", v28, Changed, "ZINCRBY k 1 a", "it was met"},
	{"ZADD k INCR 1 a", v32, Same, "", "known since 3.0.2"},
	{"ZADD k GT 1", v60, Same, "", "malformed"},
	{"ZPOPMIN k", v40, Changed, "ZREMRANGEBYRANK k 0 0", "since 5.0"},
	{"ZPOPMAX k", v40, Changed, "ZREMRANGEBYRANK k -1 -1", "since 5.0"},
	{"ZPOPMIN k 3", v40, Changed, "ZREMRANGEBYRANK k 0 2", "what ZMPOP becomes"},
	{"ZPOPMAX k 3", v40, Changed, "ZREMRANGEBYRANK k -3 -1", "the same"},
	{"ZPOPMAX k 0", v40, Changed, "", "nothing"},
	{"ZPOPMAX k 3", v50, Same, "", "known"},
	{"ZMPOP 1 k MIN", v62, Copied, "", "a source sends what it came to"},
	{"ZRANGESTORE d s 0 -1", v60, Copied, "", "the result is copied"},
	{"ZDIFFSTORE d 2 a b", v60, Copied, "", "the result is copied"},
	{"ZRANGESTORE d s 0 -1", v62, Same, "", "known"},
	{"GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km", v60, Copied, "", "distances differ between versions"},
	{"GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km", 60205, Changed, "SCRIPT 2 d s GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km", "without a source it would keep its target"},
	{"GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km", 60206, Same, "", "deletes it"},
	{"GEORADIUS s 1 2 3 km STORE d", v30, Copied, "", "since 3.2"},
	{"GEORADIUS s 1 2 3 km STORE d", v32, Changed, "SCRIPT 2 d s GEORADIUS s 1 2 3 km STORE d", "as GEOSEARCHSTORE"},
	{"GEORADIUSBYMEMBER s m 3 km STOREDIST d", v60, Changed, "SCRIPT 2 d s GEORADIUSBYMEMBER s m 3 km STOREDIST d", "as GEOSEARCHSTORE"},
	{"GEORADIUS s 1 2 3 km STORE s", v60, Same, "", "what is not there need not be deleted"},
	{"GEORADIUS s 1 2 3 km", v60, Same, "", "stores nothing"},
	{"GEORADIUS s 1 2 3 km STORE d", v62, Same, "", "deletes it"},
	{"GEOADD k 1 2 m", v30, Copied, "", "a sorted set to those who do not know it"},
	{"GEOADD k 1 2 m", v32, Same, "", "known"},
	{"COPY a b", v60, Copied, "", "the result is copied"},
	{"COPY a b", v62, Same, "", "known"},
	{"BITFIELD k SET u8 0 1", v30, Copied, "", "since 3.2"},
	{"BITFIELD k SET u8 0 1", v32, Same, "", "known"},
	{"PFADD k a", v28, Same, "", "since 2.8.9"},
	{"PFADD k a", 20800, Copied, "", "a string to those who do not know it"},

	{"XADD k 1-1 f v", v40, Lacking, "", "no streams before 5.0"},
	{"XACK k g 1-1", v40, Lacking, "", "the same"},
	{"XGROUP CREATE k g $", v40, Lacking, "", "the same"},
	{"XGROUP DESTROY k g", v40, Lacking, "", "the same"},
	{"XADD k 1-1 f v", v50, Same, "", "known"},
	{"XADD k NOMKSTREAM 1-1 f v", v60, Changed, "XADD k 1-1 f v", "the stream was there"},
	{"XADD k NOMKSTREAM 1-1 f v", v62, Same, "", "known"},
	{"XADD k MAXLEN = 9 LIMIT 5 1-1 f v", v62, Changed, "XADD k MAXLEN 9 1-1 f v", "a source leaves LIMIT beside =, which only a replica is allowed"},
	{"XADD k MAXLEN = 9 LIMIT 5 1-1 f v", v80, Changed, "XADD k MAXLEN 9 1-1 f v", "the same between equals"},
	{"XADD k MAXLEN ~ 9 LIMIT 5 1-1 f v", v62, Changed, "XADD k MAXLEN ~ 9 1-1 f v", "whatever was trimmed was written as ="},
	{"XADD k MAXLEN = 9 1-1 f v", v62, Same, "", "no LIMIT"},
	{"XADD k MAXLEN = 9 1-1 f v", v50, Same, "", "known"},
	{"XADD k MINID = 5-1 1-1 f v", v60, Changed, "XADD k 1-1 f v; SCRIPT 1 k 5-1", "MINID came with 6.2"},
	{"XADD k NOMKSTREAM MINID = 005 LIMIT 3 1-1 f v", v50, Changed, "XADD k 1-1 f v; SCRIPT 1 k 5-0", "the ID as servers print it"},
	{"XADD k MINID = 5-1 1-1 f v", v62, Same, "", "known"},
	{"XADD k 1-1 LIMIT 3", v62, Same, "", "a field is no option"},
	{"XTRIM k MAXLEN 9", v50, Same, "", "known"},
	{"XTRIM k MAXLEN = 9 LIMIT 3", v70, Changed, "XTRIM k MAXLEN 9", "as XADD"},
	{"XTRIM k MINID = 5-1", v60, Changed, "SCRIPT 1 k 5-1", "as XADD"},
	{"XTRIM k MINID = 5-1 LIMIT 3", v70, Changed, "XTRIM k MINID 5-1", "as XADD"},
	{"XTRIM k MINID = 5-1", v70, Same, "", "known"},
	{"XGROUP CREATE k g 0 MKSTREAM ENTRIESREAD 3", v62, Changed, "XGROUP CREATE k g 0 MKSTREAM", "no counters before 7.0"},
	{"XGROUP SETID k g 0 ENTRIESREAD -1", v50, Changed, "XGROUP SETID k g 0", "the same"},
	{"XGROUP CREATE k g 0 MKSTREAM", v50, Same, "", "known"},
	{"XGROUP SETID k g 0 ENTRIESREAD 3", v70, Same, "", "known"},
	{"XSETID k 1-1 ENTRIESADDED 5 MAXDELETEDID 0-1", v62, Changed, "XSETID k 1-1", "the same"},
	{"XSETID k 1-1", v50, Same, "", "known"},
	{"XGROUP CREATECONSUMER k g c", v60, Changed, "XREADGROUP GROUP g c COUNT 1 STREAMS k 0", "reading creates a consumer"},
	{"XGROUP CREATECONSUMER k g c", v62, Same, "", "known"},
	{"XCLAIM k g c 0 1-1 TIME 5 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1", v50, Same, "", "known"},
	{"XAUTOCLAIM k g c 0 0", v60, Copied, "", "a source sends XCLAIM; if not, the key is copied"},

	{"HPEXPIREAT k 5 FIELDS 1 f", v70, Lacking, "", "no expiry of fields before 7.4"},
	{"HPEXPIREAT k 5 FIELDS 1 f", v74, Same, "", "known"},
	{"HEXPIREAT k 5 FIELDS 1 f", v70, Lacking, "", "the same"},
	{"HPERSIST k FIELDS 1 f", v70, Changed, "", "no field has one"},
	{"HPERSIST k FIELDS 1 f", v74, Same, "", "known"},
	{"HSETEX k PXAT 5 FIELDS 1 f v", v70, Lacking, "", "the same"},
	{"HGETDEL k FIELDS 2 f g", v74, Changed, "HDEL k f g", "they were there"},
	{"HGETDEL k FIELDS 2 f g", v80, Same, "", "known"},
	{"VADD k VALUES 1 1 m", v74, Lacking, "", "vector sets came with 8.0"},
	{"JSON.SET k $ 1", v74, Lacking, "", "a module"},
	{"SPUBLISH c m", v62, Lacking, "", "shard channels came with 7.0"},

	{"EVAL x 1 k", v28, Same, "", "a script is no write by its name"},
	{"FUNCTION LOAD x", v60, Same, "", "belongs to no key: dealt with apart"},
	{"SWAPDB 0 1", v32, Same, "", "the same"},
	{"GET k", v28, Same, "", "reads"},
	{"NOSUCH k", v60, Same, "", "unknown"},
}

func TestRewrite(t *testing.T) {
	for _, tt := range rewriteTests {
		args := words(tt.line)
		before := [][]byte{[]byte("EARLIER")}
		cmds, outcome := DialectOf(tt.number, 0).Rewrite([][][]byte{before}, args)
		if len(cmds) == 0 || string(cmds[0][0]) != "EARLIER" {
			t.Fatalf("%s: gave %q, want it appended", tt.line, cmds)
		}
		got := join(cmds[1:])
		for _, text := range []string{keepTTLScript, listMoveScript, zaddScript, minIDScript, geoStoreScript} {
			got = strings.ReplaceAll(got, "EVAL "+text, "SCRIPT")
		}
		if want := strings.ReplaceAll(tt.want, `""`, ""); got != want || outcome != tt.outcome {
			t.Errorf("%s for %d = %s, %v; want %s, %v (%s)", tt.line, tt.number, got, outcome, tt.want, tt.outcome, tt.why)
		}
		if join([][][]byte{args}) != strings.ReplaceAll(tt.line, `""`, "") {
			t.Errorf("%s: the arguments were changed to %s", tt.line, args)
		}
		if outcome == Lacking && Lacks(args) == "" {
			t.Errorf("%s: nobody says what is lacking", tt.line)
		}
		expectRewritten(t, DialectOf(tt.number, 0), args)
	}
}

// expectRewritten: what is not the Same has to be known to the server, and to be the Same in turn.
func expectRewritten(t *testing.T, d *Dialect, args [][]byte) {
	t.Helper()
	cmds, outcome := d.Rewrite(nil, args)
	if outcome != Changed && len(cmds) > 0 {
		t.Fatalf("%q is %v, and became %q", args, outcome, cmds)
	}
	for _, c := range cmds {
		if s, ok := Lookup(c); !ok || !d.Knows(s.Name) {
			t.Fatalf("%q became %q, which the server does not know", args, c)
		}
		if again, outcome := d.Rewrite(nil, c); outcome != Same {
			t.Fatalf("%q became %q, which is not the end: %v %q", args, c, outcome, again)
		}
	}
}

// A server without EVAL gets copies where only a script would do.
func TestRewriteWithoutScripts(t *testing.T) {
	d := DialectOf(v50, 0).WithoutCommand("EVAL")
	if !DialectOf(v50, 0).Knows("EVAL") || d.Knows("EVAL") || !d.Knows("XADD") {
		t.Error("WithoutCommand takes away another command")
	}
	for _, line := range []string{"SET k v KEEPTTL", "LMOVE a b LEFT RIGHT", "ZADD k GT 1 a 2 b", "XADD k MINID = 5-1 1-1 f v", "XTRIM k MINID 5-1",
		"GEORADIUS s 1 2 3 km STORE d"} {
		if cmds, outcome := d.Rewrite(nil, words(line)); outcome != Copied || len(cmds) > 0 {
			t.Errorf("%s: %v %q, want a copy", line, outcome, cmds)
		}
	}
}

// Since 7.0 XCLAIM drops the pending entries of deleted entries.
func TestRewriteClaims(t *testing.T) {
	args := words("XCLAIM k g c 0 1-1 TIME 5 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1")
	for _, tt := range []struct {
		source, target int
		want           string
	}{
		{v70, v60, "EVAL " + claimScript + " 1 k g c 0 1-1 TIME 5 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1"},
		{v70, v74, ""}, {v60, v50, ""}, {v60, v70, ""}, {v62, v62, ""},
	} {
		d := DialectOf(tt.target, 0).From(DialectOf(tt.source, 0))
		if cmds, _ := d.Rewrite(nil, args); join(cmds) != tt.want {
			t.Errorf("from %d to %d: %s, want %s", tt.source, tt.target, join(cmds), tt.want)
		}
		expectRewritten(t, d, args)
	}
}

func TestDialect(t *testing.T) {
	old, latest, valkey := DialectOf(v40, 0), DialectOf(v80, 0), DialectOf(70204, 80100)
	if !old.Knows("UNLINK") || old.Knows("XADD") || !old.Has(HashSetMany) || old.Has(AbsTTL) {
		t.Error("4.0 is not what it was")
	}
	if !valkey.Knows("XGROUP CREATE") || valkey.Knows("HPEXPIREAT") || !valkey.Has(StreamCounters) {
		t.Error("Valkey 8.1 is not what it is")
	}
	common := latest.Common(old)
	if !slices.Equal(common.Names(), old.Names()) && common.Knows("XADD") || common.Has(SetAbsolute) || !common.Has(Replace) {
		t.Error("in common: more than the older has, or less")
	}
	held := latest.Without(SetAbsolute)
	if held.Has(SetAbsolute) || !latest.Has(SetAbsolute) || !held.Has(KeepTTL) {
		t.Error("Without takes away another form, or from another dialect")
	}
	if n := len(Forms()); n != int(forms) || Forms()[forms-1] != forms-1 {
		t.Errorf("%d forms", n)
	}
	for f, since := range formSince {
		if since == 0 {
			t.Errorf("form %d has no version", f)
		}
	}
}

func TestRewriteDoesNotAllocate(t *testing.T) {
	d := DialectOf(v80, 0)
	lines := [][][]byte{words("set k v"), words("xadd k 1-1 f v"), words("hset k f v g w"), words("zadd k 1 a")}
	if n := testing.AllocsPerRun(100, func() {
		for _, args := range lines {
			d.Rewrite(nil, args)
		}
	}); n != 0 {
		t.Errorf("Rewrite allocates %v times for what stays the same, want never", n)
	}
}
