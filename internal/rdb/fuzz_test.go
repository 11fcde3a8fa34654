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

// FuzzReader checks that no input panics, and that a value that streams is the value that is held.
func FuzzReader(f *testing.F) {
	for _, x := range fixtures.All(f) {
		f.Add(x.DumpRDB[:min(len(x.DumpRDB), 3000)])
	}
	for _, tt := range valueTests() {
		if magic, _ := magicOf(tt); len(tt.raw) < 2000 {
			f.Add(rdbFile(magic, []byte{252}, le64(1), entry(tt.rdbType, "key", tt.raw)))
		}
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		held, _, heldErr := readAll(p, rdb.Options{})
		streamed, _, err := readAll(p, rdb.Options{MaxValue: 1})
		if (heldErr == nil) != (err == nil) || err == nil && !reflect.DeepEqual(held, streamed) && !hasNaN(held) {
			t.Fatalf("held: %v, streamed: %v", heldErr, err)
		}
		r := rdb.NewReader(bytes.NewReader(p), rdb.Options{MaxValue: 10})
		for skipErr := error(nil); skipErr != io.EOF; {
			if _, skipErr = r.Next(); skipErr != nil && skipErr != io.EOF {
				if err == nil {
					t.Fatalf("decodes, but cannot be skipped: %v", skipErr)
				}
				return
			}
		}
	})
}

func hasNaN(keys map[keyspace.Key]keyspace.Value) bool {
	for _, v := range keys {
		for _, m := range v.ZSet {
			if m.Score != m.Score {
				return true
			}
		}
	}
	return false
}

// FuzzDecodeDump mutates the value alone. Type, version and checksum are put around it, since nothing would pass otherwise.
func FuzzDecodeDump(f *testing.F) {
	for _, tt := range valueTests() {
		if len(tt.raw) < 2000 {
			f.Add(tt.rdbType, tt.raw)
		}
	}
	for _, x := range fixtures.All(f) {
		r := rdb.NewReader(bytes.NewReader(x.DumpRDB), rdb.Options{})
		for e, err := r.Next(); err == nil; e, err = r.Next() {
			if e.Kind == rdb.KindKey && len(e.Raw) < 2000 {
				f.Add(e.Type, bytes.Clone(e.Raw))
			}
		}
	}
	f.Fuzz(func(t *testing.T, rdbType byte, raw []byte) {
		v, err := rdb.DecodeDump(rdb.AppendDump(nil, rdbType, raw, 80))
		if err == nil && v.Type == keyspace.None {
			t.Fatal("a value of no type")
		}
	})
}
