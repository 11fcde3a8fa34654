package keyspace

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Prefix begins the name of every key that surecut itself writes on a server.
const Prefix = "__surecut"

// ProbePrefix begins the names of keys that are asked for, or set for a minute, only to find out how a server answers.
const ProbePrefix = Prefix + ":probe:"

// Key names one key of a deployment. Name is binary and compared byte by byte.
type Key struct {
	DB   int
	Name string
}

// Hash returns 64 bits that represent the key, for keeping sets of many keys in little memory. Two keys may have the same hash.
func (k Key) Hash() uint64 {
	return xxhash.Sum64String(k.Name) ^ (uint64(k.DB)+1)*0x9e3779b97f4a7c15
}

// Type is the type of a value as the TYPE command names it.
type Type uint8

// The types are in the order in which Redis introduced them. None is the type of an absent key.
const (
	None Type = iota
	String
	List
	Set
	ZSet
	Hash
	Stream
	Module // any type that a module defines; its bytes are opaque
)

var typeNames = [...]string{"none", "string", "list", "set", "zset", "hash", "stream", "module"}

// String returns the name that the TYPE command uses.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseType converts a reply of TYPE to a Type. Every name that is not built in belongs to a module (TYPE returns "ReJSON-RL",
// "MBbloom--" and the like).
func ParseType(name string) Type {
	for i, n := range typeNames {
		if n == name {
			return Type(i)
		}
	}
	return Module
}

// Value is a whole value with its expiry; only the fields of its Type are set.
type Value struct {
	Type     Type
	ExpireAt int64 // Unix time in ms; 0: never expires

	Str     []byte
	List    [][]byte
	Set     [][]byte
	ZSet    []Member
	Hash    []Field
	Entries []Entry
	Meta    StreamMeta
	Groups  []Group
	Module  []byte // opaque payload
	Vectors []VectorElement
}

// Field is one field of a hash. ExpireAt is the Unix time in ms (since Redis 7.4); 0: never.
type Field struct {
	Name, Value []byte
	ExpireAt    int64
}

// Member is one member of a sorted set.
type Member struct {
	Name  []byte
	Score float64
}

// VectorShape is what the elements of a vector set have in common. Vector sets are a module type that is built into Redis since
// 8.0.
type VectorShape struct {
	Dimension      uint64
	Quantization   uint64 // 0: float32, 1: int8, 2: one bit
	Links          uint64 // maximum for a node of the graph
	InputDimension uint64 // dimension of the vectors before they are reduced; 0: they are not reduced
	Projection     []byte // the matrix that reduces the vectors
}

// VectorElement is one element of a vector set. Vector is normalized and quantized.
type VectorElement struct {
	Name, Vector, Attributes []byte // Attributes is empty where there are none
	Scale                    uint64 // length before the vector was normalized and, for int8, the range of the quantization, as float32 bits
}

// StreamID is the ID of a stream entry.
type StreamID struct{ Ms, Seq uint64 }

// String returns the ID in the form that commands use, "ms-seq".
func (id StreamID) String() string { return fmt.Sprintf("%d-%d", id.Ms, id.Seq) }

// ParseStreamID is the inverse of String.
func ParseStreamID(text string) (id StreamID, err error) {
	ms, seq, _ := strings.Cut(text, "-")
	if id.Ms, err = strconv.ParseUint(ms, 10, 64); err == nil {
		id.Seq, err = strconv.ParseUint(seq, 10, 64)
	}
	if err != nil {
		return StreamID{}, fmt.Errorf("stream ID %q is not like 1-0", text)
	}
	return id, nil
}

// Next returns the ID after this one, and false if this is the highest possible ID. (XRANGE accepts exclusive IDs only since 6.2.)
func (id StreamID) Next() (StreamID, bool) {
	if id.Seq++; id.Seq == 0 {
		id.Ms++
	}
	return id, id != StreamID{}
}

// Less orders IDs in the order of a stream.
func (id StreamID) Less(other StreamID) bool {
	return id.Ms < other.Ms || id.Ms == other.Ms && id.Seq < other.Seq
}

// Entry is one entry of a stream. Fields holds names and values in turn.
type Entry struct {
	ID     StreamID
	Fields [][]byte
}

// StreamMeta is what a stream stores in addition to its entries. HasCounters says whether the server keeps MaxDeletedID and
// EntriesAdded (since Redis 7.0).
type StreamMeta struct {
	Length       uint64
	LastID       StreamID
	MaxDeletedID StreamID
	EntriesAdded uint64
	HasCounters  bool
}

// Group is a consumer group. EntriesRead is -1 where the server does not know it (always before 7.0).
type Group struct {
	Name        []byte
	LastID      StreamID
	EntriesRead int64
	Consumers   []Consumer
	Pending     []Pending // in ID order
}

// Consumer is a consumer of a group. Times are Unix ms; ActiveMs is -1 where unknown (before 7.2).
type Consumer struct {
	Name             []byte
	SeenMs, ActiveMs int64
}

// Pending is an entry that was delivered but not acknowledged yet.
type Pending struct {
	ID            StreamID
	Consumer      []byte
	DeliveryMs    int64 // Unix time
	DeliveryCount uint64
}

// Visitor receives one value piece by piece, in the order in which the server holds it.
// Byte slices are valid only during the call. The first error ends the visit and is returned.
type Visitor interface {
	// StringChunk receives the next bytes of a string; an empty string is one empty chunk.
	StringChunk(p []byte) error
	ListElement(p []byte) error
	SetMember(p []byte) error
	ZSetMember(name []byte, score float64) error
	HashField(name, value []byte, expireAt int64) error
	// StreamEntry calls come first, then StreamMeta once, then each StreamGroup.
	StreamEntry(id StreamID, fields [][]byte) error
	StreamMeta(m StreamMeta) error
	StreamGroup(g Group) error
	// ModulePayload receives an opaque module value.
	ModulePayload(p []byte) error
}

// Collector is a Visitor that builds a whole Value. Set V.Type before the visit.
type Collector struct{ V Value }

var _ Visitor = (*Collector)(nil)

func clone(p []byte) []byte { return append([]byte{}, p...) }

func (c *Collector) StringChunk(p []byte) error {
	c.V.Str = append(c.V.Str, p...)
	if c.V.Str == nil {
		c.V.Str = []byte{}
	}
	return nil
}

func (c *Collector) ListElement(p []byte) error {
	c.V.List = append(c.V.List, clone(p))
	return nil
}

func (c *Collector) SetMember(p []byte) error {
	c.V.Set = append(c.V.Set, clone(p))
	return nil
}

func (c *Collector) ZSetMember(name []byte, score float64) error {
	c.V.ZSet = append(c.V.ZSet, Member{Name: clone(name), Score: score})
	return nil
}

func (c *Collector) HashField(name, value []byte, expireAt int64) error {
	c.V.Hash = append(c.V.Hash, Field{Name: clone(name), Value: clone(value), ExpireAt: expireAt})
	return nil
}

func (c *Collector) StreamEntry(id StreamID, fields [][]byte) error {
	e := Entry{ID: id, Fields: make([][]byte, len(fields))}
	for i, f := range fields {
		e.Fields[i] = clone(f)
	}
	c.V.Entries = append(c.V.Entries, e)
	return nil
}

func (c *Collector) StreamMeta(m StreamMeta) error {
	c.V.Meta = m
	return nil
}

func (c *Collector) StreamGroup(g Group) error {
	c.V.Groups = append(c.V.Groups, g.Clone())
	return nil
}

func (c *Collector) ModulePayload(p []byte) error {
	c.V.Module = append(c.V.Module, p...)
	return nil
}

// VectorShape does nothing: the shape only counts in the Fingerprint.
func (c *Collector) VectorShape(VectorShape) error { return nil }

func (c *Collector) VectorElement(e VectorElement) error {
	c.V.Vectors = append(c.V.Vectors, VectorElement{Name: clone(e.Name), Vector: clone(e.Vector), Attributes: clone(e.Attributes), Scale: e.Scale})
	return nil
}

// Clone returns a copy of a group that shares no bytes with it.
func (g Group) Clone() Group {
	out := g
	out.Name = clone(g.Name)
	out.Consumers = make([]Consumer, len(g.Consumers))
	for i, c := range g.Consumers {
		c.Name = clone(c.Name)
		out.Consumers[i] = c
	}
	out.Pending = make([]Pending, len(g.Pending))
	for i, p := range g.Pending {
		p.Consumer = clone(p.Consumer)
		out.Pending[i] = p
	}
	return out
}
