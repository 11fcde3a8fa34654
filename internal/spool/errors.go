package spool

import (
	"errors"
	"fmt"
)

// What callers branch on; the errors below wrap them.
var (
	ErrFull       = errors.New("the spool is full")
	ErrCorrupt    = errors.New("the spool is damaged")
	ErrVersion    = errors.New("the spool has another format version")
	ErrRange      = errors.New("the spool does not hold these bytes")
	ErrClosed     = errors.New("the spool is closed")
	ErrNotStarted = errors.New("the spool has not been started")
)

// FullError refuses an append that would exceed the quota; nothing of it was written.
// TrimBefore makes room. It wraps ErrFull.
type FullError struct{ Limit, Size, Need int64 } // bytes on disk

func (e *FullError) Error() string {
	return fmt.Sprintf("%v: it has %d of %d bytes and would need %d more", ErrFull, e.Size, e.Limit, e.Need)
}

func (e *FullError) Unwrap() error { return ErrFull }

// CorruptError says where bytes that were durable are not what was written. It wraps ErrCorrupt.
type CorruptError struct {
	File   string // segment
	At     int64  // position in the file
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v: %s at byte %d: %s", ErrCorrupt, e.File, e.At, e.Reason)
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// RangeError refuses to read behind an offset from where the spool does not go on. It
// wraps ErrRange.
type RangeError struct{ Offset, Begin, End int64 }

func (e *RangeError) Error() string {
	return fmt.Sprintf("%v: bytes from %d on were asked for, but it holds bytes %d to %d", ErrRange, e.Offset+1, e.Begin, e.End)
}

func (e *RangeError) Unwrap() error { return ErrRange }
