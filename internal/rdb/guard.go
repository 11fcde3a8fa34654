package rdb

import "surecut/internal/keyspace"

// guarded keeps the first error of a Visitor separate from errors in the data. Unless stop is set, it drops the rest of the value
// after such an error, so that reading can continue after the value.
type guarded struct {
	to   keyspace.Visitor
	stop bool
	err  error
}

func (g *guarded) done(err error) error {
	g.err = err
	if g.stop {
		return err
	}
	return nil
}

// repeated tells the visitor, if it wants to know, that a name stands in a packed value again. What stands there is left out.
func (g *guarded) repeated(name []byte) {
	if v, ok := g.to.(interface{ Repeated(name []byte) }); ok {
		v.Repeated(name)
	}
}

func (g *guarded) StringChunk(p []byte) error {
	if g.err != nil {
		return nil
	}
	return g.done(g.to.StringChunk(p))
}

func (g *guarded) ListElement(p []byte) error {
	if g.err != nil {
		return nil
	}
	return g.done(g.to.ListElement(p))
}

func (g *guarded) SetMember(p []byte) error {
	if g.err != nil {
		return nil
	}
	return g.done(g.to.SetMember(p))
}

func (g *guarded) ZSetMember(name []byte, score float64) error {
	if g.err != nil {
		return nil
	}
	return g.done(g.to.ZSetMember(name, score))
}

func (g *guarded) HashField(name, value []byte, expireAt int64) error {
	if g.err != nil {
		return nil
	}
	return g.done(g.to.HashField(name, value, expireAt))
}

func (g *guarded) StreamEntry(id keyspace.StreamID, fields [][]byte) error {
	if g.err != nil {
		return nil
	}
	return g.done(g.to.StreamEntry(id, fields))
}

func (g *guarded) StreamMeta(m keyspace.StreamMeta) error {
	if g.err != nil {
		return nil
	}
	return g.done(g.to.StreamMeta(m))
}

func (g *guarded) StreamGroup(group keyspace.Group) error {
	if g.err != nil {
		return nil
	}
	return g.done(g.to.StreamGroup(group))
}

func (g *guarded) ModulePayload(p []byte) error {
	if g.err != nil {
		return nil
	}
	return g.done(g.to.ModulePayload(p))
}
