package rdb_test

import (
	"bytes"
	"io"
	"reflect"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/rdb/fixtures"
)

// readAll decodes a whole RDB.
func readAll(p []byte, o rdb.Options) (map[keyspace.Key]keyspace.Value, []rdb.Entry, error) {
	r := rdb.NewReader(bytes.NewReader(p), o)
	keys := map[keyspace.Key]keyspace.Value{}
	var others []rdb.Entry
	for {
		e, err := r.Next()
		if err == io.EOF {
			return keys, others, nil
		}
		if err != nil {
			return keys, others, err
		}
		if e.Kind != rdb.KindKey {
			copied := *e
			copied.Name, copied.Value = bytes.Clone(e.Name), bytes.Clone(e.Value)
			others = append(others, copied)
			continue
		}
		key := keyspace.Key{DB: e.DB, Name: string(e.Key)}
		c := keyspace.Collector{V: keyspace.Value{Type: rdb.TypeOf(e.Type), ExpireAt: e.ExpireAt}}
		if e.Big {
			err = r.Walk(&c)
		} else {
			err = rdb.WalkValue(e.Type, e.Raw, &c)
		}
		if err != nil {
			return keys, others, err
		}
		keys[key] = c.V
	}
}

func compare(t *testing.T, want, got map[keyspace.Key]keyspace.Value) {
	t.Helper()
	for k, w := range want {
		g, ok := got[k]
		if !ok {
			t.Errorf("db %d key %q is missing", k.DB, k.Name)
			continue
		}
		if d := fixtures.Diff(w, g); d != "" {
			t.Errorf("db %d key %q: %s", k.DB, k.Name, d)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("db %d key %q is extra", k.DB, k.Name)
		}
	}
}

func TestFixturesDecodeToWhatTheirServersRead(t *testing.T) {
	for _, f := range fixtures.All(t) {
		t.Run(f.Version, func(t *testing.T) {
			for _, o := range []rdb.Options{{}, {MaxValue: 1}, {MaxValue: 1000}} {
				keys, others, err := readAll(f.DumpRDB, o)
				if err != nil {
					t.Fatalf("MaxValue %d: %v", o.MaxValue, err)
				}
				compare(t, f.Expected, keys)
				functions := 0
				for _, e := range others {
					if e.Kind == rdb.KindFunction {
						functions++
						if !bytes.HasPrefix(e.Value, []byte("#!lua")) {
							t.Errorf("function %.40q", e.Value)
						}
					}
				}
				if (functions > 0) != (f.Number >= 70000) {
					t.Errorf("%d function libraries", functions)
				}
			}
			if _, _, err := readAll(f.RDB(), rdb.Options{}); err != nil {
				t.Errorf("RDB of the replica: %v", err)
			}
		})
	}
}

func TestBigValuesAreTheSameAsHeldOnes(t *testing.T) {
	for _, f := range fixtures.All(t) {
		held, _, err := readAll(f.DumpRDB, rdb.Options{})
		if err != nil {
			t.Fatal(err)
		}
		streamed, _, err := readAll(f.DumpRDB, rdb.Options{MaxValue: 1})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(held, streamed) { // times and order as well, which Diff leaves out
			t.Errorf("%s: streamed values differ from held ones", f.Version)
		}
	}
}

func TestFixturesRoundTrip(t *testing.T) {
	for _, f := range fixtures.All(t) {
		r := rdb.NewReader(bytes.NewReader(f.DumpRDB), rdb.Options{})
		for n := 0; ; n++ {
			e, err := r.Next()
			if err == io.EOF && n >= len(f.Expected) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", f.Version, err)
			}
			if e.Kind == rdb.KindKey {
				roundTrip(t, e.Type, e.Raw)
			}
		}
	}
}
