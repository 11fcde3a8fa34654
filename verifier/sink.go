package verifier

import (
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// sink takes the pieces of a value: it always passes them to the hasher, and also collects the whole value where that is wanted.
type sink struct {
	*keyspace.Hasher
	whole *keyspace.Collector // nil: the whole value is not wanted, or has grown too large
	room  int64
	times *expiringFields // nil: the times are not wanted
	first int64           // the first expiry of a field, Unix ms; 0: no field expires
}

// sinks make the sinks for the values that are read one after the other. Only the last one may be used, since all share the hasher.
type sinks struct {
	hasher    *keyspace.Hasher
	timesRoom int // how many more expiring fields may have their times kept
}

// sink returns a sink for one value, which collects up to keep bytes of it.
func (f *sinks) sink(t keyspace.Type, keep int64) *sink {
	f.hasher.Reset()
	s := &sink{Hasher: f.hasher, room: keep}
	if t == keyspace.Hash && f.timesRoom > 0 {
		s.times = &expiringFields{room: f.timesRoom, took: f.tookTimes}
	}
	if keep > 0 {
		s.whole = &keyspace.Collector{V: keyspace.Value{Type: t}}
	}
	return s
}

// keepTimes has the expiries of the given number of fields be kept.
func (f *sinks) keepTimes(fields int) { f.timesRoom = fields }

func (f *sinks) tookTimes(n int) { f.timesRoom -= n }

// stringLength returns the length of a string as fingerprints have it: that of a HyperLogLog is the one of its dense encoding.
func (f *sinks) stringLength(p []byte) int64 {
	f.hasher.Reset()
	_ = f.hasher.StringChunk(p)
	return f.hasher.Sum().Length
}

// finish writes the result of all pieces into the reading. A collection of which no element was left is gone.
func (s *sink) finish(out *reading) {
	if out.Err != nil || !out.present() {
		return
	}
	if out.FP, out.FieldsAt = s.Sum(), s.first; out.FP.Length == 0 && neverEmpty(out.Type) {
		*out = reading{}
		return
	}
	if s.times != nil && out.FP.FieldExpiries != 0 {
		out.times = s.times.finish(s.KeyedValue())
	}
	if s.whole != nil {
		s.whole.V.ExpireAt = out.ExpireAt
		out.Value = &s.whole.V
	}
}

// neverEmpty says that a server removes a value of this type together with its last element.
func neverEmpty(t keyspace.Type) bool {
	return t == keyspace.List || t == keyspace.Set || t == keyspace.ZSet || t == keyspace.Hash
}

// keep says whether the whole value still has room for n more bytes, and takes up that room.
func (s *sink) keep(n int) bool {
	if s.whole == nil {
		return false
	}
	if s.room -= int64(n) + 32; s.room < 0 {
		s.whole = nil
		return false
	}
	return true
}

func (s *sink) StringChunk(p []byte) error {
	if s.keep(len(p)) {
		_ = s.whole.StringChunk(p)
	}
	return s.Hasher.StringChunk(p)
}

func (s *sink) ListElement(p []byte) error {
	if s.keep(len(p)) {
		_ = s.whole.ListElement(p)
	}
	return s.Hasher.ListElement(p)
}

func (s *sink) SetMember(p []byte) error {
	if s.keep(len(p)) {
		_ = s.whole.SetMember(p)
	}
	return s.Hasher.SetMember(p)
}

func (s *sink) ZSetMember(name []byte, score float64) error {
	if s.keep(len(name)) {
		_ = s.whole.ZSetMember(name, score)
	}
	return s.Hasher.ZSetMember(name, score)
}

func (s *sink) HashField(name, value []byte, expireAt int64) error {
	if expireAt != 0 && (s.first == 0 || expireAt < s.first) {
		s.first = expireAt
	}
	if s.times != nil && expireAt != 0 {
		s.times.add(name, expireAt)
	}
	if s.keep(len(name) + len(value)) {
		_ = s.whole.HashField(name, value, expireAt)
	}
	return s.Hasher.HashField(name, value, expireAt)
}

func (s *sink) StreamEntry(id keyspace.StreamID, fields [][]byte) error {
	n := 0
	for _, f := range fields {
		n += len(f) + 24
	}
	if s.keep(n) {
		_ = s.whole.StreamEntry(id, fields)
	}
	return s.Hasher.StreamEntry(id, fields)
}

func (s *sink) StreamMeta(m keyspace.StreamMeta) error {
	if s.whole != nil {
		_ = s.whole.StreamMeta(m)
	}
	return s.Hasher.StreamMeta(m)
}

func (s *sink) StreamGroup(g keyspace.Group) error {
	if s.keep(len(g.Pending) * 64) {
		_ = s.whole.StreamGroup(g)
	}
	return s.Hasher.StreamGroup(g)
}

func (s *sink) ModulePayload(p []byte) error {
	if s.keep(len(p)) {
		_ = s.whole.ModulePayload(p)
	}
	return s.Hasher.ModulePayload(p)
}

// VectorElement takes in an element. The shape of a vector set is not kept.
func (s *sink) VectorElement(e keyspace.VectorElement) error {
	if s.keep(len(e.Name) + len(e.Vector) + len(e.Attributes)) {
		_ = s.whole.VectorElement(e)
	}
	return s.Hasher.VectorElement(e)
}

// feedPage feeds the elements of a collection in the form in which the commands of its type list them.
func feedPage(t keyspace.Type, page []rueidis.RedisMessage, to keyspace.Visitor) error {
	step := 1
	if t == keyspace.Hash || t == keyspace.ZSet {
		step = 2
	}
	for i := 0; i+step <= len(page); i += step {
		p, err := page[i].AsBytes()
		if err != nil {
			return err
		}
		switch t {
		case keyspace.List:
			err = to.ListElement(p)
		case keyspace.Set:
			err = to.SetMember(p)
		case keyspace.Hash:
			var value []byte
			if value, err = page[i+1].AsBytes(); err == nil {
				err = to.HashField(p, value, 0)
			}
		case keyspace.ZSet:
			var score float64
			if score, err = scoreOf(&page[i+1]); err == nil {
				err = to.ZSetMember(p, score)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// scoreOf reads a score that is sent as text: servers before 7.2 print it by %.17g, later ones in the shortest form; the float is
// the same.
func scoreOf(m *rueidis.RedisMessage) (float64, error) {
	text, err := m.ToString()
	if err != nil {
		return 0, err
	}
	score, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("score %q is not a number", text)
	}
	return score, nil
}

// feedModule feeds the payload of DUMP without its footer of RDB version and CRC. Of a vector set it feeds the elements.
func feedModule(typeName string, m *rueidis.RedisMessage, to *sink) error {
	p, err := m.AsBytes()
	if err != nil {
		return err
	}
	if len(p) < 10 {
		return fmt.Errorf("DUMP returned %d bytes", len(p))
	}
	if p = p[:len(p)-10]; typeName == rdb.VectorSet {
		return rdb.WalkVectorSet(p[1:], to)
	}
	return to.ModulePayload(p)
}

// fieldsExpire says whether a database may hold hash fields that expire. Where the server does not say, the database may.
func fieldsExpire(result rueidis.RedisResult, db int) bool {
	text, err := result.ToString()
	if err != nil {
		return true
	}
	dbs, err := endpoint.Keyspace(endpoint.ParseInfo(text))
	d, listed := dbs[db]
	return err != nil || !listed || d.Hashes != 0
}
