package resp

import (
	"fmt"
	"strings"
)

// Error is an error reply without its leading "-" and its line end, such as
// "MOVED 3999 127.0.0.1:6381".
type Error string

func (e Error) Error() string { return string(e) }

// Code returns the first word, by which servers type their errors: "ERR", "MOVED", "OOM", "BUSYKEY", "NOPERM" and so on. It returns
// "" for an empty reply.
func (e Error) Code() string {
	code, _, _ := strings.Cut(string(e), " ")
	return code
}

// ProtocolError says at which byte of the stream its framing is broken. Offset counts from the first byte that the Reader read,
// which is byte 0.
type ProtocolError struct {
	Offset int64
	Wanted string
	Found  string // what is at that byte, quoted and shortened
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("command stream: at byte %d: expected %s, found %s", e.Offset, e.Wanted, e.Found)
}
