package keyspace

import "slices"

// TemplatePart is how many bytes of a part a template shows; the rest is cut off.
const TemplatePart = 48

// Span is a part of a text: from is its first byte, to the one behind its last.
type Span struct{ From, To int }

// AppendTemplate folds a key's name to what it has in common with others of its making: runs of digits become "#", and
// UUIDs, hexadecimal numbers and other identifiers that a machine made up "*". Parts end at one of : . / | and -. Of a name with more than depth parts the rest becomes "*"; depth 0 is any.
func AppendTemplate(dst, name []byte, depth int) []byte {
	return fold(dst, name, depth, nil)
}

// Template folds a whole name, and tells which parts of the name were folded, in order: one for each "#" and "*".
func Template(name string) (template string, folded []Span) {
	out := fold(nil, []byte(name), 0, func(from, to int) { folded = append(folded, Span{from, to}) })
	return string(out), folded
}

// fold tells each folded part of the name by its first byte and the one behind its last.
func fold(dst, name []byte, depth int, folded func(from, to int)) []byte {
	if folded == nil {
		folded = func(int, int) {}
	}
	at := 0
	for part := 1; ; part++ {
		rest := name[at:]
		n := uuidLength(rest)
		if n > 0 {
			dst = append(dst, '*')
			folded(at, at+n)
		} else {
			n = partLength(rest)
			dst = appendPart(dst, rest[:n], at, folded)
		}
		if n == len(rest) {
			return dst
		}
		dst = append(dst, rest[n])
		if at += n + 1; part == depth {
			folded(at, len(name))
			return append(dst, '*')
		}
	}
}

// IsSeparator tells a byte that ends a part of a name.
func IsSeparator(c byte) bool {
	return c == ':' || c == '.' || c == '/' || c == '|' || c == '-'
}

func partLength(name []byte) int {
	if i := slices.IndexFunc(name, IsSeparator); i >= 0 {
		return i
	}
	return len(name)
}

// appendPart folds one part, which begins at byte at of the name.
func appendPart(dst, part []byte, at int, folded func(from, to int)) []byte {
	if isHexNumber(part) || isMadeUp(part) {
		folded(at, at+len(part))
		return append(dst, '*')
	}
	end := len(part)
	cut := end > TemplatePart
	if cut {
		part = part[:TemplatePart]
	}
	from := -1 // of the run of digits that we are in
	for i, c := range part {
		switch {
		case !isDigit(c):
			if from >= 0 {
				folded(at+from, at+i)
				from = -1
			}
			dst = append(dst, c)
		case from < 0:
			from = i
			dst = append(dst, '#')
		}
	}
	if from >= 0 {
		folded(at+from, at+len(part))
	}
	if cut {
		folded(at+TemplatePart, at+end)
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

// isMadeUp: 16 letters and digits or more that take turns so often that no word is among them, as in a ULID or a hash in
// base 62.
func isMadeUp(p []byte) bool {
	turns := 0
	for i, c := range p {
		if letter := 'a' <= c|0x20 && c|0x20 <= 'z'; !letter && !isDigit(c) && c != '_' && c != '=' {
			return false
		}
		if i > 0 && isDigit(c) != isDigit(p[i-1]) {
			turns++
		}
	}
	return len(p) >= 16 && turns*4 >= len(p)
}

// uuidLength is 36 where the name begins with a UUID that ends at a separator or at the end; else 0.
func uuidLength(name []byte) int {
	const length = 36
	if len(name) < length || len(name) > length && !IsSeparator(name[length]) {
		return 0
	}
	for i, c := range name[:length] {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash && c != '-' || !dash && !isHex(c) {
			return 0
		}
	}
	return length
}
