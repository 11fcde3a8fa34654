package rdb

import (
	"encoding/binary"
	"strconv"
)

// packing is a format that packs elements into one string.
type packing struct {
	header int // bytes before the first entry; the last two are the count
	open   func(blob []byte) (packed, error)
	text   func(entry []byte) (text, size int) // lengths of an entry's text and of the whole entry
}

var (
	ziplists  = packing{header: ziplistHeader, open: ziplistOf, text: ziplistText}
	listpacks = packing{header: listpackHeader, open: listpackOf, text: listpackText}
)

// blob is the layout of a collection that is packed into one string.
type blob struct {
	earliest bool // the string is preceded by the earliest expiry of a field
	in       *packing
	per      int64 // entries per element
	elements func(*decoder, *packed) error
}

func (l *blob) before(c *cursor) error {
	if l.earliest {
		return c.skip(8)
	}
	return nil
}

func (l *blob) skip(c *cursor) error {
	if err := l.before(c); err != nil {
		return err
	}
	return c.skipString()
}

func (l *blob) walk(d *decoder) error {
	if err := l.before(d.c); err != nil {
		return err
	}
	return d.packed(l.in, l.elements)
}

func (l *blob) shape(m *shaper) error {
	if err := l.before(m.c); err != nil {
		return err
	}
	return m.blob(l.in, l.per)
}

// nodes is the layout of a quicklist: a count, and that many packed lists. With containers, each node begins with a number that
// says whether it is packed or a single large element.
type nodes struct {
	in         *packing
	containers bool
}

const (
	containerPlain  = 1
	containerPacked = 2
)

func (l *nodes) skip(c *cursor) error {
	if !l.containers {
		return c.skipPer(1)
	}
	return c.skipEach(func() error {
		if err := c.skipCounts(1); err != nil {
			return err
		}
		return c.skipString()
	})
}

func (l *nodes) walk(d *decoder) error {
	return d.c.skipEach(func() error {
		container, err := l.container(d.c)
		switch {
		case err != nil:
			return err
		case container == containerPlain:
			return d.listElement()
		case container == containerPacked:
			return d.packed(l.in, listElements)
		}
		return damagedf("unknown quicklist container %d", container)
	})
}

func (l *nodes) shape(m *shaper) error {
	return m.c.skipEach(func() error {
		container, err := l.container(m.c)
		if err != nil {
			return err
		}
		if container != containerPlain {
			return m.blob(l.in, 1)
		}
		n, _, err := m.length()
		m.s.Elements++
		m.s.Blobs.add(n)
		m.s.Largest = max(m.s.Largest, n)
		return err
	})
}

func (l *nodes) container(c *cursor) (uint64, error) {
	if !l.containers {
		return containerPacked, nil
	}
	return c.count()
}

// intset is the layout of a set of integers of one width, packed into one string.
type intset struct{}

func (intset) skip(c *cursor) error { return c.skipString() }

func (intset) walk(d *decoder) error {
	blob, err := d.c.string()
	if err != nil {
		return err
	}
	width, n, err := intsetHeader(blob)
	if err != nil {
		return err
	}
	var text [20]byte
	for i := range n {
		var v int64
		switch p := blob[8+i*width:]; width {
		case 2:
			v = int64(int16(binary.LittleEndian.Uint16(p)))
		case 4:
			v = int64(int32(binary.LittleEndian.Uint32(p)))
		default:
			v = int64(binary.LittleEndian.Uint64(p))
		}
		if err := d.v.SetMember(strconv.AppendInt(text[:0], v, 10)); err != nil {
			return err
		}
	}
	return nil
}

func (intset) shape(m *shaper) error {
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

// zipmap is the layout of the small hashes of servers before 2.6.
type zipmap struct{}

func (zipmap) skip(c *cursor) error { return c.skipString() }

func (zipmap) walk(d *decoder) error {
	blob, err := d.c.string()
	if err != nil {
		return err
	}
	return walkZipmap(blob, func(name, value []byte) error { return d.v.HashField(name, value, 0) })
}

func (zipmap) shape(m *shaper) error {
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

// packed reads a string that packs elements, and passes them to emit.
func (d *decoder) packed(in *packing, emit func(*decoder, *packed) error) error {
	blob, err := d.c.string()
	if err != nil {
		return err
	}
	p, err := in.open(blob)
	if err != nil {
		return err
	}
	p.arena = d.arena
	err = emit(d, &p)
	d.arena = p.arena
	return err
}

func listElements(d *decoder, p *packed) error {
	for {
		e, ok, err := p.next()
		if err != nil || !ok {
			return err
		}
		if err := d.v.ListElement(e); err != nil {
			return err
		}
	}
}

func setMembers(d *decoder, p *packed) error {
	for {
		e, ok, err := p.next()
		if err != nil || !ok {
			return err
		}
		if err := d.v.SetMember(e); err != nil {
			return err
		}
	}
}

func hashFields(d *decoder, p *packed) error {
	once := firsts{all: *p}
	for {
		pair, ok, err := p.group(2)
		if err != nil || !ok {
			return err
		}
		if once.again(pair[0]) {
			d.v.repeated(pair[0])
			continue
		}
		if err := d.v.HashField(pair[0], pair[1], 0); err != nil {
			return err
		}
	}
}

func hashFieldsWithTTL(d *decoder, p *packed) error {
	for {
		triple, ok, err := p.group(3)
		if err != nil || !ok {
			return err
		}
		at, err := strconv.ParseInt(string(triple[2]), 10, 64)
		if err != nil || at < 0 {
			return damagedf("the expiry %.50q of a field is not valid", triple[2])
		}
		if err := d.v.HashField(triple[0], triple[1], at); err != nil {
			return err
		}
	}
}

func scoredMembers(d *decoder, p *packed) error {
	once := firsts{all: *p}
	for {
		pair, ok, err := p.group(2)
		if err != nil || !ok {
			return err
		}
		if once.again(pair[0]) {
			d.v.repeated(pair[0])
			continue
		}
		score, err := parseScore(pair[1])
		if err != nil {
			return err
		}
		if err := d.v.ZSetMember(pair[0], score); err != nil {
			return err
		}
	}
}
