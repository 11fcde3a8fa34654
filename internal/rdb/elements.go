package rdb

import (
	"encoding/binary"
	"math"

	"surecut/internal/keyspace"
)

// Elements counts the elements of a value without decoding them: list elements, set and sorted set
// members, hash fields, stream entries; 1 for strings and module values. It costs a look at the
// encoding's header, a skip over the nodes of a quicklist, or, where a header does not know the
// count any more (65535 and more elements), a walk.
func Elements(rdbType byte, raw []byte) (int64, error) {
	if err := refuse(rdbType, true); err != nil {
		return 0, explain(err, 0, nil)
	}
	c := memory(raw)
	n, err := c.elements(rdbType)
	if err != nil {
		return 0, explain(err, c.offset(), nil)
	}
	return n, nil
}

func (c *cursor) elements(rdbType byte) (int64, error) {
	switch rdbType {
	case TypeString, TypeModule:
		return 1, nil
	case TypeList, TypeSet, TypeZSet, TypeZSet2, TypeHash, TypeValkeyHash2:
		n, err := c.count()
		return int64(n), err
	case TypeHashMetadata:
		if err := c.skip(8); err != nil {
			return 0, err
		}
		n, err := c.count()
		return int64(n), err
	case TypeQuicklist:
		return c.total(func() (int64, error) { return c.packedCount(ziplistOf, ziplistHeader) })
	case TypeQuicklist2:
		return c.total(c.quicklistNodeCount)
	case TypeListZiplist:
		return c.packedCount(ziplistOf, ziplistHeader)
	case TypeZSetZiplist, TypeHashZiplist:
		n, err := c.packedCount(ziplistOf, ziplistHeader)
		return n / 2, err
	case TypeSetListpack:
		return c.packedCount(listpackOf, listpackHeader)
	case TypeHashListpack, TypeZSetListpack:
		n, err := c.packedCount(listpackOf, listpackHeader)
		return n / 2, err
	case TypeHashListpackEx:
		if err := c.skip(8); err != nil {
			return 0, err
		}
		n, err := c.packedCount(listpackOf, listpackHeader)
		return n / 3, err
	case TypeSetIntset:
		blob, err := c.string()
		if err != nil {
			return 0, err
		}
		_, n, err := intsetHeader(blob)
		return int64(n), err
	case TypeStream, TypeStream2, TypeStream3:
		if err := c.skipPer(2); err != nil {
			return 0, err
		}
		n, err := c.streamLength()
		return int64(n), err
	}
	return c.walkedCount(rdbType) // zipmap
}

// streamLength reads how many entries a stream says it has.
func (c *cursor) streamLength() (uint64, error) {
	n, err := c.count()
	if err == nil && n > math.MaxInt64 {
		err = damagedf("a stream of %d entries", n)
	}
	return n, err
}

func (c *cursor) total(one func() (int64, error)) (int64, error) {
	var n int64
	err := c.skipEach(func() error {
		k, err := one()
		n += k
		return err
	})
	return n, err
}

func (c *cursor) quicklistNodeCount() (int64, error) {
	container, err := c.count()
	if err != nil {
		return 0, err
	}
	if container == quicklistNodePlain {
		return 1, c.skipString()
	}
	return c.packedCount(listpackOf, listpackHeader)
}

// packedCount reads the count at the end of the header of a ziplist or a listpack.
func (c *cursor) packedCount(open func([]byte) (packed, error), header int) (int64, error) {
	blob, err := c.string()
	if err != nil {
		return 0, err
	}
	p, err := open(blob)
	if err != nil {
		return 0, err
	}
	if n := binary.LittleEndian.Uint16(blob[header-2:]); n != 65535 {
		return int64(n), nil
	}
	for n := int64(0); ; n++ {
		if _, ok, err := p.take(); err != nil || !ok {
			return n, err
		}
	}
}

func (c *cursor) walkedCount(rdbType byte) (int64, error) {
	var n fieldCount
	d := decoder{c: c, v: &guarded{to: &n, stop: true}}
	err := d.value(rdbType)
	return int64(n.fields), err
}

// fieldCount counts fields and drops everything.
type fieldCount struct {
	keyspace.Collector
	fields int
}

// HashField counts.
func (f *fieldCount) HashField(_, _ []byte, _ int64) error {
	f.fields++
	return nil
}
