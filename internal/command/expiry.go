package command

import (
	"math"
	"strconv"
)

// These are the keywords of expiries, and the bounds of their values.
const (
	relativeSeconds       = "EX"
	relativeMillis        = "PX"
	absoluteSeconds       = "EXAT"
	absoluteMillis        = "PXAT"
	noExpiry        int64 = -1

	// mostPast bounds times before 1970, which delete the key at once, so that they can be computed with.
	mostPast = math.MaxInt64 / 4
)

// rewriter appends the absolute form of args to dst, and says whether it differs from args. Where it does not differ, or where args
// fit no form of the command, the rewriter appends nothing.
type rewriter func(dst [][][]byte, args [][]byte, nowMs int64, d *Dialect) ([][][]byte, bool)

var expiryRules = map[string]rewriter{
	"EXPIRE":         rewriteExpire,
	"PEXPIRE":        rewriteExpire,
	"EXPIREAT":       rewriteExpire,
	"PEXPIREAT":      rewriteExpire,
	"SET":            rewriteSet,
	"SETEX":          rewriteSetEx,
	"PSETEX":         rewriteSetEx,
	"GETEX":          rewriteGetEx,
	"MSETEX":         rewriteMSetEx,
	"RESTORE":        rewriteRestore,
	"RESTORE-ASKING": rewriteRestore,
	"HEXPIRE":        rewriteFieldExpire,
	"HPEXPIRE":       rewriteFieldExpire,
	"HGETEX":         rewriteFieldGetEx,
	"HSETEX":         rewriteFieldSetEx,
}

// AbsoluteExpiry appends to dst the commands that have the same effect on a target as args, a call of s, had on the source at nowMs
// (Unix time in ms by the source's clock), and says whether they differ from args. Relative expiries become absolute ones, in forms
// that a target of the dialect knows:
//
//   - EXPIRE, PEXPIRE become PEXPIREAT; SET with an expiry, SETEX and PSETEX become SET PXAT (since 6.2), else
//     SET and PEXPIREAT; GETEX becomes PEXPIREAT or PERSIST; MSETEX becomes one SET for each key, always.
//   - RESTORE becomes RESTORE ABSTTL (since 5.0), else RESTORE without expiry and PEXPIREAT; IDLETIME and FREQ
//     are left out before 5.0, and REPLACE before 3.0 becomes a DEL.
//   - HEXPIRE, HPEXPIRE and HGETEX become HPEXPIREAT or HPERSIST; HSETEX becomes HSETEX PXAT (since 8.0), else HSET and
//     HPEXPIREAT. Before 7.4 no form of a field's expiry exists: to Rewrite, what comes out is Lacking.
//
// Conditions on a whole key (NX, XX, GT, LT, IFEQ ..., and GET) are dropped, because a source propagates only commands that took
// effect. KEEPTTL stays and is handled by Rewrite. Conditions of HEXPIRE apply to each field and stay.
//
// A changed command shares the bytes of args, and must not be used longer than args.
func (s *Spec) AbsoluteExpiry(dst [][][]byte, args [][]byte, nowMs int64, d *Dialect) (cmds [][][]byte, changed bool) {
	if s.Expires {
		if out, changed := s.expiry(dst, args, nowMs, d); changed {
			return out, true
		}
	}
	return append(dst, args), false
}

// absolute converts an expiry, given as a keyword and its argument, to Unix ms. It returns false for a time that overflows, which servers
// refuse.
func absolute(unit string, arg []byte, nowMs int64) (int64, bool) {
	n, ok := parseInt(arg)
	if !ok {
		return 0, false
	}
	if unit == relativeSeconds || unit == absoluteSeconds {
		if n > math.MaxInt64/1000 || n < -mostPast/1000 {
			return 0, false
		}
		n *= 1000
	}
	now := int64(0)
	if unit == relativeSeconds || unit == relativeMillis {
		now = nowMs
	}
	if n > math.MaxInt64-now || n < -mostPast {
		return 0, false
	}
	return n + now, true
}

func decimal(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

func word(s string) []byte { return []byte(s) }

func expireAt(key []byte, at int64) [][]byte {
	return [][]byte{word("PEXPIREAT"), key, decimal(at)}
}

func rewriteExpire(dst [][][]byte, args [][]byte, nowMs int64, _ *Dialect) ([][][]byte, bool) {
	if len(args) < 3 {
		return dst, false
	}
	var unit string
	switch {
	case isWord(args[0], "EXPIRE"):
		unit = relativeSeconds
	case isWord(args[0], "PEXPIRE"):
		unit = relativeMillis
	case len(args) == 3: // an absolute time without a condition
		return dst, false
	case isWord(args[0], "EXPIREAT"):
		unit = absoluteSeconds
	default:
		unit = absoluteMillis
	}
	at, ok := absolute(unit, args[2], nowMs)
	if !ok {
		return dst, false
	}
	return append(dst, expireAt(args[1], at)), true
}

// setOptions holds the options after key and value of SET, or after the pairs of MSETEX.
type setOptions struct {
	unit    string // keyword of the expiry; "": none
	arg     []byte // argument of the expiry
	keepTTL bool
	other   bool // there are conditions, or GET
}

func parseSetOptions(args [][]byte) (o setOptions, ok bool) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case isWord(a, "NX"), isWord(a, "XX"), isWord(a, "GET"):
			o.other = true
			continue
		case isWord(a, "KEEPTTL"):
			o.keepTTL = true
			continue
		case isWord(a, "IFEQ"), isWord(a, "IFNE"), isWord(a, "IFDEQ"), isWord(a, "IFDNE"):
			o.other = true
		default:
			if o.unit = expiryUnit(a); o.unit == "" {
				return o, false
			}
			if i+1 < len(args) {
				o.arg = args[i+1]
			}
		}
		if i++; i >= len(args) {
			return o, false
		}
	}
	return o, o.unit == "" || !o.keepTTL
}

func expiryUnit(p []byte) string {
	for _, u := range [...]string{relativeSeconds, relativeMillis, absoluteSeconds, absoluteMillis} {
		if isWord(p, u) {
			return u
		}
	}
	return ""
}

func rewriteSet(dst [][][]byte, args [][]byte, nowMs int64, d *Dialect) ([][][]byte, bool) {
	if len(args) <= 3 {
		return dst, false
	}
	o, ok := parseSetOptions(args[3:])
	if !ok || !o.other && (o.keepTTL || o.unit == "" || o.unit == absoluteMillis && d.Has(SetAbsolute)) {
		return dst, false
	}
	at, ok := o.at(nowMs)
	if !ok {
		return dst, false
	}
	return appendSet(dst, args[1], args[2], o.keepTTL, at, d), true
}

// at returns the absolute expiry that the options set, or noExpiry where they set none.
func (o setOptions) at(nowMs int64) (int64, bool) {
	if o.unit == "" {
		return noExpiry, true
	}
	return absolute(o.unit, o.arg, nowMs)
}

func appendSet(dst [][][]byte, key, value []byte, keepTTL bool, at int64, d *Dialect) [][][]byte {
	set := [][]byte{word("SET"), key, value}
	switch {
	case keepTTL:
		return append(dst, append(set, word("KEEPTTL")))
	case at == noExpiry:
		return append(dst, set)
	case d.Has(SetAbsolute) && at > 0: // SET refuses times that are not positive, PEXPIREAT accepts them
		return append(dst, append(set, word(absoluteMillis), decimal(at)))
	}
	return append(dst, set, expireAt(key, at))
}

func rewriteSetEx(dst [][][]byte, args [][]byte, nowMs int64, d *Dialect) ([][][]byte, bool) {
	if len(args) != 4 {
		return dst, false
	}
	unit := relativeSeconds
	if isWord(args[0], "PSETEX") {
		unit = relativeMillis
	}
	at, ok := absolute(unit, args[2], nowMs)
	if !ok {
		return dst, false
	}
	return appendSet(dst, args[1], args[3], false, at, d), true
}

func rewriteGetEx(dst [][][]byte, args [][]byte, nowMs int64, _ *Dialect) ([][][]byte, bool) {
	switch {
	case len(args) == 3 && isWord(args[2], "PERSIST"):
		return append(dst, [][]byte{word("PERSIST"), args[1]}), true
	case len(args) != 4:
		return dst, false
	}
	unit := expiryUnit(args[2])
	if unit == "" {
		return dst, false
	}
	at, ok := absolute(unit, args[3], nowMs)
	if !ok {
		return dst, false
	}
	return append(dst, expireAt(args[1], at)), true
}

// rewriteMSetEx rewrites MSETEX numkeys key value ... [NX|XX] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL].
func rewriteMSetEx(dst [][][]byte, args [][]byte, nowMs int64, d *Dialect) ([][][]byte, bool) {
	if len(args) < 4 {
		return dst, false
	}
	n, ok := parseInt(args[1])
	if !ok || n < 1 || n > int64(len(args)) || 2+2*int(n) > len(args) {
		return dst, false
	}
	pairs, rest := args[2:2+2*n], args[2+2*n:]
	o, ok := parseSetOptions(rest)
	if !ok {
		return dst, false
	}
	at, ok := o.at(nowMs)
	if !ok {
		return dst, false
	}
	for i := 0; i < len(pairs); i += 2 {
		dst = appendSet(dst, pairs[i], pairs[i+1], o.keepTTL, at, d)
	}
	return dst, true
}

// restoreOptions holds the options after key, ttl and payload of RESTORE.
type restoreOptions struct {
	replace, absolute bool
	aging             [][]byte // IDLETIME or FREQ with its number
}

func parseRestoreOptions(args [][]byte) (o restoreOptions, ok bool) {
	for i := 0; i < len(args); i++ {
		switch {
		case isWord(args[i], "REPLACE"):
			o.replace = true
		case isWord(args[i], "ABSTTL"):
			o.absolute = true
		case (isWord(args[i], "IDLETIME") || isWord(args[i], "FREQ")) && i+1 < len(args):
			o.aging = args[i : i+2]
			i++
		default:
			return o, false
		}
	}
	return o, true
}

func rewriteRestore(dst [][][]byte, args [][]byte, nowMs int64, d *Dialect) ([][][]byte, bool) {
	if len(args) < 4 {
		return dst, false
	}
	o, ok := parseRestoreOptions(args[4:])
	if !ok {
		return dst, false
	}
	unit := relativeMillis
	if o.absolute {
		unit = absoluteMillis
	}
	ttl, ok := parseInt(args[2])
	if !ok {
		return dst, false
	}
	at, ok := absolute(unit, args[2], nowMs)
	if !ok {
		return dst, false
	}
	old := !d.Has(AbsTTL)
	if (ttl == 0 || o.absolute) && !(old && (o.absolute || len(o.aging) > 0)) && (d.Has(Replace) || !o.replace) {
		return dst, false
	}
	if o.replace && !d.Has(Replace) {
		dst = append(dst, [][]byte{word("DEL"), args[1]})
	}
	cmd := [][]byte{args[0], args[1], word("0"), args[3]}
	if o.replace && d.Has(Replace) {
		cmd = append(cmd, word("REPLACE"))
	}
	if !old {
		cmd = append(cmd, o.aging...)
	}
	if ttl == 0 {
		return append(dst, cmd), true
	}
	if !old {
		cmd[2] = decimal(at)
		return append(dst, append(cmd, word("ABSTTL"))), true
	}
	return append(dst, cmd, expireAt(args[1], at)), true
}
