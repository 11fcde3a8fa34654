package writes

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/resp"
)

func words(text string) []byte {
	var args [][]byte
	for _, w := range strings.Fields(text) {
		args = append(args, []byte(w))
	}
	return resp.AppendCommand(nil, args...)
}

func TestTell(t *testing.T) {
	tests := []struct {
		name, why string
		command   string
		keys      []string
		all       string // part of the reason
	}{
		{name: "one key", command: "SET a 1", keys: []string{"a"}},
		{name: "expired", why: "the primary sends DEL or UNLINK for a key that expired", command: "UNLINK a", keys: []string{"a"}},
		{name: "several", command: "MSET a 1 b 2", keys: []string{"a", "b"}},
		{name: "source and destination", command: "RENAME a b", keys: []string{"a", "b"}},
		{name: "movable", command: "SORT a STORE b", keys: []string{"a", "b"}},
		{name: "keep-alive", command: "PING"},
		{name: "database", why: "names are known without databases", command: "SELECT 3"},
		{name: "transaction", command: "MULTI"},
		{name: "message", command: "PUBLISH a b"},
		{name: "functions", why: "they are no keys", command: "FUNCTION FLUSH"},
		{name: "acknowledge", command: "REPLCONF GETACK *"},
		{name: "all", command: "FLUSHALL", all: "FLUSHALL was run"},
		{name: "a database", command: "FLUSHDB ASYNC", all: "FLUSHDB was run"},
		{name: "swapped", why: "each name stands for another key now", command: "SWAPDB 0 1", all: "SWAPDB was run"},
		{name: "unknown", command: "MYMODULE.SET a 1", all: "MYMODULE.SET"},
		{name: "malformed", command: "SET a", all: "keys of a SET"},
		{name: "script of a hash", why: "its text is not shown", command: "EVALSHA abc 1 a", all: "script"},
		{name: "script that builds names", command: "EVAL redis.call('set',KEYS[1]..'x',1) 1 a", all: "script"},
		{name: "script that declares", command: "EVAL redis.call('set',KEYS[1],1) 1 a", keys: []string{"a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := NewSet()
			s := newSkimmer(bytes.NewReader(words(tt.command)))
			if err := s.next(set.seed); err != nil {
				t.Fatal(err)
			}
			s.tell(set)
			if set.Keys() != int64(len(tt.keys)) || (set.All() == "") != (tt.all == "") || !strings.Contains(set.All(), tt.all) {
				t.Errorf("%d keys, all %q, want %q, %q: %s", set.Keys(), set.All(), tt.keys, tt.all, tt.why)
			}
			for _, k := range tt.keys {
				if !set.Has(k) {
					t.Errorf("%s is not in the set", k)
				}
			}
			if set.Has("another") != (tt.all != "") {
				t.Error("another key is in the set, or is not where all are")
			}
		})
	}
}

// The skimmer comes to the same offsets and keys as the reader that keeps whole commands, wherever reads cut them.
func TestSkimLikeTheReader(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var stream []byte
	var names []string
	for i := range 300 {
		name := "k" + strconv.Itoa(i)
		if i%10 == 0 {
			name += strings.Repeat("n", keptArgument+rnd.IntN(1000))
		}
		names = append(names, name)
		stream = append(stream, "\n\n"[:rnd.IntN(3)]...)
		stream = append(stream, resp.AppendCommand(nil, []byte("SET"), []byte(name), make([]byte, rnd.IntN(40_000)))...)
	}
	set := NewSet()
	s, whole := newSkimmer(&chopped{bytes.NewReader(stream), rnd}), resp.NewReader(bytes.NewReader(stream))
	for range names {
		if err := s.next(set.seed); err != nil {
			t.Fatal(err)
		}
		if _, _, err := whole.ReadCommand(); err != nil {
			t.Fatal(err)
		}
		if s.offset != whole.Offset() {
			t.Fatalf("offset %d, want %d", s.offset, whole.Offset())
		}
		s.tell(set)
	}
	for _, n := range names {
		if !set.Has(n) {
			t.Errorf("%.20s of %d bytes is not in the set", n, len(n))
		}
	}
	if set.All() != "" || set.Keys() != int64(len(names)) || set.Has("k300") {
		t.Errorf("%d keys, %q", set.Keys(), set.All())
	}
}

type chopped struct {
	io.Reader
	rnd *rand.Rand
}

func (c *chopped) Read(p []byte) (int, error) {
	return c.Reader.Read(p[:min(len(p), 1+c.rnd.IntN(50_000))])
}

// A value of any size takes no memory, nor does a command of any number of arguments.
func TestSkimInBoundedMemory(t *testing.T) {
	const size = 300 << 20
	head := fmt.Sprintf("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n", size)
	stream := io.MultiReader(strings.NewReader(head), io.LimitReader(zeros{}, size), strings.NewReader("\r\n"), bytes.NewReader(words("SET b 1")))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	set := NewSet()
	s := newSkimmer(stream)
	for range 2 {
		if err := s.next(set.seed); err != nil {
			t.Fatal(err)
		}
		s.tell(set)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("%d bytes were allocated", got)
	}
	if !set.Has("a") || !set.Has("b") || set.All() != "" {
		t.Errorf("%q", set.All())
	}
	many := [][]byte{[]byte("DEL")}
	for range 300_000 {
		many = append(many, []byte("abcdefgh"))
	}
	s = newSkimmer(bytes.NewReader(resp.AppendCommand(nil, many...)))
	if err := s.next(set.seed); err != nil {
		t.Fatal(err)
	}
	if s.tell(set); set.All() == "" || cap(s.kept) > 4*keptCommand {
		t.Errorf("all %q, %d bytes kept", set.All(), cap(s.kept))
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Names beyond what is remembered one by one are never lost, and others are rarely in by mistake.
func TestSetOfManyNames(t *testing.T) {
	s := NewSet()
	const n = 4 * mostExact
	for i := range n {
		s.Add(strconv.AppendInt(nil, int64(i), 10))
	}
	mistakes := 0
	for i := range n {
		if !s.Has(strconv.Itoa(i)) {
			t.Fatalf("%d is lost", i)
		}
		if s.Has(strconv.Itoa(n + i)) {
			mistakes++
		}
	}
	if mistakes > n/1000 || s.Keys() < n*99/100 || s.Keys() > n {
		t.Errorf("%d mistakes, %d keys", mistakes, s.Keys())
	}
}

func TestRepliesOfTracking(t *testing.T) {
	tests := []struct {
		name, bytes string
		want        []string // "nil": all
		kind        byte
	}{
		{"names", ">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$0\r\n\r\n", []string{"a", ""}, '>'},
		{"flush", ">2\r\n$10\r\ninvalidate\r\n_\r\n", []string{"nil"}, '>'},
		{"flush of 6.0", ">2\r\n$10\r\ninvalidate\r\n*-1\r\n", []string{"nil"}, '>'},
		{"echo", "$1\r\n5\r\n", nil, '$'},
		{"hello", "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n", nil, '%'},
	}
	for _, tt := range tests {
		var got []string
		kind, err := (&reply{in: bufio.NewReader(strings.NewReader(tt.bytes))}).read(func(name []byte) {
			if name == nil {
				got = append(got, "nil")
			} else {
				got = append(got, string(name))
			}
		}, 0)
		if err != nil || kind != tt.kind || fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: %q, %c, %v, want %q", tt.name, got, kind, err, tt.want)
		}
	}
}

// A server that keeps no backlog is not asked for PSYNC: it would answer with a snapshot. Nor is one that does not say.
func TestNotAsked(t *testing.T) {
	for _, info := range []string{"role:master\r\nrepl_backlog_active:0\r\nmaster_repl_offset:0\r\nmaster_replid:" + strings.Repeat("a", 40) + "\r\n",
		"role:slave\r\nmaster_link_status:down\r\nrepl_backlog_active:1\r\n", "role:master\r\nrepl_backlog_active:1\r\nmaster_repl_offset:7\r\n"} {
		replica, server := net.Pipe()
		asked := make(chan []string)
		go func() {
			var got []string
			r := resp.NewReader(server)
			for {
				args, _, err := r.ReadCommand()
				if err != nil {
					asked <- got
					return
				}
				got = append(got, string(args[0]))
				fmt.Fprintf(server, "$%d\r\n%s\r\n", len(info), info)
			}
		}()
		if _, err := Follow(context.Background(), replica, NewSet()); err == nil {
			t.Errorf("%q: followed", info)
		}
		if got := <-asked; fmt.Sprint(got) != "[INFO INFO]" {
			t.Errorf("%q: asked %q", info, got)
		}
	}
}

// TestTrackingIsBounded: the server bounds what it keeps for the connection before it is told to track, and a refusal of that does not matter.
func TestTrackingIsBounded(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		s := endpointtest.Serve(t, "7.0.15")
		if refuses {
			s.Always("SUBSCRIBE", "-NOPERM this user has no permissions to access one of the channels used as arguments\r\n")
		}
		conn, err := endpointtest.Open(t, s.URL()).DialReplica(t.Context(), s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		subscribed := -1
		s.Before("CLIENT TRACKING", func() { subscribed = len(s.Calls("SUBSCRIBE " + endpoint.NoChannel)) })
		set := NewSet()
		tracking, err := Track(t.Context(), conn, set)
		if err != nil {
			t.Fatal(err)
		}
		if subscribed != 1 {
			t.Errorf("subscribed %d times before tracking was turned on, want once", subscribed)
		}
		s.Write([]string{"SET", "k", "v"}, "k")
		if err := tracking.Await(t.Context()); err != nil || !set.Has("k") || set.All() != "" {
			t.Errorf("refused %v: %v, has k %v, all %q", refuses, err, set.Has("k"), set.All())
		}
		tracking.Close()
	}
}

// TestSnapshotIsNotRisked: the offset is asked for after the rest of the handshake, and PSYNC is not sent to a server whose stream moves so
// fast that its backlog may lose the offset meanwhile: it would fork for a snapshot.
func TestSnapshotIsNotRisked(t *testing.T) {
	for _, row := range []struct {
		moves   int // bytes, during the handshake
		backlog string
		follows bool
	}{
		{100 << 10, "1048576", true},
		{2 << 20, "1048576", false},
		{2 << 20, "67108864", true},
		{2 << 20, "", false}, // it is of the default size
	} {
		s := endpointtest.Serve(t, "6.2.14")
		s.Tell("repl_backlog_size", row.backlog)
		s.Before("REPLCONF version", func() { s.Write([]string{"SET", "k", strings.Repeat("v", row.moves)}, "k") })
		conn, err := endpointtest.Open(t, s.URL()).DialReplica(t.Context(), s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Follow(t.Context(), conn, NewSet())
		if (err == nil) != row.follows || len(s.Calls("PSYNC")) > 0 != row.follows {
			t.Errorf("%+v: %v, %q", row, err, s.Calls("PSYNC"))
		}
		if r != nil {
			if r.From != s.Offset() {
				t.Errorf("%+v: followed from %d, and the stream had come to %d", row, r.From, s.Offset())
			}
			r.Close()
		}
	}
}
