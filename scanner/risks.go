package scanner

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

const (
	bulkLimit     = 512 << 20 // proto-max-bulk-len, unless configured otherwise: no argument may be longer
	blockBytes    = 64 << 20  // a value that takes so much is worth a warning
	blockElements = 1_000_000
	shareKeys     = 100 // shares of fewer keys than these say nothing
)

// risks are full of figures, and only what the figures prove. That a key never expires counts only beside another
// risk: by itself it is how most data is.
func (t *tally) risks(k topKey) []string {
	risks := []string{}
	switch {
	case k.length > bulkLimit:
		risks = append(risks, fmt.Sprintf("a string of %s is over proto-max-bulk-len (512 MiB): servers with the default setting refuse it", size(k.length)))
	case k.bytes > bulkLimit:
		risks = append(risks, fmt.Sprintf("takes %s: a payload over proto-max-bulk-len (512 MiB) must be written in parts", size(k.bytes)))
	}
	switch {
	case k.bytes > blockBytes && k.elements > blockElements:
		risks = append(risks, fmt.Sprintf("%s in %d elements: blocks the source while it is dumped, and the target while it is restored or deleted", size(k.bytes), k.elements))
	case k.bytes > blockBytes:
		risks = append(risks, fmt.Sprintf("%s: blocks the source while it is dumped, and the target while it is restored", size(k.bytes)))
	case k.elements > blockElements:
		risks = append(risks, fmt.Sprintf("%d elements: blocks the source while it is dumped, and the target while it is restored or deleted", k.elements))
	}
	if t.totals.Keys >= shareKeys {
		risks = append(risks, t.shares(k)...)
	}
	if len(risks) > 0 && k.ttlMs < 0 {
		risks = append(risks, "never expires")
	}
	return risks
}

// shares: a cluster spreads slots, not keys, so that one key that outweighs the rest makes its shard outweigh the others.
func (t *tally) shares(k topKey) []string {
	if k.bytes*10 > t.totals.Bytes {
		return []string{fmt.Sprintf("%s of all bytes: no cluster can spread it", percent(k.bytes, t.totals.Bytes))}
	}
	if slot := t.slots[k.slot]; k.bytes*10 > slot.Bytes && slot.Bytes*100 > t.totals.Bytes {
		return []string{fmt.Sprintf("%s of slot %d, which holds %s of all bytes", percent(k.bytes, slot.Bytes), k.slot, percent(slot.Bytes, t.totals.Bytes))}
	}
	return nil
}

func percent(part, whole int64) string {
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(max(whole, 1)))
}

// size writes bytes with a binary unit.
func size(n int64) string {
	unit, f := 0, float64(n)
	for f >= 1024 && unit < 4 {
		unit, f = unit+1, f/1024
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, [...]string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// printable writes a name such that a terminal shows it and it can be told from any other: what cannot be
// printed becomes an escape, and a backslash is doubled.
func printable(name string) string {
	var out []byte
	for len(name) > 0 {
		r, n := utf8.DecodeRuneInString(name)
		switch {
		case r == '\\':
			out = append(out, `\\`...)
		case r == utf8.RuneError && n == 1, r < 0x20, r == 0x7f:
			out = fmt.Appendf(out, `\x%02x`, name[0])
		case strconv.IsPrint(r):
			out = append(out, name[:n]...)
		default:
			q := strconv.QuoteRuneToASCII(r)
			out = append(out, q[1:len(q)-1]...)
		}
		name = name[n:]
	}
	return string(out)
}
