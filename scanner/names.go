package scanner

import (
	"cmp"
	"encoding/base64"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"surecut/internal/keyspace"
)

const (
	quotedName = 200     // bytes of a long name that a report quotes
	exactName  = 1 << 10 // bytes of the longest name that is kept and reported exactly
)

// keptName is the part of a key's name that is kept. Of a long name it is the beginning, with the length and a digest, so that the
// kept and reported names are bounded.
type keptName struct {
	text   string
	length int64  // length of a long name; 0 for others
	digest uint64 // xxhash64 of a long name
}

func keepName(name []byte) keptName {
	if len(name) <= exactName {
		return keptName{text: string(name)}
	}
	return keptName{string(name[:quotedName]), int64(len(name)), xxhash.Sum64(name)}
}

func (n keptName) compare(o keptName) int {
	return cmp.Or(cmp.Compare(n.text, o.text), cmp.Compare(n.length, o.length), cmp.Compare(n.digest, o.digest))
}

// quoted returns the printable name. Of a name of more than 200 bytes it returns the beginning.
func (n keptName) quoted() string {
	if text := n.text[:min(len(n.text), quotedName)]; n.length > 0 || len(text) < len(n.text) {
		return keyspace.Printable(text) + "…"
	}
	return keyspace.Printable(n.text)
}

// exact returns the name in base64, or "" where the name is too long.
func (n keptName) exact() string {
	if n.length > 0 {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(n.text))
}

// sum returns the digest of a long name as 16 hexadecimal digits, and "" for other names.
func (n keptName) sum() string {
	if n.length == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", n.digest)
}
