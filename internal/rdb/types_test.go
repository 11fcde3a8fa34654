package rdb_test

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/rdb/fixtures"
)

// samples returns raw values by the number of their type: all those made by hand, and one of each server that wrote any.
func samples(t *testing.T) map[byte][][]byte {
	t.Helper()
	all := map[byte][][]byte{}
	for _, tt := range valueTests() {
		all[tt.rdbType] = append(all[tt.rdbType], tt.raw)
	}
	for _, f := range fixtures.All(t) {
		seen := map[byte]bool{}
		r := rdb.NewReader(bytes.NewReader(f.DumpRDB), rdb.Options{})
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", f.Version, err)
			}
			if e.Kind == rdb.KindKey && !seen[e.Type] {
				seen[e.Type] = true
				all[e.Type] = append(all[e.Type], bytes.Clone(e.Raw))
			}
		}
	}
	return all
}

// TestEveryTypeOfTheTable demands of each row that it is complete, and that a value of its type passes through everything that
// looks the row up.
func TestEveryTypeOfTheTable(t *testing.T) {
	all := samples(t)
	for number, row := range rdb.Types {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			if row.Of == keyspace.None {
				t.Error("the row does not say of which type the values are")
			}
			if row.Memory.Encoding == "" && row.Of != keyspace.String && row.Of != keyspace.Module {
				t.Error("the row does not say how a server holds the values in memory")
			}
			if len(all[number]) == 0 {
				t.Fatal("there is no value of this type: add one to valueTests, or a fixture that holds one")
			}
			for _, raw := range all[number] {
				roundTrip(t, number, raw)
			}
			reencode(t, "the first value", number, all[number][0])
			delete(all, number)
		})
	}
	for number := range all {
		t.Errorf("type %d has a value, and the table does not have the type", number)
	}
}

// roundTrip reads a value by skipping, walking and noting its shape, and as a DUMP payload.
func roundTrip(t *testing.T, number byte, raw []byte) {
	t.Helper()
	magic, version := magicOf(valueTest{rdbType: number})
	walked := keyspace.Collector{V: keyspace.Value{Type: rdb.TypeOf(number)}}
	if err := rdb.WalkValue(number, raw, &walked); err != nil {
		t.Fatalf("walk: %v", err)
	}
	file := rdbFile(magic, entry(number, "key", raw))
	e, err := rdb.NewReader(bytes.NewReader(file), rdb.Options{}).Next()
	if err != nil || e.Type != number || !bytes.Equal(e.Raw, raw) {
		t.Errorf("skip: %v, not the value of %d bytes", err, len(raw))
	}
	e, err = rdb.NewReader(bytes.NewReader(file), rdb.Options{ShapesOnly: true}).Next()
	if err != nil {
		t.Fatalf("shape: %v", err)
	}
	elements := int64(1)
	if walked.V.Type != keyspace.Module {
		_, elements = largestOf(walked.V)
	}
	if s := e.Shape; s.Type != number || s.Elements != elements || s.Bytes != int64(len(raw)) {
		t.Errorf("the value has %d elements in %d bytes, its shape is %+v", elements, len(raw), *s)
	}
	decoded, err := rdb.DecodeDump(rdb.AppendDump(nil, number, raw, version))
	if err != nil || !reflect.DeepEqual(decoded, walked.V) {
		t.Errorf("DUMP payload: %v, or another value", err)
	}
}

// TestUnknownTypes checks that every number without a row is refused by an error that names it, whoever meets it first.
func TestUnknownTypes(t *testing.T) {
	known := map[byte]bool{}
	for number := range rdb.Types {
		known[number] = true
	}
	raw := cat(length(1), strs("a", "b"))
	for n := range 256 {
		number := byte(n)
		if known[number] {
			continue
		}
		errs := map[string]error{"WalkValue": rdb.WalkValue(number, raw, discard{})}
		_, errs["DecodeDump"] = rdb.DecodeDump(rdb.AppendDump(nil, number, raw, 12))
		_, errs["Append"] = rdb.Encoder{Version: 12}.Append(nil, number, raw)
		if number < 243 { // the rest are opcodes in an RDB
			_, errs["Next"] = rdb.NewReader(bytes.NewReader(rdbFile("REDIS0012", entry(number, "key", raw))), rdb.Options{}).Next()
		}
		for who, err := range errs {
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf(" %d", number)) {
				t.Errorf("%s of type %d: %v", who, number, err)
			}
		}
		if rdb.Reads(14, number) || rdb.Reads(80, number) {
			t.Errorf("a server is said to read type %d", number)
		}
	}
}

func TestReads(t *testing.T) {
	for _, s := range serverVersions {
		for rdbType := range 256 {
			if got, want := rdb.Reads(s.version, byte(rdbType)), bytes.IndexByte(s.types, byte(rdbType)) >= 0; got != want {
				t.Errorf("%s reads type %d: %v, want %v", s.name, rdbType, got, want)
			}
		}
	}
}
