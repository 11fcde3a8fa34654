package rdb_test

import (
	"encoding/binary"
	"fmt"
	"math"

	"surecut/internal/rdb"
)

// The encoder of the tests writes what servers wrote that are not at hand, damaged things included.

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func length(n int) []byte {
	switch {
	case n < 1<<6:
		return []byte{byte(n)}
	case n < 1<<14:
		return []byte{0x40 | byte(n>>8), byte(n)}
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32([]byte{0x80}, uint32(n))
	}
	return length64(uint64(n))
}

func length64(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{0x81}, n) }

func str[T ~string | ~[]byte](s T) []byte { return append(length(len(s)), s...) }

func strs(all ...string) []byte {
	var out []byte
	for _, s := range all {
		out = append(out, str(s)...)
	}
	return out
}

// literalLZF writes p as an LZF string of nothing but literals.
func literalLZF(p []byte) []byte {
	var packed []byte
	for rest := p; len(rest) > 0; {
		n := min(32, len(rest))
		packed = append(append(packed, byte(n-1)), rest[:n]...)
		rest = rest[n:]
	}
	return cat([]byte{0xc3}, length(len(packed)), length(len(p)), packed)
}

func le16(n uint16) []byte { return binary.LittleEndian.AppendUint16(nil, n) }
func le32(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
func le64(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

func id(ms, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, ms), seq)
}

// rdbFile adds header, end and checksum.
func rdbFile(magic string, parts ...[]byte) []byte {
	p := append(append([]byte(magic), cat(parts...)...), 0xff)
	return binary.LittleEndian.AppendUint64(p, rdb.CRC64(0, p))
}

func entry(rdbType byte, key string, raw []byte) []byte {
	return cat([]byte{rdbType}, str(key), raw)
}

// listpack packs strings and ints, ints in the smallest encoding; []byte is an entry as it is, without its length.
func listpack(elements ...any) []byte {
	var body []byte
	for _, e := range elements {
		p := listpackEntry(e)
		body = append(append(body, p...), backLength(len(p))...)
	}
	count := min(len(elements), 65535)
	return cat(le32(uint32(6+len(body)+1)), le16(uint16(count)), body, []byte{0xff})
}

func listpackEntry(e any) []byte {
	switch v := e.(type) {
	case []byte:
		return v
	case int:
		switch {
		case v >= 0 && v < 128:
			return []byte{byte(v)}
		case v >= -4096 && v < 4096:
			return []byte{0xc0 | byte(v>>8)&0x1f, byte(v)}
		case v >= math.MinInt16 && v <= math.MaxInt16:
			return cat([]byte{0xf1}, le16(uint16(v)))
		case v >= -1<<23 && v < 1<<23:
			return cat([]byte{0xf2}, le32(uint32(v))[:3])
		case v >= math.MinInt32 && v <= math.MaxInt32:
			return cat([]byte{0xf3}, le32(uint32(v)))
		}
		return cat([]byte{0xf4}, le64(uint64(v)))
	case string:
		switch n := len(v); {
		case n < 64:
			return cat([]byte{0x80 | byte(n)}, []byte(v))
		case n < 4096:
			return cat([]byte{0xe0 | byte(n>>8), byte(n)}, []byte(v))
		}
		return cat([]byte{0xf0}, le32(uint32(len(v))), []byte(v))
	}
	panic(fmt.Sprintf("listpack of %T", e))
}

func backLength(n int) []byte {
	switch {
	case n <= 127:
		return make([]byte, 1)
	case n < 16383:
		return make([]byte, 2)
	case n < 2097151:
		return make([]byte, 3)
	}
	return make([]byte, 4)
}

// ziplist packs strings and ints; longPrev writes lengths of previous entries in five bytes.
func ziplist(longPrev bool, elements ...any) []byte {
	var body []byte
	prev := 0
	for _, e := range elements {
		head := []byte{byte(prev)}
		if longPrev || prev >= 254 {
			head = cat([]byte{0xfe}, le32(uint32(prev)))
		}
		p := append(head, ziplistEntry(e)...)
		prev = len(p)
		body = append(body, p...)
	}
	count := min(len(elements), 65535)
	total := 10 + len(body) + 1
	return cat(le32(uint32(total)), le32(uint32(total-1-prev)), le16(uint16(count)), body, []byte{0xff})
}

func ziplistEntry(e any) []byte {
	switch v := e.(type) {
	case int:
		switch {
		case v >= 0 && v <= 12:
			return []byte{0xf1 + byte(v)}
		case v >= -128 && v < 128:
			return []byte{0xfe, byte(v)}
		case v >= math.MinInt16 && v <= math.MaxInt16:
			return cat([]byte{0xc0}, le16(uint16(v)))
		case v >= -1<<23 && v < 1<<23:
			return cat([]byte{0xf0}, le32(uint32(v))[:3])
		case v >= math.MinInt32 && v <= math.MaxInt32:
			return cat([]byte{0xd0}, le32(uint32(v)))
		}
		return cat([]byte{0xe0}, le64(uint64(v)))
	case string:
		switch n := len(v); {
		case n < 64:
			return cat([]byte{byte(n)}, []byte(v))
		case n < 1<<14:
			return cat([]byte{0x40 | byte(n>>8), byte(n)}, []byte(v))
		}
		return cat([]byte{0x80}, binary.BigEndian.AppendUint32(nil, uint32(len(v))), []byte(v))
	}
	panic(fmt.Sprintf("ziplist of %T", e))
}
