package rdb

import (
	"math"
	"strconv"
	"sync"

	"surecut/internal/keyspace"
)

// WalkValue passes the value in raw (the bytes after the type byte) to v, piece by piece. The slices that v receives are valid only
// during the call. Errors of v are returned unchanged; all others are *FormatErrors with offsets in raw.
func WalkValue(rdbType byte, raw []byte, v keyspace.Visitor) error {
	w := walks.Get().(*walk)
	defer walks.Put(w)
	w.cursor, w.guarded = memory(raw), guarded{to: v, stop: true}
	w.decoder.c, w.decoder.v = &w.cursor, &w.guarded
	err := w.value(rdbType)
	visitErr, at, left := w.guarded.err, w.offset(), w.w-w.r
	w.cursor, w.guarded, w.decoder.arena = cursor{}, guarded{}, w.decoder.arena[:0] // releases raw and v
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

// walk holds the state of one call of WalkValue. It is reused for later calls.
type walk struct {
	cursor
	guarded
	decoder
}

var walks = sync.Pool{New: func() any { return new(walk) }}

// decoder walks one value, and reuses its buffers from element to element.
type decoder struct {
	c        *cursor
	v        *guarded
	name     []byte // the first string of a pair, kept while the second is read
	arena    []byte // texts of packed integers
	earliest uint64 // the earliest expiry of the hash's fields
}

func (d *decoder) value(rdbType byte) error {
	if err := refuse(rdbType, true); err != nil {
		return err
	}
	return row(rdbType).layout.walk(d)
}

// plainString passes on a string in pieces of at most pieceSize.
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

// unfold passes on a compressed string. It holds a small string as a whole, and of a larger one only the bytes that LZF can refer
// back to.
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

// pieces passes n bytes to emit in pieces. An empty string is one empty piece.
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

func (d *decoder) listElement() error {
	p, err := d.c.string()
	if err != nil {
		return err
	}
	return d.v.ListElement(p)
}

func (d *decoder) setMember() error {
	p, err := d.c.string()
	if err != nil {
		return err
	}
	return d.v.SetMember(p)
}

// held reads a string that stays valid while the next string is read.
func (d *decoder) held() ([]byte, error) {
	p, err := d.c.string()
	if err != nil || d.c.src == nil {
		return p, err
	}
	d.name = append(d.name[:0], p...)
	return d.name, nil
}

// A text score is a length byte and the text, or one of these values in place of the length.
const (
	textScoreNaN    = 253
	textScoreInf    = 254
	textScoreNegInf = 255
)

func (d *decoder) memberTextScore() error {
	name, err := d.held()
	if err != nil {
		return err
	}
	score, err := d.textScore()
	if err != nil {
		return err
	}
	return d.v.ZSetMember(name, score)
}

func (d *decoder) memberBinaryScore() error {
	name, err := d.held()
	if err != nil {
		return err
	}
	bits, err := d.c.uint64()
	if err != nil {
		return err
	}
	return d.v.ZSetMember(name, math.Float64frombits(bits))
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
	if err != nil && !math.IsInf(score, 0) { // the server, too, reads a number that is out of range as infinity
		return 0, damagedf("%.50q is not a score", p)
	}
	return score, nil
}

func (d *decoder) field() error { return d.fieldExpiring(0) }

func (d *decoder) fieldExpiring(at int64) error {
	name, err := d.held()
	if err != nil {
		return err
	}
	value, err := d.c.string()
	if err != nil {
		return err
	}
	return d.v.HashField(name, value, at)
}

// valkeyField reads a field, its value, and the expiry in ms, which is -1 where there is none.
func (d *decoder) valkeyField() error {
	name, err := d.held()
	if err != nil {
		return err
	}
	value, err := d.c.string()
	if err != nil {
		return err
	}
	if d.c.src != nil && d.c.w-d.c.r < 8 { // reading more would move the window away from value
		value = append([]byte{}, value...)
	}
	at, err := d.c.uint64()
	if err != nil {
		return err
	}
	if at == math.MaxUint64 {
		at = 0
	} else if at > math.MaxInt64 {
		return damagedf("the expiry %d of a field is out of range", int64(at))
	}
	return d.v.HashField(name, value, int64(at))
}

// metadataField reads a field whose expiry is relative to the earliest one.
func (d *decoder) metadataField() error {
	ttl, err := d.c.count()
	if err != nil {
		return err
	}
	if ttl == 0 {
		return d.field()
	}
	at := d.earliest + ttl - 1
	if at == 0 || at > math.MaxInt64 || at < d.earliest {
		return damagedf("the expiry of a field, %d ms after %d, is out of range", ttl-1, d.earliest)
	}
	return d.fieldExpiring(int64(at))
}
