package keyspace

import "strconv"

// Printable returns a name with every byte visible, escaped as %q does but without the quotes. Different names stay different.
func Printable(name string) string {
	q := strconv.Quote(name)
	return q[1 : len(q)-1]
}

// PrintableShort does what Printable does, and cuts a name after 200 bytes.
func PrintableShort(name string) string {
	const most = 200
	if len(name) > most {
		name = name[:most] + "..."
	}
	return Printable(name)
}
