package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"surecut/internal/keyspace"
)

// UnsupportedError says that a value has no encoding that the server reads.
type UnsupportedError struct {
	What  string // such as "streams"
	Since string // the first version that supports them, such as "5.0"
}

// Error says which version the target needs.
func (e *UnsupportedError) Error() string {
	return e.What + " need a target of version " + e.Since + " or later"
}

// These errors are for values for which an older server has no type.
var (
	errNoStreams  = &UnsupportedError{What: "streams", Since: "5.0"}
	errNoModules  = &UnsupportedError{What: "values of modules", Since: "4.0"}
	errNoFieldTTL = &UnsupportedError{What: "expiries of hash fields", Since: "7.4 (Valkey: 9.0)"}
)

// ErrTooLarge says that a value would take more than Encoder.Max bytes.
var ErrTooLarge = errors.New("the re-encoded value exceeds the limit")

// Encoder makes RESTORE payloads for a server that reads RDBs up to a version. If the server reads a value's encoding, the bytes
// stay the same. Other values are written in a plainer encoding that the server knows: collections element by element, streams with
// unchanged nodes. The table of types says what a stream then loses, because the server has no place for it. Nothing else is left
// out.
type Encoder struct {
	Version int // highest RDB version that the server reads, which its own DUMP writes
	Max     int // largest number of bytes of a re-encoded value, since compressed values grow; 0 if there is no limit
}

// Append appends the payload for the raw bytes of a value (those after its type) to dst. Its error is an *UnsupportedError,
// ErrTooLarge, or a *FormatError; then dst is unchanged.
func (e Encoder) Append(dst []byte, rdbType byte, raw []byte) ([]byte, error) {
	if Reads(e.Version, rdbType) {
		return AppendDump(dst, rdbType, raw, e.Version), nil
	}
	if err := refuse(rdbType, true); err != nil {
		return dst, explain(err, 0, nil)
	}
	start := len(dst)
	var err error
	switch TypeOf(rdbType) {
	case keyspace.Stream:
		dst, err = e.appendStream(dst, rdbType, raw)
	case keyspace.Module:
		err = errNoModules
	default:
		dst, err = e.appendCollection(dst, rdbType, raw)
	}
	if err != nil {
		return dst[:start], err
	}
	return seal(dst, start, e.Version), nil
}

// Payload returns a DUMP payload that the server reads: the given one if the server reads it as it is. Its errors are those of
// SplitDump and of Append.
func (e Encoder) Payload(payload []byte) ([]byte, error) {
	if n := len(payload); n >= 2+8 && int(binary.LittleEndian.Uint16(payload[n-10:])) == e.Version {
		return payload, nil // the version is the server's own, so it reads whatever the payload holds
	}
	d, err := SplitDump(payload)
	if err != nil {
		return nil, err
	}
	if err := refuse(d.Type, d.Version >= valkeyVersion); err != nil {
		return nil, fmt.Errorf("DUMP payload: %w", err)
	}
	if d.Version < e.Version && e.Version < valkeyVersion && Reads(e.Version, d.Type) {
		return payload, nil
	}
	return e.Append(make([]byte, 0, len(payload)+64), d.Type, d.Raw)
}

// seal completes the payload that begins at start.
func seal(dst []byte, start, version int) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(version))
	return binary.LittleEndian.AppendUint64(dst, CRC64(0, dst[start:]))
}

// appendLength writes a length. Servers know lengths over 32 bits since RDB 8, and only streams, which were introduced later, need
// them.
func appendLength(dst []byte, n uint64) []byte {
	switch {
	case n < 1<<6:
		return append(dst, byte(n))
	case n < 1<<14:
		return append(dst, 0x40|byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, 0x80), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, 0x81), n)
}

func appendString(dst, p []byte) []byte { return append(appendLength(dst, uint64(len(p))), p...) }

// countRoom is the largest number of bytes that the count of elements takes. They are reserved, since the count is not known yet.
const countRoom = 9

// appendCollection writes the type, the count and the elements.
func (e Encoder) appendCollection(dst []byte, rdbType byte, raw []byte) ([]byte, error) {
	w := elementWriter{start: len(dst), max: e.Max, binaryScores: Reads(e.Version, TypeZSet2)}
	w.rdbType = w.plainType(TypeOf(rdbType))
	if w.rdbType == TypeHash {
		if err := w.chooseHash(e.Version, rdbType, raw); err != nil {
			return dst, err
		}
	}
	w.out = append(dst, w.rdbType)
	if w.rdbType == TypeHashMetadata {
		w.out = binary.LittleEndian.AppendUint64(w.out, uint64(w.earliest))
	}
	head := len(w.out)
	w.out = append(w.out, make([]byte, countRoom)...)
	if err := WalkValue(rdbType, raw, &w); err != nil {
		return w.out, err
	}
	count := appendLength(w.out[head:head], w.n) // it fits into its room
	n := copy(w.out[head+len(count):], w.out[head+countRoom:])
	return w.out[:head+len(count)+n], nil
}

// elementWriter is a Visitor that writes the elements of a collection.
type elementWriter struct {
	out          []byte
	start        int
	max          int
	rdbType      byte
	binaryScores bool
	earliest     int64 // the earliest expiry of a field
	n            uint64
	text         [32]byte
}

func (w *elementWriter) plainType(t keyspace.Type) byte {
	switch t {
	case keyspace.List:
		return TypeList
	case keyspace.Set:
		return TypeSet
	case keyspace.ZSet:
		if w.binaryScores {
			return TypeZSet2
		}
		return TypeZSet
	case keyspace.Hash:
		return TypeHash
	}
	return TypeString
}

// chooseHash picks the type for a hash whose fields may expire. It picks one with expiries only if some field does expire.
func (w *elementWriter) chooseHash(version int, rdbType byte, raw []byte) error {
	if !FieldsExpire(rdbType) {
		return nil
	}
	var first earliest
	if err := WalkValue(rdbType, raw, &first); err != nil {
		return err
	}
	switch {
	case first.at == 0:
		return nil
	case Reads(version, TypeHashMetadata):
		w.rdbType, w.earliest = TypeHashMetadata, first.at
	case Reads(version, TypeValkeyHash2):
		w.rdbType = TypeValkeyHash2
	default:
		return errNoFieldTTL
	}
	return nil
}

// earliest finds the first moment at which a field expires, or 0 if no field does.
type earliest struct {
	keyspace.Collector
	at int64
}

// HashField notes the expiry of a field.
func (f *earliest) HashField(_, _ []byte, expireAt int64) error {
	if expireAt > 0 && (f.at == 0 || expireAt < f.at) {
		f.at = expireAt
	}
	return nil
}

func (w *elementWriter) add(p []byte) error {
	w.n++
	w.out = appendString(w.out, p)
	return w.fits()
}

func (w *elementWriter) fits() error {
	if w.max > 0 && len(w.out)-w.start > w.max {
		return ErrTooLarge
	}
	return nil
}

func (w *elementWriter) ListElement(p []byte) error { return w.add(p) }
func (w *elementWriter) SetMember(p []byte) error   { return w.add(p) }

// ZSetMember writes the score without loss: as IEEE 754, or as the shortest text that reads back the same.
func (w *elementWriter) ZSetMember(name []byte, score float64) error {
	if err := w.add(name); err != nil {
		return err
	}
	switch {
	case w.binaryScores:
		w.out = binary.LittleEndian.AppendUint64(w.out, math.Float64bits(score))
	case math.IsNaN(score):
		w.out = append(w.out, textScoreNaN)
	case math.IsInf(score, 1):
		w.out = append(w.out, textScoreInf)
	case math.IsInf(score, -1):
		w.out = append(w.out, textScoreNegInf)
	default:
		text := strconv.AppendFloat(w.text[:0], score, 'g', -1, 64)
		w.out = append(append(w.out, byte(len(text))), text...)
	}
	return nil
}

// HashField writes a field, with its expiry if the type has one.
func (w *elementWriter) HashField(name, value []byte, expireAt int64) error {
	if w.rdbType == TypeHashMetadata {
		ttl := uint64(0)
		if expireAt > 0 {
			ttl = uint64(expireAt-w.earliest) + 1
		}
		w.out = appendLength(w.out, ttl)
	}
	w.n++
	w.out = appendString(appendString(w.out, name), value)
	if w.rdbType == TypeValkeyHash2 {
		if expireAt <= 0 {
			expireAt = -1
		}
		w.out = binary.LittleEndian.AppendUint64(w.out, uint64(expireAt))
	}
	return w.fits()
}

// The other methods of a Visitor are for values that are no collections, and are never called.

func (w *elementWriter) StringChunk([]byte) error                      { return errNoCollection }
func (w *elementWriter) StreamEntry(keyspace.StreamID, [][]byte) error { return errNoCollection }
func (w *elementWriter) StreamMeta(keyspace.StreamMeta) error          { return errNoCollection }
func (w *elementWriter) StreamGroup(keyspace.Group) error              { return errNoCollection }
func (w *elementWriter) ModulePayload([]byte) error                    { return errNoCollection }

const errNoCollection = damaged("the value is not a collection")

var _ keyspace.Visitor = (*elementWriter)(nil)
