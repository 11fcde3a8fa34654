package compat

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"surecut/internal/keyspace"
)

func template(key string) string {
	rest := ""
	if len(key) > maxName {
		key, rest = key[:maxName], "*"
	}
	t, _ := keyspace.Template(key)
	return printable(t + rest)
}

// shownKeys writes the first keys of a call.
func shownKeys(keys []string) string {
	const most = 3
	var b strings.Builder
	for i, k := range keys[:min(most, len(keys))] {
		if i > 0 {
			b.WriteByte(' ')
		}
		if len(k) > 120 {
			k = k[:120] + "..."
		}
		b.WriteString(printable(k))
	}
	if n := len(keys) - most; n > 0 {
		fmt.Fprintf(&b, " and %d more", n)
	}
	return b.String()
}

// printable makes every byte visible; a backslash is doubled.
func printable(s string) string {
	var out []byte
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\\':
			out = append(out, `\\`...)
		case r == utf8.RuneError && n == 1, r < 0x20, r == 0x7f:
			out = fmt.Appendf(out, `\x%02x`, s[0])
		case strconv.IsPrint(r):
			out = append(out, s[:n]...)
		default:
			q := strconv.QuoteRuneToASCII(r)
			out = append(out, q[1:len(q)-1]...)
		}
		s = s[n:]
	}
	return string(out)
}

func databaseName(db int) string { return "db" + strconv.Itoa(db) }
