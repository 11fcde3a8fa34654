package verifier

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cespare/xxhash/v2"

	"surecut/internal/keyspace"
)

const (
	spillParts = 256
	spillBlock = 16 << 10
)

// keyID is one key with its database on each side and its name on the target. Field db is -1 where no database of the source is mapped to pairDB.
type keyID struct {
	db     int // the source's database
	pairDB int // the target's database
	name   string
}

// record is what one side is known to hold under one key.
type record struct {
	keyID
	t        keyspace.Type
	module   string // of a module value: the module's own name of its type
	flags    byte
	changes  byte // of a suspect: number of rounds in which the source was written or changed
	quiet    byte // of a suspect: number of rounds in a row in which both sides were unchanged and differed
	fp       keyspace.Fingerprint
	expireAt int64
	fieldsAt int64  // of a hash: when the first of its fields expires; 0: no field does
	target   uint64 // of a suspect: a digest of what the target held in the last round
}

const (
	unread   = 1 << iota // the key was scanned, but could not be read
	clash                // two databases of the source hold the name and are mapped to one database
	seen                 // of a suspect: a round has read the source, and the record holds the result
	behind               // of a suspect: its link could not be stopped at an offset, because it had not caught up
	unplaced             // of a suspect: only the target listed it, and several databases of the source may hold it
	expired              // of a suspect: its expiry passed between two rounds
	waited               // of a suspect: its expiry was waited for
	astray               // the key lies on a node of a cluster that does not own its slot; a copy on the owner takes precedence
)

// hold copies the result of a reading into the record.
func (r *record) hold(from *reading) {
	r.t = from.Type
	r.fp = from.FP
	r.expireAt, r.fieldsAt = from.ExpireAt, from.FieldsAt
	r.module = ""
	if r.t == keyspace.Module {
		r.module = from.TypeName
	}
}

// holdAs copies what another record says of a value.
func (r *record) holdAs(from *record) {
	r.t = from.t
	r.fp = from.fp
	r.expireAt, r.fieldsAt = from.expireAt, from.fieldsAt
	r.module = from.module
}

func (r *record) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(r.name)))
	dst = append(dst, r.name...)
	dst = append(dst, byte(r.t), r.flags, r.changes, r.quiet)
	dst = binary.AppendUvarint(dst, uint64(r.db+1))
	dst = binary.AppendUvarint(dst, uint64(r.pairDB))
	dst = binary.AppendUvarint(dst, uint64(r.expireAt))
	dst = binary.AppendUvarint(dst, uint64(r.fp.Length))
	dst = binary.LittleEndian.AppendUint64(dst, r.fp.Value)
	dst = binary.LittleEndian.AppendUint64(dst, r.fp.Keyed)
	if r.quiet > 0 {
		dst = binary.LittleEndian.AppendUint64(dst, r.target)
	}
	switch r.t {
	case keyspace.Hash:
		dst = binary.LittleEndian.AppendUint64(dst, r.fp.FieldExpiries)
		dst = binary.AppendUvarint(dst, uint64(r.fieldsAt))
	case keyspace.Stream:
		dst = binary.LittleEndian.AppendUint64(dst, r.fp.Counters)
		dst = binary.LittleEndian.AppendUint64(dst, r.fp.KeyedCounters)
	case keyspace.Module:
		dst = binary.AppendUvarint(dst, uint64(len(r.module)))
		dst = append(dst, r.module...)
	}
	return dst
}

// errSpill says that the temporary file no longer holds what was written to it.
var errSpill = errors.New("the temporary file of records is damaged")

// parse reads the record at the start of text, and returns the text that follows it. The record's name is part of text.
func (r *record) parse(text string) (string, error) {
	d := decoder{rest: text}
	*r = record{}
	r.name = d.cut(d.number())
	r.t = keyspace.Type(d.byte())
	r.flags = d.byte()
	r.changes = d.byte()
	r.quiet = d.byte()
	r.db, r.pairDB = int(d.number())-1, int(d.number())
	r.expireAt, r.fp.Length = int64(d.number()), int64(d.number())
	r.fp.Value, r.fp.Keyed = d.fixed(), d.fixed()
	if r.quiet > 0 {
		r.target = d.fixed()
	}
	switch r.t {
	case keyspace.Hash:
		r.fp.FieldExpiries, r.fieldsAt = d.fixed(), int64(d.number())
	case keyspace.Stream:
		r.fp.Counters, r.fp.KeyedCounters = d.fixed(), d.fixed()
	case keyspace.Module:
		r.module = d.cut(d.number())
	}
	if d.short {
		return "", errSpill
	}
	return d.rest, nil
}

// decoder reads from text. Field short says that the text ended too early.
type decoder struct {
	rest  string
	short bool
}

func (d *decoder) cut(n uint64) string {
	if n > uint64(len(d.rest)) {
		d.rest, d.short = "", true
		return ""
	}
	out := d.rest[:n]
	d.rest = d.rest[n:]
	return out
}

func (d *decoder) byte() byte {
	if s := d.cut(1); s != "" {
		return s[0]
	}
	return 0
}

func (d *decoder) number() (v uint64) {
	for shift := 0; shift < 64; shift += 7 {
		b := d.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	d.short = true
	return 0
}

func (d *decoder) fixed() (v uint64) {
	s := d.cut(8)
	for i := range len(s) {
		v |= uint64(s[i]) << (8 * i)
	}
	return v
}

// spill keeps records in a temporary file, in parts by the hash of what pairs them, so that one part at a time fits in memory. The
// file has no name once it is open, so that nothing is left behind however the process ends.
type spill struct {
	dir   string
	parts []spillPart
	mu    sync.Mutex
	file  *os.File // guarded by mu while records are added; nil as long as every part fits into its buffer
	end   int64    // guarded by mu
}

type spillPart struct {
	mu     sync.Mutex
	buf    []byte
	blocks []spillExtent
	count  int64
}

// spillExtent is the place of a block of whole records in the file.
type spillExtent struct {
	at   int64
	size int
}

func newSpill(dir string, parts int) (*spill, error) {
	if dir != "" {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("create the temporary file of records: %w", err)
		}
	}
	return &spill{dir: dir, parts: make([]spillPart, parts)}, nil
}

// reserve returns the file, which it creates on first use, and the place of n more bytes in it.
func (s *spill) reserve(n int) (f *os.File, at int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		if f, err = os.CreateTemp(s.dir, "surecut-verify-*"); err != nil {
			return nil, 0, fmt.Errorf("create the temporary file of records: %w", err)
		}
		if err := os.Remove(f.Name()); err != nil {
			f.Close()
			return nil, 0, fmt.Errorf("create the temporary file of records: %w", err)
		}
		s.file = f
	}
	at = s.end
	s.end += int64(n)
	return s.file, at, nil
}

func (s *spill) close() {
	if s.file != nil {
		s.file.Close()
	}
}

// add adds a record. It is safe for concurrent use.
func (s *spill) add(r *record) error {
	part := &s.parts[(xxhash.Sum64String(r.name)+uint64(r.pairDB))%uint64(len(s.parts))]
	part.mu.Lock()
	defer part.mu.Unlock()
	part.buf = r.append(part.buf)
	part.count++
	if len(part.buf) < spillBlock {
		return nil
	}
	file, at, err := s.reserve(len(part.buf))
	if err != nil {
		return err
	}
	if _, err := file.WriteAt(part.buf, at); err != nil {
		return fmt.Errorf("write to the temporary file of records: %w", err)
	}
	part.blocks = append(part.blocks, spillExtent{at, len(part.buf)})
	if part.buf = part.buf[:0]; cap(part.buf) > 4*spillBlock { // a long name has made the buffer grow
		part.buf = nil
	}
	return nil
}

// count returns how many records were added.
func (s *spill) count() (n int64) {
	for i := range s.parts {
		n += s.parts[i].count
	}
	return n
}

// each passes on the records of a part, one block at a time. The caller must not add records to the part meanwhile.
func (s *spill) each(i int, block func([]record) error) error {
	part := &s.parts[i]
	for k := range len(part.blocks) + 1 {
		data := part.buf
		if k < len(part.blocks) {
			data = make([]byte, part.blocks[k].size)
			if _, err := s.file.ReadAt(data, part.blocks[k].at); err != nil {
				return fmt.Errorf("read the temporary file of records: %w", err)
			}
		}
		var records []record
		for text := string(data); text != ""; {
			var r record
			var err error
			if text, err = r.parse(text); err != nil {
				return err
			}
			records = append(records, r)
		}
		if len(records) == 0 {
			continue
		}
		if err := block(records); err != nil {
			return err
		}
	}
	return nil
}
