package files

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// manifestLine is the longest line of a manifest that Redis accepts, including the line end.
const manifestLine = 1024

// entry is one line of a manifest.
type entry struct {
	name string
	seq  int64
	kind byte // b: base, i: incremental, h: history, which is not loaded
}

// parseManifest reads the manifest of an AOF (since 7.0) and returns the files to load, in that order. It refuses what Redis
// refuses, and ignores keys that it does not know, as Redis does.
func parseManifest(r io.Reader) ([]entry, error) {
	lines := bufio.NewReaderSize(r, manifestLine)
	var base, increments []entry
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			if n == 1 {
				return nil, errors.New("the manifest is empty")
			}
			return append(base, increments...), nil
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("line %d of the manifest is cut off", n)
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("line %d of the manifest is longer than %d bytes", n, manifestLine)
		case err != nil:
			return nil, err
		case line[0] == '#':
			continue
		}
		e, err := parseEntry(bytes.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("line %d of the manifest: %w", n, err)
		}
		switch {
		case e.kind == 'b' && len(base) > 0:
			return nil, fmt.Errorf("line %d of the manifest names a second base", n)
		case e.kind == 'b':
			base = append(base, e)
		case e.kind == 'i' && len(increments) > 0 && increments[len(increments)-1].seq >= e.seq:
			return nil, fmt.Errorf("line %d of the manifest: sequence number %d does not follow %d", n, e.seq, increments[len(increments)-1].seq)
		case e.kind == 'i':
			increments = append(increments, e)
		}
	}
}

func parseEntry(line []byte) (entry, error) {
	words, err := splitWords(line)
	if err != nil {
		return entry{}, err
	}
	if len(words) < 6 || len(words)%2 != 0 {
		return entry{}, fmt.Errorf("%q does not have the form file NAME seq NUMBER type TYPE", line)
	}
	var e entry
	for i := 0; i < len(words); i += 2 {
		value := words[i+1]
		switch strings.ToLower(words[i]) {
		case "file":
			if value == "" || strings.ContainsAny(value, "/\\\x00") || value == "." || value == ".." {
				return e, fmt.Errorf("%q is not the name of a file in the manifest's directory", value)
			}
			e.name = value
		case "seq":
			if e.seq, err = strconv.ParseInt(value, 10, 64); err != nil || e.seq < 1 {
				return e, fmt.Errorf("%q is not a sequence number", value)
			}
		case "type":
			if value != "b" && value != "i" && value != "h" {
				return e, fmt.Errorf("type %q: must be b, i or h", value)
			}
			e.kind = value[0]
		}
	}
	if e.name == "" || e.seq == 0 || e.kind == 0 {
		return e, fmt.Errorf("%q lacks file, seq or type", line)
	}
	return e, nil
}

// splitWords splits a line at blanks. A word in double quotes may contain escapes, one in single quotes only \'.
func splitWords(line []byte) ([]string, error) {
	var words []string
	for i := 0; ; {
		for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
			i++
		}
		if i == len(line) {
			return words, nil
		}
		if q := line[i]; q != '"' && q != '\'' {
			from := i
			for i < len(line) && line[i] != ' ' && line[i] != '\t' {
				i++
			}
			words = append(words, string(line[from:i]))
			continue
		}
		word, n, err := unquote(line[i:])
		if err != nil {
			return nil, err
		}
		if i += n; i < len(line) && line[i] != ' ' && line[i] != '\t' {
			return nil, fmt.Errorf("%q: a space must follow a closing quote", line)
		}
		words = append(words, word)
	}
}

// unquote reads the quoted word at the start of p, and returns how many bytes it takes up.
func unquote(p []byte) (word string, n int, err error) {
	var out []byte
	for i := 1; i < len(p); i++ {
		switch c := p[i]; {
		case c == p[0]:
			return string(out), i + 1, nil
		case c == '\\' && i+1 < len(p) && (p[0] == '"' || p[i+1] == '\''):
			i++
			if p[i] == 'x' && i+2 < len(p) {
				if b, err := strconv.ParseUint(string(p[i+1:i+3]), 16, 8); err == nil {
					out = append(out, byte(b))
					i += 2
					continue
				}
			}
			if at := strings.IndexByte("nrtba", p[i]); p[0] == '"' && at >= 0 {
				out = append(out, "\n\r\t\b\a"[at])
			} else {
				out = append(out, p[i])
			}
		default:
			out = append(out, c)
		}
	}
	return "", 0, fmt.Errorf("%q: a closing quote is missing", p)
}
