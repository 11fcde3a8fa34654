package rdb

// skipValue moves past one value whose type refuse has let pass.
func (c *cursor) skipValue(rdbType byte) error {
	switch rdbType {
	case TypeString, TypeHashZipmap, TypeListZiplist, TypeSetIntset, TypeZSetZiplist, TypeHashZiplist,
		TypeHashListpack, TypeZSetListpack, TypeSetListpack:
		return c.skipString()
	case TypeList, TypeSet, TypeQuicklist:
		return c.skipPer(1)
	case TypeHash:
		return c.skipPer(2)
	case TypeZSet:
		return c.skipEach(func() error {
			if err := c.skipString(); err != nil {
				return err
			}
			return c.skipTextScore()
		})
	case TypeZSet2:
		return c.skipEach(func() error {
			if err := c.skipString(); err != nil {
				return err
			}
			return c.skip(8)
		})
	case TypeQuicklist2:
		return c.skipEach(func() error {
			if err := c.skipCounts(1); err != nil {
				return err
			}
			return c.skipString()
		})
	case TypeValkeyHash2:
		return c.skipEach(func() error {
			if err := c.skipStrings(2); err != nil {
				return err
			}
			return c.skip(8)
		})
	case TypeHashMetadata:
		if err := c.skip(8); err != nil {
			return err
		}
		return c.skipEach(func() error {
			if err := c.skipCounts(1); err != nil {
				return err
			}
			return c.skipStrings(2)
		})
	case TypeHashListpackEx:
		if err := c.skip(8); err != nil {
			return err
		}
		return c.skipString()
	case TypeStream, TypeStream2, TypeStream3:
		return c.skipStream(rdbType)
	case TypeModule:
		if _, err := c.count(); err != nil {
			return err
		}
		return c.skipModule()
	}
	return refuse(rdbType, false)
}

// skipPer skips a count and that many times n strings.
func (c *cursor) skipPer(n int) error {
	count, err := c.count()
	if err != nil {
		return err
	}
	for ; n > 0; n-- { // a hostile count times two must not wrap
		if err := c.skipStrings(count); err != nil {
			return err
		}
	}
	return nil
}

func (c *cursor) skipEach(one func() error) error {
	n, err := c.count()
	for ; err == nil && n > 0; n-- {
		err = one()
	}
	return err
}

func (c *cursor) skipTextScore() error {
	n, err := c.byte()
	if err != nil || n >= textScoreNaN {
		return err
	}
	return c.skip(uint64(n))
}

func (c *cursor) skipStream(rdbType byte) error {
	if err := c.skipPer(2); err != nil { // nodes: first ID, listpack
		return err
	}
	if err := c.skipCounts(streamMetaCounts(rdbType)); err != nil {
		return err
	}
	return c.skipEach(func() error { return c.skipGroup(rdbType) })
}

// streamMetaCounts is the number of lengths between a stream's nodes and its groups: length and
// last ID, and since 7.0 first ID, highest deleted ID and entries added.
func streamMetaCounts(rdbType byte) int {
	if rdbType == TypeStream {
		return 3
	}
	return 8
}

func (c *cursor) skipGroup(rdbType byte) error {
	if err := c.skipString(); err != nil {
		return err
	}
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
	if err := c.skipEach(func() error { // pending: ID, delivery time, delivery count
		if err := c.skip(16 + 8); err != nil {
			return err
		}
		return c.skipCounts(1)
	}); err != nil {
		return err
	}
	return c.skipEach(func() error { // consumers
		if err := c.skipString(); err != nil {
			return err
		}
		if err := c.skip(times); err != nil {
			return err
		}
		return c.skipEach(func() error { return c.skip(16) })
	})
}

// Opcodes inside a module's value. They make it self-describing.
const (
	moduleEOF = iota
	moduleSigned
	moduleUnsigned
	moduleFloat
	moduleDouble
	moduleString
)

// skipModule skips the annotated part of a module's value, its end included.
func (c *cursor) skipModule() error {
	for {
		op, err := c.count()
		if err != nil {
			return err
		}
		switch op {
		case moduleEOF:
			return nil
		case moduleSigned, moduleUnsigned:
			err = c.skipCounts(1)
		case moduleFloat:
			err = c.skip(4)
		case moduleDouble:
			err = c.skip(8)
		case moduleString:
			err = c.skipString()
		default:
			err = damagedf("unknown opcode %d in a module's value", op)
		}
		if err != nil {
			return err
		}
	}
}

const moduleCharset = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// moduleName gives the type name of a module, nine characters, that a module ID holds.
func moduleName(id uint64) string {
	var name [9]byte
	id >>= 10 // the encoding version
	for i := len(name) - 1; i >= 0; i-- {
		name[i] = moduleCharset[id&63]
		id >>= 6
	}
	return string(name[:])
}

// ModuleName gives the name of the module type (nine characters, as TYPE answers) of the raw
// bytes of a TypeModule value; a prefix of the value will do.
func ModuleName(raw []byte) (string, error) {
	c := memory(raw)
	id, err := c.count()
	if err != nil {
		return "", explain(err, c.offset(), nil)
	}
	return moduleName(id), nil
}
