package compat

import (
	"fmt"
	"strconv"
	"strings"

	"surecut/internal/keyspace"
)

func template(key string) string {
	rest := ""
	if len(key) > maxName {
		key, rest = key[:maxName], "*"
	}
	t, _ := keyspace.Template(key)
	return keyspace.Printable(t + rest)
}

// shownKeys describes the first keys of a call.
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
		b.WriteString(keyspace.Printable(k))
	}
	if n := len(keys) - most; n > 0 {
		fmt.Fprintf(&b, " and %d more", n)
	}
	return b.String()
}

func databaseName(db int) string { return "db" + strconv.Itoa(db) }
