package verifier

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// text is a reading of a string; "" is an absent key.
func text(value string) reading { return expiring(value, 0) }

// fields is a hash the first of whose fields expires at a time, in Unix ms.
func fields(at int64) reading {
	return reading{Type: keyspace.Hash, TypeName: "hash", FieldsAt: at, FP: keyspace.Fingerprint{FieldExpiries: uint64(at)}}
}

func expiring(value string, at int64) reading {
	if value == "" {
		return reading{}
	}
	h := keyspace.NewHasher()
	h.StringChunk([]byte(value))
	return reading{Type: keyspace.String, TypeName: "string", FP: h.Sum(), ExpireAt: at,
		Value: &keyspace.Value{Type: keyspace.String, Str: []byte(value), ExpireAt: at}}
}

func failed(code string) reading {
	return reading{Err: &refusal{command: "GET", code: code, err: fmt.Errorf("%s no", code)}}
}

func base64Of(name string) string { return base64.StdEncoding.EncodeToString([]byte(name)) }

// world is what both servers hold, in memory. The source's offset counts its writes; the target holds what it
// held at offset applied.
type world struct {
	log     []map[string]string // the source's data by offset
	applied int64
	target  map[string]string // what the target holds beyond or against what was applied
	onRead  func(w *world)    // called before each read of the source, as other clients may write then
	lag     int               // how many writes the target is behind
	frozen  bool
	freezes int
	fails   error                   // of Freeze
	ahead   func(w *world) []string // keys of which ApplyTo says that the target holds later values
}

func newWorld(data map[string]string) *world {
	return &world{log: []map[string]string{data}, target: map[string]string{}}
}

func (w *world) write(key, value string) {
	next := maps.Clone(w.log[len(w.log)-1])
	if next[key] = value; value == "" {
		delete(next, key)
	}
	w.log = append(w.log, next)
	w.follow()
}

// follow applies what was written, up to the lag, unless the link stands still.
func (w *world) follow() {
	if !w.frozen {
		w.applied = max(w.applied, int64(len(w.log)-1-w.lag))
	}
}

// worldFeed tells of all writes.
type worldFeed struct {
	*world
	from int
}

func (f *worldFeed) begin(context.Context) ([]nodePosition, error) {
	f.from = len(f.log) - 1
	return []nodePosition{{"s:1", Position{"id", int64(f.from)}}}, nil
}

func (f *worldFeed) end(context.Context) (view, error) {
	v := worldView{}
	for i := f.from + 1; i < len(f.log); i++ {
		for _, m := range f.log[i-1 : i+1] {
			for k := range m {
				if f.log[i-1][k] != f.log[i][k] {
					v[k] = true
				}
			}
		}
	}
	return v, nil
}

type worldView map[string]bool

func (v worldView) still() bool { return len(v) == 0 }

func (v worldView) writing(name string, _ keyspace.Type) writing {
	if v[name] {
		return written
	}
	return unwritten
}

type worldSource struct{ *world }
type worldTarget struct{ *world }

func (s worldSource) probe(_ context.Context, keys []keyID, _ int64) ([]reading, error) {
	if s.onRead != nil {
		s.onRead(s.world)
	}
	out := make([]reading, len(keys))
	for i, k := range keys {
		out[i] = text(s.log[len(s.log)-1][k.name])
	}
	return out, nil
}

func (s worldTarget) probe(_ context.Context, keys []keyID, _ int64) ([]reading, error) {
	out := make([]reading, len(keys))
	for i, k := range keys {
		value := s.log[s.applied][k.name]
		if wrong, ok := s.target[k.name]; ok {
			value = wrong
		}
		out[i] = text(value)
	}
	return out, nil
}

func (s worldSource) readAt(ctx context.Context, _ AppliedLink, keys []record) ([]reading, int64, error) {
	ids := make([]keyID, len(keys))
	for i := range keys {
		ids[i] = keys[i].keyID
	}
	out, err := s.probe(ctx, ids, 0)
	return out, int64(len(s.log) - 1), err
}

func (w *world) Links() []AppliedLink { return []AppliedLink{{Shard: "s:1", Reads: "s:1"}} }

func (w *world) Applied(context.Context, int) (Position, error) {
	return Position{"id", w.applied}, nil
}

func (w *world) Freeze(context.Context, int) (Frame, error) {
	if w.fails != nil {
		return nil, w.fails
	}
	w.frozen = true
	w.freezes++
	return w, nil
}

func (w *world) ApplyTo(_ context.Context, offset int64) ([]keyspace.Key, error) {
	w.applied = offset
	if w.ahead == nil {
		return nil, nil
	}
	var keys []keyspace.Key
	for _, name := range w.ahead(w) {
		keys = append(keys, keyspace.Key{Name: name})
	}
	return keys, nil
}

func (w *world) Release() {
	w.frozen = false
	w.follow()
}

// resolveWorld resolves all keys of both sides as suspects.
func resolveWorld(t *testing.T, w *world, o Config, keys ...string) *Report {
	t.Helper()
	o.TempDir = t.TempDir()
	o.Workers = 1
	at := time.Unix(1_700_000_000, 0)
	quick := clock{func() time.Time { return at }, func(_ context.Context, d time.Duration) error { at = at.Add(d); return nil }}
	v := &verification{cfg: &o, judges: theJudges, source: bareSide(endpoint.Source, &endpoint.Deployment{}, &o), target: bareSide(endpoint.Target, &endpoint.Deployment{}, &o), progress: &progress{},
		probers: probers{worldSource{w}, worldTarget{w}}, atOffset: worldSource{w}, rules: rules{depth: DepthValue, tolerance: time.Second}}
	v.keepTime(quick)
	v.windows.feed = &worldFeed{world: w}
	v.tally = newTally(&v.rules, o.MaxFindings)
	suspects, err := newSpill(o.TempDir, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer suspects.close()
	for _, k := range keys {
		if err := suspects.add(&record{keyID: keyID{name: k}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.resolve(context.Background(), suspects); err != nil {
		t.Fatal(err)
	}
	return v.report(selectionOf(v.cfg))
}

var _ Applier = (*world)(nil)
