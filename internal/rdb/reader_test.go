package rdb_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/rdb/fixtures"
)

func TestOpcodes(t *testing.T) {
	file := rdbFile("REDIS0012",
		[]byte{250}, strs("redis-ver", "7.4.1"),
		[]byte{247}, length64(moduleID("graphdata", 1)), []byte{2, 2, 5}, str("payload"), []byte{0},
		[]byte{245}, str("#!lua name=x\n"),
		[]byte{254}, length(3), []byte{251}, length(2), length(1), []byte{244}, length(7), length(2), length(1),
		[]byte{252}, le64(4102444800000), []byte{248}, length(1000), entry(0, "a", str("v")),
		[]byte{253}, le32(1000), []byte{249, 200}, entry(0, "b", str("v")),
		[]byte{252}, le64(0), entry(0, "", str("v")),
		entry(0, "c", str("v")))
	r := rdb.NewReader(bytes.NewReader(append(file, "*1\r\n"...)), rdb.Options{})
	var got []string
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d db%d %q exp%d idle%d freq%d %q %q", e.Kind, e.DB, e.Key, e.ExpireAt, e.Idle, e.Freq, e.Name, e.Value))
	}
	want := []string{
		`1 db0 "" exp0 idle-1 freq-1 "redis-ver" "7.4.1"`,
		`3 db0 "" exp0 idle-1 freq-1 "graphdata" ""`,
		`2 db0 "" exp0 idle-1 freq-1 "" "#!lua name=x\n"`,
		`0 db3 "a" exp4102444800000 idle1000 freq-1 "" ""`,
		`0 db3 "b" exp1000000 idle-1 freq200 "" ""`,
		`0 db3 "" exp1 idle-1 freq-1 "" ""`, // an expiry in 1970 is an expiry
		`0 db3 "c" exp0 idle-1 freq-1 "" ""`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r.Version() != 12 || r.Consumed() != int64(len(file)) {
		t.Errorf("version %d, consumed %d of %d", r.Version(), r.Consumed(), len(file))
	}
	if rest, err := io.ReadAll(r.Rest()); string(rest) != "*1\r\n" || err != nil {
		t.Errorf("rest %q, %v", rest, err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestBadInput(t *testing.T) {
	good := rdbFile("REDIS0009", entry(0, "k", str("v")))
	flipped := bytes.Clone(good)
	flipped[11] ^= 1
	tests := []struct {
		name  string
		input []byte
		is    error
		says  []string
	}{
		{name: "empty", input: nil, is: io.ErrUnexpectedEOF, says: []string{"byte 0", "cut short"}},
		{name: "magic cut short", input: []byte("REDI"), is: io.ErrUnexpectedEOF},
		{name: "not an RDB", input: []byte("*3\r\n$3\r\nSET\r\n"), says: []string{"not an RDB", `*3\r\n$3\r\n`}},
		{name: "short and not an RDB", input: []byte("hi"), says: []string{"not an RDB", "hi"}},
		{name: "no version", input: []byte("REDIS00xx1234"), says: []string{"not an RDB"}},
		{name: "checksum", input: flipped, is: rdb.ErrChecksum},
		{name: "unknown type", input: rdbFile("REDIS0009", entry(99, "k", str("v"))), says: []string{"type 99", "byte 9", `"k"`}},
		{name: "unknown opcode", input: rdbFile("REDIS0009", []byte{243}, str("v")), says: []string{"opcode 243", "byte 10"}},
		{name: "module before 4.0", input: rdbFile("REDIS0008", entry(6, "m", str("v"))), says: []string{"type 6", "release candidate", `"m"`}},
		{name: "function before 7.0", input: rdbFile("REDIS0010", []byte{246}, strs("a", "b")), says: []string{"246", "release candidate"}},
		{name: "22 of Redis", input: rdbFile("REDIS0012", entry(22, "h", []byte{0})), says: []string{"type 22", "release candidate"}},
		{name: "23", input: rdbFile("REDIS0012", entry(23, "h", []byte{0})), says: []string{"type 23", "release candidate"}},
		{name: "length that is an encoding", input: rdbFile("REDIS0009", entry(1, "l", []byte{0xc0})), says: []string{`"l"`, "length"}},
		{name: "unknown string encoding", input: rdbFile("REDIS0009", entry(0, "s", []byte{0xc5})), says: []string{`"s"`, "encoding 5"}},
	}
	for _, tt := range tests {
		for _, o := range []rdb.Options{{}, {MaxValue: 1}} {
			_, _, err := readAll(tt.input, o)
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			if f := new(rdb.FormatError); !errors.As(err, &f) {
				t.Errorf("%s: %T is no FormatError", tt.name, err)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%s: %q does not say %q", tt.name, err, s)
				}
			}
		}
	}
}

func TestChecksumOffAndAbsent(t *testing.T) {
	off := rdbFile("REDIS0009", entry(0, "k", str("v")))
	copy(off[len(off)-8:], make([]byte, 8))
	old := rdbFile("REDIS0004", entry(0, "k", str("v")))
	for name, p := range map[string][]byte{"off": off, "absent": old[:len(old)-8]} {
		if keys, _, err := readAll(p, rdb.Options{}); err != nil || len(keys) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCutShort cuts RDBs at many places, and checks that no cut passes and none panics.
func TestCutShort(t *testing.T) {
	for _, f := range fixtures.All(t) {
		step := len(f.DumpRDB)/20 + 1
		for n := 0; n < len(f.DumpRDB); n += step {
			for _, o := range []rdb.Options{{}, {MaxValue: 1000}} {
				if _, _, err := readAll(f.DumpRDB[:n], o); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("%s cut at %d: %v", f.Version, n, err)
				}
			}
		}
	}
	var parts [][]byte
	for _, tt := range valueTests() {
		if len(tt.raw) < 2000 && tt.rdbType != rdb.TypeValkeyHash2 {
			parts = append(parts, entry(tt.rdbType, tt.name, tt.raw))
		}
	}
	file := rdbFile("REDIS0012", parts...)
	if _, _, err := readAll(file, rdb.Options{}); err != nil {
		t.Fatal(err)
	}
	for n := range file {
		for _, o := range []rdb.Options{{}, {MaxValue: 1}} {
			if _, _, err := readAll(file[:n], o); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
	}
}

// TestValuesCutShort checks that no prefix of a value passes for a value.
func TestValuesCutShort(t *testing.T) {
	for _, tt := range valueTests() {
		for n := 0; n < len(tt.raw); n += 1 + len(tt.raw)/500 {
			c := keyspace.Collector{V: keyspace.Value{Type: rdb.TypeOf(tt.rdbType)}}
			if err := rdb.WalkValue(tt.rdbType, tt.raw[:n], &c); err == nil {
				t.Errorf("%s: %d of %d bytes pass", tt.name, n, len(tt.raw))
			}
		}
		c := keyspace.Collector{V: keyspace.Value{Type: rdb.TypeOf(tt.rdbType)}}
		if err := rdb.WalkValue(tt.rdbType, append(bytes.Clone(tt.raw), 0), &c); err == nil {
			t.Errorf("%s: a byte too many passes", tt.name)
		}
	}
}

// TestFlippedByte checks that an RDB with one flipped bit does not pass, whatever the bit does to the structure.
func TestFlippedByte(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, f := range fixtures.All(t) {
		for range 60 {
			p := bytes.Clone(f.DumpRDB)
			i := rnd.IntN(len(p))
			p[i] ^= 1 << rnd.IntN(8)
			r := rdb.NewReader(bytes.NewReader(p), rdb.Options{MaxValue: 1 << 20})
			err := error(nil)
			for err == nil {
				_, err = r.Next()
			}
			if err == io.EOF {
				t.Fatalf("%s: a flipped bit in byte %d passes", f.Version, i)
			}
		}
	}
}

func TestDecodeDumpSaysWhatIsWrong(t *testing.T) {
	good := rdb.AppendDump(nil, 0, str("v"), 11)
	flipped := bytes.Clone(good)
	flipped[2] ^= 1
	tests := []struct {
		name    string
		payload []byte
		is      error
	}{
		{name: "flipped", payload: flipped, is: rdb.ErrChecksum},
		{name: "version", payload: rdb.AppendDump(nil, 0, str("v"), 300), is: rdb.ErrVersion},
		{name: "version 0", payload: rdb.AppendDump(nil, 0, str("v"), 0), is: rdb.ErrVersion},
		{name: "cut short", payload: rdb.AppendDump(nil, 0, str("v")[:1], 11), is: io.ErrUnexpectedEOF},
		{name: "empty"},
		{name: "22 of Redis", payload: rdb.AppendDump(nil, 22, []byte{0}, 12)},
	}
	for _, tt := range tests {
		if _, err := rdb.DecodeDump(tt.payload); err == nil || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestHostileLengths checks that a claimed length costs nothing, since memory grows with what arrives.
func TestHostileLengths(t *testing.T) {
	huge := length64(1 << 61)
	for _, raw := range [][]byte{
		cat(huge, []byte("x")), // a string
		cat([]byte{0xc3}, huge, huge), cat([]byte{0xc3}, length(5), huge, []byte("12345")),
		cat([]byte{0xc3}, length(5), length64(1<<32), []byte("12345")),
	} {
		for _, rdbType := range []byte{0, 10, 18, 20, 9} {
			hostile(t, rdbType, raw)
		}
	}
	for rdbType := range byte(64) {
		if rdbType != rdb.TypeHashMetadata { // it would read an expiry and an empty hash
			hostile(t, rdbType, huge)
		}
		hostile(t, rdbType, cat(le64(1), huge))
		hostile(t, rdbType, cat(length(1), str(id(1, 1)), huge))
		hostile(t, rdbType, cat(length(0), length(0), length(0), length(0), huge))
	}
}

func hostile(t *testing.T, rdbType byte, raw []byte) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, o := range []rdb.Options{{}, {MaxValue: 1}} {
		if _, _, err := readAll(cat([]byte("VALKEY080"), entry(rdbType, "k", raw)), o); err == nil {
			t.Errorf("type %d: %x passes", rdbType, raw)
		}
	}
	c := keyspace.Collector{}
	if err := rdb.WalkValue(rdbType, raw, &c); err == nil {
		t.Errorf("type %d: %x passes", rdbType, raw)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("type %d: %x allocated %d bytes", rdbType, raw, grown)
	}
}

var errVisitor = errors.New("visitor")

type failing struct{ keyspace.Collector }

func (failing) ListElement([]byte) error { return errVisitor }

// TestVisitorErrorDoesNotEndTheReader checks that the caller may report the key and go on.
func TestVisitorErrorDoesNotEndTheReader(t *testing.T) {
	file := rdbFile("REDIS0012", entry(1, "l", cat(length(3), strs("a", "b", "c"))), entry(0, "s", str("v")))
	r := rdb.NewReader(bytes.NewReader(file), rdb.Options{MaxValue: 2})
	if e, err := r.Next(); err != nil || !e.Big {
		t.Fatal(err)
	}
	if err := r.Walk(&failing{}); err != errVisitor {
		t.Errorf("Walk: %v", err)
	}
	if e, err := r.Next(); err != nil || string(e.Key) != "s" {
		t.Errorf("Next: %v", err)
	}
	if err := rdb.WalkValue(1, cat(length(1), str("a")), &failing{}); err != errVisitor {
		t.Errorf("WalkValue: %v", err)
	}
}

// TestMemoryIsBounded streams values that are far larger than what may be held.
func TestMemoryIsBounded(t *testing.T) {
	const size = 16 << 20
	for name, tt := range map[string]struct {
		rdbType byte
		begin   []byte
		body    io.Reader
	}{
		"one string":          {begin: length(size), body: io.LimitReader(zeros{}, size)},
		"a compressed string": {begin: cat([]byte{0xc3}, length(2*size), length(size)), body: io.LimitReader(zeros{}, 2*size)}, // 0 is a step: one byte follows
		"many empty elements": {rdbType: 1, begin: length(size), body: io.LimitReader(zeros{}, size)},
	} {
		src := io.MultiReader(bytes.NewReader(cat([]byte("REDIS0004"), []byte{tt.rdbType}, str("k"), tt.begin)), tt.body, bytes.NewReader([]byte{0xff}))
		r := rdb.NewReader(src, rdb.Options{MaxValue: 1 << 20})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if e, err := r.Next(); err != nil || !e.Big {
			t.Fatal(err)
		}
		var n counted
		if err := r.Walk(&n); err != nil || n.bytes+n.elements != size {
			t.Fatalf("%s: %d bytes, %d elements, %v", name, n.bytes, n.elements, err)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
			t.Errorf("%s: allocated %d bytes", name, grown)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type counted struct {
	keyspace.Collector
	bytes, elements int
}

func (c *counted) StringChunk(p []byte) error { c.bytes += len(p); return nil }
func (c *counted) ListElement([]byte) error   { c.elements++; return nil }
