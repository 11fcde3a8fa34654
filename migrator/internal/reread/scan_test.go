package reread

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// kindsTold are values of each type: small ones, and such as are read in pieces, up to the bounds of the pieces and beyond.
func kindsTold() map[string]*keyspace.Value {
	kinds := map[string]*keyspace.Value{}
	for _, n := range []int{0, 1, 900, typedBytes, typedBytes + 1, 2 * typedBytes, 2*typedBytes + 7} {
		kinds[fmt.Sprint("string of ", n)] = valueOf(keyspace.String, n)
	}
	for _, k := range []keyspace.Type{keyspace.List, keyspace.Set, keyspace.ZSet, keyspace.Hash} {
		for _, n := range []int{1, PageElements, PageElements + 1, 2 * PageElements, 2*PageElements + 3} {
			kinds[fmt.Sprintf("%v of %d", k, n)] = valueOf(k, n)
		}
	}
	kinds["an empty element"] = &keyspace.Value{Type: keyspace.List, List: [][]byte{{}, []byte("\r\n\x00\xff"), {}}}
	kinds["scores"] = &keyspace.Value{Type: keyspace.ZSet, ZSet: []keyspace.Member{{Name: []byte("least"), Score: -1e308}, {Name: []byte("third"), Score: 1.0 / 3}, {Name: []byte("17"), Score: 0.1 + 0.2}, {Name: []byte("most"), Score: 1e308}}}
	kinds["\x00binary\xff name\r\n"] = stringOf("x")
	return kinds
}

// streamsTold are streams, which only the commands of their type can read on a server in memory.
func streamsTold(version string) map[string]*keyspace.Value {
	last := valueOf(keyspace.Stream, PageElements)
	last.Entries[PageElements-1].ID = keyspace.StreamID{Ms: 1<<64 - 1, Seq: 1<<64 - 1}
	last.Meta.LastID = last.Entries[PageElements-1].ID
	emptied := &keyspace.Value{Type: keyspace.Stream, Meta: keyspace.StreamMeta{LastID: keyspace.StreamID{Ms: 7, Seq: 7}}}
	end := grouped(valueOf(keyspace.Stream, 1), PageElements)
	end.Groups[0].Pending[PageElements-1].ID = last.Meta.LastID
	streams := map[string]*keyspace.Value{"stream": valueOf(keyspace.Stream, 3), "a whole page": valueOf(keyspace.Stream, PageElements), "pages": valueOf(keyspace.Stream, 2*PageElements+1),
		"used up": last, "emptied": emptied, "one group": grouped(valueOf(keyspace.Stream, 3), 3), "no pending": grouped(emptied, 0),
		"groups": grouped(grouped(valueOf(keyspace.Stream, 2), PageElements), 2*PageElements+1), "pending to the end": end}
	streams["groups"].Groups[1].Name = []byte("other\x00")
	for _, v := range streams {
		if version >= "7" {
			v.Meta.HasCounters, v.Meta.EntriesAdded, v.Meta.MaxDeletedID = true, 5000, keyspace.StreamID{Ms: 3}
		}
	}
	return streams
}

// TestScanReadsEveryKind: what is rebuilt equals what was there, in each database, by DUMP and by the commands of the types.
func TestScanReadsEveryKind(t *testing.T) {
	for _, version := range []string{"2.8.24", "5.0.14", "6.2.14", "7.0.15", "7.4.1", "valkey 8.1.3", "valkey 9.0.1"} {
		for _, typed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, typed %v", version, typed), func(t *testing.T) {
				t.Parallel()
				s := endpointtest.Serve(t, version)
				tellTime(s)
				kinds := kindsTold()
				number := strings.TrimPrefix(version, "valkey ")
				if typed && number >= "5" {
					maps.Copy(kinds, streamsTold(number))
				}
				if version == "7.4.1" || version == "valkey 9.0.1" { // fields that expire
					for _, n := range []int{3, PageElements, PageElements + 1} {
						v := valueOf(keyspace.Hash, n)
						v.Hash[0].ExpireAt, v.Hash[n-1].ExpireAt = 4_000_000_000_000, 4_000_000_000_001
						kinds[fmt.Sprint("expiring hash of ", n)] = v
					}
				}
				for name, v := range kinds {
					s.Put(name, v)
				}
				s.PutIn(3, "list", valueOf(keyspace.List, 3))
				s.PutIn(3, "string of 1", stringOf("another"))
				expiring := *valueOf(keyspace.Set, 3)
				expiring.ExpireAt = 4_000_000_000_000
				s.PutIn(3, "expiring", &expiring)
				at := int64(4_000_000_000_000)
				if s.Number < 70000 { // the time that is left is added to that of the source
					s.Always("PTTL expiring", ":5000\r\n")
					at = toldNow + 5000
				}
				if typed {
					s.Always("DUMP", unknown)
				}
				var log bytes.Buffer
				f := drain(t, toldScan(t, s, func(c *ScanConfig) { c.Readers, c.Log = 3, slog.New(slog.NewTextHandler(&log, nil)) }))
				if f.err != nil || len(f.failed) > 0 || len(f.absent) > 0 || len(f.values) != len(kinds)+3 {
					t.Fatalf("%d of %d, %v, %v, %v", len(f.values), len(kinds)+3, f.err, f.failed, f.absent)
				}
				for name, v := range kinds {
					if key := "0 " + name; !f.is(key, expected(v, 0)) || f.times[key] != 1 {
						t.Errorf("%q: %s %d times, want %s", name, short(f.values[key]), f.times[key], short(expected(v, 0)))
					}
				}
				for key, want := range map[string]keyspace.Value{"3 list": expected(valueOf(keyspace.List, 3), 0), "3 string of 1": *stringOf("another"), "3 expiring": expected(&expiring, at)} {
					if !f.is(key, want) {
						t.Errorf("%s: %+v, want %+v", key, f.values[key], want)
					}
				}
				if strings.Contains(log.String(), "refuses DUMP") != typed {
					t.Errorf("log %q", log.String())
				}
				for name, big := range map[string]bool{"string of 900": false, fmt.Sprint("string of ", typedBytes): !typed, fmt.Sprint("string of ", typedBytes+1): true,
					fmt.Sprint("list of ", PageElements): !typed, fmt.Sprint("list of ", PageElements+1): true, "list of 1": false} {
					if f.big["0 "+name] != big {
						t.Errorf("%s counts as big: %v", name, !big)
					}
				}
			})
		}
	}
}

// TestListing: every key that SCAN lists comes, as often as it is listed, and nothing is listed in silence that is not all.
func TestListing(t *testing.T) {
	page := endpointtest.Page
	for _, tt := range []struct {
		name, why string
		tell      func(s *endpointtest.Server)
		change    func(*ScanConfig)
		want      string // keys, with how often they came
		err       string
	}{
		{"as it is", "", nil, nil, "0 a:1 0 b:1 0 c:1", ""},
		{"nothing there", "", func(s *endpointtest.Server) { s.Put("a", nil); s.Put("b", nil); s.Put("c", nil) }, nil, "", ""},
		{"one twice", "a server does so while it resizes its table", func(s *endpointtest.Server) { s.Once("SCAN", page("7", "a", "b"), page("9", "b", "c"), page("0", "a")) }, nil, "0 a:2 0 b:2 0 c:1", ""},
		{"empty pages", "the scan is not over", func(s *endpointtest.Server) {
			s.Once("SCAN", page("7"), page("9"), page("3", "a", "b", "c"), page("0"))
		}, nil, "0 a:1 0 b:1 0 c:1", ""},
		{"a large cursor", "it has 64 bits", func(s *endpointtest.Server) {
			s.Once("SCAN 0", page("18446744073709551615", "a"))
			s.Once("SCAN 18446744073709551615", page("0", "b", "c"))
		}, nil, "0 a:1 0 b:1 0 c:1", ""},
		{"a name that has gone", "", func(s *endpointtest.Server) { s.Once("SCAN", page("0", "a", "nobody", "b", "c")) }, nil, "0 a:1 0 b:1 0 c:1", ""},
		{"surecut's own", "", func(s *endpointtest.Server) {
			s.Put(keyspace.Prefix+":cp", stringOf("x"))
			s.Put("x"+keyspace.Prefix, stringOf("x"))
		}, nil, "0 a:1 0 b:1 0 c:1 0 x__surecut:1", ""},
		{"databases", "", func(s *endpointtest.Server) { s.PutIn(3, "a", stringOf("a")); s.PutIn(15, "b", stringOf("b")) }, nil, "0 a:1 0 b:1 0 c:1 15 b:1 3 a:1", ""},
		{"databases of the filter", "", func(s *endpointtest.Server) { s.PutIn(3, "a", stringOf("a")); s.PutIn(15, "b", stringOf("b")) }, func(c *ScanConfig) { c.Filter.DBs = []int{3, 4} }, "3 a:1", ""},
		{"loading", "", func(s *endpointtest.Server) { s.Once("SCAN", page("7", "a"), loading, loading, page("0", "b", "c")) }, nil, "0 a:1 0 b:1 0 c:1", ""},
		{"busy", "a script runs", func(s *endpointtest.Server) { s.Once("SCAN", "-BUSY Redis is busy running a script\r\n") }, nil, "0 a:1 0 b:1 0 c:1", ""},
		{"lost", "the page is asked for again by its cursor", func(s *endpointtest.Server) {
			s.Once("SCAN 0", page("7", "a"))
			s.Once("SCAN 7", endpointtest.HangUp, "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb"+endpointtest.HangUp, page("0", "b", "c"))
		}, nil, "0 a:1 0 b:1 0 c:1", ""},
		{"lost for good", "", func(s *endpointtest.Server) { s.Always("SCAN", endpointtest.HangUp) }, nil, "", "SCAN of database 0: "},
		{"loading for good", "", func(s *endpointtest.Server) { s.Always("SCAN", loading) }, nil, "", "SCAN of database 0: LOADING"},
		{"forbidden in the middle", "what was listed is not all", func(s *endpointtest.Server) { s.Once("SCAN", page("7", "a"), noPerm) }, nil, "0 a:1", "SCAN of database 0: NOPERM"},
		{"no page", "", func(s *endpointtest.Server) { s.Always("SCAN", "*1\r\n$1\r\n0\r\n") }, nil, "", "SCAN of database 0: "},
		{"no cursor", "", func(s *endpointtest.Server) { s.Always("SCAN", page("x", "a")) }, nil, "", "SCAN of database 0: "},
		{"databases are not told", "", func(s *endpointtest.Server) { s.Always("INFO keyspace", noPerm) }, nil, "", "INFO keyspace: "},
		{"databases make no sense", "", func(s *endpointtest.Server) { s.Tell("db0", "keys=many") }, nil, "", "INFO keyspace says"},
		{"DUMP cannot be asked about", "", func(s *endpointtest.Server) { s.Always("DUMP", endpointtest.HangUp) }, nil, "", "source "},
		{"the probe is another node's", "", func(s *endpointtest.Server) { s.Once("DUMP", moved) }, nil, "0 a:1 0 b:1 0 c:1", ""},
		{"loading at the beginning", "", func(s *endpointtest.Server) { s.Once("DUMP", loading) }, nil, "0 a:1 0 b:1 0 c:1", ""},
		{"named keys", "nothing is listed", func(s *endpointtest.Server) { s.Always("SCAN", noPerm); s.PutIn(3, "d", stringOf("d")) }, func(c *ScanConfig) {
			c.Keys = []keyspace.Key{{Name: "b"}, {DB: 3, Name: "d"}, {Name: "a"}}
		}, "0 a:1 0 b:1 3 d:1", ""},
		{"no named keys", "none is not all", nil, func(c *ScanConfig) { c.Keys = []keyspace.Key{} }, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := endpointtest.Serve(t, "7.0.15")
			for _, name := range []string{"a", "b", "c"} {
				s.Put(name, stringOf(name))
			}
			sc := toldScan(t, s, func(c *ScanConfig) {
				if tt.err == "" {
					c.RetryFor = patience
				}
				if tt.change != nil {
					tt.change(c)
				}
			})
			if tt.tell != nil {
				tt.tell(s)
			}
			f := drain(t, sc)
			var got []string
			for _, key := range slices.Sorted(maps.Keys(f.times)) {
				got = append(got, fmt.Sprintf("%s:%d", key, f.times[key]))
				if name := key[strings.Index(key, " ")+1:]; !strings.HasPrefix(name, "x") && string(f.values[key].Str) != name {
					t.Errorf("%s has the value %q", key, f.values[key].Str)
				}
			}
			if tt.err != "" { // what was read before the error may come or not
				tt.want, got = "", nil
			}
			if text := strings.Join(got, " "); text != tt.want || !says(f.err, tt.err) || f.err != nil && !strings.Contains(f.err.Error(), s.Addr) || len(f.absent) > 0 {
				t.Errorf("%s, %v, want %s, %q (%s)", text, f.err, tt.want, tt.err, tt.why)
			}
		})
	}
}

// TestDumps: what becomes of one key whose DUMP or expiry is answered in an unusual way, while its neighbour is read.
func TestDumps(t *testing.T) {
	const gone, left = "gone", "left out" // nothing is known of a key that is left out
	for _, tt := range []struct {
		name, why, version string
		tell               func(s *endpointtest.Server)
		want               string
		at                 int64
		err                string
	}{
		{"as it is", "", "7.0.15", func(*endpointtest.Server) {}, "v", 0, ""},
		{"time left", "", "6.2.14", func(s *endpointtest.Server) { s.Always("PTTL k", ":1\r\n") }, "v", toldNow + 1, ""},
		{"no time left", "the key has an expiry", "6.2.14", func(s *endpointtest.Server) { s.Always("PTTL k", ":0\r\n") }, "v", toldNow, ""},
		{"time of expiry", "the source's clock does not matter", "7.0.15", func(s *endpointtest.Server) { s.Always("PEXPIRETIME k", ":4000000000000\r\n") }, "v", 4_000_000_000_000, ""},
		{"expires at 0", "0 would be never", "7.0.15", func(s *endpointtest.Server) { s.Always("PEXPIRETIME k", ":0\r\n") }, "v", 1, ""},
		{"no key", "", "7.0.15", func(s *endpointtest.Server) { s.Put("k", nil) }, gone, 0, ""},
		{"gone between the two", "its expiry is not known", "7.0.15", func(s *endpointtest.Server) { s.Always("PEXPIRETIME k", ":-2\r\n") }, gone, 0, ""},
		{"come between the two", "", "6.2.14", func(s *endpointtest.Server) { s.Always("DUMP k", endpointtest.Nil) }, gone, 0, ""},
		{"moved", "the comparison finds it", "7.0.15", func(s *endpointtest.Server) { s.Always("DUMP k", moved) }, left, 0, ""},
		{"asked elsewhere", "", "7.0.15", func(s *endpointtest.Server) { s.Always("DUMP k", ask) }, left, 0, ""},
		{"moved between the two", "its expiry is on another node", "7.0.15", func(s *endpointtest.Server) { s.Always("PEXPIRETIME k", moved) }, left, 0, ""},
		{"asked elsewhere between the two", "", "6.2.14", func(s *endpointtest.Server) { s.Always("PTTL k", ask) }, left, 0, ""},
		{"loading", "", "7.0.15", func(s *endpointtest.Server) { s.Once("DUMP k", loading, loading) }, "v", 0, ""},
		{"down for a moment", "another shard fails over", "7.0.15", func(s *endpointtest.Server) { s.Once("DUMP k", down) }, "v", 0, ""},
		{"busy", "", "7.0.15", func(s *endpointtest.Server) { s.Once("PEXPIRETIME k", "-BUSY x\r\n") }, "v", 0, ""},
		{"lost", "", "7.0.15", func(s *endpointtest.Server) { s.Once("DUMP k", endpointtest.HangUp, "$5\r\nab"+endpointtest.HangUp) }, "v", 0, ""},
		{"lost at the time", "", "7.0.15", func(s *endpointtest.Server) { s.Once("TIME", endpointtest.HangUp) }, "v", 0, ""},
		{"changed before it is read again", "the later value", "7.0.15", func(s *endpointtest.Server) {
			s.Once("PEXPIRETIME k", endpointtest.HangUp)
			s.Before("PEXPIRETIME k", func() { s.Put("k", stringOf("later")) })
		}, "later", 0, ""},
		{"lost for good", "", "7.0.15", func(s *endpointtest.Server) { s.Always("DUMP k", endpointtest.HangUp) }, "", 0, "DUMP k: "},
		{"forbidden", "", "7.0.15", func(s *endpointtest.Server) { s.Always("DUMP k", noPerm) }, "", 0, "DUMP k: NOPERM"},
		{"no expiry", "", "6.2.14", func(s *endpointtest.Server) { s.Always("PTTL k", noPerm) }, "", 0, "DUMP k: NOPERM"},
		{"no number", "", "7.0.15", func(s *endpointtest.Server) { s.Always("PEXPIRETIME k", "+soon\r\n") }, "", 0, "DUMP k: "},
		{"damaged", "", "7.0.15", func(s *endpointtest.Server) { s.Always("DUMP k", endpointtest.Bulk("\x00\x01v\x09\x0012345678")) }, "", 0, "DUMP k: "},
		{"too short", "", "7.0.15", func(s *endpointtest.Server) { s.Always("DUMP k", endpointtest.Bulk("x")) }, "", 0, "DUMP k: "},
		{"no time", "", "6.2.14", func(s *endpointtest.Server) { s.Always("TIME", endpointtest.Strings("x", "0")) }, "", 0, "a time of"},
	} {
		for _, named := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, named %v", tt.name, named), func(t *testing.T) {
				t.Parallel()
				s := endpointtest.Serve(t, tt.version)
				tellTime(s)
				s.Put("k", stringOf("v"))
				s.Put("neighbour", stringOf("n"))
				sc := toldScan(t, s, func(c *ScanConfig) {
					if tt.err == "" {
						c.RetryFor = patience
					}
					if named {
						c.Keys = []keyspace.Key{{Name: "k"}, {Name: "neighbour"}}
					}
				})
				if s.Once("SCAN", endpointtest.Page("0", "k", "neighbour")); tt.tell != nil {
					tt.tell(s)
				}
				f := drain(t, sc)
				if tt.err != "" {
					if !says(f.err, tt.err) || !strings.Contains(f.err.Error(), "source "+s.Addr+": ") || len(f.values) > 0 {
						t.Errorf("%v, %v, want %q (%s)", f.values, f.err, tt.err, tt.why)
					}
					return
				}
				wantAbsent := named && tt.want == gone
				if f.err != nil || !f.is("0 neighbour", *stringOf("n")) || wantAbsent != slices.Equal(f.absent, []string{"0 k"}) || !wantAbsent && len(f.absent) > 0 {
					t.Errorf("neighbour %v, absent %q, %v (%s)", f.values, f.absent, f.err, tt.why)
				}
				want := *stringOf(tt.want)
				want.ExpireAt = tt.at
				if unread := tt.want == gone || tt.want == left; unread && f.times["0 k"] > 0 || !unread && (!f.is("0 k", want) || f.times["0 k"] != 1) {
					t.Errorf("%+v, want %q until %d (%s)", f.values, tt.want, tt.at, tt.why)
				}
			})
		}
	}
}

// TestBatches: after large values fewer are asked for at once, and Consumed counts their bytes.
func TestBatches(t *testing.T) {
	s := endpointtest.Serve(t, "7.0.15")
	const n, size = 2 * scanBatchKeys, 256 << 10
	for i := range n {
		s.Put(fmt.Sprint(i), valueOf(keyspace.String, size))
	}
	sc := toldScan(t, s, nil)
	f := drain(t, sc)
	most := 1 + (n-scanBatchKeys)/(scanBatchBytes/(size+100))
	if got := len(s.Calls("TIME")); f.err != nil || len(f.values) != n || got < most || got > most+1 {
		t.Errorf("%d keys in %d batches, want %d: %v", len(f.values), got, most, f.err)
	}
	if c := sc.Consumed(); c < n*size || c > n*(size+100) {
		t.Errorf("%d bytes consumed", c)
	}
	s.Put("huge", valueOf(keyspace.String, scanBatchBytes))
	keys := []keyspace.Key{{Name: "huge"}, {Name: "huge"}, {Name: "1"}}
	for range scanBatchKeys {
		keys = slices.Insert(keys, 0, keyspace.Key{Name: "none"})
	}
	if f = drain(t, toldScan(t, s, func(c *ScanConfig) { c.Keys = keys })); f.err != nil || f.times["0 huge"] != 2 || len(f.absent) != scanBatchKeys {
		t.Errorf("%d times, %d absent, %v", f.times["0 huge"], len(f.absent), f.err)
	}
}

// TestFunctions: the code of every library comes before the keys; a server that refuses to list them is copied without.
func TestFunctions(t *testing.T) {
	library := func(name, code string) string {
		return endpointtest.Array(endpointtest.Bulk("library_name"), endpointtest.Bulk(name), endpointtest.Bulk("functions"), "*0\r\n", endpointtest.Bulk("library_code"), code)
	}
	for _, tt := range []struct {
		name, why, version, reply string
		keys                      []keyspace.Key
		want                      []string
		refused, err              string
	}{
		{"none", "", "7.0.15", "*0\r\n", nil, nil, "", ""},
		{"two", "", "7.0.15", endpointtest.Array(library("a", endpointtest.Bulk("#!lua name=a")), library("b", endpointtest.Bulk("#!lua name=b\r\n\x00"))), nil, []string{"#!lua name=a", "#!lua name=b\r\n\x00"}, "", ""},
		{"before 7.0", "there are none", "6.2.14", endpointtest.Array(library("a", endpointtest.Bulk("x"))), nil, nil, "", ""},
		{"named keys", "a key that is copied again has no functions", "7.0.15", endpointtest.Array(library("a", endpointtest.Bulk("x"))), []keyspace.Key{{Name: "k"}}, nil, "", ""},
		{"forbidden", "the keys come nevertheless", "7.0.15", noPerm, nil, nil, "NOPERM", ""},
		{"unknown", "", "7.0.15", unknown, nil, nil, "unknown command", ""},
		{"no list", "", "7.0.15", endpointtest.Array(endpointtest.Bulk("x")), nil, nil, "", "FUNCTION LIST: "},
		{"no code", "", "7.0.15", endpointtest.Array(library("a", endpointtest.Nil)), nil, nil, "", "FUNCTION LIST: "},
	} {
		s := endpointtest.Serve(t, tt.version)
		s.Put("k", stringOf("v"))
		s.Always("FUNCTION LIST WITHCODE", tt.reply)
		var refused error
		f := drain(t, toldScan(t, s, func(c *ScanConfig) { c.Keys, c.NoFunctions = tt.keys, func(err error) { refused = err } }))
		if !slices.Equal(f.functions, tt.want) || !says(f.err, tt.err) || !says(refused, tt.refused) || tt.err == "" && !f.is("0 k", *stringOf("v")) {
			t.Errorf("%s: %q, refused %v, %v, %v, want %q (%s)", tt.name, f.functions, refused, f.values, f.err, tt.want, tt.why)
		}
	}
}

// TestFunctionsAskedAgain: a connection that is lost, or a server that loads, refuses nothing.
func TestFunctionsAskedAgain(t *testing.T) {
	for _, reply := range []string{endpointtest.HangUp, loading} {
		s := endpointtest.Serve(t, "7.0.15")
		s.Once("FUNCTION LIST", reply, endpointtest.Array(endpointtest.Strings("library_name", "a", "library_code", "#!lua name=a")))
		if f := drain(t, toldScan(t, s, func(c *ScanConfig) { c.RetryFor = patience })); f.err != nil || !slices.Equal(f.functions, []string{"#!lua name=a"}) {
			t.Errorf("after %q: %q, %v", reply, f.functions, f.err)
		}
	}
}

// TestScanEndsFromOutside: a scan whose keys nobody takes ends with its context, also while it waits to ask again.
func TestScanEndsFromOutside(t *testing.T) {
	s := endpointtest.Serve(t, "7.0.15")
	for i := range 10 * scanBatchKeys {
		s.Put(fmt.Sprint(i), stringOf("v"))
	}
	sc := toldScan(t, s, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- sc.Run(ctx) }()
	if _, err := sc.Next(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ran; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	s.Always("SCAN", loading)
	if err := toldScan(t, s, func(c *ScanConfig) { c.RetryFor = patience }).Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it waits: %v", err)
	}
}

// TestScanAfterFailover: the keys that were not read yet are read from the node that the shard has then.
func TestScanAfterFailover(t *testing.T) {
	for _, typed := range []bool{false, true} {
		first, second := endpointtest.Serve(t, "7.0.15"), endpointtest.Serve(t, "7.0.15")
		for _, s := range []*endpointtest.Server{first, second} {
			s.Put("k", stringOf("v"))
			if typed {
				s.Always("DUMP", unknown)
			}
		}
		d := endpointtest.Open(t, first.URL())
		nodes := make(chan string, 1)
		nodes <- first.Addr
		node := func() string { addr := <-nodes; nodes <- addr; return addr }
		for _, words := range []string{"DUMP k", "TYPE k"} {
			first.On(words, func([]string) string { <-nodes; nodes <- second.Addr; return endpointtest.HangUp })
		}
		f := drain(t, toldScan(t, first, func(c *ScanConfig) { c.Source, c.Node, c.RetryFor = d, node, patience }))
		if f.err != nil || !f.is("0 k", *stringOf("v")) || len(second.Calls("TIME")) == 0 {
			t.Errorf("typed %v: %v, %v", typed, f.values, f.err)
		}
	}
}
