package rdb

import "surecut/internal/keyspace"

// VectorSet is the name of a vector set in TYPE and ModuleName. It is a module type that is built into Redis since 8.0.
const VectorSet = "vectorset"

// vectorSetVersion is the encoding version in the module ID that WalkVectorSet can read: that of 8.0.
const vectorSetVersion = 0

// These are flags of a vector set.
const (
	vectorsProjected  = 1 << iota // there is a matrix that reduces vectors to the dimension of the set
	vectorsAttributed             // each name is followed by attributes
)

// vectorsInt8 is the quantization for which each vector has a range.
const vectorsInt8 = 1

// Vectors receives a vector set. Byte slices are valid only during the call. The first error ends the visit and is returned.
type Vectors interface {
	// VectorShape comes first.
	VectorShape(s keyspace.VectorShape) error
	VectorElement(e keyspace.VectorElement) error
}

// WalkVectorSet passes the vector set in raw (the bytes after TypeModule) to v, without its graph: which elements are linked
// depends on chance and on the order in which they were added, and differs on each replica.
//
// Errors of v are returned unchanged. All others are *FormatErrors with offsets in raw; one of them says that the value is of
// another type, or of an unknown encoding.
func WalkVectorSet(raw []byte, v Vectors) error {
	c := memory(raw)
	w := vectorWalk{moduleValues: moduleValues{c: &c}, to: v}
	err := w.value()
	if w.visitErr != nil {
		return w.visitErr
	}
	if err != nil {
		return explain(err, c.offset(), nil)
	}
	return nil
}

type vectorWalk struct {
	moduleValues
	to       Vectors
	ranged   bool // each vector has a range for its quantization
	visitErr error
}

func (w *vectorWalk) value() error {
	id, err := w.c.count()
	if err != nil {
		return err
	}
	if name, version := moduleName(id), id&1023; name != VectorSet || version != vectorSetVersion {
		return damagedf("the value has the module type %s with encoding %d, not %s with encoding %d", name, version, VectorSet, vectorSetVersion)
	}
	dimension, elements, config, flags := w.number(), w.number(), w.number(), w.number()
	s := keyspace.VectorShape{Dimension: dimension, Quantization: config & 0xff, Links: config >> 8}
	w.ranged = s.Quantization == vectorsInt8
	if flags&vectorsProjected != 0 {
		s.InputDimension, s.Projection = w.number(), w.bytes()
	}
	if flags >= vectorsAttributed<<1 {
		return damagedf("unknown flags %#x of a vector set", flags)
	}
	if w.err == nil {
		w.visitErr = w.to.VectorShape(s)
	}
	for ; elements > 0 && w.err == nil && w.visitErr == nil; elements-- {
		w.element(flags&vectorsAttributed != 0)
	}
	if w.err == nil && w.visitErr == nil {
		w.end()
	}
	return w.err
}

// element reads the name, the attributes, the vector and the parameters of its node. The last parameter is the vector's length
// before it was normalized and, for a quantized vector, its range; the others are the graph.
func (w *vectorWalk) element(attributed bool) {
	e := keyspace.VectorElement{Name: w.bytes()}
	if attributed {
		e.Attributes = w.bytes()
	}
	e.Vector = w.bytes()
	for n := w.number(); n > 0 && w.err == nil; n-- {
		e.Scale = w.number()
	}
	if !w.ranged { // the bytes of the range were never set, and differ on each replica
		e.Scale = uint64(uint32(e.Scale))
	}
	if w.err == nil {
		w.visitErr = w.to.VectorElement(e)
	}
}

// moduleValues reads the annotated parts of a module value, for a caller who knows what comes next. After a failure it returns zero
// values.
type moduleValues struct {
	c   *cursor
	err error
}

func (m *moduleValues) next(want uint64) bool {
	if m.err != nil {
		return false
	}
	op, err := m.c.count()
	if err == nil && op != want {
		err = damagedf("a module's value has opcode %d where %d is expected", op, want)
	}
	m.err = err
	return err == nil
}

func (m *moduleValues) number() (n uint64) {
	if m.next(moduleUnsigned) {
		n, m.err = m.c.count()
	}
	return n
}

func (m *moduleValues) bytes() (p []byte) {
	if m.next(moduleString) {
		p, m.err = m.c.string()
	}
	return p
}

func (m *moduleValues) end() {
	if m.next(moduleEOF) && m.c.r != m.c.w {
		m.err = damagedf("%d bytes follow the value", m.c.w-m.c.r)
	}
}
