package reread

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// The tests on servers that answer as they are told force what a real server does only by chance: keys that change between two
// commands, refusals of single commands of a pipeline, connections that end in the middle of a reply.

// toldNow is the time in Unix ms that a server tells after tellTime.
const toldNow = 1_700_000_000_005

func tellTime(s *endpointtest.Server) {
	s.Always("TIME", endpointtest.Strings("1700000000", "5999"))
}

const (
	unknown  = "-ERR unknown command\r\n"
	loading  = "-LOADING Redis is loading the dataset in memory\r\n"
	noPerm   = "-NOPERM this user has no permissions to run the command\r\n"
	wrong    = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
	moved    = "-MOVED 1 127.0.0.1:1\r\n"
	ask      = "-ASK 1 127.0.0.1:1\r\n"
	down     = "-CLUSTERDOWN The cluster is down\r\n"
	noSuch   = "-ERR no such key\r\n"
	noGroup  = "-NOGROUP No such consumer group\r\n"
	patience = time.Minute // of tests in which the server answers in the end
)

// valueOf makes a value of n elements. A string has n bytes.
func valueOf(t keyspace.Type, n int) *keyspace.Value {
	v := &keyspace.Value{Type: t}
	if t == keyspace.String {
		v.Str = []byte(strings.Repeat("0123456789abcdef", n/16+1)[:n])
		return v
	}
	for i := range n {
		p := fmt.Appendf(nil, "e%05d", i)
		switch t {
		case keyspace.List:
			v.List = append(v.List, p)
		case keyspace.Set:
			v.Set = append(v.Set, p)
		case keyspace.ZSet:
			v.ZSet = append(v.ZSet, keyspace.Member{Name: p, Score: float64(i) / 3})
		case keyspace.Hash:
			v.Hash = append(v.Hash, keyspace.Field{Name: p, Value: append([]byte("v"), p...)})
		case keyspace.Stream:
			id := keyspace.StreamID{Ms: uint64(i + 1), Seq: uint64(i % 3)}
			v.Entries = append(v.Entries, keyspace.Entry{ID: id, Fields: [][]byte{[]byte("f"), p}})
			v.Meta.LastID = id
		}
	}
	return v
}

func stringOf(text string) *keyspace.Value {
	return &keyspace.Value{Type: keyspace.String, Str: []byte(text)}
}

// grouped gives a stream a group with pending entries, which were delivered idle ms ago.
func grouped(v *keyspace.Value, pending int) *keyspace.Value {
	g := keyspace.Group{Name: []byte("g"), LastID: v.Meta.LastID, EntriesRead: -1}
	for i := range pending {
		g.Pending = append(g.Pending, keyspace.Pending{ID: keyspace.StreamID{Ms: uint64(i + 1)}, Consumer: fmt.Appendf(nil, "c%d", i%2), DeliveryMs: int64(i), DeliveryCount: uint64(i%5 + 1)})
	}
	v.Groups = append(v.Groups, g)
	return v
}

// expected is what is to be read of a value: a server tells its pending entries by how long ago they were delivered.
func expected(v *keyspace.Value, expireAt int64) keyspace.Value {
	want := *v
	want.ExpireAt = expireAt
	if v.Type == keyspace.Stream {
		want.Meta.Length = uint64(len(v.Entries))
	}
	want.Groups = nil
	for _, g := range v.Groups {
		g = g.Clone()
		for i := range g.Pending {
			g.Pending[i].DeliveryMs = toldNow - g.Pending[i].DeliveryMs
			if name := g.Pending[i].Consumer; !slices.ContainsFunc(g.Consumers, func(c keyspace.Consumer) bool { return string(c.Name) == string(name) }) {
				g.Consumers = append(g.Consumers, keyspace.Consumer{Name: name, ActiveMs: -1})
			}
		}
		want.Groups = append(want.Groups, g)
	}
	return want
}

// toldScan is a scan of a server by one reader, which counts everything above 1000 bytes as big.
func toldScan(t *testing.T, s *endpointtest.Server, change func(*ScanConfig)) *Scan {
	t.Helper()
	cfg := ScanConfig{Source: endpointtest.Open(t, s.URL()), Node: func() string { return s.Addr }, Filter: &keyspace.Filter{}, Readers: 1, BigValue: 1000,
		Log: slog.New(slog.DiscardHandler), NoFunctions: func(err error) { t.Errorf("functions are refused: %v", err) }}
	if change != nil {
		change(&cfg)
	}
	return NewScan(cfg)
}

// found is what a scan has brought. Keys are written as "0 name".
type found struct {
	values    map[string]keyspace.Value
	big       map[string]bool
	times     map[string]int // how often the key came
	failed    map[string]error
	functions []string
	absent    []string
	err       error // of Run
}

func drain(t *testing.T, s *Scan) *found {
	t.Helper()
	f := &found{values: map[string]keyspace.Value{}, big: map[string]bool{}, times: map[string]int{}, failed: map[string]error{}}
	ran := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { ran <- s.Run(ctx) }()
	for {
		e, err := s.Next()
		if err != nil {
			f.err = <-ran
			if want := f.err; f.err == nil && !errors.Is(err, io.EOF) || f.err != nil && !errors.Is(err, want) {
				t.Errorf("Next ended with %v, Run with %v", err, f.err)
			}
			break
		}
		if e.Kind == rdb.KindFunction {
			f.functions = append(f.functions, string(e.Value))
			continue
		}
		key := fmt.Sprintf("%d %s", e.DB, e.Key)
		if f.times[key]++; e.Idle != -1 || e.Freq != -1 || e.Kind != rdb.KindKey {
			t.Errorf("%s: kind %v, idle %d, frequency %d", key, e.Kind, e.Idle, e.Freq)
		}
		c := &keyspace.Collector{}
		if e.Big {
			err = s.Walk(c)
		} else {
			err = rdb.WalkValue(e.Type, e.Raw, c)
		}
		if err != nil {
			f.failed[key] = err
			continue
		}
		c.V.ExpireAt = e.ExpireAt
		f.values[key], f.big[key] = c.V, e.Big
	}
	for _, k := range s.Absent() {
		f.absent = append(f.absent, fmt.Sprintf("%d %s", k.DB, k.Name))
	}
	slices.Sort(f.absent)
	return f
}

// is says whether a key has come with a value. The value tells its type by the fields that it has.
func (f *found) is(key string, want keyspace.Value) bool {
	got, ok := f.values[key]
	got.Type = want.Type
	return ok && reflect.DeepEqual(got, want)
}

// short prints a value of which the first elements are enough.
func short(v any) string {
	text := fmt.Sprintf("%+v", v)
	if len(text) > 300 {
		text = fmt.Sprintf("%s... (%d bytes)", text[:300], len(text))
	}
	return text
}

func says(err error, text string) bool {
	if text == "" {
		return err == nil
	}
	return err != nil && strings.Contains(err.Error(), text)
}
