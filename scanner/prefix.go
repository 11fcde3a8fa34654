package scanner

import "slices"

const (
	prefixLimit = 10_000 // prefixes kept after each clearing; twice as many before it
	prefixDepth = 3      // parts of a name that make its prefix
	prefixPart  = 48     // bytes of a part; the rest is cut off
	otherGroup  = "(other)"
)

// prefixTable sums readings by folded prefix. When it is full, the smaller half goes to one group for the rest: the
// sum of all groups is always exact, a prefix that was folded away once is listed too small.
type prefixTable struct {
	byName map[string]*Group
	other  Group
	buf    []byte
	folded bool
}

func newPrefixTable() prefixTable {
	return prefixTable{byName: map[string]*Group{}, other: Group{Name: otherGroup}}
}

func (t *prefixTable) add(r reading) {
	t.buf = appendPrefix(t.buf[:0], r.name)
	g := t.byName[string(t.buf)]
	if g == nil {
		if len(t.byName) == 2*prefixLimit {
			t.clear()
		}
		g = &Group{Name: string(t.buf)}
		t.byName[g.Name] = g
	}
	g.add(r)
}

func (t *prefixTable) sorted() []Group {
	all := make([]Group, 0, len(t.byName))
	for _, g := range t.byName {
		all = append(all, *g)
	}
	slices.SortFunc(all, largestFirst)
	return all
}

func (t *prefixTable) clear() {
	t.folded = true
	for _, g := range t.sorted()[prefixLimit:] {
		t.rest(g)
		delete(t.byName, g.Name)
	}
}

func (t *prefixTable) rest(g Group) {
	t.other.Keys += g.Keys
	t.other.Bytes += g.Bytes
	t.other.Elements += g.Elements
}

// groups gives the n largest, then the rest in one, and whether any prefix was folded away on the way.
func (t *prefixTable) groups(n int) ([]Group, bool) {
	all := t.sorted()
	for _, g := range all[min(n, len(all)):] {
		t.rest(g)
	}
	all = all[:min(n, len(all)):min(n, len(all))]
	for i := range all {
		all[i].Name = printable(all[i].Name)
	}
	if t.other.Keys > 0 {
		all = append(all, t.other)
	}
	return all, t.folded
}

// appendPrefix folds a key's name to its prefix: its first parts, with runs of digits as "#", and UUIDs and parts
// that are hexadecimal numbers as "*". Parts end at one of : . / | and -. A name with more parts ends with "*".
func appendPrefix(dst, name []byte) []byte {
	for part := 1; ; part++ {
		n := uuidLength(name)
		if n > 0 {
			dst = append(dst, '*')
		} else {
			n = partLength(name)
			dst = appendPart(dst, name[:n])
		}
		if n == len(name) {
			return dst
		}
		dst = append(dst, name[n])
		if name = name[n+1:]; part == prefixDepth {
			return append(dst, '*')
		}
	}
}

func isSeparator(c byte) bool {
	return c == ':' || c == '.' || c == '/' || c == '|' || c == '-'
}

func partLength(name []byte) int {
	if i := slices.IndexFunc(name, isSeparator); i >= 0 {
		return i
	}
	return len(name)
}

func appendPart(dst, part []byte) []byte {
	if isHexNumber(part) {
		return append(dst, '*')
	}
	cut := len(part) > prefixPart
	if cut {
		part = part[:prefixPart]
	}
	for i, c := range part {
		switch {
		case !isDigit(c):
			dst = append(dst, c)
		case i == 0 || !isDigit(part[i-1]):
			dst = append(dst, '#')
		}
	}
	if cut {
		dst = append(dst, '*')
	}
	return dst
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }

// isHexNumber: eight digits or more, decimal and others, so that no word is taken for one.
func isHexNumber(p []byte) bool {
	decimal := slices.IndexFunc(p, isDigit) >= 0
	other := slices.IndexFunc(p, func(c byte) bool { return !isDigit(c) }) >= 0
	return len(p) >= 8 && decimal && other && slices.IndexFunc(p, func(c byte) bool { return !isHex(c) }) < 0
}

// uuidLength is 36 where the name begins with a UUID that ends at a separator or at the end; else 0.
func uuidLength(name []byte) int {
	const length = 36
	if len(name) < length || len(name) > length && !isSeparator(name[length]) {
		return 0
	}
	for i, c := range name[:length] {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash && c != '-' || !dash && !isHex(c) {
			return 0
		}
	}
	return length
}
