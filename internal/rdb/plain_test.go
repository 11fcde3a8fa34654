package rdb_test

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

func TestEncode(t *testing.T) {
	long := []byte(strings.Repeat("x", 70_000))
	for name, v := range map[string]keyspace.Value{
		"string":       {Type: keyspace.String, Str: []byte("a\x00b")},
		"empty string": {Type: keyspace.String, Str: []byte{}},
		"long string":  {Type: keyspace.String, Str: long},
		"list":         {Type: keyspace.List, List: [][]byte{[]byte("b"), {}, long, []byte("b")}},
		"set":          {Type: keyspace.Set, Set: [][]byte{[]byte("m"), []byte("12")}},
		"scores":       {Type: keyspace.ZSet, ZSet: []keyspace.Member{{Name: []byte("a"), Score: 0.1}, {Name: []byte("b"), Score: math.Inf(-1)}, {Name: []byte("c"), Score: math.Nextafter(1, 2)}}},
		"hash":         {Type: keyspace.Hash, Hash: []keyspace.Field{{Name: []byte("f"), Value: []byte("v")}, {Name: []byte("g"), Value: long}}},
		"field expiry": {Type: keyspace.Hash, Hash: []keyspace.Field{{Name: []byte("f"), Value: []byte("v"), ExpireAt: 4102444800000}, {Name: []byte("g"), Value: []byte("w")}, {Name: []byte("h"), Value: []byte("w"), ExpireAt: 4102444800777}}},
	} {
		rdbType, raw, err := rdb.Encode(&v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := keyspace.Collector{V: keyspace.Value{Type: v.Type}}
		if err := rdb.WalkValue(rdbType, raw, &got); err != nil || !reflect.DeepEqual(got.V, v) {
			t.Errorf("%s came back as %.200v, %v", name, got.V, err)
		}
	}
	if _, _, err := rdb.Encode(&keyspace.Value{Type: keyspace.Stream}); err == nil {
		t.Error("a stream was encoded")
	}
}
