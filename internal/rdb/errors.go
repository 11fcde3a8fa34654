package rdb

import (
	"errors"
	"fmt"
	"io"
)

// ErrChecksum is wrapped by every error that says that a CRC64 does not match.
var ErrChecksum = errors.New("checksum does not match")

// ErrVersion is wrapped where a DUMP payload has an RDB version that this package does not know.
var ErrVersion = errors.New("unknown RDB version")

// FormatError says that the bytes are not what an RDB or a DUMP payload may hold. Err, if it is set, says why: io.ErrUnexpectedEOF
// where the data is cut short, ErrChecksum, or an error of the underlying reader.
type FormatError struct {
	Offset int64  // in the RDB, or in the raw value
	Key    []byte // nil outside of values
	Msg    string
	Err    error
}

// Error names the offset, the key and what is wrong. The key is printed quoted.
func (e *FormatError) Error() string {
	s := fmt.Sprintf("RDB at byte %d", e.Offset)
	if e.Key != nil {
		s += fmt.Sprintf(", key %.200q", e.Key)
	}
	if e.Msg != "" {
		s += ": " + e.Msg
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

// damaged is the message of a FormatError whose place is not known yet; explain completes it.
type damaged string

func (d damaged) Error() string { return string(d) }

func damagedf(format string, args ...any) error { return damaged(fmt.Sprintf(format, args...)) }

// explain makes a FormatError of an error of a cursor, with the place and the key.
func explain(err error, offset int64, key []byte) error {
	f := &FormatError{Offset: offset, Err: err}
	if key != nil {
		f.Key = append([]byte{}, key...)
	}
	var d damaged
	switch {
	case errors.As(err, &d):
		f.Msg, f.Err = string(d), nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		f.Msg = "the data is cut short"
	case errors.Is(err, ErrChecksum):
	default:
		f.Msg = "read"
	}
	return f
}
