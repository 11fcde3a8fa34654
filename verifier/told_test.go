package verifier

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// The tests on servers that answer as they are told force what a real server does only by chance: keys that change between two
// commands, refusals of single commands of a pipeline, connections that end in the middle of a reply.

// toldConfig is that of a small run.
func toldConfig(t *testing.T) Config {
	o := DefaultConfig()
	o.Rounds, o.Workers, o.TempDir = 2, 1, t.TempDir()
	return o
}

// toldWindow is how many bytes of one value are read at a time, so that values of that size are large.
const toldWindow = leastBytes

// toldReader opens a reader of a server's database 0.
func toldReader(t *testing.T, s *endpointtest.Server, o Config) *reader {
	t.Helper()
	n, err := newNode(t.Context(), endpointtest.Open(t, s.URL()), s.Addr, s.Addr, &o)
	if err != nil {
		t.Fatal(err)
	}
	n.flight.ask.Store(2 * toldWindow)
	r := newReader(n, 0, &o, make(chan struct{}, 2))
	t.Cleanup(r.close)
	return r
}

// readOne reads one key, with its value.
func readOne(t *testing.T, r *reader, name string) (reading, error) {
	t.Helper()
	out := make([]reading, 1)
	r.keepTimes(100)
	err := r.read(t.Context(), []string{name}, out, 1<<20)
	return out[0], err
}

// feedValue passes a whole value on.
func feedValue(v *keyspace.Value, to keyspace.Visitor) {
	if v.Type == keyspace.String {
		to.StringChunk(v.Str)
	}
	for _, p := range v.List {
		to.ListElement(p)
	}
	for _, p := range v.Set {
		to.SetMember(p)
	}
	for _, m := range v.ZSet {
		to.ZSetMember(m.Name, m.Score)
	}
	for _, f := range v.Hash {
		to.HashField(f.Name, f.Value, f.ExpireAt)
	}
	for _, e := range v.Entries {
		to.StreamEntry(e.ID, e.Fields)
	}
	if v.Type == keyspace.Stream {
		to.StreamMeta(v.Meta)
	}
	for _, g := range v.Groups {
		to.StreamGroup(g)
	}
	if v.Type == keyspace.Module {
		to.ModulePayload(v.Module)
	}
}

func fingerprintOf(v *keyspace.Value) keyspace.Fingerprint {
	h := keyspace.NewHasher()
	feedValue(v, h)
	return h.Sum()
}

// The following make values. Those of n elements are read whole where n is small, and in pages where the elements are large.

func stringOf(text string) *keyspace.Value {
	return &keyspace.Value{Type: keyspace.String, Str: []byte(text)}
}

// element returns a name of the given size.
func element(i, bytes int) []byte {
	text := fmt.Sprintf("e%05d", i)
	return []byte(text + strings.Repeat("x", max(bytes-len(text), 0)))
}

func valueOf(t keyspace.Type, n, bytes int) *keyspace.Value {
	v := &keyspace.Value{Type: t}
	for i := range n {
		p := element(i, bytes)
		switch t {
		case keyspace.String:
			v.Str = append(v.Str, p...)
		case keyspace.List:
			v.List = append(v.List, p)
		case keyspace.Set:
			v.Set = append(v.Set, p)
		case keyspace.ZSet:
			v.ZSet = append(v.ZSet, keyspace.Member{Name: p, Score: float64(i) / 3})
		case keyspace.Hash:
			v.Hash = append(v.Hash, keyspace.Field{Name: p[:6], Value: p})
		case keyspace.Stream:
			id := keyspace.StreamID{Ms: uint64(i + 1)}
			v.Entries = append(v.Entries, keyspace.Entry{ID: id, Fields: [][]byte{[]byte("f"), p}})
			v.Meta = keyspace.StreamMeta{Length: uint64(i + 1), LastID: id, EntriesAdded: uint64(i + 1), HasCounters: true}
		case keyspace.Module:
			v.Module = append(v.Module, p...)
		}
	}
	if t == keyspace.Stream {
		v.Groups = []keyspace.Group{{Name: []byte("g"), LastID: v.Meta.LastID, EntriesRead: -1,
			Pending: []keyspace.Pending{{ID: v.Meta.LastID, Consumer: []byte("c"), DeliveryCount: 2}}}}
	}
	return v
}

// expiringField gives the first field of a hash an expiry.
func expiringField(v *keyspace.Value, at int64) *keyspace.Value {
	v.Hash[0].ExpireAt = at
	return v
}

// quickClock is the time of the machine, to which every sleep adds at once what it should have taken.
func quickClock() clock {
	var slept time.Duration
	return clock{func() time.Time { return time.Now().Add(slept) }, func(ctx context.Context, d time.Duration) error {
		slept += max(d, 0)
		return context.Cause(ctx)
	}}
}

// verifyTold compares two servers, without waiting between rounds.
func verifyTold(t *testing.T, source, target *endpointtest.Server, change func(*Config)) (*Report, error) {
	t.Helper()
	return verifyDeployments(t, endpointtest.Open(t, source.URL()), endpointtest.Open(t, target.URL()), change)
}

func verifyDeployments(t *testing.T, source, target *endpoint.Deployment, change func(*Config)) (*Report, error) {
	t.Helper()
	o := toldConfig(t)
	o.Source, o.Target = source, target
	if change != nil {
		change(&o)
	}
	o.mapping = mappingOf(&o)
	v, err := newVerification(t.Context(), &o)
	if err != nil {
		return nil, err
	}
	defer v.close()
	defer v.source.close()
	defer v.target.close()
	*v.clock, v.parts = quickClock(), 2
	if err := v.compare(t.Context()); err != nil {
		return nil, err
	}
	v.lookAgain(t.Context())
	r := v.report(selectionOf(&o))
	r.Servers, r.LeftOut = v.servers(), v.leftOut(t.Context())
	return r, nil
}
