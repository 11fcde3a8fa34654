package scanner

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/internal/rdb"
)

// rdbFile builds small RDBs by hand, in the oldest encodings.
type rdbFile struct{ b []byte }

func newRDB() *rdbFile { return &rdbFile{[]byte("REDIS0009")} }

func (f *rdbFile) length(n int) *rdbFile {
	f.b = append(f.b, 0x80)
	f.b = binary.BigEndian.AppendUint32(f.b, uint32(n))
	return f
}

func (f *rdbFile) str(s string) *rdbFile {
	f.length(len(s))
	f.b = append(f.b, s...)
	return f
}

func (f *rdbFile) aux(name, value string) *rdbFile {
	f.b = append(f.b, 0xfa)
	return f.str(name).str(value)
}

func (f *rdbFile) db(n byte) *rdbFile {
	f.b = append(f.b, 0xfe, n)
	return f
}

func (f *rdbFile) expire(at time.Time) *rdbFile {
	f.b = append(f.b, 0xfc)
	f.b = binary.LittleEndian.AppendUint64(f.b, uint64(at.UnixMilli()))
	return f
}

func (f *rdbFile) key(rdbType byte, name string, parts ...string) *rdbFile {
	f.b = append(f.b, rdbType)
	f.str(name)
	switch rdbType {
	case rdb.TypeString:
		return f.str(parts[0])
	case rdb.TypeHash:
		f.length(len(parts) / 2)
	default:
		f.length(len(parts))
	}
	for _, p := range parts {
		f.str(p)
		if rdbType == rdb.TypeZSet2 {
			f.b = binary.LittleEndian.AppendUint64(f.b, math.Float64bits(1.5))
		}
	}
	return f
}

// write ends the RDB without a checksum and puts it on disk.
func (f *rdbFile) write(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dump.rdb")
	data := append(append([]byte{}, f.b...), 0xff, 0, 0, 0, 0, 0, 0, 0, 0)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var written = time.Unix(1_700_000_000, 0)

func sampleRDB() *rdbFile {
	return newRDB().aux("ctime", strconv.FormatInt(written.Unix(), 10)).
		db(0).
		key(rdb.TypeString, "user:1:name", "anna").
		expire(written.Add(30*time.Second)).key(rdb.TypeString, "user:2:name", "bob").
		expire(written.Add(-time.Hour)).key(rdb.TypeString, "user:3:name", "gone").
		key(rdb.TypeString, "__surecut:checkpoint", "own").
		key(rdb.TypeList, "queue", "a", "b", "c").
		db(3).
		expire(written.Add(40*24*time.Hour)).key(rdb.TypeSet, "s", "x", "y").
		key(rdb.TypeZSet2, "z", "m", "n").
		key(rdb.TypeHash, "h", "f", "v", "g", strings.Repeat("w", 1000))
}

func scanFile(t *testing.T, path string, change func(*Options)) *BigKeys {
	t.Helper()
	o := DefaultOptions()
	if change != nil {
		change(&o)
	}
	b, err := ScanRDB(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, b)
	return b
}

// checkSums holds that every breakdown adds up to the totals.
func checkSums(t *testing.T, b *BigKeys) {
	t.Helper()
	sum := func(name string, keys, bytes int64) {
		if keys != b.Totals.Keys || bytes != b.Totals.Bytes {
			t.Errorf("%s sum to %d keys and %d bytes, the totals are %d and %d", name, keys, bytes, b.Totals.Keys, b.Totals.Bytes)
		}
	}
	for name, groups := range map[string][]Group{"types": b.ByType, "prefixes": b.ByPrefix} {
		var keys, bytes, elements int64
		for _, g := range groups {
			keys, bytes, elements = keys+g.Keys, bytes+g.Bytes, elements+g.Elements
		}
		sum(name, keys, bytes)
		if elements != b.Totals.Elements {
			t.Errorf("%s sum to %d elements, the totals to %d", name, elements, b.Totals.Elements)
		}
	}
	var keys, bytes int64
	for _, s := range b.BySlot {
		keys, bytes = keys+s.Keys, bytes+s.Bytes
	}
	sum("slots", keys, bytes)
	keys, bytes = 0, 0
	for _, x := range b.TTL {
		keys, bytes = keys+x.Keys, bytes+x.Bytes
	}
	sum("times to live", keys, bytes)
}

func TestScanRDB(t *testing.T) {
	b := scanFile(t, sampleRDB().write(t), nil)
	if got := b.Totals; got.Keys != 6 || got.Expired != 1 || got.NoTTL != 4 || got.Elements != 1+1+3+2+2+2 || got.SizeBy != SizeByRDB {
		t.Errorf("totals %+v", got)
	}
	if top := b.Top[0]; top.Key != "h" || top.DB != 3 || top.Type != "hash" || top.Elements != 2 || top.TTLMs != -1 || top.Bytes < 1000 {
		t.Errorf("the largest key is %+v, want hash h of database 3", top)
	}
	for _, k := range b.Top {
		if strings.HasPrefix(k.Key, "__surecut") {
			t.Error("surecut's own key is listed")
		}
	}
	if b.TTL[0].Keys != 1 || b.TTL[0].UpTo != "1m" || b.TTL[7].Keys != 1 || b.TTL[7].UpTo != ">30d" || b.TTL[8].Keys != 4 {
		t.Errorf("times to live %+v", b.TTL)
	}
	if len(b.Notes) != 1 || !strings.Contains(b.Notes[0], "2023-11-14T22:13:20Z") {
		t.Errorf("notes %q, want when the RDB was written", b.Notes)
	}
	only := scanFile(t, sampleRDB().write(t), func(o *Options) { o.DBs = []int{3}; o.Top = 1 })
	if only.Totals.Keys != 3 || len(only.Top) != 1 {
		t.Errorf("database 3 alone: %+v, %d listed", only.Totals, len(only.Top))
	}
}

func TestScanRDBBigValueIsStreamed(t *testing.T) {
	const chunk, n = 1 << 10, 70
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.Repeat("x", chunk)
	}
	path := newRDB().db(0).key(rdb.TypeList, "big", parts...).key(rdb.TypeString, "blob", strings.Repeat("y", n*chunk)).key(rdb.TypeString, "k", "v").write(t)
	streamed, err := scanRDB(context.Background(), path, DefaultOptions(), rdb.Options{MaxValue: chunk})
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, streamed)
	if got := streamed.Totals; got.Keys != 3 || got.Elements != n+2 {
		t.Errorf("totals %+v", got)
	}
	if held := scanFile(t, path, nil); !reflect.DeepEqual(held, streamed) {
		t.Errorf("held: %+v\nstreamed: %+v", held, streamed)
	}
}

func TestScanRDBDamage(t *testing.T) {
	whole, err := os.ReadFile(sampleRDB().write(t))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		data []byte
		want string
		cut  bool
	}{
		{name: "empty", data: nil, want: "at byte 0", cut: true},
		{name: "no RDB", data: []byte("This is a text file, no RDB."), want: "this is not an RDB"},
		{name: "an AOF", data: []byte("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"), want: "this is not an RDB"},
		{name: "header only", data: whole[:9], want: "at byte 9", cut: true},
		{name: "in the middle of a value", data: whole[:len(whole)-500], want: `key "h"`, cut: true},
		{name: "without its end", data: whole[:len(whole)-9], want: "cut short", cut: true},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "bad.rdb")
		if err := os.WriteFile(path, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := ScanRDB(context.Background(), path, DefaultOptions())
		var format *rdb.FormatError
		if b != nil || !errors.As(err, &format) {
			t.Errorf("%s: gave %v, %v; want a FormatError", tt.name, b, err)
			continue
		}
		msg := err.Error()
		if !strings.Contains(msg, path) || !strings.Contains(msg, "at byte ") || !strings.Contains(msg, tt.want) || strings.Contains(msg, "\n") {
			t.Errorf("%s: %q; want one line with file, byte and %q", tt.name, msg, tt.want)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) != tt.cut {
			t.Errorf("%s: cut short is %v, want %v", tt.name, !tt.cut, tt.cut)
		}
	}
	if _, err := ScanRDB(context.Background(), filepath.Join(t.TempDir(), "nosuch"), DefaultOptions()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := ScanRDB(context.Background(), t.TempDir(), DefaultOptions()); err == nil {
		t.Error("a directory was scanned")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ScanRDB(ctx, sampleRDB().write(t), DefaultOptions()); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
