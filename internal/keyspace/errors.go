package keyspace

import (
	"errors"
	"fmt"
)

// ErrGone ends the handing over of a value to a Visitor whose key was deleted, has expired, or has changed its type meanwhile.
var ErrGone = errors.New("the key disappeared while it was read")

// ErrEmpty says that a value has no elements, as lists in an RDB of 2.8 may have none. No command finds such a key.
var ErrEmpty = fmt.Errorf("the value has no elements: %w", ErrGone)

// UnsupportedError ends the handing over of a value to a Visitor if the value, or a part of it, cannot be built by commands: by none,
// or not by those of a server before the version Since.
type UnsupportedError struct {
	What  string // in the plural, such as "streams"
	Since string // "": no version has such commands
}

func (e *UnsupportedError) Error() string {
	if e.Since == "" {
		return e.What + " cannot be built by commands"
	}
	return e.What + " need a target of version " + e.Since + " or later"
}
