package rdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"surecut/internal/keyspace"
)

// firstChecksumVersion is the first RDB version whose files end with a checksum.
const firstChecksumVersion = 5

// Opcodes take the place of the next value's type number.
const (
	opSlotImport    = 243 // Valkey 9; in Redis since 8.6: module metadata for a key
	opSlotInfo      = 244
	opFunction      = 245
	opFunctionPreGA = 246
	opModuleAux     = 247
	opIdle          = 248
	opFreq          = 249
	opAux           = 250
	opResizeDB      = 251
	opExpireMs      = 252
	opExpireSeconds = 253
	opSelectDB      = 254
	opEOF           = 255
)

// Options configures a Reader.
type Options struct {
	// MaxValue is the largest number of raw bytes for which a value is held in memory; larger values are streamed. 0 stands for 64 MiB.
	MaxValue int
	// Shapes asks for Entry.Shape. With ShapesOnly, values of any size are skipped in bounded memory, no entry has Raw, and none is
	// Big.
	Shapes, ShapesOnly bool
	// Unsummed leaves the CRC64 to the caller, who may compute it concurrently; see Reader.Verify.
	Unsummed bool
}

// EntryKind says what kind of data an Entry holds.
type EntryKind uint8

// These are the kinds of entries.
const (
	KindKey       EntryKind = iota
	KindAux                 // Name and Value: a fact about the server, "redis-ver", "repl-id" and the like
	KindFunction            // Value: the code of a function library (since 7.0)
	KindModuleAux           // Name: the type of the module that wrote the data. The data itself is skipped
)

// Entry is one item of an RDB. Its bytes are valid until the next call of the Reader.
type Entry struct {
	Kind     EntryKind
	DB       int
	Key      []byte
	ExpireAt int64 // Unix time in ms; 0 if the key never expires
	Idle     int64 // seconds; -1 if it was not recorded
	Freq     int64 // LFU counter; -1 if it was not recorded
	Type     byte
	Raw      []byte // the value's bytes after the type byte; nil if Big
	Big      bool   // the value exceeds Options.MaxValue, and Walk streams it
	Shape    *Shape // set if Options asked for it; for a Big value, the shape is approximate and set only after Walk

	Name, Value []byte
}

// Reader divides an RDB into entries.
type Reader struct {
	c       cursor
	max     int
	version int
	valkey  bool
	started bool
	big     bool // a big value at the cursor has not been read
	err     error
	e       Entry
	key     []byte
	name    []byte
	shaper  shaper
	shape   Shape
	only    bool   // only shapes are read, and no values
	told    uint64 // the checksum at the end of the RDB
}

// NewReader returns a Reader of r. It has a buffer of its own, which may read beyond the RDB; see Rest.
func NewReader(r io.Reader, o Options) *Reader {
	if o.MaxValue <= 0 {
		o.MaxValue = 64 << 20
	}
	return newReader(r, o, windowSize)
}

func newReader(r io.Reader, o Options, window int) *Reader {
	reader := &Reader{c: cursor{src: r, mark: -1, window: window}, max: o.MaxValue, only: o.ShapesOnly}
	reader.c.unsummed = o.Unsummed
	if o.Shapes || o.ShapesOnly {
		reader.shaper = shaper{c: &reader.c, s: &reader.shape}
	}
	return reader
}

// LargestFrom says that from now on Shape.Largest need not take account of elements that are smaller than n bytes.
func (r *Reader) LargestFrom(n int64) { r.shaper.floor = n }

// Version returns the RDB version, once Next has been called. Valkey's own versions begin with 80.
func (r *Reader) Version() int { return r.version }

// Consumed returns how many bytes of the RDB have been read.
func (r *Reader) Consumed() int64 { return r.c.offset() }

// Rest returns the data that follows the RDB (an AOF may begin with an RDB), once Next has returned io.EOF.
func (r *Reader) Rest() io.Reader {
	return io.MultiReader(bytes.NewReader(r.c.buf[r.c.r:r.c.w]), r.c.src)
}

// Next returns the next entry, or io.EOF when the RDB has ended and its checksum matches. Any other error is a *FormatError and
// final.
func (r *Reader) Next() (*Entry, error) {
	if r.err != nil {
		return nil, r.err
	}
	e, err := r.next()
	if err != nil {
		if err != io.EOF {
			err = explain(err, r.c.offset(), r.e.Key)
		}
		r.err = err
		return nil, err
	}
	return e, nil
}

// Walk streams the value of the Big entry that Next has just returned. An error of v is returned unchanged and does not end the
// Reader: Next continues with the entry that follows.
func (r *Reader) Walk(v keyspace.Visitor) error {
	if r.err != nil {
		return r.err
	}
	if !r.big {
		return errors.New("rdb: Walk without a big value")
	}
	r.big = false
	if r.shaper.s != nil {
		r.shape = Shape{Type: r.e.Type}
		defer func(begin int64) { r.shape.Bytes = r.c.offset() - begin }(r.c.offset())
		v = &shapeVisitor{to: v, s: &r.shape}
	}
	guard := guarded{to: v}
	d := decoder{c: &r.c, v: &guard}
	if err := d.value(r.e.Type); err != nil {
		r.err = explain(err, r.c.offset(), r.e.Key)
		return r.err
	}
	return guard.err
}

func (r *Reader) next() (*Entry, error) {
	if !r.started {
		if err := r.header(); err != nil {
			return nil, err
		}
		r.started = true
	}
	if r.big {
		r.big = false
		if err := row(r.e.Type).layout.skip(&r.c); err != nil {
			return nil, err
		}
	}
	r.e = Entry{DB: r.e.DB, Idle: -1, Freq: -1}
	for {
		op, err := r.c.byte()
		if err != nil {
			return nil, err
		}
		if op < opSlotImport {
			r.e.Type = op
			return r.value()
		}
		done, err := r.opcode(op)
		if err != nil {
			return nil, err
		}
		if done {
			return &r.e, nil
		}
	}
}

// header checks the first nine bytes: "REDIS" and four digits, or "VALKEY" and three digits.
func (r *Reader) header() error {
	const size = 9
	for r.c.w-r.c.r < size {
		if err := r.c.more(); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) && !magicPrefix(r.c.buf[r.c.r:r.c.w]) {
				break
			}
			return err
		}
	}
	p := r.c.buf[r.c.r:min(r.c.w, r.c.r+size)]
	digits, redis := bytes.CutPrefix(p, []byte("REDIS"))
	if !redis {
		digits, r.valkey = bytes.CutPrefix(p, []byte("VALKEY"))
	}
	version, err := strconv.Atoi(string(digits))
	if !redis && !r.valkey || err != nil || version < 1 {
		return damagedf("this is not an RDB: it begins with %q, not with REDIS or VALKEY and a version", p)
	}
	r.version = version
	r.c.r += size
	return nil
}

// magicPrefix says whether p may be the beginning of a header that was cut short.
func magicPrefix(p []byte) bool {
	return bytes.HasPrefix([]byte("REDIS"), p[:min(len(p), 5)]) || bytes.HasPrefix([]byte("VALKEY"), p[:min(len(p), 6)])
}

// opcode reads the data of an opcode between the keys. The result done says that this data is an entry of its own.
func (r *Reader) opcode(op byte) (done bool, err error) {
	c := &r.c
	switch op {
	case opSlotInfo:
		return false, c.skipCounts(3) // slot, keys, keys that expire
	case opResizeDB:
		return false, c.skipCounts(2)
	case opFunction:
		r.e.Kind = KindFunction
		r.e.Value, err = c.string()
		return true, err
	case opFunctionPreGA:
		return false, damagedf("opcode 246 (function of a 7.0 release candidate) cannot be read")
	case opModuleAux:
		return true, r.moduleAux()
	case opAux:
		return true, r.aux()
	case opIdle:
		n, err := c.count()
		r.e.Idle = int64(min(n, math.MaxInt64))
		return false, err
	case opFreq:
		n, err := c.byte()
		r.e.Freq = int64(n)
		return false, err
	case opExpireMs:
		ms, err := c.uint64()
		r.e.ExpireAt = max(1, int64(ms)) // an expiry in 1970 or before has passed long ago, but 0 would mean that there is none
		return false, err
	case opExpireSeconds:
		s, err := c.uint32()
		r.e.ExpireAt = max(1, int64(int32(s))*1000)
		return false, err
	case opSelectDB:
		n, err := c.count()
		if err == nil && n > math.MaxInt32 {
			err = damagedf("the database number %d is too large", n)
		}
		r.e.DB = int(n)
		return false, err
	case opEOF:
		return false, r.end()
	}
	return false, unknownOpcode(op)
}

func (r *Reader) aux() error {
	name, err := r.c.string()
	if err != nil {
		return err
	}
	r.name = append(r.name[:0], name...)
	r.e.Kind, r.e.Name = KindAux, r.name
	r.e.Value, err = r.c.string()
	return err
}

func (r *Reader) moduleAux() error {
	id, err := r.c.count()
	if err != nil {
		return err
	}
	r.name = append(r.name[:0], moduleName(id)...)
	r.e.Kind, r.e.Name = KindModuleAux, r.name
	if err := r.c.skipCounts(2); err != nil { // an opcode, and whether it comes before or after the keys
		return err
	}
	return r.c.skipModule()
}

// value reads a key and skips its value, but keeps the value's bytes.
func (r *Reader) value() (*Entry, error) {
	if err := refuse(r.e.Type, r.valkey); err != nil {
		at := r.c.offset() - 1
		if key, keyErr := r.c.string(); keyErr == nil { // every type is followed by a key
			r.e.Key = key
		}
		return nil, damagedf("%v (at byte %d)", err, at)
	}
	key, err := r.c.string()
	if err != nil {
		return nil, err
	}
	r.key = append(r.key[:0], key...)
	r.e.Key = r.key
	if r.only {
		return &r.e, r.skip()
	}
	r.c.mark, r.c.limit = r.c.r, r.max
	err = r.skip()
	from := r.c.mark
	r.c.mark = -1
	switch {
	case err == errBig || err == nil && r.c.r-from > r.max:
		r.c.r = from
		r.e.Big, r.big = true, true
	case err != nil:
		return nil, err
	default:
		r.e.Raw = r.c.buf[from:r.c.r:r.c.r]
	}
	return &r.e, nil
}

// skip skips a value, and determines its shape if that is asked for.
func (r *Reader) skip() error {
	if r.shaper.s == nil {
		return row(r.e.Type).layout.skip(&r.c)
	}
	r.e.Shape = &r.shape
	return r.shaper.value(r.e.Type)
}

// end checks the checksum. It returns io.EOF if the checksum matches.
func (r *Reader) end() error {
	r.e.Key = nil
	if r.version < firstChecksumVersion {
		return io.EOF
	}
	r.c.addSum()
	sum := r.c.sum
	p, err := r.c.fixed(8)
	if err != nil {
		return err
	}
	if r.told = binary.LittleEndian.Uint64(p); !r.c.unsummed {
		if err := r.mismatch(sum); err != nil {
			return err
		}
	}
	return io.EOF
}

func (r *Reader) mismatch(sum uint64) error {
	if r.told != 0 && r.told != sum {
		return fmt.Errorf("%w: the RDB contains %016x, but its bytes give %016x", ErrChecksum, r.told, sum)
	}
	return nil
}

// Summed returns how many bytes the checksum covers, once Next has returned io.EOF. It returns 0 if there is no checksum.
func (r *Reader) Summed() int64 {
	if r.told == 0 {
		return 0
	}
	return r.c.offset() - 8
}

// Verify compares the CRC64 of the first Summed bytes with the checksum of the RDB.
func (r *Reader) Verify(sum uint64) error {
	if err := r.mismatch(sum); err != nil {
		return explain(err, r.c.offset(), nil)
	}
	return nil
}
