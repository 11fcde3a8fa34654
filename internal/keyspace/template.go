package keyspace

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

// What a byte is in a name.
const (
	separator = 1 << iota
	digit
	lower // letters, and what identifiers have besides: _ + and =
	upper
	hexLetter // beside lower or upper
)

var classes = func() (c [256]byte) {
	for i := range c {
		switch b := byte(i); {
		case b == ':' || b == '.' || b == '/' || b == '|' || b == '-':
			c[i] = separator
		case '0' <= b && b <= '9':
			c[i] = digit
		case 'a' <= b && b <= 'z' || b == '_' || b == '=' || b == '+':
			c[i] = lower
		case 'A' <= b && b <= 'Z':
			c[i] = upper
		}
		if b := byte(i) | 0x20; 'a' <= b && b <= 'f' {
			c[i] |= hexLetter
		}
	}
	return c
}()

// IsSeparator tells a byte that ends a part of a name.
func IsSeparator(c byte) bool { return classes[c] == separator }

func isDigit(c byte) bool { return classes[c] == digit }

func isHex(c byte) bool { return classes[c]&(digit|hexLetter) != 0 }

func partLength(name []byte) int {
	for i, c := range name {
		if IsSeparator(c) {
			return i
		}
	}
	return len(name)
}

// appendPart folds one part, which begins at byte at of the name.
func appendPart(dst, part []byte, at int, folded func(from, to int)) []byte {
	if isIdentifier(part) {
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

const (
	hexLeast    = 8  // digits of a hexadecimal number
	madeUpLeast = 16 // letters and digits of another identifier
)

// isIdentifier says whether a machine made the part up. A hexadecimal number has decimal digits and others, so that no word is
// taken for one. In a ULID, or a hash in base 62 or 64, digits stand in several places, and digits and letters of both cases
// take turns so often that no word is among them.
func isIdentifier(part []byte) bool {
	if len(part) < hexLeast {
		return false
	}
	turns, numbers := 0, 0
	words, hex, hexLetters := true, true, false
	last := byte(0)
	for _, b := range part {
		class := classes[b]
		hexLetters = hexLetters || class&hexLetter != 0
		words, hex = words && class&(digit|lower|upper) != 0, hex && class&(digit|hexLetter) != 0
		if !words && !hex {
			return false
		}
		if class &^= hexLetter; class != last {
			turns++
			if class == digit {
				numbers++
			}
		}
		last = class
	}
	return hex && hexLetters && numbers > 0 || words && len(part) >= madeUpLeast && numbers > 1 && turns*4 > len(part)
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
