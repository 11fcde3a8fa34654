package endpointtest

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"surecut/internal/keyspace"
	"surecut/internal/resp"
)

// exchange sends commands in one piece, and returns all that comes back, without the ends of lines. The commands are separated by
// semicolons.
func exchange(t *testing.T, conn net.Conn, commands string) string {
	t.Helper()
	var out []byte
	for c := range strings.SplitSeq(commands, ";") {
		out = resp.AppendCommand(out, strings.Fields(c)...)
	}
	if _, err := conn.Write(out); err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(conn)
	return strings.TrimSpace(strings.ReplaceAll(string(got), "\r\n", " "))
}

func connect(t *testing.T, s *Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestServer: what a test tells replaces the usual answer, where and as often as it says.
func TestServer(t *testing.T) {
	text := &keyspace.Value{Type: keyspace.String, Str: []byte("abc")}
	for _, tt := range []struct {
		name     string
		tell     func(s *Server)
		commands string // separated by semicolons
		want     string
	}{
		{"usual", nil, "TYPE k;STRLEN k;GETRANGE k 1 -1;PTTL k;GET none", "+string :3 $2 bc :-1 $-1"},
		{"another type", nil, "LLEN k", "-WRONGTYPE Operation against a key holding the wrong kind of value"},
		{"a newer command", nil, "PEXPIRETIME k", "-ERR unknown command 'PEXPIRETIME', with args beginning with: 'k'"},
		{"once", func(s *Server) { s.Once("STRLEN k", ":7\r\n") }, "STRLEN k;STRLEN k;STRLEN none", ":7 :3 :0"},
		{"always, of one key", func(s *Server) { s.Always("STRLEN k", "-NOPERM no\r\n") }, "strlen k;STRLEN k;STRLEN none", "-NOPERM no -NOPERM no :0"},
		{"before", func(s *Server) { s.Before("STRLEN k", func() { s.Put("k", nil) }) }, "TYPE k;STRLEN k;TYPE k", "+string :0 +none"},
		{"hang up in a pipeline", func(s *Server) { s.Once("STRLEN k", HangUp) }, "TYPE k;STRLEN k;TYPE k", "+string"},
		{"cut off", func(s *Server) { s.Once("STRLEN k", "$10\r\nab"+HangUp) }, "TYPE k;STRLEN k;TYPE k", "+string $10 ab"},
		{"transaction", nil, "MULTI;STRLEN k;TYPE k;EXEC;EXEC", "+OK +QUEUED +QUEUED *2 :3 +string -ERR EXEC without MULTI"},
		{"refused when queued", func(s *Server) { s.Once("STRLEN k", "-NOPERM no\r\n") }, "MULTI;STRLEN k;TYPE k;EXEC", "+OK -NOPERM no +QUEUED -EXECABORT Transaction discarded because of previous errors."},
		{"refused when executed", func(s *Server) { s.Once("STRLEN k", "-WRONGTYPE no\r\n") }, "MULTI;STRLEN k;TYPE k;EXEC", "+OK +QUEUED +QUEUED *2 -WRONGTYPE no +string"},
		{"watched and unchanged", nil, "WATCH k;MULTI;EXEC", "+OK +OK *0"},
		{"watched and changed", func(s *Server) { s.Before("TYPE k", func() { s.Put("k", nil) }) }, "WATCH k;TYPE k;MULTI;EXEC", "+OK +none +OK *-1"},
		{"executed and unheard", func(s *Server) { s.Once("APPEND k d", Unheard) }, "STRLEN k;APPEND k d;STRLEN k", ":3"},
		{"a transaction unheard", func(s *Server) { s.Once("EXEC", Unheard) }, "MULTI;APPEND k d;EXEC;STRLEN k", "+OK +QUEUED"},
		{"pages", func(s *Server) { s.Put("j", text); s.Put("l", text) }, "SCAN 0 COUNT 2;SCAN 2 COUNT 2;SCAN 3", "*2 $1 2 *2 $1 k $1 j *2 $1 0 *1 $1 l *2 $1 0 *0"},
		{"a key that goes moves no other", func(s *Server) {
			s.Put("l", text)
			s.Before("TYPE k", func() { s.Put("k", nil) })
		}, "SCAN 0 COUNT 1;TYPE k;SCAN 1", "*2 $1 1 *1 $1 k +none *2 $1 0 *1 $1 l"},
	} {
		s := Serve(t, "6.2.14")
		s.Put("k", text)
		if tt.tell != nil {
			tt.tell(s)
		}
		s.Always("ECHO end", HangUp)
		if got := exchange(t, connect(t, s), tt.commands+";ECHO end"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if v := s.Get("k"); strings.HasSuffix(tt.name, "unheard") && string(v.Str) != "abcd" {
			t.Errorf("%s: it was not executed", tt.name)
		}
	}
}

// TestServerIsSilent: silence lasts as long as the connection, and no other connection is concerned.
func TestServerIsSilent(t *testing.T) {
	s := Serve(t, "7.0.15")
	s.Once("PING", Silence)
	s.Always("ECHO end", HangUp)
	first := connect(t, s)
	if _, err := first.Write(resp.AppendCommand(resp.AppendCommand(nil, "PING"), "PING")); err != nil {
		t.Fatal(err)
	}
	for len(s.Calls("PING")) == 0 {
		runtime.Gosched()
	}
	if got := exchange(t, connect(t, s), "PING;ECHO end"); got != "+PONG" {
		t.Errorf("another connection: %q", got)
	}
	s.Drop()
	if got, _ := io.ReadAll(first); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

// TestServerTellsOfWrites: a replica gets the stream from the byte that it asks for, and a client that tracks gets names.
func TestServerTellsOfWrites(t *testing.T) {
	s := Serve(t, "7.0.15")
	s.Always("ECHO end", HangUp)
	s.Write([]string{"SET", "a", "1"}, "a")
	replica, tracker := connect(t, s), connect(t, s)
	fmt.Fprintf(replica, "PSYNC %s 1002\r\n", s.ReplID())
	fmt.Fprint(tracker, "HELLO 3\r\nCLIENT TRACKING ON BCAST\r\nPING\r\n")
	for len(s.Calls("PING")) == 0 || len(s.Calls("PSYNC")) == 0 {
		runtime.Gosched()
	}
	s.Write([]string{"DEL", "a"}, "a", "b")
	got := exchange(t, tracker, "ECHO end")
	if want := "+OK +PONG >2 $10 invalidate *2 $1 a $1 b"; !strings.HasSuffix(got, want) {
		t.Errorf("%q, want %q at the end", got, want)
	}
	got = exchange(t, replica, "ECHO end")
	if want := "+CONTINUE " + s.ReplID() + " 3 $3 SET $1 a $1 1 *2 $3 DEL $1 a"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := exchange(t, connect(t, s), "PSYNC "+s.ReplID()+" 999999;ECHO end"); !strings.HasPrefix(got, "+FULLRESYNC") {
		t.Errorf("an offset that was never reached: %q", got)
	}
}

// TestServerRestarts: another process answers at the address, with the same keys.
func TestServerRestarts(t *testing.T) {
	s := Serve(t, "7.0.15")
	s.Do(0, "SET", "k", "v")
	s.Always("ECHO end", HangUp)
	ids := func() string {
		return exchange(t, connect(t, s), "INFO server;INFO replication;CLIENT ID;GET k;ECHO end")
	}
	open, before := connect(t, s), ids()
	s.Restart()
	if got, err := io.ReadAll(open); len(got) > 0 || err != nil {
		t.Errorf("a connection of before: %q, %v", got, err)
	}
	after := ids()
	for _, field := range []string{"run_id:", "master_replid:"} {
		_, a, _ := strings.Cut(before, field)
		_, b, _ := strings.Cut(after, field)
		if a[:40] == b[:40] {
			t.Errorf("%s is the same", field)
		}
	}
	if !strings.HasSuffix(after, "$1 v") {
		t.Errorf("after that: %s", after)
	}
}

// TestCluster: each server has its slots, and a slot moves with its keys.
func TestCluster(t *testing.T) {
	c := ServeCluster(t, "7.0.15", 3)
	from, to := c.Of("{a}"), c.Servers[0]
	if from == to {
		to = c.Servers[1]
	}
	for _, s := range c.Servers {
		s.Always("ECHO end", HangUp)
	}
	ask := func(s *Server, commands string) string { return exchange(t, connect(t, s), commands+";ECHO end") }
	moved := fmt.Sprintf("-MOVED %d ", keyspace.Slot("a"))
	if got := ask(from, "SET {a}k v;GET {a}k;DEL {a}k b"); got != "+OK $1 v -CROSSSLOT Keys in request don't hash to the same slot" {
		t.Error(got)
	}
	if got := ask(to, "MULTI;SET {a}k v;EXEC"); got != "+OK "+moved+from.Addr+" -EXECABORT Transaction discarded because of previous errors." {
		t.Error(got)
	}
	c.Move("{a}", to)
	if got := ask(from, "GET {a}k") + ask(to, "GET {a}k"); got != moved+to.Addr+"$1 v" {
		t.Error(got)
	}
	d := Open(t, c.URL())
	if n, ok := d.PrimaryOf(keyspace.Slot("a")); !ok || n.Addr != to.Addr || len(d.Shards()) != 3 {
		t.Errorf("%v, %v", n, d.Shards())
	}
}
