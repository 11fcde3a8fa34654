package reread

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// toldReader is a reader of one server.
func toldReader(t *testing.T, s *endpointtest.Server, retryFor time.Duration, names *keyspace.Filter) *Reader {
	t.Helper()
	return NewReader(endpointtest.Open(t, s.URL()), func() string { return s.Addr }, retryFor, names)
}

// TestRead: presence, value, expiry and offset of keys of several databases, each with its own, however often and in whatever order
// they are asked for.
func TestRead(t *testing.T) {
	for _, version := range []string{"2.8.24", "3.2.13", "4.0.14", "7.0.15", "valkey 9.0.1"} {
		s := endpointtest.Serve(t, version)
		tellTime(s)
		r := toldReader(t, s, 0, &keyspace.Filter{DBPrefix: map[int]string{3: "p:"}})
		s.Put("a", stringOf("0a"))
		s.Put("list", valueOf(keyspace.List, 3))
		s.PutIn(3, "a", stringOf("3a"))
		s.PutIn(5, "\x00\xff", stringOf("binary"))
		s.Always("PTTL a", ":5000\r\n")
		s.Always("PTTL due", ":0\r\n")
		s.Put("due", stringOf("due"))
		s.Put("going", stringOf("x"))
		s.Always("PTTL going", ":1\r\n")
		s.Always("DUMP going", endpointtest.Nil)
		s.Always("TYPE going", "+none\r\n")
		s.Put("expired", stringOf("x"))
		s.Always("PTTL expired", ":-2\r\n")
		const later = toldNow + 5000
		want := []struct {
			key   keyspace.Key
			value *keyspace.Value // nil: absent
			at    int64
		}{
			{keyspace.Key{Name: "a"}, stringOf("0a"), later},
			{keyspace.Key{DB: 3, Name: "p:a"}, stringOf("3a"), later},
			{keyspace.Key{DB: 3, Name: "p:list"}, nil, 0},
			{keyspace.Key{Name: "list"}, valueOf(keyspace.List, 3), 0},
			{keyspace.Key{DB: 5, Name: "\x00\xff"}, stringOf("binary"), 0},
			{keyspace.Key{Name: "due"}, stringOf("due"), toldNow},
			{keyspace.Key{Name: "going"}, nil, -1}, // it expires between PTTL and DUMP; its expiry means nothing
			{keyspace.Key{Name: "expired"}, nil, 0},
			{keyspace.Key{Name: "none"}, nil, 0},
			{keyspace.Key{Name: "a"}, stringOf("0a"), later},
		}
		var keys []keyspace.Key
		for _, w := range want {
			keys = append(keys, w.key)
		}
		for _, values := range []bool{true, false, true} { // the connection is used again, with database 0 selected
			s.Write([]string{"SET", "x", "y"}) // the offset goes on
			got, err := r.Read(t.Context(), keys, values, s.Offset())
			if err != nil || len(got) != len(want) {
				t.Fatalf("%s, values %v: %d of %d, %v", version, values, len(got), len(want), err)
			}
			for i, c := range got {
				w := want[i]
				ok := c.Key == w.key && c.Present == (w.value != nil) && c.Offset == s.Offset() && (c.ExpireAt == w.at || w.at < 0) && (c.Payload != "" || !values || !c.Present)
				if !values {
					ok = ok && c.Payload == ""
				} else if c.Present {
					v, err := rdb.DecodeDump([]byte(c.Payload))
					ok = ok && err == nil && reflect.DeepEqual(v, *w.value)
				}
				if !ok {
					t.Errorf("%s, values %v: %+v, want %v until %d at %d", version, values, c, w.value, w.at, s.Offset())
				}
			}
		}
		if n := len(s.Calls("TYPE")); n != len(keys) || len(s.Calls("DUMP")) != 2*len(keys) || len(s.Calls("EXISTS")) > 0 {
			t.Errorf("%s: TYPE %d times, DUMP %d times, EXISTS %d times", version, n, len(s.Calls("DUMP")), len(s.Calls("EXISTS")))
		}
	}
}

// TestReadAsksAgain: what may pass is asked again, until the patience ends; everything else is an error at once, and says what it is
// about.
func TestReadAsksAgain(t *testing.T) {
	at := func(offset int) string {
		return endpointtest.Array(endpointtest.Bulk("master"), endpointtest.Int(offset), "*0\r\n")
	}
	for _, tt := range []struct {
		name, why string
		tell      func(s *endpointtest.Server)
		least     int64
		tries     int
		err       string // "": the key is read
	}{
		{"as it is", "", func(*endpointtest.Server) {}, 1000, 1, ""},
		{"behind for a moment", "a replica became the primary", func(s *endpointtest.Server) { s.Once("ROLE", at(7), at(999)) }, 1000, 3, ""},
		{"behind", "", func(s *endpointtest.Server) { s.Always("ROLE", at(999)) }, 1000, 1, "stands at offset 999, although it has already sent its stream up to offset 1000"},
		{"loading", "all of the transaction is refused, and its EXEC says least", func(s *endpointtest.Server) { s.Once("MULTI", loading) }, 0, 2, ""},
		{"loading for long", "", func(s *endpointtest.Server) { s.Always("MULTI", loading) }, 0, 1, "read 1 keys at one offset: LOADING"},
		{"down", "", func(s *endpointtest.Server) { s.Once("DUMP", down) }, 0, 2, ""},
		{"moved", "the topology is found again meanwhile", func(s *endpointtest.Server) { s.Once("DUMP", moved) }, 0, 2, ""},
		{"lost", "", func(s *endpointtest.Server) { s.Once("DUMP", endpointtest.HangUp) }, 0, 2, ""},
		{"lost in a reply", "half a value is none", func(s *endpointtest.Server) { s.Once("EXEC", "*4\r\n$5\r\nab"+endpointtest.HangUp) }, 0, 2, ""},
		{"not connected", "a replica has no offset of its own", func(s *endpointtest.Server) {
			s.Always("ROLE", endpointtest.Array(endpointtest.Bulk("slave"), endpointtest.Bulk("h"), endpointtest.Int(1), endpointtest.Bulk("connect"), endpointtest.Int(-1)))
		}, 0, 1, "the replica is not connected"},
		{"forbidden", "EXECABORT says less than the refusal", func(s *endpointtest.Server) { s.Always("DUMP", noPerm) }, 0, 1, "read 1 keys at one offset: NOPERM"},
		{"refused in the transaction", "", func(s *endpointtest.Server) { s.Always("DUMP", "-ERR broken\r\n") }, 0, 1, "read key k: broken"},
		{"no expiry", "", func(s *endpointtest.Server) { s.Always("PTTL", "-ERR broken\r\n") }, 0, 1, "read key k: broken"},
		{"no time", "", func(s *endpointtest.Server) { s.Always("TIME", endpointtest.Strings("x", "0")) }, 0, 1, "TIME: a time of"},
		{"no offset", "", func(s *endpointtest.Server) { s.Always("ROLE", endpointtest.Strings("sentinel")) }, 0, 1, "neither a primary nor a replica"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := endpointtest.Serve(t, "7.0.15")
			s.Put("k", stringOf("v"))
			retryFor := patience
			if tt.err != "" {
				retryFor = 0
			}
			r := toldReader(t, s, retryFor, &keyspace.Filter{})
			tt.tell(s)
			got, err := r.Read(t.Context(), []keyspace.Key{{Name: "k"}}, true, tt.least)
			ok := tt.err != "" || len(got) == 1 && got[0].Present && got[0].Payload != "" && got[0].Offset == 1000
			if !says(err, tt.err) || !ok || len(s.Calls("MULTI")) != tt.tries || err != nil && !strings.Contains(err.Error(), s.Addr) {
				t.Errorf("%+v, %v in %d tries, want %q in %d (%s)", got, err, len(s.Calls("MULTI")), tt.err, tt.tries, tt.why)
			}
		})
	}
}

// TestRefusalsThatStay: with all patience, a refusal that stays is asked for once.
func TestRefusalsThatStay(t *testing.T) {
	s := endpointtest.Serve(t, "7.0.15")
	r := toldReader(t, s, patience, &keyspace.Filter{})
	s.Always("DUMP", noPerm)
	if _, err := r.Read(t.Context(), []keyspace.Key{{Name: "k"}}, true, 0); !says(err, "NOPERM") || len(s.Calls("MULTI")) != 1 {
		t.Errorf("%v in %d tries", err, len(s.Calls("MULTI")))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	errEnough := errors.New("enough")
	s.On("DUMP", func([]string) string { cancel(errEnough); return loading })
	if _, err := r.Read(ctx, []keyspace.Key{{Name: "k"}}, true, 0); !errors.Is(err, errEnough) && !errors.Is(err, context.Canceled) {
		t.Errorf("ended from outside: %v", err)
	}
}

// TestReadAfterFailover: the node is asked for at each try.
func TestReadAfterFailover(t *testing.T) {
	first, second := endpointtest.Serve(t, "7.0.15"), endpointtest.Serve(t, "7.0.15")
	second.Put("k", stringOf("v"))
	nodes := []*endpointtest.Server{first, second}
	first.On("MULTI", func([]string) string { nodes = nodes[1:]; return endpointtest.HangUp })
	r := NewReader(endpointtest.Open(t, first.URL()), func() string { return nodes[0].Addr }, patience, &keyspace.Filter{})
	got, err := r.Read(t.Context(), []keyspace.Key{{Name: "k"}}, false, 0)
	if err != nil || len(got) != 1 || !got[0].Present {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestReadOfCluster: keys of one slot are read in one transaction, and each transaction has its own offset. The slot is
// that of the name on the source.
func TestReadOfCluster(t *testing.T) {
	s := endpointtest.Serve(t, "7.0.15")
	s.Tell("cluster_enabled", "1", "redis_mode", "cluster")
	s.Always("CLUSTER NODES", endpointtest.Bulk(fmt.Sprintf("%040d %s@1 master - 0 0 1 connected 0-16383\n", 0, s.Addr)))
	r := NewReader(endpointtest.Open(t, "redis+cluster://"+s.Addr), func() string { return s.Addr }, 0, &keyspace.Filter{DBPrefix: map[int]string{0: "{x}"}})
	var keys []keyspace.Key
	for _, name := range []string{"{a}1", "{b}1", "{a}2", "{b}2", "{c}1"} {
		s.Put(name, stringOf(name))
		keys = append(keys, keyspace.Key{Name: "{x}" + name})
	}
	s.On("MULTI", func([]string) string { s.Write([]string{"PING"}); return endpointtest.Usual })
	const step = 14 // bytes of PING
	got, err := r.Read(t.Context(), keys, true, 1000+step)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range got {
		names = append(names, fmt.Sprintf("%s at %d", c.Key.Name, c.Offset))
		if v, err := rdb.DecodeDump([]byte(c.Payload)); err != nil || "{x}"+string(v.Str) != c.Key.Name {
			t.Errorf("%s: %q, %v", c.Key.Name, v.Str, err)
		}
	}
	want := []string{"{x}{a}1 at 1014", "{x}{a}2 at 1014", "{x}{b}1 at 1028", "{x}{b}2 at 1028", "{x}{c}1 at 1042"}
	if !slices.Equal(names, want) || len(s.Calls("MULTI")) != 3 || len(s.Calls("READONLY")) != 1 {
		t.Errorf("%q in %d transactions, want %q", names, len(s.Calls("MULTI")), want)
	}
	if _, err := r.Read(t.Context(), keys, true, s.Offset()+step+1); !says(err, "stands at offset") {
		t.Errorf("the first transaction stands too low: %v", err)
	}
	s.Always("DUMP {b}2", moved)
	if _, err := r.Read(t.Context(), keys, true, 0); !says(err, "read 2 keys at one offset: MOVED") {
		t.Errorf("one of three slots has moved: %v", err)
	}
}

// TestOffsets: where the source stands, and waiting until it stands somewhere.
func TestOffsets(t *testing.T) {
	for _, tt := range []struct {
		name, why, version, role string // role answers the command that tells the offset; "": as usual
		want                     int64
		err                      string
	}{
		{"3.2", "INFO tells the offset of its own stream", "3.2.13", "", 1000, ""},
		{"7.0", "", "7.0.15", "", 1000, ""},
		{"a replica", "", "7.0.15", endpointtest.Array(endpointtest.Bulk("slave"), endpointtest.Bulk("h"), endpointtest.Int(1), endpointtest.Bulk("connected"), endpointtest.Int(77)), 77, ""},
		{"before 2.8", "", "2.8.24", endpointtest.Bulk("# Replication\r\nrole:master\r\n"), 0, "no master_repl_offset"},
		{"forbidden", "", "7.0.15", noPerm, 0, "ask for its offset: NOPERM"},
		{"nonsense", "", "7.0.15", "*0\r\n", 0, "neither a primary nor a replica"},
	} {
		s := endpointtest.Serve(t, tt.version)
		r := toldReader(t, s, 0, &keyspace.Filter{})
		if tt.role != "" {
			s.Always("ROLE", tt.role)
			s.Always("INFO replication", tt.role)
		}
		got, err := r.Position(t.Context())
		if got != tt.want || !says(err, tt.err) {
			t.Errorf("%s: %d, %v, want %d, %q (%s)", tt.name, got, err, tt.want, tt.err, tt.why)
		}
		err = r.AwaitOffset(t.Context(), 78)
		switch {
		case tt.want >= 78 && err != nil:
			t.Errorf("%s: await what has come: %v", tt.name, err)
		case tt.want < 78 && (!says(err, fmt.Sprintf("source %s stands at offset %d, although it has already sent its stream up to offset 78", s.Addr, tt.want)) || !says(err, tt.err) && tt.err != ""):
			t.Errorf("%s: await what does not come: %v", tt.name, err)
		}
	}
	s := endpointtest.Serve(t, "7.0.15")
	r := toldReader(t, s, patience, &keyspace.Filter{})
	s.Once("ROLE", loading, endpointtest.HangUp)
	s.Before("ROLE", func() { s.Write([]string{"PING"}) })
	if err := r.AwaitOffset(t.Context(), 1014); err != nil || len(s.Calls("ROLE")) < 3 {
		t.Errorf("await what comes: %v after %d tries", err, len(s.Calls("ROLE")))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	errEnough := errors.New("enough")
	s.Before("ROLE", func() { cancel(errEnough) })
	if err := r.AwaitOffset(ctx, 1<<40); !errors.Is(err, errEnough) {
		t.Errorf("ended from outside: %v", err)
	}
	if _, err := r.PositionOf(t.Context(), "127.0.0.1:1"); !says(err, "source: ") {
		t.Errorf("nobody at the address: %v", err)
	}
}
