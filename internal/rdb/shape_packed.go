package rdb

import "encoding/binary"

// The functions below read packed values only for the lengths of their entries and trust the data: damage is found when a value is
// decoded.

// largest returns the largest sum of the lengths of per adjacent entries that form an element, and the number of entries.
func (in *packing) largest(p []byte, per int) (largest, entries int64) {
	next := in.text
	sum, left := 0, per
	for len(p) > 0 && p[0] != packedEnd {
		text, size := next(p)
		if size <= 0 || size > len(p) {
			return largest, entries
		}
		entries++
		if left > 0 && (per < 3 || left > 1) { // the third entry is the expiry of a field
			sum += text
		}
		if left--; left == 0 {
			largest = max(largest, int64(sum))
			sum, left = 0, per
		}
		p = p[size:]
	}
	return largest, entries
}

// listpackText returns the length of an entry's text, and of the whole entry. Both are 0 if the entry is cut off.
func listpackText(p []byte) (text, size int) {
	code := p[0]
	switch {
	case code < 0x80:
		return digitsOf(int64(code)), 2
	case code < 0xc0:
		text, size = int(code&0x3f), 1
	case code < 0xe0, code >= 0xf1:
		e, err := listpackEntry(p)
		if err != nil {
			return 0, 0
		}
		return digitsOf(e.number), e.size
	case code < 0xf0:
		if len(p) < 2 {
			return 0, 0
		}
		text, size = int(code&0x0f)<<8|int(p[1]), 2
	default:
		if len(p) < 5 {
			return 0, 0
		}
		text, size = int(binary.LittleEndian.Uint32(p[1:])), 5
	}
	return text, size + text + backLength(size+text)
}

func ziplistText(p []byte) (text, size int) {
	e, err := ziplistEntry(p)
	switch {
	case err != nil:
		return 0, 0
	case e.isInt:
		return digitsOf(e.number), e.size
	}
	return len(e.text), e.size
}

// digitsOf returns the length of a number's text.
func digitsOf(n int64) int {
	digits, u := 1, uint64(n)
	if n < 0 {
		digits, u = 2, -u
	}
	for ; u >= 10; u /= 10 {
		digits++
	}
	return digits
}
