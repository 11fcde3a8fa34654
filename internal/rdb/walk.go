package rdb

import (
	"encoding/binary"
	"math"
	"strconv"
	"sync"

	"surecut/internal/keyspace"
)

// WalkValue gives the value that raw holds (the bytes after the type byte) to v, piece by piece.
// The slices that v receives are valid only during the call. Errors of v are returned as they are,
// all others are *FormatErrors, with offsets in raw.
func WalkValue(rdbType byte, raw []byte, v keyspace.Visitor) error {
	w := walks.Get().(*walk)
	defer walks.Put(w)
	w.cursor, w.guarded = memory(raw), guarded{to: v, stop: true}
	w.decoder.c, w.decoder.v = &w.cursor, &w.guarded
	err := w.value(rdbType)
	visitErr, at, left := w.guarded.err, w.offset(), w.w-w.r
	w.cursor, w.guarded, w.decoder.arena = cursor{}, guarded{}, w.decoder.arena[:0] // lets go of raw and v
	switch {
	case visitErr != nil:
		return visitErr
	case err != nil:
		return explain(err, at, nil)
	case left != 0:
		return explain(damagedf("%d bytes follow the value", left), at, nil)
	}
	return nil
}

// walk is what one WalkValue needs, kept for the next.
type walk struct {
	cursor
	guarded
	decoder
}

var walks = sync.Pool{New: func() any { return new(walk) }}

// decoder walks one value. Buffers are kept over its elements.
type decoder struct {
	c     *cursor
	v     *guarded
	name  []byte // the first string of a pair, while the second is read
	arena []byte // texts of packed integers
}

func (d *decoder) value(rdbType byte) error {
	if err := refuse(rdbType, true); err != nil {
		return err
	}
	switch rdbType {
	case TypeString:
		return d.plainString()
	case TypeList:
		return d.each(func() error { return d.one(d.v.ListElement) })
	case TypeSet:
		return d.each(func() error { return d.one(d.v.SetMember) })
	case TypeZSet, TypeZSet2:
		return d.each(func() error { return d.scored(rdbType) })
	case TypeHash:
		return d.each(func() error { return d.field(0) })
	case TypeValkeyHash2:
		return d.each(d.valkeyField)
	case TypeHashMetadata:
		return d.hashMetadata()
	case TypeStream, TypeStream2, TypeStream3:
		return d.stream(rdbType)
	case TypeModule:
		return d.module()
	case TypeQuicklist:
		return d.each(func() error { return d.packed(ziplistOf, listElements) })
	case TypeQuicklist2:
		return d.each(d.quicklistNode)
	case TypeHashZipmap:
		return d.zipmap()
	case TypeSetIntset:
		return d.intset()
	case TypeListZiplist:
		return d.packed(ziplistOf, listElements)
	case TypeZSetZiplist:
		return d.packed(ziplistOf, scoredMembers)
	case TypeHashZiplist:
		return d.packed(ziplistOf, hashFields)
	case TypeHashListpack:
		return d.packed(listpackOf, hashFields)
	case TypeZSetListpack:
		return d.packed(listpackOf, scoredMembers)
	case TypeSetListpack:
		return d.packed(listpackOf, setMembers)
	case TypeHashListpackEx:
		if err := d.c.skip(8); err != nil { // the earliest expiry
			return err
		}
		return d.packed(listpackOf, hashFieldsWithTTL)
	}
	return damagedf("%s", unknownType(rdbType))
}

// plainString hands out a string in pieces of at most pieceSize.
func (d *decoder) plainString() error {
	n, encoded, err := d.c.length()
	if err != nil {
		return err
	}
	switch {
	case !encoded:
		return d.pieces(n, d.v.StringChunk)
	case n == encLZF:
		return d.unfold(d.v.StringChunk)
	}
	text, err := d.c.integer(n)
	if err != nil {
		return err
	}
	return d.v.StringChunk(text)
}

// unfold hands out a compressed string: a small one whole, of a larger one no more is held than what LZF can point back to.
func (d *decoder) unfold(emit func([]byte) error) error {
	packed, n, err := d.c.lzfSizes()
	if err != nil {
		return err
	}
	if n > pieceSize {
		return d.c.inflate(packed, n, emit)
	}
	whole, err := d.c.unpacked(packed, n)
	if err != nil {
		return err
	}
	return emit(whole)
}

// pieces hands n bytes to emit; nothing is one empty piece.
func (d *decoder) pieces(n uint64, emit func([]byte) error) error {
	for {
		step := min(n, pieceSize)
		p, err := d.c.fixed(int(step))
		if err != nil {
			return err
		}
		if err := emit(p); err != nil {
			return err
		}
		if n -= step; n == 0 {
			return nil
		}
	}
}

func (d *decoder) each(one func() error) error { return d.c.skipEach(one) }

func (d *decoder) one(emit func([]byte) error) error {
	p, err := d.c.string()
	if err != nil {
		return err
	}
	return emit(p)
}

// held reads a string that stays valid while the next one is read.
func (d *decoder) held() ([]byte, error) {
	p, err := d.c.string()
	if err != nil || d.c.src == nil {
		return p, err
	}
	d.name = append(d.name[:0], p...)
	return d.name, nil
}

// Text scores are a length byte and the text, or one of these in place of the length.
const (
	textScoreNaN    = 253
	textScoreInf    = 254
	textScoreNegInf = 255
)

func (d *decoder) scored(rdbType byte) error {
	name, err := d.held()
	if err != nil {
		return err
	}
	var score float64
	if rdbType == TypeZSet {
		score, err = d.textScore()
	} else {
		var bits uint64
		bits, err = d.c.uint64()
		score = math.Float64frombits(bits)
	}
	if err != nil {
		return err
	}
	return d.v.ZSetMember(name, score)
}

func (d *decoder) textScore() (float64, error) {
	n, err := d.c.byte()
	if err != nil {
		return 0, err
	}
	switch n {
	case textScoreNaN:
		return math.NaN(), nil
	case textScoreInf:
		return math.Inf(1), nil
	case textScoreNegInf:
		return math.Inf(-1), nil
	}
	p, err := d.c.fixed(int(n))
	if err != nil {
		return 0, err
	}
	return parseScore(p)
}

func parseScore(p []byte) (float64, error) {
	score, err := strconv.ParseFloat(string(p), 64)
	if err != nil && !math.IsInf(score, 0) { // out of range is infinity, as the server reads it
		return 0, damagedf("%.50q is no score", p)
	}
	return score, nil
}

func (d *decoder) field(expireAt int64) error {
	name, err := d.held()
	if err != nil {
		return err
	}
	value, err := d.c.string()
	if err != nil {
		return err
	}
	return d.v.HashField(name, value, expireAt)
}

// valkeyField: field, value, and the expiry in ms, -1 for none.
func (d *decoder) valkeyField() error {
	name, err := d.held()
	if err != nil {
		return err
	}
	value, err := d.c.string()
	if err != nil {
		return err
	}
	if d.c.src != nil && d.c.w-d.c.r < 8 { // reading on would move the window away from value
		value = append([]byte{}, value...)
	}
	at, err := d.c.uint64()
	if err != nil {
		return err
	}
	if at == math.MaxUint64 {
		at = 0
	} else if at > math.MaxInt64 {
		return damagedf("a field's expiry is %d", int64(at))
	}
	return d.v.HashField(name, value, int64(at))
}

// hashMetadata: the earliest expiry, then fields whose expiry is relative to it, plus 1, 0 for none.
func (d *decoder) hashMetadata() error {
	earliest, err := d.c.uint64()
	if err != nil {
		return err
	}
	return d.each(func() error {
		ttl, err := d.c.count()
		if err != nil {
			return err
		}
		if ttl == 0 {
			return d.field(0)
		}
		at := earliest + ttl - 1
		if at == 0 || at > math.MaxInt64 || at < earliest {
			return damagedf("a field's expiry, %d ms after %d, is out of range", ttl-1, earliest)
		}
		return d.field(int64(at))
	})
}

func (d *decoder) quicklistNode() error {
	container, err := d.c.count()
	if err != nil {
		return err
	}
	switch container {
	case quicklistNodePlain:
		return d.one(d.v.ListElement)
	case quicklistNodePacked:
		return d.packed(listpackOf, listElements)
	}
	return damagedf("unknown quicklist container %d", container)
}

// packed reads a string that packs elements and hands them to emit.
func (d *decoder) packed(open func([]byte) (packed, error), emit func(*decoder, *packed) error) error {
	blob, err := d.c.string()
	if err != nil {
		return err
	}
	p, err := open(blob)
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
	for {
		pair, ok, err := p.group(2)
		if err != nil || !ok {
			return err
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
			return damagedf("a field's expiry is %.50q", triple[2])
		}
		if err := d.v.HashField(triple[0], triple[1], at); err != nil {
			return err
		}
	}
}

func scoredMembers(d *decoder, p *packed) error {
	for {
		pair, ok, err := p.group(2)
		if err != nil || !ok {
			return err
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

func (d *decoder) zipmap() error {
	blob, err := d.c.string()
	if err != nil {
		return err
	}
	return walkZipmap(blob, func(name, value []byte) error { return d.v.HashField(name, value, 0) })
}

func (d *decoder) intset() error {
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

// module hands out the whole value, its module ID included, in pieces.
func (d *decoder) module() error {
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
		op, err := c.count()
		if err != nil {
			return err
		}
		switch op {
		case moduleEOF:
			return flush()
		case moduleSigned, moduleUnsigned:
			err = c.skipCounts(1)
		case moduleFloat:
			err = c.skip(4)
		case moduleDouble:
			err = c.skip(8)
		case moduleString:
			err = d.moduleString(flush)
		default:
			err = damagedf("unknown opcode %d in a module's value", op)
		}
		if err == nil && c.r-c.mark >= pieceSize {
			err = flush()
		}
		if err != nil {
			return err
		}
	}
}

// moduleString passes a string on as it is encoded.
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
