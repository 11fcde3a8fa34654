package resp

// splitInline splits a line into words as Redis does (sdssplitargs). Words are separated by blanks. In "..." there are the escapes
// \n \r \t \b \a \xHH, and \ before any other byte; in '...' there is only \'. A closing quote must end its word. Quoted words are
// unescaped in place. If ok is false, at is the byte of the line that is wrong.
func (r *Reader) splitInline(line []byte) (at int, ok bool) {
	for i := 0; i < len(line); {
		if line[i] == ' ' || line[i] == '\t' {
			i++
			continue
		}
		from, to := i, i
		for i < len(line) && line[i] != ' ' && line[i] != '\t' {
			switch c := line[i]; {
			case c == '"' || c == '\'':
				end, out, ok := unquote(line, i, to)
				if !ok {
					return i, false
				}
				i, to = end, out
			case c < ' ' || c == 0x7f:
				return i, false
			default:
				line[to] = c
				i, to = i+1, to+1
			}
		}
		r.spans = append(r.spans, span{from, to})
	}
	return 0, true
}

// unquote copies the quoted part at line[i:] down to line[to:], and returns where each of the two ends.
func unquote(line []byte, i, to int) (end, out int, ok bool) {
	quote := line[i]
	for i++; i < len(line); i++ {
		c := line[i]
		switch {
		case c == quote:
			i++
			return i, to, i == len(line) || line[i] == ' ' || line[i] == '\t'
		case c == '\\' && quote == '\'' && i+1 < len(line) && line[i+1] == '\'':
			i++
			c = '\''
		case c == '\\' && quote == '"' && i+3 < len(line) && line[i+1] == 'x' && isHex(line[i+2]) && isHex(line[i+3]):
			c = unhex(line[i+2])<<4 | unhex(line[i+3])
			i += 3
		case c == '\\' && quote == '"' && i+1 < len(line):
			i++
			c = unescape(line[i])
		}
		line[to] = c
		to++
	}
	return i, to, false
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
