//go:build servers

package target

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/rdb/fixtures"
)

// TestRebuildOnServers builds every value of every fixture that a server can hold by commands, and
// dumps it: it must be the value that the fixture's server had.
func TestRebuildOnServers(t *testing.T) {
	t.Parallel()
	for _, image := range servers.Images() {
		t.Run(strings.NewReplacer("/", "-", ":", "-").Replace(image), func(t *testing.T) {
			s := servers.Standalone(t, image)
			number := s.Number()
			for _, f := range fixtures.All(t) {
				if f.Number/100 <= number/100 {
					rebuildFixture(t, s, number, f)
				}
			}
		})
	}
}

func rebuildFixture(t *testing.T, s *servers.Server, number int, f fixtures.Fixture) {
	t.Helper()
	r := rdb.NewReader(bytes.NewReader(f.DumpRDB), rdb.Options{MaxValue: 1})
	built := 0
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != rdb.KindKey {
			continue
		}
		key := fmt.Sprintf("%s:%d:%s", f.Version, e.DB, e.Key)
		want := keyspace.Collector{V: keyspace.Value{Type: rdb.TypeOf(e.Type), ExpireAt: e.ExpireAt}}
		b := newRebuild([]byte(key), command.DialectOf(number, 0), func(args ...[]byte) error { return do(s, args...) })
		if e.Big {
			err = r.Walk(tee{b, &want})
		} else {
			err = rdb.WalkValue(e.Type, e.Raw, tee{b, &want})
		}
		if err != nil {
			t.Errorf("%q: %v", key, err)
			continue
		}
		if err := b.Finish(e.ExpireAt); err != nil {
			t.Errorf("%q: %v", key, err)
			continue
		}
		compareRebuilt(t, s, key, want.V, len(b.Lost) > 0)
		built++
	}
	if built != len(f.Expected) {
		t.Errorf("%s: built %d keys of %d", f.Version, built, len(f.Expected))
	}
}

func do(s *servers.Server, args ...[]byte) error {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = string(a)
	}
	return s.Do(words...).Error()
}

func compareRebuilt(t *testing.T, s *servers.Server, key string, want keyspace.Value, lost bool) {
	t.Helper()
	payload, err := s.Do("DUMP", key).ToString()
	if err != nil && !rueidis.IsRedisNil(err) {
		t.Fatal(err)
	}
	got, err := rdb.DecodeDump([]byte(payload))
	if err != nil {
		t.Errorf("%q: %v", key, err)
		return
	}
	ttl, err := s.Do("PTTL", key).AsInt64()
	if err != nil || (ttl > 0) != (want.ExpireAt > 0) {
		t.Errorf("%q: PTTL %d, %v, want expiry %d", key, ttl, err, want.ExpireAt)
	}
	got.ExpireAt = want.ExpireAt
	fixtures.DropCounters(&want, &got)
	if d := fixtures.Diff(want, got); d != "" {
		t.Errorf("%q: %s", key, d)
	}
	if times := deliveries(got); !reflect.DeepEqual(times, deliveries(want)) {
		t.Errorf("%q: delivery times differ: %v", key, times)
	}
	if lost {
		t.Errorf("%q: something was lost", key)
	}
}

func deliveries(v keyspace.Value) (times []string) {
	for _, g := range v.Groups {
		for _, p := range g.Pending {
			times = append(times, p.ID.String()+" at "+strconv.FormatInt(p.DeliveryMs, 10))
		}
	}
	return times
}

// TestRebuildOddStreams: what the fixtures' streams do not have.
func TestRebuildOddStreams(t *testing.T) {
	t.Parallel()
	for _, image := range servers.Images() {
		t.Run(strings.NewReplacer("/", "-", ":", "-").Replace(image), func(t *testing.T) {
			s := servers.Standalone(t, image)
			number := s.Number()
			if number < 50000 {
				return
			}
			s.Must("XGROUP", "CREATE", "never", "g", "0", "MKSTREAM")
			s.Must("XGROUP", "CREATE", "groupless", "g", "0", "MKSTREAM")
			s.Must("XGROUP", "DESTROY", "groupless", "g")
			s.Must("XADD", "lost", "1-1", "f", "v")
			s.Must("XADD", "lost", "2-1", "f", "v")
			s.Must("XADD", "lost", "3-1", "f", "v")
			s.Must("XGROUP", "CREATE", "lost", "g", "0")
			s.Must("XREADGROUP", "GROUP", "g", "idle", "STREAMS", "lost", "0")
			s.Must("XREADGROUP", "GROUP", "g", "busy", "COUNT", "2", "STREAMS", "lost", ">")
			s.Must("XDEL", "lost", "1-1")
			for key, lost := range map[string]int{"never": 0, "groupless": 0, "lost": 1} {
				payload, err := s.Do("DUMP", key).ToString()
				if err != nil {
					t.Fatal(err)
				}
				d, err := rdb.SplitDump([]byte(payload))
				if err != nil {
					t.Fatal(err)
				}
				want, err := rdb.DecodeDump([]byte(payload))
				if err != nil {
					t.Fatal(err)
				}
				b := newRebuild([]byte(key+":copy"), command.DialectOf(number, 0), func(args ...[]byte) error { return do(s, args...) })
				if err := rdb.WalkValue(d.Type, d.Raw, b); err != nil {
					t.Fatalf("%s: %v", key, err)
				}
				if err := b.Finish(0); err != nil {
					t.Fatalf("%s: %v", key, err)
				}
				if len(b.Lost) != lost {
					t.Errorf("%s: lost %q", key, b.Lost)
				}
				for i := range want.Groups {
					want.Groups[i].Pending = want.Groups[i].Pending[lost:]
				}
				compareRebuilt(t, s, key+":copy", want, false)
			}
		})
	}
}

// tee gives one value to two visitors.
type tee struct{ a, b keyspace.Visitor }

func both(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (t tee) StringChunk(p []byte) error { return both(t.a.StringChunk(p), t.b.StringChunk(p)) }
func (t tee) ListElement(p []byte) error { return both(t.a.ListElement(p), t.b.ListElement(p)) }
func (t tee) SetMember(p []byte) error   { return both(t.a.SetMember(p), t.b.SetMember(p)) }
func (t tee) ZSetMember(n []byte, s float64) error {
	return both(t.a.ZSetMember(n, s), t.b.ZSetMember(n, s))
}
func (t tee) HashField(n, v []byte, at int64) error {
	return both(t.a.HashField(n, v, at), t.b.HashField(n, v, at))
}
func (t tee) StreamEntry(id keyspace.StreamID, f [][]byte) error {
	return both(t.a.StreamEntry(id, f), t.b.StreamEntry(id, f))
}
func (t tee) StreamMeta(m keyspace.StreamMeta) error {
	return both(t.a.StreamMeta(m), t.b.StreamMeta(m))
}
func (t tee) StreamGroup(g keyspace.Group) error {
	return both(t.a.StreamGroup(g), t.b.StreamGroup(g))
}
func (t tee) ModulePayload(p []byte) error { return both(t.a.ModulePayload(p), t.b.ModulePayload(p)) }
