package rdb_test

import (
	"fmt"
	"slices"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// repeats is a visitor that is told of elements that stand in a value again.
type repeats struct {
	keyspace.Collector
	names []string
}

func (r *repeats) Repeated(name []byte) { r.names = append(r.names, string(name)) }

// TestRepeatedElements: where a packed hash or sorted set has a name twice, a server finds the first one, so that counts.
func TestRepeatedElements(t *testing.T) {
	many := []any{}
	for i := range 2000 {
		many = append(many, fmt.Sprint("field:", i), "v")
	}
	many = append(many, "field:7", "again")
	for _, tt := range []struct {
		name     string
		kind     byte
		blob     []byte
		elements int
		first    string // what counts of the element that stands twice
		repeated []string
	}{
		{"a hash", rdb.TypeHashZiplist, ziplist(false, "a", "1", "b", "2", "a", "3"), 2, "1", []string{"a"}},
		{"names that are integers", rdb.TypeHashZiplist, ziplist(false, 7, "1", "b", "2", "7", "3"), 2, "1", []string{"7"}},
		{"a hash in a listpack", rdb.TypeHashListpack, listpack("a", "1", "a", "1"), 1, "1", []string{"a"}},
		{"three times", rdb.TypeHashZiplist, ziplist(false, "a", "1", "a", "2", "a", "3"), 1, "1", []string{"a", "a"}},
		{"a value that is another name", rdb.TypeHashZiplist, ziplist(false, "a", "b", "b", "a"), 2, "b", nil},
		{"many fields", rdb.TypeHashZiplist, ziplist(false, many...), 2000, "v", []string{"field:7"}},
		{"a sorted set", rdb.TypeZSetZiplist, ziplist(false, "a", 1, "b", 2, "a", 3), 2, "1", []string{"a"}},
	} {
		var v repeats
		if err := rdb.WalkValue(tt.kind, str(tt.blob), &v); err != nil {
			t.Fatal(tt.name, err)
		}
		name := "a"
		if len(tt.repeated) > 0 {
			name = tt.repeated[0]
		}
		got := ""
		for _, f := range v.V.Hash {
			if string(f.Name) == name {
				got += string(f.Value)
			}
		}
		for _, m := range v.V.ZSet {
			if string(m.Name) == name {
				got += fmt.Sprint(m.Score)
			}
		}
		if n := len(v.V.Hash) + len(v.V.ZSet); n != tt.elements || got != tt.first || !slices.Equal(v.names, tt.repeated) {
			t.Errorf("%s: %d elements, %s is %q, told of %q", tt.name, n, name, got, v.names)
		}
	}
}
