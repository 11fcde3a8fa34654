package command

import (
	"bytes"
	"strings"
)

// Outcome says how a command is carried out on a server of another version.
type Outcome uint8

const (
	// Same: the command is sent unchanged.
	Same Outcome = iota
	// Changed: other commands together have exactly the same effect. There are none where the command would change nothing on that
	// server.
	Changed
	// Copied: no other command has the same effect, and the keys that it wrote must be copied from the source.
	Copied
	// Lacking: the server lacks the type that the command writes.
	Lacking
)

// String returns the outcome in lower case.
func (o Outcome) String() string { return [...]string{"same", "changed", "copied", "lacking"}[o&3] }

// rule appends to dst the commands that a server of the dialect gets in place of args. It appends nothing unless the outcome is
// Changed.
type rule func(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome)

// rewriteRules holds the commands that have a rule of their own. Any other writing command that a server lacks is Copied, or
// Lacking where its type was introduced with it.
var rewriteRules = map[string]rule{
	"SET":                   keepTTL,
	"UNLINK":                renamed("UNLINK", "DEL"),
	"GETDEL":                deleting("GETDEL"),
	"DELEX":                 deleting("DELEX"),
	"DELIFEQ":               deleting("DELIFEQ"),
	"HSET":                  hashSet,
	"HGETDEL":               fieldsDeleting,
	"HPERSIST":              fieldsPersist,
	"LMOVE":                 listMove,
	"BLMOVE":                listMove,
	"LPOP":                  popCount,
	"RPOP":                  popCount,
	"LPUSHX":                pushMany,
	"RPUSHX":                pushMany,
	"ZADD":                  zadd,
	"ZPOPMIN":               zpop,
	"ZPOPMAX":               zpop,
	"GEORADIUS":             geoStore,
	"GEORADIUSBYMEMBER":     geoStore,
	"GEOSEARCHSTORE":        geoStore,
	"XADD":                  xadd,
	"XTRIM":                 xtrim,
	"XSETID":                withoutCounters,
	"XGROUP CREATE":         withoutCounters,
	"XGROUP SETID":          withoutCounters,
	"XGROUP CREATECONSUMER": createConsumer,
	"XCLAIM":                claim,
}

// Rewrite appends to dst the commands that have the same effect on a server of the dialect as args had on the source of the stream,
// and returns the outcome. Its input is what a replication stream holds: commands that took effect, with expiries made absolute by
// AbsoluteExpiry. Commands that only read, or that are not in the table, are the Same.
//
// Where only a script has the same effect, the command becomes an EVAL of a fixed text, if the server has EVAL.
func (d *Dialect) Rewrite(dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	spec, known := Lookup(args)
	if !known {
		return dst, Same
	}
	return d.RewriteCall(spec, dst, args)
}

// RewriteCall does what Rewrite does for a call of a command that is known already.
func (d *Dialect) RewriteCall(spec *Spec, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	r := d.rules[spec]
	if r == nil {
		return dst, Same
	}
	return r(d, dst, args)
}

// Lacks names what the server lacks where Rewrite returns Lacking, such as "streams (since 5.0)".
func Lacks(args [][]byte) string {
	spec, known := Lookup(args)
	if !known {
		return "this type"
	}
	return spec.lacks()
}

func (s *Spec) lacks() string {
	container, _, _ := strings.Cut(s.Name, " ")
	switch {
	case isStream(container):
		return "streams (since 5.0)"
	case s.Name == "HEXPIRE", s.Name == "HPEXPIRE", s.Name == "HEXPIREAT", s.Name == "HPEXPIREAT", s.Name == "HSETEX", s.Name == "HGETEX":
		return "expiries of hash fields (since 7.4)"
	case s.Name == "SPUBLISH":
		return "shard channels (since 7.0)"
	case s.Name == "VADD", s.Name == "VREM", s.Name == "VSETATTR":
		return "vector sets (since 8.0)"
	case strings.Contains(s.Name, "."):
		return "the module of " + s.Name
	}
	return ""
}

func isStream(name string) bool {
	switch name {
	case "XADD", "XTRIM", "XDEL", "XSETID", "XGROUP", "XCLAIM", "XAUTOCLAIM", "XACK", "XREADGROUP", "XACKDEL", "XDELEX":
		return true
	}
	return false
}

// chooseRules picks the rules of the commands that this server may need in another form, so that all other commands cost nothing.
func (d *Dialect) chooseRules() map[*Spec]rule {
	rules := map[*Spec]rule{}
	for _, s := range All() {
		r := rewriteRules[s.Name]
		switch {
		case isStream(s.Name) && !d.Knows("XADD"), strings.HasPrefix(s.Name, "XGROUP ") && !d.Knows("XADD"):
			r = lacking
		case r != nil:
		case d.Knows(s.Name) || !s.Write && s.Name != "SPUBLISH" || s.container:
			continue
		case s.Class == Keyless && s.Name != "SPUBLISH": // belongs to no key, so the callers handle it
			continue
		case s.lacks() != "" && !isStream(s.Name):
			r = lacking
		default:
			r = copied
		}
		rules[s] = r
	}
	return rules
}

func lacking(_ *Dialect, dst [][][]byte, _ [][]byte) ([][][]byte, Outcome) { return dst, Lacking }

func copied(_ *Dialect, dst [][][]byte, _ [][]byte) ([][][]byte, Outcome) { return dst, Copied }

// renamed replaces a command's name where the server knows only the other name.
func renamed(name, by string) rule {
	return func(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
		if d.Knows(name) {
			return dst, Same
		}
		return append(dst, append([][]byte{word(by)}, args[1:]...)), Changed
	}
}

// deleting replaces a command that has deleted its only key by DEL.
func deleting(name string) rule {
	return func(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
		if d.Knows(name) || len(args) < 2 {
			return dst, Same
		}
		return append(dst, [][]byte{word("DEL"), args[1]}), Changed
	}
}

// keepTTL rewrites SET key value KEEPTTL.
func keepTTL(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	if len(args) != 4 || d.Has(KeepTTL) || !isWord(args[3], "KEEPTTL") {
		return dst, Same
	}
	return d.script(dst, keepTTLScript, args[1:2], args[2])
}

func hashSet(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	if len(args) <= 4 || d.Has(HashSetMany) {
		return dst, Same
	}
	return append(dst, append([][]byte{word("HMSET")}, args[1:]...)), Changed
}

// fieldsDeleting rewrites HGETDEL key FIELDS numfields field ...
func fieldsDeleting(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	if d.Knows("HGETDEL") || len(args) < 5 {
		return dst, Same
	}
	return append(dst, append([][]byte{word("HDEL"), args[1]}, args[4:]...)), Changed
}

// fieldsPersist drops HPERSIST where hash fields have no expiries.
func fieldsPersist(d *Dialect, dst [][][]byte, _ [][]byte) ([][][]byte, Outcome) {
	if d.Knows("HPERSIST") {
		return dst, Same
	}
	return dst, Changed
}

// listMove rewrites LMOVE source destination LEFT|RIGHT LEFT|RIGHT, and BLMOVE, which has a timeout at the end.
func listMove(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	name := "LMOVE"
	if isWord(args[0], "BLMOVE") {
		name = "BLMOVE"
	}
	if d.Knows(name) || len(args) < 5 {
		return dst, Same
	}
	from, to := isWord(args[3], "LEFT"), isWord(args[4], "LEFT")
	switch {
	case d.Knows("LMOVE"):
		return append(dst, append([][]byte{word("LMOVE")}, args[1:5]...)), Changed
	case !from && to:
		return append(dst, [][]byte{word("RPOPLPUSH"), args[1], args[2]}), Changed
	}
	pop, push := "RPOP", "RPUSH"
	if from {
		pop = "LPOP"
	}
	if to {
		push = "LPUSH"
	}
	return d.script(dst, listMoveScript, args[1:3], word(pop), word(push))
}

// popCount rewrites LPOP key count and RPOP key count.
func popCount(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	if len(args) != 3 || d.Has(PopCount) {
		return dst, Same
	}
	n, ok := parseInt(args[2])
	switch {
	case !ok || n < 0 || n > maxCount:
		return dst, Same
	case n == 0:
		return dst, Changed
	case isWord(args[0], "LPOP"):
		return append(dst, [][]byte{word("LTRIM"), args[1], decimal(n), word("-1")}), Changed
	}
	return append(dst, [][]byte{word("LTRIM"), args[1], word("0"), decimal(-n - 1)}), Changed
}

// maxCount bounds counts so that they cannot overflow.
const maxCount = 1 << 62

// pushMany rewrites LPUSHX and RPUSHX key element ..., which took effect, so that the list existed.
func pushMany(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	if len(args) <= 3 || d.Has(PushMany) {
		return dst, Same
	}
	for _, e := range args[2:] {
		dst = append(dst, [][]byte{args[0], args[1], e})
	}
	return dst, Changed
}

// zadd rewrites ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member ... A propagated command has changed something, so if it has a
// single member, its conditions were met.
func zadd(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	i, incr, compare, exists := 2, false, "", ""
	for ; i < len(args); i++ {
		switch a := args[i]; {
		case isWord(a, "NX"):
			exists = "NX"
		case isWord(a, "XX"):
			exists = "XX"
		case isWord(a, "GT"):
			compare = "GT"
		case isWord(a, "LT"):
			compare = "LT"
		case isWord(a, "INCR"):
			incr = true
		case isWord(a, "CH"):
		default:
			return zaddPairs(d, dst, args, zaddOptions{at: i, incr: incr, compare: compare, exists: exists})
		}
	}
	return dst, Same
}

type zaddOptions struct {
	at              int // index of the first score
	incr            bool
	compare, exists string
}

func zaddPairs(d *Dialect, dst [][][]byte, args [][]byte, o zaddOptions) ([][][]byte, Outcome) {
	pairs := args[o.at:]
	if o.at == 2 || d.Has(ZAddFlags) && (o.compare == "" || d.Has(ZAddCompare)) || len(pairs) < 2 || len(pairs)%2 != 0 {
		return dst, Same
	}
	switch {
	case o.incr:
		if len(pairs) != 2 {
			return dst, Same
		}
		return append(dst, [][]byte{word("ZINCRBY"), args[1], pairs[0], pairs[1]}), Changed
	case len(pairs) == 2 || o.compare == "" && o.exists == "":
		return append(dst, append([][]byte{word("ZADD"), args[1]}, pairs...)), Changed
	case o.compare == "" && d.Has(ZAddFlags):
		return append(dst, append([][]byte{word("ZADD"), args[1], word(o.exists)}, pairs...)), Changed
	}
	return d.script(dst, zaddScript, args[1:2], append([][]byte{word(o.compare), word(o.exists)}, pairs...)...)
}

// zpop rewrites ZPOPMIN key [count] and ZPOPMAX.
func zpop(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	if d.Knows("ZPOPMIN") || len(args) < 2 || len(args) > 3 {
		return dst, Same
	}
	n := int64(1)
	if len(args) == 3 {
		var ok bool
		if n, ok = parseInt(args[2]); !ok || n > maxCount {
			return dst, Same
		}
	}
	from, to := int64(0), n-1
	if isWord(args[0], "ZPOPMAX") {
		from, to = -n, -1
	}
	if n <= 0 {
		return dst, Changed
	}
	return append(dst, [][]byte{word("ZREMRANGEBYRANK"), args[1], decimal(from), decimal(to)}), Changed
}

// geoStore rewrites GEORADIUS source ... STORE destination, GEORADIUSBYMEMBER likewise, and GEOSEARCHSTORE destination source ...
// Before 6.2.6, a server leaves the destination unchanged where the source key does not exist; a command that was propagated has
// deleted the destination then.
func geoStore(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	spec, _ := Lookup(args)
	if !d.Knows(spec.Name) {
		return dst, Copied
	}
	keys, err := spec.Keys(args, nil)
	if d.Has(GeoStoreEmpty) || err != nil || len(keys) < 2 || bytes.Equal(args[keys[0]], args[keys[1]]) {
		return dst, Same
	}
	source, target := args[keys[0]], args[keys[1]]
	if spec.Name == "GEOSEARCHSTORE" {
		source, target = target, source
	}
	return d.script(dst, geoStoreScript, [][]byte{target, source}, args...)
}
