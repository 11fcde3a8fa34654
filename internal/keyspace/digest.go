package keyspace

import (
	"encoding/binary"
	"math"

	"github.com/cespare/xxhash/v2"
)

// Fingerprint stands for one value. Two values are the same when Value and FieldExpiries agree and,
// where both servers keep them, Counters too; a false match has a chance of about 2^-64.
//
// It depends on no encoding (of a HyperLogLog neither), order of an unordered collection, chunking or server version, and
// leaves out what is not data: the cached count of a HyperLogLog, LRU and LFU, idle times, delivery times, when a consumer was
// last seen. Nor what servers do not tell their own replicas: consumers without pending entries (a read or claim that finds
// nothing creates one; untold up to 8.0), and how many entries a group has read (untold by 7.0).
type Fingerprint struct {
	Value         uint64 // the canonical value
	FieldExpiries uint64 // sum over the fields of a hash that expire (since Redis 7.4); 0: none do
	Counters      uint64 // of a stream: max-deleted ID, entries added; 0: the server keeps none (before 7.0)
	Length        int64  // bytes of a string (of a HyperLogLog: in its dense form), module payload or vector set, else elements
}

// Digest sums up the keys of a slot, or of any other set of keys. Sums wrap around, so that digests of disjoint
// sets add up in any order; a key that is added twice counts twice and never cancels out, as it would with XOR.
type Digest struct {
	Keys     uint64
	Values   uint64 // over (database, key, type, value)
	Expiries uint64 // over the same and the expiries
}

// Add takes in a key. expireAt is Unix ms, 0: never. The caller clears f.Counters where the other side keeps none.
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

// Merge takes in all keys of another digest.
func (d *Digest) Merge(o Digest) {
	d.Keys += o.Keys
	d.Values += o.Values
	d.Expiries += o.Expiries
}

// Hasher is a Visitor that computes the Fingerprint of one value in constant memory. Every piece goes into
// the hash with its length before it, never with a delimiter after it. Reset starts the next value.
//
// Of a group it takes name, position and pending entries, each with its consumer and delivery count. Consumers and EntriesRead
// of a Group are not looked at: a consumer counts by the entries that it holds.
type Hasher struct {
	kind     Type
	n        int64 // bytes or elements
	sum      uint64
	fields   uint64 // sum of field expiries
	counters uint64
	seq      xxhash.Digest // what has an order: bytes, list elements, stream entries
	elem     xxhash.Digest
	scratch  [24]byte
	hll      hll
}

var _ Visitor = (*Hasher)(nil)

// NewHasher gives a Hasher that is ready for a value.
func NewHasher() *Hasher {
	h := new(Hasher)
	h.Reset()
	return h
}

// Reset forgets the value.
func (h *Hasher) Reset() {
	*h = Hasher{}
	h.seq.Reset()
}

// Sum gives the fingerprint of the pieces visited since Reset; of none, the zero Fingerprint.
func (h *Hasher) Sum() Fingerprint {
	if h.kind == None {
		return Fingerprint{}
	}
	ordered, length := h.seq.Sum64(), h.n
	if h.kind == String {
		ordered, length = h.hll.sum(h.n, &h.seq)
	}
	var b [32]byte
	le := binary.LittleEndian
	le.PutUint64(b[0:], uint64(h.kind))
	le.PutUint64(b[8:], uint64(length))
	le.PutUint64(b[16:], h.sum)
	le.PutUint64(b[24:], ordered)
	return Fingerprint{Value: xxhash.Sum64(b[:]), FieldExpiries: h.fields, Counters: h.counters, Length: length}
}

// Size is the length of what was visited as a server tells it: of a HyperLogLog in the encoding that it has.
func (h *Hasher) Size() int64 { return h.n }

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
	h.sum += xxhash.Sum64(p)
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
	h.sum += h.elem.Sum64()
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
		h.fields += expiring.Sum64()
	}
	h.elem.Write(value)
	h.sum += h.elem.Sum64()
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
		h.counters = h.elem.Sum64() | 1 // 0 is taken: it says that there are none
	}
	return nil
}

func (h *Hasher) StreamGroup(g Group) error {
	h.kind = Stream
	var pending uint64
	for _, p := range g.Pending {
		h.elem.Reset()
		h.id(&h.elem, p.ID)
		h.number(&h.elem, p.DeliveryCount)
		h.elem.Write(p.Consumer)
		pending += h.elem.Sum64()
	}
	h.elem.Reset()
	h.piece(&h.elem, g.Name)
	h.id(&h.elem, g.LastID)
	h.number(&h.elem, uint64(len(g.Pending)))
	h.number(&h.elem, pending)
	h.sum += h.elem.Sum64()
	return nil
}

func (h *Hasher) ModulePayload(p []byte) error {
	h.kind = Module
	h.n += int64(len(p))
	h.seq.Write(p)
	return nil
}

// VectorShape and VectorElement take in a vector set in place of its payload, which holds a graph that is another on each replica.
func (h *Hasher) VectorShape(s VectorShape) error {
	h.kind = Module
	h.n += int64(len(s.Projection))
	for _, n := range []uint64{s.Dimension, s.Quantization, s.Links, s.InputDimension} {
		h.number(&h.seq, n)
	}
	h.piece(&h.seq, s.Projection)
	return nil
}

// VectorElement comes in any order.
func (h *Hasher) VectorElement(e VectorElement) error {
	h.n += int64(len(e.Name) + len(e.Vector) + len(e.Attributes))
	h.elem.Reset()
	h.piece(&h.elem, e.Name)
	h.piece(&h.elem, e.Vector)
	h.piece(&h.elem, e.Attributes)
	h.number(&h.elem, e.Scale)
	h.sum += h.elem.Sum64()
	return nil
}

func (h *Hasher) piece(d *xxhash.Digest, p []byte) {
	n := binary.PutUvarint(h.scratch[:], uint64(len(p)))
	d.Write(h.scratch[:n])
	d.Write(p)
}

func (h *Hasher) number(d *xxhash.Digest, v uint64) {
	binary.LittleEndian.PutUint64(h.scratch[:], v)
	d.Write(h.scratch[:8])
}

func (h *Hasher) id(d *xxhash.Digest, id StreamID) {
	binary.LittleEndian.PutUint64(h.scratch[:], id.Ms)
	binary.LittleEndian.PutUint64(h.scratch[8:], id.Seq)
	d.Write(h.scratch[:16])
}
