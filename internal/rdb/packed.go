package rdb

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"strconv"
)

// packed iterates over the elements of a ziplist or a listpack, both of which end with 0xFF.
type packed struct {
	rest  []byte
	entry func(rest []byte) (element, error)
	arena []byte    // texts of integers, valid until the next call of next or group
	held  [3][]byte // the result of group
}

// element is one element as it is stored: a text or an integer.
type element struct {
	text   []byte
	number int64
	isInt  bool
	size   int // bytes that the element takes, including its own bookkeeping
}

const packedEnd = 0xff

const (
	errZiplist  = damaged("ziplist is damaged")
	errListpack = damaged("listpack is damaged")
	errOdd      = damaged("a packed value ends in the middle of a pair")
)

const (
	ziplistHeader  = 10
	listpackHeader = 6
)

// ziplistOf opens a ziplist: total bytes, offset of the last entry, count (65535: unknown), then the entries.
func ziplistOf(blob []byte) (packed, error) {
	if len(blob) < ziplistHeader+1 || uint64(binary.LittleEndian.Uint32(blob)) != uint64(len(blob)) {
		return packed{}, errZiplist
	}
	return packed{rest: blob[ziplistHeader:], entry: ziplistEntry}, nil
}

// listpackOf opens a listpack: total bytes, count (65535: unknown), then the entries.
func listpackOf(blob []byte) (packed, error) {
	if len(blob) < listpackHeader+1 || uint64(binary.LittleEndian.Uint32(blob)) != uint64(len(blob)) {
		return packed{}, errListpack
	}
	return packed{rest: blob[listpackHeader:], entry: listpackEntry}, nil
}

// take returns the next element as it is stored. ok is false at the end.
func (p *packed) take() (e element, ok bool, err error) {
	if len(p.rest) == 1 && p.rest[0] == packedEnd {
		return element{}, false, nil
	}
	if len(p.rest) == 0 {
		return element{}, false, damaged("a packed value lacks its end mark")
	}
	e, err = p.entry(p.rest)
	if err != nil {
		return element{}, false, err
	}
	p.rest = p.rest[e.size:]
	return e, true, nil
}

func (p *packed) text(e element) []byte {
	if !e.isInt {
		return e.text
	}
	n := len(p.arena)
	p.arena = strconv.AppendInt(p.arena, e.number, 10)
	return p.arena[n:len(p.arena):len(p.arena)]
}

// next returns the next element as text, which is valid until the next call.
func (p *packed) next() ([]byte, bool, error) {
	e, ok, err := p.take()
	if err != nil || !ok {
		return nil, false, err
	}
	p.arena = p.arena[:0]
	return p.text(e), true, nil
}

// group returns the next n elements (at most 3), which are valid until the next call.
func (p *packed) group(n int) ([][]byte, bool, error) {
	p.arena = p.arena[:0]
	for i := range n {
		e, ok, err := p.take()
		if err != nil {
			return nil, false, err
		}
		if !ok && i > 0 {
			return nil, false, errOdd
		}
		if !ok {
			return nil, false, nil
		}
		p.held[i] = p.text(e)
	}
	return p.held[:n], true, nil
}

// firsts finds pairs of a packed value whose name has come before. Servers before 6.2 do not look for such pairs when they load a value; they
// find the first of them. One bit for a hash of each name tells most names apart; where the bit is set already, the names are compared.
type firsts struct {
	all   packed // the value from its beginning
	come  int    // how many names have come
	bits  []uint64
	small [16]uint64 // of a small value
}

var nameSeed = maphash.MakeSeed()

// again says whether a name has come before.
func (f *firsts) again(name []byte) bool {
	if f.come++; f.bits == nil {
		if f.bits = f.small[:]; len(f.all.rest) > 16*len(f.small) {
			f.bits = make([]uint64, len(f.all.rest)/16)
		}
	}
	at := maphash.Bytes(nameSeed, name) % uint64(64*len(f.bits))
	bit := uint64(1) << (at % 64)
	if f.bits[at/64]&bit == 0 {
		f.bits[at/64] |= bit
		return false
	}
	before := f.all
	before.arena = nil
	for range f.come - 1 {
		pair, ok, err := before.group(2)
		if err != nil || !ok {
			return false
		}
		if bytes.Equal(pair[0], name) {
			return true
		}
	}
	return false
}

// integer returns the next element, which must be an integer.
func (p *packed) integer() (int64, error) {
	e, ok, err := p.take()
	if err == nil && (!ok || !e.isInt) {
		err = damaged("a listpack of a stream holds no integer where one is expected")
	}
	return e.number, err
}

// ziplistEntry reads an entry: the length of the entry before (one byte, or 0xFE and four), encoding, content.
func ziplistEntry(rest []byte) (element, error) {
	at := 1
	if rest[0] == 0xfe {
		at = 5
	}
	if rest[0] == packedEnd || len(rest) <= at {
		return element{}, errZiplist
	}
	code := rest[at]
	at++
	length := -1
	switch code >> 6 {
	case 0:
		length = int(code & 0x3f)
	case 1:
		if len(rest) <= at {
			return element{}, errZiplist
		}
		length = int(code&0x3f)<<8 | int(rest[at])
		at++
	case 2:
		if len(rest) < at+4 {
			return element{}, errZiplist
		}
		length = int(binary.BigEndian.Uint32(rest[at:]))
		at += 4
	}
	if length >= 0 {
		if length > len(rest)-at {
			return element{}, errZiplist
		}
		return element{text: rest[at : at+length], size: at + length}, nil
	}
	var width int
	switch code {
	case 0xc0:
		width = 2
	case 0xd0:
		width = 4
	case 0xe0:
		width = 8
	case 0xf0:
		width = 3
	case 0xfe:
		width = 1
	default:
		if code < 0xf1 || code > 0xfd {
			return element{}, errZiplist
		}
		return element{number: int64(code&0x0f) - 1, isInt: true, size: at}, nil
	}
	if width > len(rest)-at {
		return element{}, errZiplist
	}
	return element{number: littleEndian(rest[at : at+width]), isInt: true, size: at + width}, nil
}

// listpackEntry reads an entry: encoding, content, and the length of both in 7 bits per byte.
func listpackEntry(rest []byte) (element, error) {
	code := rest[0]
	var e element
	at, length, width := 1, -1, 0
	switch {
	case code < 0x80:
		e = element{number: int64(code), isInt: true}
	case code < 0xc0:
		length = int(code & 0x3f)
	case code < 0xe0:
		if len(rest) < 2 {
			return e, errListpack
		}
		v := int64(code&0x1f)<<8 | int64(rest[1])
		if v >= 1<<12 {
			v -= 1 << 13
		}
		e, at = element{number: v, isInt: true}, 2
	case code < 0xf0:
		if len(rest) < 2 {
			return e, errListpack
		}
		length, at = int(code&0x0f)<<8|int(rest[1]), 2
	case code == 0xf0:
		if len(rest) < 5 {
			return e, errListpack
		}
		length, at = int(binary.LittleEndian.Uint32(rest[1:])), 5
	case code == 0xf1, code == 0xf2, code == 0xf3:
		width = int(code-0xf1) + 2
	case code == 0xf4:
		width = 8
	default:
		return e, errListpack
	}
	if max(length, width) > len(rest)-at {
		return e, errListpack
	}
	switch {
	case length >= 0:
		e.text = rest[at : at+length]
		at += length
	case width > 0:
		e.number, e.isInt = littleEndian(rest[at:at+width]), true
		at += width
	}
	e.size = at + backLength(at)
	if e.size > len(rest) {
		return e, errListpack
	}
	return e, nil
}

// backLength returns how many bytes the length n takes at the end of a listpack entry. The limits are those of the server, where
// those for two and more bytes are one lower than they could be.
func backLength(n int) int {
	switch {
	case n <= 127:
		return 1
	case n < 16383:
		return 2
	case n < 2097151:
		return 3
	case n < 268435455:
		return 4
	}
	return 5
}

// littleEndian reads a signed integer of up to 8 bytes.
func littleEndian(p []byte) int64 {
	var v uint64
	for i, b := range p {
		v |= uint64(b) << (8 * i)
	}
	shift := 64 - 8*len(p)
	return int64(v<<shift) >> shift
}

// intsetHeader reads the header of an intset: width of an integer, count. The integers follow.
func intsetHeader(blob []byte) (width, n int, err error) {
	const bad = damaged("intset is damaged")
	if len(blob) < 8 {
		return 0, 0, bad
	}
	w, count := binary.LittleEndian.Uint32(blob), binary.LittleEndian.Uint32(blob[4:])
	if w != 2 && w != 4 && w != 8 || uint64(w)*uint64(count) != uint64(len(blob)-8) {
		return 0, 0, bad
	}
	return int(w), int(count), nil
}

// walkZipmap passes on the pairs of a zipmap: count (254 and more: unknown), then names and values with their lengths. Behind the
// length of a value is the number of unused bytes that follow the value.
func walkZipmap(blob []byte, emit func(name, value []byte) error) error {
	const bad = damaged("zipmap is damaged")
	if len(blob) < 2 {
		return bad
	}
	rest := blob[1:]
	take := func(unused bool) ([]byte, bool) {
		if len(rest) < 1 || rest[0] == packedEnd {
			return nil, false
		}
		n, at, free := int(rest[0]), 1, 0
		if n == 254 {
			if len(rest) < 5 {
				return nil, false
			}
			n, at = int(binary.LittleEndian.Uint32(rest[1:])), 5
		}
		if unused {
			if len(rest) <= at {
				return nil, false
			}
			free = int(rest[at])
			at++
		}
		if n+free > len(rest)-at {
			return nil, false
		}
		p := rest[at : at+n]
		rest = rest[at+n+free:]
		return p, true
	}
	for {
		if len(rest) == 1 && rest[0] == packedEnd {
			return nil
		}
		name, ok := take(false)
		if !ok {
			return bad
		}
		value, ok := take(true)
		if !ok {
			return bad
		}
		if err := emit(name, value); err != nil {
			return err
		}
	}
}
