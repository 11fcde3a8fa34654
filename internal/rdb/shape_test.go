package rdb_test

import (
	"bytes"
	"io"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/rdb/fixtures"
)

// shapes returns the shapes of all keys of an RDB.
func shapes(t *testing.T, p []byte, o rdb.Options) map[keyspace.Key]rdb.Shape {
	t.Helper()
	found := map[keyspace.Key]rdb.Shape{}
	for r := rdb.NewReader(bytes.NewReader(p), o); ; {
		e, err := r.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != rdb.KindKey {
			continue
		}
		key := keyspace.Key{DB: e.DB, Name: string(e.Key)}
		if e.Big {
			if err := r.Walk(discard{}); err != nil {
				t.Fatal(err)
			}
		}
		found[key] = *e.Shape
	}
}

// largestOf returns the length of the largest element of a whole value, and how many elements there are.
func largestOf(v keyspace.Value) (largest, elements int64) {
	note := func(n int) { largest, elements = max(largest, int64(n)), elements+1 }
	switch v.Type {
	case keyspace.String:
		note(len(v.Str))
	case keyspace.List:
		for _, e := range v.List {
			note(len(e))
		}
	case keyspace.Set:
		for _, e := range v.Set {
			note(len(e))
		}
	case keyspace.ZSet:
		for _, e := range v.ZSet {
			note(len(e.Name))
		}
	case keyspace.Hash:
		for _, e := range v.Hash {
			note(len(e.Name) + len(e.Value))
		}
	case keyspace.Stream:
		for _, e := range v.Entries {
			n := 0
			for _, f := range e.Fields {
				n += len(f)
			}
			note(n)
		}
	}
	return largest, elements
}

func TestShapesOfFixtures(t *testing.T) {
	for _, f := range fixtures.All(t) {
		only := shapes(t, f.DumpRDB, rdb.Options{ShapesOnly: true})
		held := shapes(t, f.DumpRDB, rdb.Options{Shapes: true})
		walked := shapes(t, f.DumpRDB, rdb.Options{Shapes: true, MaxValue: 1})
		if len(only) != len(f.Expected) {
			t.Errorf("%s: %d shapes, want %d", f.Version, len(only), len(f.Expected))
		}
		for k, v := range f.Expected {
			s := only[k]
			if s != held[k] {
				t.Errorf("%s: %q has shape %+v without its value, %+v with it", f.Version, k.Name, s, held[k])
			}
			largest, elements := largestOf(v)
			if v.Type == keyspace.Module {
				largest, elements = s.Largest, 1
			}
			if s.Elements != elements || rdb.TypeOf(s.Type) != v.Type || s.Bytes <= 0 {
				t.Errorf("%s: %q is a %s of %d elements, its shape %+v", f.Version, k.Name, v.Type, elements, s)
			}
			switch exact := v.Type == keyspace.String || v.Type == keyspace.List || v.Type == keyspace.Hash || v.Type == keyspace.Stream; {
			case s.Type == rdb.TypeSetIntset, v.Type == keyspace.ZSet && s.Blobs.Count > 0: // the width; member and score
			case exact && s.Largest != largest, s.Largest < largest:
				t.Errorf("%s: %q has an element of %d bytes, its shape says %d", f.Version, k.Name, largest, s.Largest)
			}
			if w := walked[k]; w.Elements != s.Elements || w.Bytes != s.Bytes || s.Strings.Count > 0 && v.Type != keyspace.Stream && w.Strings != s.Strings {
				t.Errorf("%s: %q has shape %+v where it is skipped, %+v where it is walked", f.Version, k.Name, s, w)
			}
		}
	}
}

func TestAllocated(t *testing.T) {
	for _, tt := range []struct{ n, want int64 }{{0, 8}, {8, 8}, {9, 16}, {128, 128}, {129, 160}, {160, 160}, {161, 192}, {256, 256}, {257, 320}, {1025, 1280}, {4096, 4096}, {4097, 5120}, {1 << 20, 1 << 20}} {
		if got := rdb.Allocated(tt.n); got != tt.want {
			t.Errorf("%d bytes are allocated as %d, want %d", tt.n, got, tt.want)
		}
	}
}

// FuzzShape checks that what is noted while skipping agrees with a plain skip and a count, and that no damage makes it panic.
func FuzzShape(f *testing.F) {
	for _, fixture := range fixtures.All(f) {
		for r := rdb.NewReader(bytes.NewReader(fixture.DumpRDB), rdb.Options{}); ; {
			e, err := r.Next()
			if err != nil {
				break
			}
			if e.Kind == rdb.KindKey && len(e.Raw) < 4096 {
				f.Add(e.Type, e.Raw)
			}
		}
	}
	f.Fuzz(func(t *testing.T, rdbType byte, raw []byte) {
		if rdb.TypeOf(rdbType) == keyspace.None || len(raw) > 1<<16 {
			return
		}
		file := append([]byte("REDIS0011"), rdbType, 0)
		file = append(append(file, raw...), 0xff, 0, 0, 0, 0, 0, 0, 0, 0)
		plain, err := rdb.NewReader(bytes.NewReader(file), rdb.Options{}).Next()
		shaped, shapeErr := rdb.NewReader(bytes.NewReader(file), rdb.Options{ShapesOnly: true}).Next()
		if shapeErr != nil {
			return // the shape needs more of a value to be undamaged than a skip
		}
		if err != nil {
			t.Fatalf("skipping fails (%v), the shape does not", err)
		}
		s := *shaped.Shape
		if plain.Kind != rdb.KindKey || int64(len(plain.Raw)) != s.Bytes || s.Largest < 0 || s.Elements < 0 {
			t.Fatalf("%d bytes are skipped, the shape is %+v", len(plain.Raw), s)
		}
		c := keyspace.Collector{V: keyspace.Value{Type: rdb.TypeOf(rdbType)}}
		if rdb.WalkValue(rdbType, plain.Raw, &c) != nil || c.V.Type == keyspace.Module {
			return
		}
		_, walked := largestOf(c.V)
		if s.Blobs.Count == 0 && c.V.Type != keyspace.Stream && s.Elements != walked { // otherwise a header has the count, which damage may have changed
			t.Fatalf("the value has %d elements, the shape %d", walked, s.Elements)
		}
	})
}
