package rdb

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strconv"
)

const (
	windowSize = 256 << 10
	windowKeep = 4 << 20  // a larger window is released once it holds little
	pieceSize  = 64 << 10 // the largest piece that is returned as one slice of the window
)

// errBig says that a marked value is larger than the limit. It is never returned to callers of the package.
var errBig = errors.New("value exceeds the limit")

// cursor is a window on the bytes of an RDB, or on bytes in memory if src is nil. When the window moves, it keeps the bytes from
// mark on, and drops those before.
type cursor struct {
	src      io.Reader
	buf      []byte
	r, w     int   // buf[r:w] is read but not consumed
	mark     int   // -1 if nothing is marked
	limit    int   // limit for the marked bytes; 0: there is none
	window   int   // the initial size of the window
	base     int64 // offset of buf[0]
	unsummed bool
	summed   int // sum covers all bytes before buf[summed]
	sum      uint64
	text     [24]byte // text of the last int-encoded string
	plain    []byte   // the last string that was compressed or larger than the window
	packed   []byte   // its compressed form
}

func memory(p []byte) cursor { return cursor{buf: p, w: len(p), mark: -1} }

func (c *cursor) offset() int64 { return c.base + int64(c.r) }

// addSum extends the checksum to the bytes before r.
func (c *cursor) addSum() {
	if c.summed < c.r && !c.unsummed {
		c.sum = CRC64(c.sum, c.buf[c.summed:c.r])
		c.summed = c.r
	}
}

// more reads at least one more byte into the window.
func (c *cursor) more() error {
	if c.src == nil {
		return io.ErrUnexpectedEOF
	}
	keep := c.r
	if c.mark >= 0 {
		keep = c.mark
		if c.limit > 0 && c.r-c.mark > c.limit {
			return errBig
		}
	}
	c.makeRoom(keep)
	for range 100 {
		n, err := c.src.Read(c.buf[c.w:])
		c.w += n
		if n > 0 {
			return nil
		}
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// makeRoom moves the window so that it begins at keep, and makes room for more bytes at its end.
func (c *cursor) makeRoom(keep int) {
	held := c.w - keep
	if len(c.buf)-c.w > len(c.buf)/2 || held > c.window/4 && c.w < len(c.buf) {
		return
	}
	c.addSum()
	to := c.buf
	switch {
	case held == len(c.buf):
		to = make([]byte, max(c.window, 2*held))
	case len(c.buf) > windowKeep && held < c.window/2:
		to = make([]byte, c.window)
	}
	copy(to, c.buf[keep:c.w])
	c.buf = to
	c.base += int64(keep)
	c.w, c.r, c.summed = held, c.r-keep, c.summed-keep
	if c.mark >= 0 {
		c.mark -= keep
	}
}

// need makes n bytes available at buf[r:]; n must not exceed pieceSize.
func (c *cursor) need(n int) error {
	for c.w-c.r < n {
		if err := c.more(); err != nil {
			return err
		}
	}
	return nil
}

func (c *cursor) byte() (byte, error) {
	if c.r == c.w {
		if err := c.more(); err != nil {
			return 0, err
		}
	}
	b := c.buf[c.r]
	c.r++
	return b, nil
}

// fixed returns the next n bytes; n must not exceed pieceSize. They are valid until the cursor moves on.
func (c *cursor) fixed(n int) ([]byte, error) {
	if err := c.need(n); err != nil {
		return nil, err
	}
	c.r += n
	return c.buf[c.r-n : c.r], nil
}

func (c *cursor) uint32() (uint32, error) {
	b, err := c.fixed(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (c *cursor) uint64() (uint64, error) {
	b, err := c.fixed(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// skip moves past n bytes.
func (c *cursor) skip(n uint64) error {
	if n <= uint64(c.w-c.r) {
		c.r += int(n)
		return nil
	}
	if c.src == nil {
		c.r = c.w
		return io.ErrUnexpectedEOF
	}
	if c.mark >= 0 && c.limit > 0 && n > uint64(c.limit) {
		return errBig
	}
	for {
		step := min(n, uint64(c.w-c.r))
		c.r += int(step)
		if n -= step; n == 0 {
			return nil
		}
		if err := c.more(); err != nil {
			return err
		}
	}
}

// These encodings of a string are written in place of its length.
const (
	encInt8 = iota
	encInt16
	encInt32
	encLZF
)

// length reads a length. If encoded is true, n is a string encoding instead of a length.
func (c *cursor) length() (n uint64, encoded bool, err error) {
	b, err := c.byte()
	if err != nil {
		return 0, false, err
	}
	switch b >> 6 {
	case 0:
		return uint64(b & 0x3f), false, nil
	case 1:
		low, err := c.byte()
		return uint64(b&0x3f)<<8 | uint64(low), false, err
	case 3:
		return uint64(b & 0x3f), true, nil
	}
	switch b {
	case 0x80:
		p, err := c.fixed(4)
		if err != nil {
			return 0, false, err
		}
		return uint64(binary.BigEndian.Uint32(p)), false, nil
	case 0x81:
		p, err := c.fixed(8)
		if err != nil {
			return 0, false, err
		}
		return binary.BigEndian.Uint64(p), false, nil
	}
	return 0, false, damagedf("%#02x is not the beginning of a length", b)
}

// count reads a length, and returns an error for a string encoding.
func (c *cursor) count() (uint64, error) {
	n, encoded, err := c.length()
	if err == nil && encoded {
		err = damagedf("a string encoding (%d) stands where a length is expected", n)
	}
	return n, err
}

func (c *cursor) skipCounts(n int) error {
	for range n {
		if _, err := c.count(); err != nil {
			return err
		}
	}
	return nil
}

func (c *cursor) skipString() error {
	n, encoded, err := c.length()
	if err != nil {
		return err
	}
	if !encoded {
		return c.skip(n)
	}
	switch n {
	case encInt8, encInt16, encInt32:
		return c.skip(1 << n)
	case encLZF:
		packed, err := c.count()
		if err != nil {
			return err
		}
		if _, err := c.count(); err != nil {
			return err
		}
		return c.skip(packed)
	}
	return damagedf("unknown string encoding %d", n)
}

// skipStrings skips n strings. Its loop is the hot path of the whole package.
func (c *cursor) skipStrings(n uint64) error {
	for ; n > 0; n-- {
		if c.r < c.w {
			b := c.buf[c.r]
			if end := c.r + 1 + int(b); b < 0x40 && end <= c.w {
				c.r = end
				continue
			}
		}
		if err := c.skipString(); err != nil {
			return err
		}
	}
	return nil
}

// skipPer reads a count, and skips n strings for each counted item.
func (c *cursor) skipPer(n int) error {
	count, err := c.count()
	if err != nil {
		return err
	}
	for ; n > 0; n-- { // not n*count strings at once: with a malicious count the product could wrap
		if err := c.skipStrings(count); err != nil {
			return err
		}
	}
	return nil
}

// skipEach reads a count, and calls one that many times.
func (c *cursor) skipEach(one func() error) error {
	n, err := c.count()
	for ; err == nil && n > 0; n-- {
		err = one()
	}
	return err
}

// string reads a string, which is valid until the cursor moves on. Without a src, plain strings stay valid.
func (c *cursor) string() ([]byte, error) {
	n, encoded, err := c.length()
	if err != nil {
		return nil, err
	}
	if !encoded {
		return c.bytes(n, &c.plain)
	}
	if n == encLZF {
		return c.lzf()
	}
	return c.integer(n)
}

// bytes returns the next n bytes. They are a part of the window or, where that is too small, collected in hold as they arrive.
func (c *cursor) bytes(n uint64, hold *[]byte) ([]byte, error) {
	if n <= uint64(c.w-c.r) {
		c.r += int(n)
		return c.buf[c.r-int(n) : c.r : c.r], nil
	}
	if c.src == nil {
		c.r = c.w
		return nil, io.ErrUnexpectedEOF
	}
	if n <= pieceSize {
		return c.fixed(int(n))
	}
	out := (*hold)[:0]
	if cap(out) > windowKeep && uint64(cap(out)) > 4*n {
		out = nil
	}
	for left := n; left > 0; {
		step := int(min(left, uint64(c.w-c.r)))
		out = append(out, c.buf[c.r:c.r+step]...)
		c.r += step
		if left -= uint64(step); left > 0 && c.r == c.w {
			if err := c.more(); err != nil {
				return nil, err
			}
		}
	}
	*hold = out
	return out, nil
}

func (c *cursor) lzf() ([]byte, error) {
	packed, n, err := c.lzfSizes()
	if err != nil {
		return nil, err
	}
	return c.unpacked(packed, n)
}

// lzfSizes reads the two sizes before LZF data: those of the data and of the decompressed string.
func (c *cursor) lzfSizes() (packed, n uint64, err error) {
	if packed, err = c.count(); err != nil {
		return 0, 0, err
	}
	if n, err = c.count(); err != nil {
		return 0, 0, err
	}
	if packed > math.MaxInt32 || n > math.MaxInt32*4 {
		return 0, 0, damagedf("a compressed string claims that %d bytes expand to %d", packed, n)
	}
	return packed, n, nil
}

func (c *cursor) unpacked(packed, n uint64) ([]byte, error) {
	p, err := c.bytes(packed, &c.packed)
	if err != nil {
		return nil, err
	}
	if c.src == nil {
		return decompressLZF(nil, p, n) // the string stays valid, as all strings of a cursor without a src do
	}
	c.plain, err = decompressLZF(c.plain, p, n)
	return c.plain, err
}

func (c *cursor) integer(encoding uint64) ([]byte, error) {
	if encoding > encInt32 {
		return nil, damagedf("unknown string encoding %d", encoding)
	}
	p, err := c.fixed(1 << encoding)
	if err != nil {
		return nil, err
	}
	text := c.text[:0]
	if c.src == nil {
		text = nil
	}
	switch encoding {
	case encInt8:
		return strconv.AppendInt(text, int64(int8(p[0])), 10), nil
	case encInt16:
		return strconv.AppendInt(text, int64(int16(binary.LittleEndian.Uint16(p))), 10), nil
	default:
		return strconv.AppendInt(text, int64(int32(binary.LittleEndian.Uint32(p))), 10), nil
	}
}
