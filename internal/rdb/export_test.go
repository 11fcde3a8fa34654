package rdb

import "io"

// NewReaderWindow is NewReader with a window that is small enough to move all the time.
func NewReaderWindow(r io.Reader, o Options, window int) *Reader {
	return newReader(r, o, window)
}
