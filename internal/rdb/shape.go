package rdb

import (
	"encoding/binary"
	"math/bits"
)

// Shape is what a value is made of, gathered while it is skipped: enough to say what memory a server takes for it, without
// its contents.
type Shape struct {
	Type     byte  // as the RDB numbers it
	Elements int64 // as Elements counts them
	Bytes    int64 // serialized, without the type byte

	// Largest is the length of the largest element: of a string, a list element or a member its bytes, of a field or
	// a stream entry those of name and value. Packed nodes in which nothing as large as Options.LargestFrom fits may
	// be left out, except the first few of a value.
	Largest int64

	Length int64 // of a plain string
	Int    bool  // a plain string that is stored as an integer

	Strings Allocations // strings that a server allocates one by one: elements of what is not packed, and plain strings
	Blobs   Allocations // ziplists, listpacks, intsets

	LastBlob                   int64  // bytes of the last of Blobs, which a stream still fills
	Expiring                   int64  // fields with an expiry, where a hash is not packed
	Groups, Consumers, Pending int64  // of a stream
	Index                      RaxUse // of a stream: its nodes, groups, consumers and pending entries
}

// Allocations sums what was allocated: how many, their bytes, and their bytes in the size classes of jemalloc.
type Allocations struct{ Count, Bytes, Held int64 }

func (a *Allocations) add(n int64) {
	a.Count++
	a.Bytes += n
	a.Held += Allocated(n)
}

// Allocated is what jemalloc gives for n bytes: the next of its size classes, four for each doubling.
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

// StringBytes is what a string of n bytes takes in a server since 3.2: a header that grows with it, and a NUL.
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

// RaxUse is what radix trees are made of: a leaf for each element, branches where elements part, and chains for the bytes
// that they share.
type RaxUse struct{ Elements, Branches, Chains int64 }

// shaper skips values and notes their shapes.
type shaper struct {
	c     *cursor
	s     *Shape
	floor int64 // no smaller element is looked for in packed nodes, once peeks are used up
	peeks int
	head  []byte
}

const shapePeeks = 16 // packed nodes of a value that are looked into in any case

// value is skipValue, with the shape.
func (m *shaper) value(rdbType byte) error {
	*m.s = Shape{Type: rdbType}
	m.peeks = shapePeeks
	begin := m.c.offset()
	err := m.parts(rdbType)
	m.s.Bytes = m.c.offset() - begin
	return err
}

func (m *shaper) parts(rdbType byte) error {
	c := m.c
	switch rdbType {
	case TypeString:
		return m.plain()
	case TypeList, TypeSet:
		return m.counted(func() error { return m.text(0) })
	case TypeHash:
		return m.counted(m.pair)
	case TypeZSet:
		return m.counted(func() error {
			if err := m.text(0); err != nil {
				return err
			}
			return c.skipTextScore()
		})
	case TypeZSet2:
		return m.counted(func() error {
			if err := m.text(0); err != nil {
				return err
			}
			return c.skip(8)
		})
	case TypeValkeyHash2:
		return m.counted(func() error {
			if err := m.pair(); err != nil {
				return err
			}
			at, err := c.uint64()
			if int64(at) >= 0 {
				m.s.Expiring++
			}
			return err
		})
	case TypeHashMetadata:
		if err := c.skip(8); err != nil {
			return err
		}
		return m.counted(func() error {
			ttl, err := c.count()
			if err != nil {
				return err
			}
			if ttl > 0 {
				m.s.Expiring++
			}
			return m.pair()
		})
	case TypeListZiplist:
		return m.blob(ziplistHeader, 1, largestOfZiplist)
	case TypeHashZiplist, TypeZSetZiplist:
		return m.blob(ziplistHeader, 2, largestOfZiplist)
	case TypeSetListpack:
		return m.blob(listpackHeader, 1, largestOfListpack)
	case TypeHashListpack, TypeZSetListpack:
		return m.blob(listpackHeader, 2, largestOfListpack)
	case TypeHashListpackEx:
		if err := c.skip(8); err != nil {
			return err
		}
		return m.blob(listpackHeader, 3, largestOfListpack)
	case TypeSetIntset:
		return m.intset()
	case TypeQuicklist:
		return c.skipEach(func() error { return m.blob(ziplistHeader, 1, largestOfZiplist) })
	case TypeQuicklist2:
		return c.skipEach(m.quicklistNode)
	case TypeStream, TypeStream2, TypeStream3:
		return m.stream(rdbType)
	case TypeHashZipmap:
		return m.zipmap()
	case TypeModule:
		m.s.Elements = 1
	}
	return c.skipValue(rdbType)
}

func (m *shaper) counted(one func() error) error {
	n, err := m.c.count()
	for ; err == nil && n > 0; n-- {
		if err = one(); err == nil {
			m.s.Elements++
		}
	}
	return err
}

// length skips a string and gives the length of its text; isInt says that it is stored as an integer.
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
			return 0, false, damagedf("a compressed string claims %d bytes for %d", packed, size)
		}
		return int64(size), false, c.skip(packed)
	}
	return 0, false, damagedf("unknown string encoding %d", size)
}

// lzfMost is the most that a compressed string may claim.
const lzfMost = 1 << 33

// text skips a string that a server allocates on its own; with is the length of what belongs to the same element.
func (m *shaper) text(with int64) error {
	n, _, err := m.length()
	if err != nil {
		return err
	}
	m.s.Strings.add(StringBytes(n))
	m.s.Largest = max(m.s.Largest, with+n)
	return nil
}

func (m *shaper) pair() error {
	n, _, err := m.length()
	if err != nil {
		return err
	}
	m.s.Strings.add(StringBytes(n))
	return m.text(n)
}

// longInteger is the most digits of a string that a server keeps as a 64 bit integer.
const longInteger = 20

func (m *shaper) plain() error {
	begin := m.c.r
	n, isInt, err := m.length()
	if err != nil {
		return err
	}
	s := m.s
	s.Elements, s.Largest, s.Length, s.Int = 1, n, n, isInt
	if !isInt && n <= longInteger && n > 0 && begin+1+int(n) == m.c.r { // it stands in the window as it is
		s.Int = isInteger(m.c.buf[begin+1 : m.c.r])
	}
	if !s.Int {
		s.Strings.add(StringBytes(n))
	}
	return nil
}

// isInteger says whether a text is a 64 bit integer as the server writes one.
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

// blob skips a packed value of which each element takes so many entries.
func (m *shaper) blob(header int, per int64, largest func([]byte, int) (int64, int64)) error {
	size, err := m.peek(header, largest != nil)
	if err != nil {
		return err
	}
	m.s.Blobs.add(size)
	if len(m.head) < header {
		return damaged("a packed value is shorter than its header")
	}
	entries := int64(binary.LittleEndian.Uint16(m.head[header-2:]))
	if whole := int64(len(m.head)) == size; whole && (entries == unknownCount || m.wanted(size)) {
		big, n := largest(m.head[header:], int(per))
		m.s.Largest = max(m.s.Largest, big)
		entries = n
		m.peeks--
	}
	m.s.Elements += entries / per
	return nil
}

const unknownCount = 65535 // of a ziplist's or listpack's header

// wanted says whether a packed node may hold an element that matters.
func (m *shaper) wanted(size int64) bool {
	return size > m.s.Largest && (m.peeks > 0 || size > m.floor)
}

// peek skips a string and leaves in head all of it, where it is wanted or its header says too little, else its first bytes.
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
		return 0, damagedf("a compressed string claims %d bytes for %d", packed, n)
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

func (m *shaper) quicklistNode() error {
	container, err := m.c.count()
	if err != nil {
		return err
	}
	if container != quicklistNodePlain {
		return m.blob(listpackHeader, 1, largestOfListpack)
	}
	n, _, err := m.length()
	m.s.Elements++
	m.s.Blobs.add(n)
	m.s.Largest = max(m.s.Largest, n)
	return err
}

func (m *shaper) intset() error {
	size, err := m.peek(8, false)
	if err != nil {
		return err
	}
	if len(m.head) < 8 {
		return damaged("intset is damaged")
	}
	m.s.Blobs.add(size)
	m.s.Elements = int64(binary.LittleEndian.Uint32(m.head[4:]))
	m.s.Largest = int64(binary.LittleEndian.Uint32(m.head))
	return nil
}

func (m *shaper) zipmap() error {
	blob, err := m.c.string()
	if err != nil {
		return err
	}
	m.s.Blobs.add(int64(len(blob)))
	return walkZipmap(blob, func(name, value []byte) error {
		m.s.Elements++
		m.s.Largest = max(m.s.Largest, int64(len(name)+len(value)))
		return nil
	})
}

// stream: nodes, length and IDs, groups.
func (m *shaper) stream(rdbType byte) error {
	c := m.c
	var nodes raxCount
	if err := c.skipEach(func() error {
		id, err := c.string()
		if err != nil {
			return err
		}
		nodes.add(id)
		size, err := m.peek(listpackHeader, true)
		if err != nil {
			return err
		}
		m.s.Blobs.add(size)
		m.s.LastBlob = size
		if int64(len(m.head)) == size && size > listpackHeader && m.wanted(size) {
			m.s.Largest = max(m.s.Largest, largestOfStreamNode(m.head))
			m.peeks--
		}
		return nil
	}); err != nil {
		return err
	}
	m.s.Index.add(&nodes)
	n, err := c.streamLength()
	if err != nil {
		return err
	}
	m.s.Elements = int64(n)
	if err := c.skipCounts(streamMetaCounts(rdbType) - 1); err != nil {
		return err
	}
	var names raxCount
	if err := c.skipEach(func() error { return m.group(rdbType, &names) }); err != nil {
		return err
	}
	m.s.Groups = names.elements
	return nil
}

func (m *shaper) group(rdbType byte, names *raxCount) error {
	c := m.c
	name, err := c.string()
	if err != nil {
		return err
	}
	names.add(name)
	counts, times := 2, uint64(8)
	if rdbType != TypeStream {
		counts = 3 // entries read
	}
	if rdbType == TypeStream3 {
		times = 16 // active time
	}
	if err := c.skipCounts(counts); err != nil {
		return err
	}
	var pending, consumers raxCount
	if err := c.skipEach(func() error { // pending: ID, delivery time, delivery count
		id, err := c.fixed(16)
		if err != nil {
			return err
		}
		pending.add(id)
		if err := c.skip(8); err != nil {
			return err
		}
		return c.skipCounts(1)
	}); err != nil {
		return err
	}
	m.s.Index.add(&pending)
	m.s.Pending += pending.elements
	err = c.skipEach(func() error { // consumers
		name, err := c.string()
		if err != nil {
			return err
		}
		m.s.Strings.Count++
		m.s.Strings.Bytes += int64(len(name))
		m.s.Strings.Held += int64(len(name))
		consumers.add(name)
		if err := c.skip(times); err != nil {
			return err
		}
		var own raxCount
		err = c.skipEach(func() error {
			id, err := c.fixed(16)
			own.add(id)
			return err
		})
		m.s.Index.add(&own)
		return err
	})
	m.s.Consumers += consumers.elements
	return err
}

func (u *RaxUse) add(t *raxCount) {
	t.end()
	u.Elements += t.elements
	u.Branches += t.branches
	u.Chains += t.chains
}

// raxCount counts what a radix tree is made of whose keys come in order.
type raxCount struct {
	elements int64
	branches int64
	chains   int64
	last     []byte
	open     []int // depths of the places where keys part, on the way to the last key
}

func (t *raxCount) add(key []byte) {
	t.elements++
	if t.elements == 1 {
		t.last = append(t.last[:0], key...)
		return
	}
	common := 0
	for common < min(len(t.last), len(key)) && t.last[common] == key[common] {
		common++
	}
	t.close(common)
	if len(t.open) == 0 || t.open[len(t.open)-1] < common {
		t.open = append(t.open, common)
	}
	t.last = append(t.last[:0], key...)
}

// close ends the ways that lie below a depth.
func (t *raxCount) close(depth int) {
	bottom := len(t.last)
	for len(t.open) > 0 && t.open[len(t.open)-1] >= depth {
		at := t.open[len(t.open)-1]
		t.way(at, bottom)
		if at == depth {
			return
		}
		t.branches++
		bottom = at
		t.open = t.open[:len(t.open)-1]
	}
	t.way(depth, bottom)
}

// way counts what lies between two places: the first byte belongs to the upper one.
func (t *raxCount) way(from, to int) {
	if to-from > 1 {
		t.chains++
	}
}

// end closes the ways to the last key.
func (t *raxCount) end() {
	if t.elements == 0 {
		return
	}
	top := len(t.last)
	for len(t.open) > 0 {
		at := t.open[len(t.open)-1]
		t.way(at, top)
		t.branches++
		top = at
		t.open = t.open[:len(t.open)-1]
	}
	if top > 0 {
		t.chains++
	}
}

// The following read packed values for the lengths of their entries alone. They take what they are given on trust: whoever
// decodes a value finds its damages.

// largestOfListpack gives the largest sum of the lengths of per entries that belong together, and how many entries there are.
func largestOfListpack(p []byte, per int) (largest, entries int64) {
	return largestOf(p, per, listpackText)
}

func largestOfZiplist(p []byte, per int) (largest, entries int64) {
	return largestOf(p, per, ziplistText)
}

func largestOf(p []byte, per int, next func([]byte) (text, size int)) (largest, entries int64) {
	sum, left := 0, per
	for len(p) > 0 && p[0] != packedEnd {
		text, size := next(p)
		if size <= 0 || size > len(p) {
			return largest, entries
		}
		entries++
		if left > 0 && (per < 3 || left > 1) { // the third is a field's expiry
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

// listpackText gives the length of an entry's text, and of the whole entry; 0 where it is cut off.
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

// digitsOf is the length of a number's text.
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

// largestOfStreamNode gives the largest entry of a stream's node: names and values of all its fields.
func largestOfStreamNode(blob []byte) (largest int64) {
	p, err := listpackOf(blob)
	if err != nil {
		return 0
	}
	take := func() (int, int64) {
		e, ok, err := p.take()
		switch {
		case err != nil || !ok:
			p.rest = nil
			return 0, 0
		case e.isInt:
			return digitsOf(e.number), e.number
		}
		return len(e.text), 0
	}
	number := func() int64 {
		_, n := take()
		return n
	}
	number() // valid
	number() // deleted
	fields, names := number(), int64(0)
	for i := int64(0); i < fields && len(p.rest) > 0; i++ {
		n, _ := take()
		names += int64(n)
	}
	number() // the end of the fields
	for len(p.rest) > 1 {
		flags, sum, n := number(), int64(0), fields
		number()
		number()
		if flags&streamSameFields != 0 {
			sum = names
		} else {
			n = 2 * number()
		}
		for i := int64(0); i < n && len(p.rest) > 0; i++ {
			length, _ := take()
			sum += int64(length)
		}
		number() // how many there were
		if flags&streamDeleted == 0 {
			largest = max(largest, sum)
		}
	}
	return largest
}
