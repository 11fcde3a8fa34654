package rdb

import (
	"encoding/binary"
	"math/bits"
)

// Shape describes the parts of a value, which are determined while it is skipped. It is enough to tell how much memory a server
// takes for the value, without the contents.
type Shape struct {
	Type     byte  // type number in the RDB
	Elements int64 // list elements, members, fields, entries of a stream; 1 for strings and module values
	Bytes    int64 // serialized size, without the type byte

	// Largest is the size of the largest element: the bytes of a string, a list element or a member, or the bytes of the names and
	// values of a field or a stream entry. Packed nodes that are too small for an element of Reader.LargestFrom may be left out, except
	// for the first few of a value.
	Largest int64

	Length int64 // length of a plain string
	Int    bool  // set for a plain string that is stored as an integer

	Strings Allocations // strings that a server allocates separately: plain strings, and elements that are not packed
	Blobs   Allocations // ziplists, listpacks, intsets

	LastBlob                   int64  // bytes of the last of Blobs, which is the node of a stream that is still being filled
	Expiring                   int64  // fields with an expiry, if the hash is not packed
	Groups, Consumers, Pending int64  // of a stream
	Index                      RaxUse // of a stream: index of its nodes, groups, consumers and pending entries
}

// Allocations sums up allocations: their number, their bytes, and their bytes in the size classes of jemalloc.
type Allocations struct{ Count, Bytes, Held int64 }

func (a *Allocations) add(n int64) {
	a.Count++
	a.Bytes += n
	a.Held += Allocated(n)
}

// Allocated returns how many bytes jemalloc allocates for n bytes: the next larger one of its size classes, of which there are four
// for each doubling.
func Allocated(n int64) int64 {
	switch {
	case n <= 8:
		return 8
	case n <= 128:
		return (n + 15) &^ 15
	}
	step := int64(1) << (bits.Len64(uint64(n-1)) - 3)
	return (n + step - 1) &^ (step - 1)
}

// StringBytes returns how many bytes a string of n bytes takes in a server since 3.2: it has a header that grows with the length,
// and a NUL.
func StringBytes(n int64) int64 {
	switch {
	case n < 1<<5:
		return n + 1 + 1
	case n < 1<<8:
		return n + 3 + 1
	case n < 1<<16:
		return n + 5 + 1
	case n < 1<<32:
		return n + 9 + 1
	}
	return n + 17 + 1
}

// shaper skips values and determines their shapes.
type shaper struct {
	c     *cursor
	s     *Shape
	floor int64 // once peeks is used up, packed nodes are not searched for smaller elements
	peeks int
	head  []byte // beginning of the string that peek skipped last
}

const shapePeeks = 16 // packed nodes of a value that are always searched

// value skips a value whose type refuse accepts, and determines its shape.
func (m *shaper) value(rdbType byte) error {
	*m.s = Shape{Type: rdbType}
	m.peeks = shapePeeks
	begin := m.c.offset()
	err := row(rdbType).layout.shape(m)
	m.s.Bytes = m.c.offset() - begin
	return err
}

// length skips a string and returns the length of its text. The result isInt says that it is stored as an integer.
func (m *shaper) length() (n int64, isInt bool, err error) {
	c := m.c
	if c.r < c.w { // the hot path
		b := c.buf[c.r]
		if end := c.r + 1 + int(b); b < 0x40 && end <= c.w {
			c.r = end
			return int64(b), false, nil
		}
	}
	size, encoded, err := c.length()
	if err != nil {
		return 0, false, err
	}
	if !encoded {
		return int64(size), false, c.skip(size)
	}
	switch size {
	case encInt8, encInt16, encInt32:
		text, err := c.integer(size)
		return int64(len(text)), true, err
	case encLZF:
		packed, err := c.count()
		if err != nil {
			return 0, false, err
		}
		if size, err = c.count(); err != nil {
			return 0, false, err
		}
		if size > lzfMost || packed > lzfMost {
			return 0, false, damagedf("a compressed string claims that %d bytes expand to %d", packed, size)
		}
		return int64(size), false, c.skip(packed)
	}
	return 0, false, damagedf("unknown string encoding %d", size)
}

// lzfMost is the largest size that a compressed string may claim.
const lzfMost = 1 << 33

// strings skips the one or two strings of an element, each of which a server allocates separately.
func (m *shaper) strings(n int) error {
	first := int64(0)
	if n == 2 {
		length, _, err := m.length()
		if err != nil {
			return err
		}
		m.s.Strings.add(StringBytes(length))
		first = length
	}
	length, _, err := m.length()
	if err != nil {
		return err
	}
	m.s.Strings.add(StringBytes(length))
	m.s.Largest = max(m.s.Largest, first+length)
	return nil
}

// longInteger is the length of the longest string that a server may store as an integer of 64 bits.
const longInteger = 20

func (m *shaper) plain() error {
	begin := m.c.r
	n, isInt, err := m.length()
	if err != nil {
		return err
	}
	s := m.s
	s.Elements, s.Largest, s.Length, s.Int = 1, n, n, isInt
	if !isInt && n <= longInteger && n > 0 && begin+1+int(n) == m.c.r { // the text is in the window
		s.Int = isInteger(m.c.buf[begin+1 : m.c.r])
	}
	if !s.Int {
		s.Strings.add(StringBytes(n))
	}
	return nil
}

// isInteger says whether a text is an integer of 64 bits in the form in which a server writes one.
func isInteger(p []byte) bool {
	digits := p
	if p[0] == '-' {
		digits = p[1:]
	}
	if len(digits) == 0 || digits[0] == '0' && len(p) > 1 || len(digits) > 19 {
		return false
	}
	for _, b := range digits {
		if b < '0' || b > '9' {
			return false
		}
	}
	return len(digits) < 19 || string(digits) <= "9223372036854775807"
}

// blob skips packed elements with per entries each.
func (m *shaper) blob(in *packing, per int64) error {
	size, err := m.peek(in.header, true)
	if err != nil {
		return err
	}
	m.s.Blobs.add(size)
	if len(m.head) < in.header {
		return damaged("a packed value is shorter than its header")
	}
	entries := int64(binary.LittleEndian.Uint16(m.head[in.header-2:]))
	if whole := int64(len(m.head)) == size; whole && (entries == unknownCount || m.wanted(size)) {
		big, n := in.largest(m.head[in.header:], int(per))
		m.s.Largest = max(m.s.Largest, big)
		entries = n
		m.peeks--
	}
	m.s.Elements += entries / per
	return nil
}

const unknownCount = 65535 // in the header of a ziplist or listpack: there are at least this many entries

// wanted says whether a packed node may hold an element that matters.
func (m *shaper) wanted(size int64) bool {
	return size > m.s.Largest && (m.peeks > 0 || size > m.floor)
}

// peek skips a string and keeps its first bytes in head. It keeps the whole string if that is wanted or if the string's header does
// not tell the count.
func (m *shaper) peek(first int, look bool) (size int64, err error) {
	c := m.c
	n, encoded, err := c.length()
	if err != nil {
		return 0, err
	}
	if !encoded {
		if m.head, err = c.bytes(n, &c.plain); err != nil {
			return 0, err
		}
		return int64(n), nil
	}
	if n != encLZF {
		m.head, err = c.integer(n)
		return int64(len(m.head)), err
	}
	packed, err := c.count()
	if err != nil {
		return 0, err
	}
	if n, err = c.count(); err != nil {
		return 0, err
	}
	if packed > lzfMost || n > lzfMost {
		return 0, damagedf("a compressed string claims that %d bytes expand to %d", packed, n)
	}
	p, err := c.bytes(packed, &c.packed)
	if err != nil {
		return 0, err
	}
	c.plain = beginLZF(c.plain, p, first)
	m.head = c.plain
	full := len(m.head) >= first && binary.LittleEndian.Uint16(m.head[first-2:]) == unknownCount
	if look && (m.wanted(int64(n)) || full) {
		if c.plain, err = decompressLZF(c.plain, p, n); err != nil {
			return 0, err
		}
		m.head = c.plain
	}
	return int64(n), nil
}
