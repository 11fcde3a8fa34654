package rdb_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// benchFile has 200 000 keys: strings, hashes, sets and sorted sets, small and large.
func benchFile() []byte {
	var parts [][]byte
	for i := range 50000 {
		parts = append(parts,
			entry(0, fmt.Sprintf("string:%d", i), str(strings.Repeat("v", i%200))),
			entry(16, fmt.Sprintf("hash:%d", i), str(listpack("name", "value", "n", i, "more", strings.Repeat("x", 40)))),
			entry(20, fmt.Sprintf("set:%d", i), str(listpack(i, i+1, i+2, "member"))),
			entry(5, fmt.Sprintf("zset:%d", i), cat(length(3), str("a"), le64(1), str("member-b"), le64(2), str("c"), le64(3))))
	}
	var members [][]byte
	for i := range 500000 {
		members = append(members, str(fmt.Sprintf("member-%d", i)))
	}
	parts = append(parts, entry(2, "big", cat(length(len(members)), cat(members...))))
	return rdbFile("REDIS0011", parts...)
}

func BenchmarkNext(b *testing.B) {
	file := benchFile()
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		r := rdb.NewReader(bytes.NewReader(file), rdb.Options{})
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if err != io.EOF {
			b.Fatal(err)
		}
	}
}

func BenchmarkNextAndDump(b *testing.B) {
	file := benchFile()
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	var payload []byte
	for b.Loop() {
		r := rdb.NewReader(bytes.NewReader(file), rdb.Options{})
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			payload = rdb.AppendDump(payload[:0], e.Type, e.Raw, 11)
		}
	}
}

func BenchmarkWalk(b *testing.B) {
	file := benchFile()
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		r := rdb.NewReader(bytes.NewReader(file), rdb.Options{})
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			if err := rdb.WalkValue(e.Type, e.Raw, discard{}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

type discard struct{}

var _ keyspace.Visitor = discard{}

func (discard) StringChunk([]byte) error                      { return nil }
func (discard) ListElement([]byte) error                      { return nil }
func (discard) SetMember([]byte) error                        { return nil }
func (discard) ZSetMember([]byte, float64) error              { return nil }
func (discard) HashField(_, _ []byte, _ int64) error          { return nil }
func (discard) StreamEntry(keyspace.StreamID, [][]byte) error { return nil }
func (discard) StreamMeta(keyspace.StreamMeta) error          { return nil }
func (discard) StreamGroup(keyspace.Group) error              { return nil }
func (discard) ModulePayload([]byte) error                    { return nil }

func BenchmarkShapes(b *testing.B) {
	file := benchFile()
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		r := rdb.NewReader(bytes.NewReader(file), rdb.Options{ShapesOnly: true})
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if err != io.EOF {
			b.Fatal(err)
		}
	}
}
