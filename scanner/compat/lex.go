package compat

import (
	"regexp"
	"strings"
)

// source is the text of a file, divided into code, strings and comments.
type source struct {
	text  string
	code  string // the text with the contents of strings and whole comments blanked out, but with line ends kept
	lang  *language
	lines []int // index of the first byte of each line
}

// lex distinguishes code, strings and comments. A string in single-line quotes ends with its line, so that a quote which begins no
// string (in a regular expression, an apostrophe) does no further harm.
func lex(text string, lang *language) *source {
	s := &source{text: text, lang: lang, lines: []int{0}}
	code := []byte(text)
	blank := func(from, to int) {
		for i := from; i < to && i < len(code); i++ {
			if code[i] != '\n' {
				code[i] = ' '
			}
		}
	}
	for i := 0; i < len(text); {
		rest := text[i:]
		if end := lang.commentAt(rest); end > 0 {
			blank(i, i+end)
			i += end
			continue
		}
		if quote := lang.quoteAt(rest); quote != "" {
			end := stringEnd(text, i+len(quote), quote)
			blank(i+len(quote), end)
			i = min(end+len(quote), len(text))
			continue
		}
		i++
	}
	s.code = string(code)
	for i := range len(text) {
		if text[i] == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// line returns the number of the line that contains a byte, counted from 1.
func (s *source) line(at int) int {
	low, high := 0, len(s.lines)
	for low+1 < high {
		if mid := (low + high) / 2; s.lines[mid] <= at {
			low = mid
		} else {
			high = mid
		}
	}
	return low + 1
}

// commentAt returns the length of the comment that begins here, or 0 where none does.
func (l *language) commentAt(rest string) int {
	toLineEnd := func() int {
		if n := strings.IndexByte(rest, '\n'); n >= 0 {
			return n
		}
		return len(rest)
	}
	for _, kind := range l.Comments {
		switch {
		case kind == "dashes" && strings.HasPrefix(rest, "--[["):
			if n := strings.Index(rest, "]]"); n >= 0 {
				return n + 2
			}
			return len(rest)
		case kind == "slashes" && strings.HasPrefix(rest, "//"), kind == "hash" && rest[0] == '#', kind == "dashes" && strings.HasPrefix(rest, "--"):
			return toLineEnd()
		case kind == "block" && strings.HasPrefix(rest, "/*"):
			if n := strings.Index(rest[2:], "*/"); n >= 0 {
				return n + 4
			}
			return len(rest)
		}
	}
	return 0
}

func (l *language) quoteAt(rest string) string {
	for _, quote := range l.Strings {
		if strings.HasPrefix(rest, quote) {
			return quote
		}
	}
	return ""
}

// stringEnd returns the position of the closing quote.
func stringEnd(text string, i int, quote string) int {
	long := len(quote) > 1 || quote == "`" || quote == "]]"
	for ; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], quote):
			return i
		case text[i] == '\\' && quote != "]]":
			i++
		case text[i] == '\n' && !long:
			return i
		}
	}
	return len(text)
}

// arguments splits the text between the parenthesis at open and its match at the commas of the top level. A whole list in brackets
// or braces ([a, b], []string{a, b}) is replaced by its elements.
func (s *source) arguments(open int) (args []string, end int) {
	depth, from := 0, open+1
	for i := open; i < len(s.code) && i < open+4000; i++ {
		switch s.code[i] {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			if depth--; depth == 0 {
				if last := strings.TrimSpace(s.text[from:i]); last != "" {
					args = append(args, s.flatten(from, i)...)
				}
				return args, i
			}
		case ',':
			if depth == 1 {
				args = append(args, s.flatten(from, i)...)
				from = i + 1
			}
		}
	}
	return args, min(open+4000, len(s.code))
}

// list matches an argument that is a list of others, as far as the code shows: [..., []string{...}, Arrays.asList(..., array(....
var list = regexp.MustCompile(`^\s*(?:[a-z.]*\.)?(?:\[|\[\]string\{|\[\]interface\{\}\{|\[\]any\{|Arrays\.asList\(|List\.of\(|array\(|new String\[\]\s*\{)`)

func (s *source) flatten(from, to int) []string {
	if m := list.FindStringIndex(s.code[from:to]); m != nil && strings.IndexByte("])}", lastByte(strings.TrimSpace(s.code[from:to]))) >= 0 {
		if inner, _ := s.arguments(from + m[1] - 1); len(inner) > 0 {
			return inner
		}
	}
	return []string{strings.TrimSpace(s.text[from:to])}
}

func lastByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}

// keyOf returns the template of the key in an argument: its strings, with "*" for everything that is inserted at run time. ok is
// false where no part of the key is written in the code.
func (l *language) keyOf(arg string) (key string, ok bool) {
	s := lex(arg, l)
	var b strings.Builder
	format := formatted.MatchString(s.code)
	if l.Name == "Python" {
		format = strings.Contains(s.code, "%")
	}
	braces := l.Name == "Python" && strings.Contains(s.code, ".format(")
	wrote := false
	for i := 0; i < len(arg); {
		quote := l.quoteAt(arg[i:])
		if quote == "" {
			if c := s.code[i]; !wrote || !format && !braces {
				if isName(c) {
					star(&b)
				}
			}
			i++
			continue
		}
		end := stringEnd(arg, i+len(quote), quote)
		text := arg[i+len(quote) : end]
		if !wrote || !format && !braces {
			if m := pythonPrefix.FindString(arg[:i]); l.Name == "Python" && m != "" {
				trimmed := strings.TrimSuffix(b.String(), "*") // without the "*" for the prefix itself
				b.Reset()
				b.WriteString(trimmed)
				if strings.ContainsAny(m, "fF") {
					text = interpolated(text)
				}
			} else {
				text = l.filled(text, quote, format, braces)
			}
			if format && !wrote {
				b.Reset() // drops the name of the formatting function
			}
			b.WriteString(text)
		}
		wrote = true
		i = min(end+len(quote), len(arg))
	}
	key = b.String()
	return key, wrote && strings.Trim(key, "*") != ""
}

// pythonPrefix matches the letters before a quote that belong to a Python string.
var pythonPrefix = regexp.MustCompile(`(?i)\b(?:f|b|u|r|rf|fr|rb|br)$`)

var formatted = regexp.MustCompile(`(?i)\b(?:sprintf|format|formatted)\s*\(`)

func isName(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// star writes "*" for text that is not known, unless the last byte is one already.
func star(b *strings.Builder) {
	if !strings.HasSuffix(b.String(), "*") {
		b.WriteByte('*')
	}
}

// filled puts "*" in place of the parts of a string that are inserted at run time.
func (l *language) filled(text, quote string, format, braces bool) string {
	switch {
	case format:
		return verbs.ReplaceAllString(strings.ReplaceAll(text, "%%", "%"), "*")
	case braces:
		return interpolated(text)
	case l.Name == "JavaScript" && quote == "`":
		return dollarBraces.ReplaceAllString(text, "*")
	case l.Name == "Java":
		return dollarBraces.ReplaceAllString(text, "*") // for Kotlin
	case l.Name == "Ruby" && quote == `"`:
		return hashBraces.ReplaceAllString(text, "*")
	case l.Name == "PHP" && quote == `"`:
		return phpVariable.ReplaceAllString(text, "*")
	}
	return text
}

var (
	verbs        = regexp.MustCompile(`%[-+ #0-9.]*[a-zA-Z]`)
	dollarBraces = regexp.MustCompile(`\$\{[^}]*\}`)
	hashBraces   = regexp.MustCompile(`#\{[^}]*\}`)
	phpVariable  = regexp.MustCompile(`\{\$[^}]*\}|\$\{[^}]*\}|\$\w+(?:->\w+|\[[^\]]*\])?`)
)

// interpolated replaces each {name} by "*". {{ and }} stand for braces.
func interpolated(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], "{{"), strings.HasPrefix(text[i:], "}}"):
			b.WriteByte(text[i])
			i++
		case text[i] == '{':
			n := strings.IndexByte(text[i:], '}')
			if n < 0 {
				n = len(text) - i - 1
			}
			star(&b)
			i += n
		default:
			b.WriteByte(text[i])
		}
	}
	return b.String()
}
