package rdb

// module is the layout of a module value: the ID of its type, and parts that begin with an opcode.
type module struct{}

// These are the opcodes of the parts of a module value.
const (
	moduleEOF = iota
	moduleSigned
	moduleUnsigned
	moduleFloat
	moduleDouble
	moduleString
)

func (module) skip(c *cursor) error {
	if _, err := c.count(); err != nil {
		return err
	}
	return c.skipModule()
}

func (l module) shape(m *shaper) error {
	m.s.Elements = 1
	return l.skip(m.c)
}

// walk passes on the whole value, including the ID, in pieces.
func (module) walk(d *decoder) error {
	c := d.c
	c.mark, c.limit = c.r, 0
	defer func() { c.mark = -1 }()
	flush := func() error {
		p := c.buf[c.mark:c.r]
		c.mark = c.r
		if len(p) == 0 {
			return nil
		}
		return d.v.ModulePayload(p)
	}
	if _, err := c.count(); err != nil {
		return err
	}
	for {
		end, err := c.modulePart(func() error { return d.moduleString(flush) })
		if err != nil {
			return err
		}
		if end || c.r-c.mark >= pieceSize {
			err = flush()
		}
		if err != nil || end {
			return err
		}
	}
}

// skipModule skips the parts of a module value, including its end.
func (c *cursor) skipModule() error {
	for {
		if end, err := c.modulePart(c.skipString); err != nil || end {
			return err
		}
	}
}

// modulePart moves past one part, using text for a string. It returns true at the end of the value.
func (c *cursor) modulePart(text func() error) (end bool, err error) {
	op, err := c.count()
	if err != nil {
		return false, err
	}
	switch op {
	case moduleEOF:
		return true, nil
	case moduleSigned, moduleUnsigned:
		return false, c.skipCounts(1)
	case moduleFloat:
		return false, c.skip(4)
	case moduleDouble:
		return false, c.skip(8)
	case moduleString:
		return false, text()
	}
	return false, damagedf("unknown opcode %d in a module's value", op)
}

// moduleString moves past a string without decoding it, and flushes the pieces of a long one.
func (d *decoder) moduleString(flush func() error) error {
	n, encoded, err := d.c.length()
	if err != nil {
		return err
	}
	if encoded && n <= encInt32 {
		return d.c.skip(1 << n)
	}
	if encoded {
		if n != encLZF {
			return damagedf("unknown string encoding %d", n)
		}
		if n, err = d.c.count(); err != nil {
			return err
		}
		if err := d.c.skipCounts(1); err != nil {
			return err
		}
	}
	for n > 0 {
		step := min(n, pieceSize)
		if err := d.c.skip(step); err != nil {
			return err
		}
		if n -= step; d.c.r-d.c.mark >= pieceSize {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

const moduleCharset = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// moduleName returns the type name of a module, which has nine characters, from a module ID.
func moduleName(id uint64) string {
	var name [9]byte
	id >>= 10 // the encoding version
	for i := len(name) - 1; i >= 0; i-- {
		name[i] = moduleCharset[id&63]
		id >>= 6
	}
	return string(name[:])
}

// ModuleName returns the name of the module type (nine characters, as TYPE returns it) from the raw bytes of a TypeModule value, of
// which a prefix is enough.
func ModuleName(raw []byte) (string, error) {
	c := memory(raw)
	id, err := c.count()
	if err != nil {
		return "", explain(err, c.offset(), nil)
	}
	return moduleName(id), nil
}
