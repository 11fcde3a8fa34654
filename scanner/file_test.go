package scanner

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/rdb/fixtures"
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

func scanFile(t *testing.T, path string, change func(*Config)) *BigKeys {
	t.Helper()
	o := DefaultConfig()
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
	for name, groups := range map[string][]Group{"types": b.ByType, "encodings": b.ByEncoding, "databases": b.ByDB, "nodes": b.ByNode, "prefixes": b.ByPrefix} {
		var keys, bytes, elements, serialized, noTTL int64
		for _, g := range groups {
			keys, bytes, elements, serialized, noTTL = keys+g.Keys, bytes+g.Bytes, elements+g.Elements, serialized+g.Serialized, noTTL+g.NoTTL
		}
		sum(name, keys, bytes)
		if serialized != b.Totals.Serialized || noTTL != b.Totals.NoTTL {
			t.Errorf("%s sum to %d serialized bytes and %d keys without expiry, the totals to %d and %d", name, serialized, noTTL, b.Totals.Serialized, b.Totals.NoTTL)
		}
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
	keys, bytes = 0, 0
	for _, x := range b.Sizes {
		keys, bytes = keys+x.Keys, bytes+x.Bytes
	}
	sum("sizes", keys, bytes)
	if len(b.TargetShards) > 0 {
		keys, bytes = 0, 0
		for _, x := range b.TargetShards {
			keys, bytes = keys+x.Keys, bytes+x.Bytes
		}
		sum("target shards", keys, bytes)
	}
	for i, n := range b.PrefixTree {
		if n.Parent >= i || n.Parent >= 0 && n.Bytes > b.PrefixTree[n.Parent].Bytes {
			t.Errorf("node %d of the tree, %+v, does not fit under its parent", i, n)
		}
	}
}

func TestScanRDB(t *testing.T) {
	b := scanFile(t, sampleRDB().write(t), nil)
	if got := b.Totals; got.Keys != 6 || got.Expired != 1 || got.NoTTL != 4 || got.Elements != 1+1+3+2+2+2 || got.SizeBy != SizeByModel {
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
	if u := b.Uncounted; len(u) != 1 || u[0].Key != "user:3:name" || u[0].Reason != reasonExpired {
		t.Errorf("uncounted %+v, want the expired key", u)
	}
	if b.Cutover != (Cutover{AfterMs: 86_400_000, Keys: 1, Bytes: b.TTL[0].Bytes}) {
		t.Errorf("cutover %+v, want the key that expires within a day", b.Cutover)
	}
	if k := b.TopLargest[0]; k.Key != "h" || k.LargestElement != 1001 || k.Serialized < 1000 || k.Encoding != "hashtable" {
		t.Errorf("the largest element is in %+v", k)
	}
	if k := b.TopElements[0]; k.Key != "queue" || k.Elements != 3 {
		t.Errorf("the most elements are in %+v", k)
	}
	if b.TTL[0].Keys != 1 || b.TTL[0].UpTo != "1m" || b.TTL[7].Keys != 1 || b.TTL[7].UpTo != ">30d" || b.TTL[8].Keys != 4 {
		t.Errorf("times to live %+v", b.TTL)
	}
	if len(b.Notes) != 1 || !strings.Contains(b.Notes[0], "2023-11-14T22:13:20Z") {
		t.Errorf("notes %q, want when the RDB was written", b.Notes)
	}
	only := scanFile(t, sampleRDB().write(t), func(o *Config) { o.DBs = []int{3}; o.Top = 1 })
	if only.Totals.Keys != 3 || len(only.Top) != 1 {
		t.Errorf("database 3 alone: %+v, %d listed", only.Totals, len(only.Top))
	}
}

func TestScanRDBOfFixtures(t *testing.T) {
	for _, f := range fixtures.All(t) {
		t.Run(f.Version, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dump.rdb")
			if err := os.WriteFile(path, f.DumpRDB, 0o600); err != nil {
				t.Fatal(err)
			}
			b := scanFile(t, path, func(o *Config) { o.Now = func() time.Time { return time.Unix(0, 0) }; o.Top = 10_000 })
			if met := b.Totals.Keys + b.Totals.Expired; met != int64(len(f.Expected)) || b.Totals.Keys == 0 || b.Totals.Foreign != 0 {
				t.Errorf("%d keys and %d expired, want %d together", b.Totals.Keys, b.Totals.Expired, len(f.Expected))
			}
			for _, k := range b.Top {
				if k.Bytes <= 0 || k.Serialized <= 0 || k.Encoding == "" && k.Type != "module" {
					t.Errorf("%+v lacks a figure", k)
				}
			}
			whole := b.Totals.Keys
			b = scanFile(t, path, func(o *Config) { o.Slots = keyspace.SlotRanges{{First: 0, Last: 8191}} })
			if b.Totals.Foreign == 0 || b.Totals.Keys+b.Totals.Expired+b.Totals.Foreign != int64(len(f.Expected)) || b.Totals.Keys >= whole {
				t.Errorf("of half of the slots: %+v", b.Totals)
			}
			for _, u := range b.Uncounted {
				if u.Reason == reasonForeign && u.Slot <= 8191 || u.Reason != reasonForeign && u.Reason != reasonExpired {
					t.Errorf("%+v is set aside", u)
				}
			}
		})
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
	summed := fixtures.All(t)[5].DumpRDB
	flipped := append([]byte{}, summed...)
	flipped[len(flipped)-3] ^= 1
	tests = append(tests, []struct {
		name string
		data []byte
		want string
		cut  bool
	}{
		{name: "checksum", data: flipped, want: "checksum"},
		{name: "checksum, and something behind it", data: append(append([]byte{}, flipped...), "tail"...), want: "checksum"},
	}...)
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "bad.rdb")
		if err := os.WriteFile(path, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := ScanRDB(context.Background(), path, DefaultConfig())
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
	path := filepath.Join(t.TempDir(), "tail.rdb")
	if err := os.WriteFile(path, append(append([]byte{}, summed...), "tail"...), 0o600); err != nil {
		t.Fatal(err)
	}
	scanFile(t, path, nil)
	if _, err := ScanRDB(context.Background(), filepath.Join(t.TempDir(), "nosuch"), DefaultConfig()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := ScanRDB(context.Background(), t.TempDir(), DefaultConfig()); err == nil {
		t.Error("a directory was scanned")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ScanRDB(ctx, sampleRDB().write(t), DefaultConfig()); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
