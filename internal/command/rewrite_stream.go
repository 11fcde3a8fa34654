package command

import (
	"bytes"
	"strconv"
)

// trimOptions holds the options between the key of XADD or XTRIM and the ID or the end.
type trimOptions struct {
	at         int // index of what follows the options
	kind       string
	exact      bool // there is no "~"
	threshold  []byte
	noMkStream bool
	limit      bool
	kept       [][]byte // KEEPREF, DELREF, ACKED and the words for idempotency, since 8.2
}

func parseTrim(args [][]byte, xadd bool) (o trimOptions, ok bool) {
	o.exact = true
	for o.at = 2; o.at < len(args); o.at++ {
		a := args[o.at]
		switch {
		case xadd && isWord(a, "NOMKSTREAM"):
			o.noMkStream = true
		case isWord(a, "KEEPREF"), isWord(a, "DELREF"), isWord(a, "ACKED"):
			o.kept = append(o.kept, a)
		case isWord(a, "LIMIT") && o.at+1 < len(args):
			o.limit = true
			o.at++
		case (isWord(a, "MAXLEN") || isWord(a, "MINID")) && o.at+1 < len(args):
			o.kind = string(bytes.ToUpper(a))
			o.at++
			if next := args[o.at]; len(next) == 1 && (next[0] == '~' || next[0] == '=') && o.at+1 < len(args) {
				o.exact = next[0] == '='
				o.at++
			}
			o.threshold = args[o.at]
		default:
			return o, xadd
		}
	}
	return o, !xadd
}

// needed says whether the options must be changed for a server of the dialect.
func (o trimOptions) needed(d *Dialect) bool {
	return o.kind != "" && o.limit || !d.Has(StreamTrim) && (o.noMkStream || o.kind == "MINID")
}

// words returns the options in a form that a server accepts from a client. A source leaves LIMIT in the stream, but only replicas
// accept it together with an exact threshold.
func (o trimOptions) words(d *Dialect) [][]byte {
	var out [][]byte
	if o.noMkStream && d.Has(StreamTrim) {
		out = append(out, word("NOMKSTREAM"))
	}
	out = append(out, o.kept...)
	if o.kind == "" || o.kind == "MINID" && !d.Has(StreamTrim) {
		return out
	}
	out = append(out, word(o.kind))
	if !o.exact {
		out = append(out, word("~"))
	}
	return append(out, o.threshold)
}

// xadd rewrites XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] id field value ...
func xadd(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	o, ok := parseTrim(args, true)
	if !ok || !o.needed(d) {
		return dst, Same
	}
	minID := o.kind == "MINID" && !d.Has(StreamTrim)
	if minID && !d.Knows("EVAL") {
		return dst, Copied
	}
	cmd := append([][]byte{args[0], args[1]}, o.words(d)...)
	dst = append(dst, append(cmd, args[o.at:]...))
	if minID && o.exact { // "~" permits trimming nothing
		return d.script(dst, minIDScript, args[1:2], completeID(o.threshold))
	}
	return dst, Changed
}

// xtrim rewrites XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]
func xtrim(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	o, ok := parseTrim(args, false)
	switch {
	case !ok || !o.needed(d):
		return dst, Same
	case o.kind == "MINID" && !d.Has(StreamTrim):
		return d.script(dst, minIDScript, args[1:2], completeID(o.threshold))
	}
	return append(dst, append([][]byte{args[0], args[1]}, o.words(d)...)), Changed
}

// completeID returns an ID as a server prints it. An ID without a sequence number gets the number 0, as MINID understands it.
func completeID(id []byte) []byte {
	first, second, both := bytes.Cut(id, []byte("-"))
	if !both {
		second = word("0")
	}
	ms, err1 := strconv.ParseUint(string(first), 10, 64)
	seq, err2 := strconv.ParseUint(string(second), 10, 64)
	if err1 != nil || err2 != nil {
		return id // the server will refuse it
	}
	return strconv.AppendUint(append(strconv.AppendUint(nil, ms, 10), '-'), seq, 10)
}

// withoutCounters removes ENTRIESREAD, ENTRIESADDED and MAXDELETEDID with their values.
func withoutCounters(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	if d.Has(StreamCounters) {
		return dst, Same
	}
	least := 3 // XSETID key id
	if isWord(args[0], "XGROUP") {
		least = 5 // XGROUP CREATE key group id
	}
	if len(args) <= least {
		return dst, Same
	}
	cmd := append([][]byte{}, args[:least]...)
	for i := least; i < len(args); i++ {
		if isWord(args[i], "ENTRIESREAD") || isWord(args[i], "ENTRIESADDED") || isWord(args[i], "MAXDELETEDID") {
			i++
			continue
		}
		cmd = append(cmd, args[i])
	}
	if len(cmd) == len(args) {
		return dst, Same
	}
	return append(dst, cmd), Changed
}

// createConsumer rewrites XGROUP CREATECONSUMER key group consumer, which has created a consumer. Reading the consumer's pending
// entries, of which there are none, creates it as well.
func createConsumer(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	if d.Has(CreateConsumer) || len(args) != 5 {
		return dst, Same
	}
	return append(dst, [][]byte{word("XREADGROUP"), word("GROUP"), args[3], args[4], word("COUNT"), word("1"), word("STREAMS"), args[2], word("0")}), Changed
}

// claim rewrites XCLAIM key group consumer min-idle id ..., which a source propagates with one ID. Since 7.0, XCLAIM drops a
// pending entry whose stream entry is gone; older servers keep the pending entry.
func claim(d *Dialect, dst [][][]byte, args [][]byte) ([][][]byte, Outcome) {
	if !d.claims || len(args) < 6 {
		return dst, Same
	}
	return d.script(dst, claimScript, args[1:2], args[2:]...)
}
