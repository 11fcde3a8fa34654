package rdb

import "surecut/internal/keyspace"

// shapeVisitor determines the shape of a value that is decoded anyway, and passes on everything. Packed elements are counted as if
// their nodes were full.
type shapeVisitor struct {
	to   keyspace.Visitor
	s    *Shape
	node int64 // bytes of the node being filled
}

var _ keyspace.Visitor = (*shapeVisitor)(nil)

const (
	fullListNode   = 8 << 10 // list-max-listpack-size -2
	fullStreamNode = 4 << 10 // stream-node-max-bytes
)

func (v *shapeVisitor) element(n int64) {
	v.s.Elements++
	v.s.Largest = max(v.s.Largest, n)
}

func (v *shapeVisitor) packed(n int64, full int64) {
	v.node += n
	if v.s.LastBlob = v.node; v.node >= full {
		v.s.Blobs.add(v.node)
		v.node = 0
	}
}

// StringChunk takes a piece of a string.
func (v *shapeVisitor) StringChunk(p []byte) error {
	v.s.Length += int64(len(p))
	v.s.Elements, v.s.Largest = 1, v.s.Length
	v.s.Strings = Allocations{}
	v.s.Strings.add(StringBytes(v.s.Length))
	return v.to.StringChunk(p)
}

// ListElement takes a list element. Elements are packed since 3.2.
func (v *shapeVisitor) ListElement(p []byte) error {
	n := int64(len(p))
	v.element(n)
	if v.s.Type == TypeList {
		v.s.Strings.add(StringBytes(n))
	} else {
		v.packed(n+2, fullListNode)
	}
	return v.to.ListElement(p)
}

// SetMember takes a member, which is a separate string.
func (v *shapeVisitor) SetMember(p []byte) error {
	v.element(int64(len(p)))
	v.s.Strings.add(StringBytes(int64(len(p))))
	return v.to.SetMember(p)
}

// ZSetMember takes a member, which is a separate string.
func (v *shapeVisitor) ZSetMember(p []byte, score float64) error {
	v.element(int64(len(p)))
	v.s.Strings.add(StringBytes(int64(len(p))))
	return v.to.ZSetMember(p, score)
}

// HashField takes a field, which is two strings.
func (v *shapeVisitor) HashField(name, value []byte, expireAt int64) error {
	v.element(int64(len(name) + len(value)))
	if expireAt > 0 {
		v.s.Expiring++
	}
	v.s.Strings.add(StringBytes(int64(len(name))))
	v.s.Strings.add(StringBytes(int64(len(value))))
	return v.to.HashField(name, value, expireAt)
}

// StreamEntry takes an entry, which is packed.
func (v *shapeVisitor) StreamEntry(id keyspace.StreamID, fields [][]byte) error {
	var n, packed int64
	for i, f := range fields {
		n += int64(len(f))
		if i%2 == 1 { // the names are mostly those of the node
			packed += int64(len(f)) + 2
		}
	}
	v.element(n)
	v.packed(packed+10, fullStreamNode)
	return v.to.StreamEntry(id, fields)
}

// StreamMeta comes after the last entry.
func (v *shapeVisitor) StreamMeta(m keyspace.StreamMeta) error {
	v.s.Index.Elements += v.s.Blobs.Count
	v.s.Index.Chains += v.s.Blobs.Count
	return v.to.StreamMeta(m)
}

// StreamGroup counts the group's pending entries, each of which is in the index of the group and in that of a consumer.
func (v *shapeVisitor) StreamGroup(g keyspace.Group) error {
	pending := int64(len(g.Pending))
	v.s.Groups++
	v.s.Consumers += int64(len(g.Consumers))
	v.s.Pending += pending
	v.s.Index.Elements += 2 * pending
	v.s.Index.Chains += pending
	return v.to.StreamGroup(g)
}

// ModulePayload takes an opaque piece of a module value.
func (v *shapeVisitor) ModulePayload(p []byte) error {
	v.s.Elements = 1
	return v.to.ModulePayload(p)
}
