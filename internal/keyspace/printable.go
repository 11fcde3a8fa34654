package keyspace

import "strconv"

// Printable makes every byte of a name visible, and tells it from any other name: it is escaped as %q does, without the quotes.
func Printable(name string) string {
	q := strconv.Quote(name)
	return q[1 : len(q)-1]
}
