package rdb_test

import (
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// vectorSets were dumped by Redis 8.0.2, without the trailer: quantized with attributes, and projected without.
var vectorSets = []string{
	"0781bde72da2bb1eb40002030204025001020205026e33050005031d7f3c0208020402000203022002010203020202813f62d2fe3f9076dd" +
		"05026e3205077b2261223a317d0503027f270208020302000203022002010202020402813f7489903f611eb505026e3105000503797f0e0208020202000203" +
		"022002010203020402813f38c83b3f5f709405026e3005000503387f570208020102000203022002020203020402813f4646bf3f327c4600",
	"0781bde72da2bb1eb400020202010248000201020405c31020040000003f00e0090300bf80130100bf05026531050856077b3fabd248be020702010201020002" +
		"1002000208028040a32b2b00",
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	p, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type vectors struct {
	shape keyspace.VectorShape
	keyspace.Collector
}

func (v *vectors) VectorShape(s keyspace.VectorShape) error {
	v.shape = s
	v.shape.Projection = append([]byte(nil), s.Projection...)
	return nil
}

func TestVectorSet(t *testing.T) {
	var v vectors
	if err := rdb.WalkVectorSet(unhex(t, vectorSets[0])[1:], &v); err != nil {
		t.Fatal(err)
	}
	if want := (keyspace.VectorShape{Dimension: 3, Quantization: 1, Links: 16}); !reflect.DeepEqual(v.shape, want) {
		t.Errorf("shape %+v, want %+v", v.shape, want)
	}
	if len(v.V.Vectors) != 4 {
		t.Fatalf("%d elements, want 4", len(v.V.Vectors))
	}
	e := v.V.Vectors[1]
	if string(e.Name) != "n2" || string(e.Attributes) != `{"a":1}` || hex.EncodeToString(e.Vector) != "027f27" {
		t.Errorf("element %+v", e)
	}
	if length := math.Float32frombits(uint32(e.Scale)); length < 0.87 || length > 0.89 {
		t.Errorf("length before it was normalized: %v", length)
	}

	v = vectors{}
	if err := rdb.WalkVectorSet(unhex(t, vectorSets[1])[1:], &v); err != nil {
		t.Fatal(err)
	}
	if s := v.shape; s.Dimension != 2 || s.InputDimension != 4 || len(s.Projection) != 32 || s.Quantization != 0 || s.Links != 8 {
		t.Errorf("shape %+v", s)
	}
	if len(v.V.Vectors) != 1 || string(v.V.Vectors[0].Name) != "e1" || len(v.V.Vectors[0].Vector) != 8 {
		t.Errorf("elements %+v", v.V.Vectors)
	}
}

// TestVectorSetRange: vectors that are not quantized to int8 have no range, and a server writes there what it finds.
func TestVectorSetRange(t *testing.T) {
	raw := unhex(t, vectorSets[1])[1:]
	raw = append(raw[:len(raw)-7:len(raw)-7], 2, 0x81, 0xde, 0xad, 0xbe, 0xef, 0x40, 0xa3, 0x2b, 0x2b, 0) // in place of 2, 0x80 and the length alone
	var with, without vectors
	if err := errors.Join(rdb.WalkVectorSet(raw, &with), rdb.WalkVectorSet(unhex(t, vectorSets[1])[1:], &without)); err != nil {
		t.Fatal(err)
	}
	if a, b := with.V.Vectors[0].Scale, without.V.Vectors[0].Scale; a != b || a != 0x40a32b2b {
		t.Errorf("scales %#x and %#x", a, b)
	}
}

func TestVectorSetRefuses(t *testing.T) {
	whole := unhex(t, vectorSets[0])[1:]
	change := func(at int, to byte) []byte {
		p := append([]byte(nil), whole...)
		p[at] = to
		return p
	}
	for _, tt := range []struct {
		name, why, want string
		raw             []byte
	}{
		{"another type", "its values mean something else", "module type", change(5, whole[5]^1)},
		{"another encoding version", "a later server may put other things there", "encoding 1", change(8, 1)},
		{"unknown flag", "there may be more behind the header", "unknown flags", change(17, 0x1e)},
		{"another opcode", "a string stands where the name of an element must", "opcode", change(18, 2)},
		{"cut short", "no element may be left out in silence", "cut short", whole[:len(whole)-30]},
		{"longer", "what follows may belong to the value", "follow", append(whole[:len(whole):len(whole)], 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := rdb.WalkVectorSet(tt.raw, &vectors{})
			var format *rdb.FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q: %s", err, tt.want, tt.why)
			}
		})
	}
}

// FuzzVectorSet: no input panics, and what is a vector set is a value of a module.
func FuzzVectorSet(f *testing.F) {
	for _, text := range vectorSets {
		f.Add(unhex(f, text)[1:])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if rdb.WalkVectorSet(raw, &vectors{}) != nil {
			return
		}
		if _, err := rdb.DecodeDump(rdb.AppendDump(nil, rdb.TypeModule, raw, 12)); err != nil {
			t.Fatalf("a vector set, but %v", err)
		}
	})
}
