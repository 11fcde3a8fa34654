package keyspace

import (
	"encoding/binary"
	"hash/maphash"
	"math"

	"github.com/cespare/xxhash/v2"
)

// Fingerprint stands for one value. Two values are the same if SameValue says so and, where both servers keep counters,
// SameCounters does, too. The probability of a false match is about 2^-64, even for values that were chosen to collide.
//
// It contains each hash twice. Value, FieldExpiries and Counters are xxhash without a seed, the same in every run, so that reports
// can be compared. Someone who knows that can construct two values with the same hash, and a seed would not help with xxhash: two
// blocks whose difference cancels out do so with any seed half of the time. Keyed and KeyedCounters use another function
// (hash/maphash) with a key that each process draws anew, so that nobody can construct two values that count as the same.
//
// It does not depend on the encoding (not even of a HyperLogLog), the order of an unordered collection, the division into pieces or
// the server version. It leaves out what is not data: the cached count of a HyperLogLog, LRU and LFU, idle times, delivery times,
// and when a consumer was last seen. It also leaves out what servers do not tell their own replicas: consumers without pending
// entries (a read or claim that finds nothing creates one; not told up to 8.0), and how many entries a group has read (not told by
// 7.0).
type Fingerprint struct {
	Value         uint64 // hash of the canonical value
	FieldExpiries uint64 // sum over those fields of a hash that expire (since Redis 7.4); 0: no field does
	Counters      uint64 // of a stream: the highest deleted ID and the entries added; 0: the server keeps no counters (before 7.0)
	Length        int64  // bytes of a string (of a HyperLogLog: in its dense form), module payload or vector set, else elements

	Keyed         uint64 // hash of the canonical value with the expiries of fields, keyed by this process
	KeyedCounters uint64 // hash of what Counters covers, keyed by this process
}

// SameValue says whether two fingerprints of this process stand for the same value. It ignores the counters of streams.
func (f *Fingerprint) SameValue(o *Fingerprint) bool {
	return f.Value == o.Value && f.Length == o.Length && f.FieldExpiries == o.FieldExpiries && f.Keyed == o.Keyed
}

// SameCounters says whether the counters of two streams are the same.
func (f *Fingerprint) SameCounters(o *Fingerprint) bool {
	return f.Counters == o.Counters && f.KeyedCounters == o.KeyedCounters
}

// Digest is a sum over the keys of a slot, or of any other set of keys. Sums wrap around, so that the digests of disjoint sets may
// be added in any order. A key that is added twice counts twice, whereas with XOR it would cancel out.
type Digest struct {
	Keys     uint64
	Values   uint64 // sum over (database, key, type, value)
	Expiries uint64 // sum over the same and the expiries
}

// Add adds a key. expireAt is Unix ms; 0: the key never expires. The caller clears f.Counters where the other side keeps no
// counters.
func (d *Digest) Add(k Key, t Type, f Fingerprint, expireAt int64) {
	var h xxhash.Digest
	h.Reset()
	var b [56]byte
	le := binary.LittleEndian
	le.PutUint64(b[0:], uint64(k.DB))
	le.PutUint64(b[8:], uint64(t))
	le.PutUint64(b[16:], uint64(f.Length))
	le.PutUint64(b[24:], f.Value)
	le.PutUint64(b[32:], f.Counters)
	h.Write(b[:40])
	h.WriteString(k.Name)
	value := h.Sum64()
	le.PutUint64(b[32:], value)
	le.PutUint64(b[40:], f.FieldExpiries)
	le.PutUint64(b[48:], uint64(expireAt))
	d.Keys++
	d.Values += value
	d.Expiries += xxhash.Sum64(b[32:56])
}

// Merge adds all keys of another digest.
func (d *Digest) Merge(o Digest) {
	d.Keys += o.Keys
	d.Values += o.Values
	d.Expiries += o.Expiries
}

// Hasher is a Visitor that computes the Fingerprint of one value in constant memory. Every piece is hashed with its length before
// it, never with a delimiter after it. Reset begins the next value.
//
// Of a group it hashes the name, the position and the pending entries, each with its consumer and delivery count. It ignores
// Consumers and EntriesRead of a Group: a consumer counts only through the entries that it holds.
type Hasher struct {
	kind     Type
	n        int64 // bytes or elements
	sum      twinSum
	fields   twinSum // of the expiries of fields
	counters twinSum
	seq      twin // of pieces that have an order: bytes, list elements, stream entries
	elem     twin
	scratch  [24]byte
	hll      hll
}

// key is drawn anew by each process.
var key = maphash.MakeSeed()

// twin hashes the same bytes twice: once without a key and once with one.
type twin struct {
	plain xxhash.Digest
	keyed blocks
}

func (t *twin) Reset() {
	t.plain.Reset()
	t.keyed.count, t.keyed.state = 0, 0
}

func (t *twin) Write(p []byte) {
	t.plain.Write(p)
	t.keyed.write(p)
}

func (t *twin) sum() twinSum { return twinSum{t.plain.Sum64(), t.keyed.sum()} }

// blocks hashes bytes with the process's key in blocks of one size, so that the division into pieces does not matter. (A
// maphash.Hash does the same at a third of the speed.) The hashes of the blocks are summed up with a factor for each position.
// Without the key nobody knows these hashes, so nobody can make two sums agree.
type blocks struct {
	state uint64 // of the complete blocks
	count int    // number of all bytes
	rest  [256]byte
}

const blockFactor = 0x9e3779b97f4a7c15 // odd, so that no power of it is 0

func (b *blocks) write(p []byte) {
	at := b.count % len(b.rest)
	b.count += len(p)
	if at > 0 {
		n := copy(b.rest[at:], p)
		if p = p[n:]; at+n < len(b.rest) {
			return
		}
		b.take(b.rest[:])
	}
	for len(p) >= len(b.rest) {
		b.take(p[:len(b.rest)])
		p = p[len(b.rest):]
	}
	copy(b.rest[:], p)
}

func (b *blocks) take(block []byte) { b.state = b.state*blockFactor + maphash.Bytes(key, block) }

func (b *blocks) sum() uint64 {
	rest := maphash.Bytes(key, b.rest[:b.count%len(b.rest)])
	return (b.state*blockFactor+rest)*blockFactor + uint64(b.count)
}

// twinSum is the result of a twin, or the sum of several results.
type twinSum struct{ plain, keyed uint64 }

func (s *twinSum) add(o twinSum) {
	s.plain += o.plain
	s.keyed += o.keyed
}

var _ Visitor = (*Hasher)(nil)

// NewHasher returns a Hasher that is ready for a value.
func NewHasher() *Hasher {
	h := new(Hasher)
	h.Reset()
	return h
}

// Reset prepares the Hasher for another value.
func (h *Hasher) Reset() {
	*h = Hasher{}
	h.seq.Reset()
	h.elem.Reset()
}

// Sum returns the fingerprint of the pieces visited since Reset. It returns the zero Fingerprint if there were none.
func (h *Hasher) Sum() Fingerprint {
	if h.kind == None {
		return Fingerprint{}
	}
	ordered, length := h.seq.sum(), h.n
	if h.kind == String {
		ordered, length = h.hll.sum(h.n, &h.seq)
	}
	var b [40]byte
	le := binary.LittleEndian
	le.PutUint64(b[0:], uint64(h.kind))
	le.PutUint64(b[8:], uint64(length))
	le.PutUint64(b[16:], h.sum.plain)
	le.PutUint64(b[24:], ordered.plain)
	f := Fingerprint{Value: xxhash.Sum64(b[:32]), FieldExpiries: h.fields.plain, Counters: h.counters.plain, Length: length,
		KeyedCounters: h.counters.keyed}
	le.PutUint64(b[16:], h.sum.keyed)
	le.PutUint64(b[24:], ordered.keyed)
	le.PutUint64(b[32:], h.fields.keyed)
	f.Keyed = maphash.Bytes(key, b[:])
	return f
}

// KeyedValue returns Keyed of the Fingerprint without the expiries of fields, so that the expiries can be compared in another way.
func (h *Hasher) KeyedValue() uint64 {
	without := *h
	without.fields = twinSum{}
	return without.Sum().Keyed
}

func (h *Hasher) StringChunk(p []byte) error {
	h.kind = String
	h.n += int64(len(p))
	h.hll.write(p, &h.seq)
	return nil
}

func (h *Hasher) ListElement(p []byte) error {
	h.kind = List
	h.n++
	h.piece(&h.seq, p)
	return nil
}

func (h *Hasher) SetMember(p []byte) error {
	h.kind = Set
	h.n++
	h.sum.add(twinSum{xxhash.Sum64(p), maphash.Bytes(key, p)})
	return nil
}

func (h *Hasher) ZSetMember(name []byte, score float64) error {
	h.kind = ZSet
	h.n++
	if score == 0 {
		score = 0 // -0 and 0 are one score
	}
	h.elem.Reset()
	h.piece(&h.elem, name)
	h.number(&h.elem, math.Float64bits(score))
	h.sum.add(h.elem.sum())
	return nil
}

func (h *Hasher) HashField(name, value []byte, expireAt int64) error {
	h.kind = Hash
	h.n++
	h.elem.Reset()
	h.piece(&h.elem, name)
	if expireAt != 0 {
		expiring := h.elem
		h.number(&expiring, uint64(expireAt))
		h.fields.add(expiring.sum())
	}
	h.elem.Write(value)
	h.sum.add(h.elem.sum())
	return nil
}

func (h *Hasher) StreamEntry(id StreamID, fields [][]byte) error {
	h.kind = Stream
	h.n++
	h.id(&h.seq, id)
	h.number(&h.seq, uint64(len(fields)))
	for _, f := range fields {
		h.piece(&h.seq, f)
	}
	return nil
}

func (h *Hasher) StreamMeta(m StreamMeta) error {
	h.kind = Stream
	h.id(&h.seq, m.LastID)
	if m.HasCounters {
		h.elem.Reset()
		h.id(&h.elem, m.MaxDeletedID)
		h.number(&h.elem, m.EntriesAdded)
		h.counters = h.elem.sum()
		h.counters.plain |= 1 // 0 is reserved: it says that there are no counters
	}
	return nil
}

func (h *Hasher) StreamGroup(g Group) error {
	h.kind = Stream
	var pending twinSum
	for _, p := range g.Pending {
		h.elem.Reset()
		h.id(&h.elem, p.ID)
		h.number(&h.elem, p.DeliveryCount)
		h.elem.Write(p.Consumer)
		pending.add(h.elem.sum())
	}
	h.elem.Reset()
	h.piece(&h.elem, g.Name)
	h.id(&h.elem, g.LastID)
	h.number(&h.elem, uint64(len(g.Pending)))
	h.twinNumber(&h.elem, pending)
	h.sum.add(h.elem.sum())
	return nil
}

func (h *Hasher) ModulePayload(p []byte) error {
	h.kind = Module
	h.n += int64(len(p))
	h.seq.Write(p)
	return nil
}

// VectorShape and VectorElement receive a vector set in place of its payload, which contains a graph that differs on each replica.
func (h *Hasher) VectorShape(s VectorShape) error {
	h.kind = Module
	h.n += int64(len(s.Projection))
	for _, n := range []uint64{s.Dimension, s.Quantization, s.Links, s.InputDimension} {
		h.number(&h.seq, n)
	}
	h.piece(&h.seq, s.Projection)
	return nil
}

// VectorElement receives an element. Elements come in any order.
func (h *Hasher) VectorElement(e VectorElement) error {
	h.n += int64(len(e.Name) + len(e.Vector) + len(e.Attributes))
	h.elem.Reset()
	h.piece(&h.elem, e.Name)
	h.piece(&h.elem, e.Vector)
	h.piece(&h.elem, e.Attributes)
	h.number(&h.elem, e.Scale)
	h.sum.add(h.elem.sum())
	return nil
}

func (h *Hasher) piece(d *twin, p []byte) {
	n := binary.PutUvarint(h.scratch[:], uint64(len(p)))
	d.Write(h.scratch[:n])
	d.Write(p)
}

func (h *Hasher) number(d *twin, v uint64) {
	binary.LittleEndian.PutUint64(h.scratch[:], v)
	d.Write(h.scratch[:8])
}

// twinNumber feeds each of the two hashes with its own number.
func (h *Hasher) twinNumber(d *twin, v twinSum) {
	binary.LittleEndian.PutUint64(h.scratch[:], v.plain)
	d.plain.Write(h.scratch[:8])
	binary.LittleEndian.PutUint64(h.scratch[:], v.keyed)
	d.keyed.write(h.scratch[:8])
}

func (h *Hasher) id(d *twin, id StreamID) {
	binary.LittleEndian.PutUint64(h.scratch[:], id.Ms)
	binary.LittleEndian.PutUint64(h.scratch[8:], id.Seq)
	d.Write(h.scratch[:16])
}
