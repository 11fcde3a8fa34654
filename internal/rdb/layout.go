package rdb

// layout says how the bytes of a value are arranged. Several types may share one layout. A layout is used only for types that
// refuse accepts, and each method leaves the cursor after the value.
type layout interface {
	skip(c *cursor) error
	walk(d *decoder) error // hands the value to the visitor
	shape(m *shaper) error // skips the value and notes its shape
}

// plain is the layout of a single string.
type plain struct{}

func (plain) skip(c *cursor) error  { return c.skipString() }
func (plain) walk(d *decoder) error { return d.plainString() }
func (plain) shape(m *shaper) error { return m.plain() }

// counted is the layout of a collection that is not packed: a count, and that many elements. An element is one string or two, and a
// tail. If expiries are relative, the earliest one is stored before the count, and each element begins with the distance of its own
// expiry from that, plus 1, or with 0 if it never expires.
type counted struct {
	relative bool
	strings  int
	tail     tail
	one      func(*decoder) error // walks one element
}

// tail is what follows the strings of an element.
type tail uint8

const (
	noTail      tail = iota
	textScore        // a length byte and the text of a number
	binaryScore      // IEEE 754
	fieldExpiry      // Unix time in ms; negative if the field never expires
)

func (t tail) skip(c *cursor) error {
	switch t {
	case noTail:
		return nil
	case textScore:
		return c.skipTextScore()
	}
	return c.skip(8)
}

func (c *cursor) skipTextScore() error {
	n, err := c.byte()
	if err != nil || n >= textScoreNaN {
		return err
	}
	return c.skip(uint64(n))
}

func (l *counted) skip(c *cursor) error {
	if l.relative {
		if err := c.skip(8); err != nil {
			return err
		}
	} else if l.tail == noTail {
		return c.skipPer(l.strings)
	}
	n, err := c.count()
	for ; err == nil && n > 0; n-- {
		if l.relative {
			if err := c.skipCounts(1); err != nil {
				return err
			}
		}
		if err := c.skipStrings(uint64(l.strings)); err != nil {
			return err
		}
		err = l.tail.skip(c)
	}
	return err
}

func (l *counted) walk(d *decoder) (err error) {
	if l.relative {
		if d.earliest, err = d.c.uint64(); err != nil {
			return err
		}
	}
	n, err := d.c.count()
	for ; err == nil && n > 0; n-- {
		err = l.one(d)
	}
	return err
}

func (l *counted) shape(m *shaper) error {
	c := m.c
	if l.relative {
		if err := c.skip(8); err != nil {
			return err
		}
	}
	n, err := c.count()
	for ; err == nil && n > 0; n-- {
		if err = l.shapeOne(m); err == nil {
			m.s.Elements++
		}
	}
	return err
}

func (l *counted) shapeOne(m *shaper) error {
	if l.relative {
		ttl, err := m.c.count()
		if err != nil {
			return err
		}
		if ttl > 0 {
			m.s.Expiring++
		}
	}
	if err := m.strings(l.strings); err != nil || l.tail == noTail {
		return err
	}
	if l.tail != fieldExpiry {
		return l.tail.skip(m.c)
	}
	at, err := m.c.uint64()
	if int64(at) >= 0 {
		m.s.Expiring++
	}
	return err
}
