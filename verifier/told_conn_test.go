package verifier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// TestWhatARefusalMeans: whether a command is refused as such, whether reading again can help, whether the whole node may answer in a
// moment, and whether another node has the key.
func TestWhatARefusalMeans(t *testing.T) {
	for _, tt := range []struct {
		reply                                  string
		forbidden, lasting, passes, redirected bool
	}{
		{"NOPERM this user has no permissions to run the 'get' command", true, true, false, false},
		{"NOPERM User u has no permissions to run the 'get' command or its subcommand", true, true, false, false},
		{"NOPERM this user has no permissions to access one of the keys used as arguments", false, true, false, false},
		{"NOPERM No permissions to access a key", false, true, false, false}, // since 7.2
		{"ERR unknown command 'GET', with args beginning with: 'k' ", true, true, false, false},
		{"ERR unknown subcommand 'X'. Try GET HELP.", true, true, false, false},
		{"ERR something else", false, true, false, false},
		{"NOAUTH Authentication required.", false, true, false, false},
		{"MISCONF Redis is configured to save RDB snapshots", false, true, false, false},
		{"OOM command not allowed when used memory > 'maxmemory'.", false, true, false, false},
		{"LOADING Redis is loading the dataset in memory", false, false, true, false},
		{"MASTERDOWN Link with MASTER is down", false, false, true, false},
		{"BUSY Redis is busy running a script.", false, false, true, false},
		{"CLUSTERDOWN The cluster is down", false, false, true, false},
		{"MOVED 1 127.0.0.1:1", false, false, false, true},
		{"ASK 1 127.0.0.1:1", false, false, false, true},
		{"TRYAGAIN Multiple keys request during rehashing of slot", false, false, false, false},
		{"WRONGTYPE Operation against a key holding the wrong kind of value", false, false, false, false},
		{"EXECABORT Transaction discarded because of previous errors.", false, false, false, false},
	} {
		s := endpointtest.Serve(t, "7.0.15")
		s.Always("GET", "-"+tt.reply+"\r\n")
		r := toldReader(t, s, toldConfig(t))
		_, err := r.one(t.Context(), "GET", "k")
		if forbidden(err) != tt.forbidden || lasting(err) != tt.lasting || passing(err) != tt.passes || redirected(err) != tt.redirected {
			t.Errorf("%s: forbidden %v, lasting %v, passing %v, redirected %v", tt.reply, forbidden(err), lasting(err), passing(err), redirected(err))
		}
		if err == nil || strings.Contains(err.Error(), "args") || !strings.HasPrefix(err.Error(), "GET was answered by: ") {
			t.Errorf("%s: %v", tt.reply, err)
		}
	}
}

// TestOneKeyBreaksTheConnection: the key for which a server closes the connection is found among the others, which are read.
func TestOneKeyBreaksTheConnection(t *testing.T) {
	for _, tt := range []struct{ config, says string }{
		{endpointtest.Strings("client-output-buffer-limit", "normal 1000000 500000 60 slave 0 0 0 pubsub 0 0 0"), "its client-output-buffer-limit for normal clients is 1000000 bytes, or 500000 bytes for 60 s"},
		{endpointtest.Strings("client-output-buffer-limit", "normal 0 0 0 slave 0 0 0 pubsub 0 0 0"), "its log"},
		{"*0\r\n", "its log"},
		{"-NOPERM no\r\n", "its log"},
	} {
		s := endpointtest.Serve(t, "7.0.15")
		s.Always("CONFIG GET client-output-buffer-limit", tt.config)
		var names []string
		for i := range 10 {
			name := fmt.Sprintf("k%d", i)
			names = append(names, name)
			s.Put(name, stringOf(name))
		}
		s.Always("GETRANGE k7", "$900\r\nabc"+endpointtest.HangUp)
		r := toldReader(t, s, toldConfig(t))
		out := make([]reading, len(names))
		if err := r.read(t.Context(), names, out, 0); err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			var cut *cutError
			if broken := errors.As(out[i].Err, &cut); broken != (name == "k7") || !broken && out[i].FP != fingerprintOf(stringOf(name)) {
				t.Errorf("%s: %+v", name, out[i])
			}
		}
		if err := out[7].Err; err == nil || !lasting(err) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v, want %q", err, tt.says)
		}
		if ask := r.node.flight.ask.Load(); ask != leastBytes {
			t.Errorf("%d bytes are still asked for at a time", ask)
		}
	}
}

// TestNodeThatIsDown: a node that keeps silent, or goes on refusing, is waited for once. After a rest, one who asks it again finds that
// it is back.
func TestNodeThatIsDown(t *testing.T) {
	for _, tt := range []struct {
		name, reply string
		change      func(*Config)
		says        string
	}{
		{"silent", endpointtest.Silence, func(c *Config) { c.Silence = 50 * time.Millisecond }, "has not answered for 50ms"},
		{"loading", "-LOADING Redis is loading\r\n", func(c *Config) { c.Patience = time.Millisecond }, "LOADING"},
		{"hangs up", endpointtest.HangUp, func(c *Config) { c.Patience = time.Millisecond }, "read from"},
	} {
		s := endpointtest.Serve(t, "7.0.15")
		s.Put("k", stringOf("abc"))
		c := toldConfig(t)
		r := toldReader(t, s, c)
		tt.change(&c)
		r.node.silence, r.patience = c.Silence, c.Patience
		down := true
		for _, command := range []string{"TIME", "TYPE", "PING"} {
			s.On(command, func([]string) string {
				if down {
					return tt.reply
				}
				return endpointtest.Usual
			})
		}
		var gone *downError
		if _, err := readOne(t, r, "k"); !errors.As(err, &gone) || !lasting(err) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
		if err := r.node.breaker.down(t.Context(), r.node.answers); err == nil {
			t.Errorf("%s: it does not count as down", tt.name)
		}
		asked := len(s.Calls("TYPE"))
		r.close()
		if _, err := readOne(t, r, "k"); !errors.As(err, &gone) || len(s.Calls("TYPE")) != asked {
			t.Errorf("%s: asked again at once: %v", tt.name, err)
		}
		down = false
		r.node.breaker.mu.Lock()
		r.node.breaker.rest = time.Now()
		r.node.breaker.mu.Unlock()
		r.node.silence = 30 * time.Second
		if got, err := readOne(t, r, "k"); err != nil || got.FP != fingerprintOf(stringOf("abc")) {
			t.Errorf("%s: after a rest %+v, %v", tt.name, got, err)
		}
		if r.node.breaker.exhausted {
			t.Errorf("%s: it answers, and counts as down", tt.name)
		}
	}
}

// TestInterruptedRead: an interruption ends a wait at once, and says nothing about the node.
func TestInterruptedRead(t *testing.T) {
	s := endpointtest.Serve(t, "7.0.15")
	s.Put("k", stringOf("abc"))
	r := toldReader(t, s, toldConfig(t))
	over := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	s.On("TYPE", func([]string) string { cancel(over); return endpointtest.Silence })
	if err := r.read(ctx, []string{"k"}, make([]reading, 1), 0); !errors.Is(err, over) || r.node.breaker.exhausted {
		t.Errorf("%v, down %v", err, r.node.breaker.exhausted)
	}
}

// TestRoomOfANode: how much a node is asked for at a time, by how close it is to its maxmemory.
func TestRoomOfANode(t *testing.T) {
	for _, tt := range []struct {
		name, used, most string
		bytes, ask       int64 // of the node, and of one pipeline
		tight            bool
	}{
		{"no limit", "1000", "0", nodeBytes, askBytes, false},
		{"much room", "1000", "10000000000", nodeBytes, askBytes, false},
		{"some room", "0", "200000000", nodeBytes, askBytes, true},
		{"little room", "0", "8000000", 1_000_000, 500_000, true},
		{"very little room", "7999000", "8000000", leastBytes, leastBytes, true},
		{"over it", "9000000", "8000000", leastBytes, leastBytes, true},
		{"it does not tell", "", "", nodeBytes, askBytes, true},
	} {
		s := endpointtest.Serve(t, "7.0.15")
		s.Tell("used_memory", tt.used, "maxmemory", tt.most)
		r := toldReader(t, s, toldConfig(t))
		f := r.node.flight
		f.ask.Store(askBytes)
		if err := r.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if f.most.Load() != tt.bytes || f.ask.Load() != tt.ask || f.tight.Load() != tt.tight {
			t.Errorf("%s: %d bytes, %d a pipeline, tight %v; want %d, %d, %v", tt.name, f.most.Load(), f.ask.Load(), f.tight.Load(), tt.bytes, tt.ask, tt.tight)
		}
		if w := f.weight(tt.bytes); w < nodeBytes-nodeBytes/100 || f.weight(10*tt.bytes) != nodeBytes || f.weight(0) < 1 {
			t.Errorf("%s: all that may be asked for takes %d of the room", tt.name, w)
		}
		for range calmKeys {
			f.saw(keyspace.Hash, 10)
		}
		if f.isCalm(keyspace.Hash) == tt.tight || f.isCalm(keyspace.Set) {
			t.Errorf("%s: hashes are read without their sizes: %v", tt.name, f.isCalm(keyspace.Hash))
		}
		if f.saw(keyspace.Hash, littleBytes+1); f.isCalm(keyspace.Hash) {
			t.Errorf("%s: and after a large one", tt.name)
		}
		before := len(s.Calls("INFO memory"))
		for range lookEvery {
			if err := r.look(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		want := 1
		if tt.tight {
			want = lookEvery / lookOften
		}
		if n := len(s.Calls("INFO memory")) - before; n != want {
			t.Errorf("%s: looked %d times during %d pipelines, want %d", tt.name, n, lookEvery, want)
		}
		for f.shrink() {
		}
		if f.ask.Load() < leastBytes/2 || f.ask.Load() > leastBytes {
			t.Errorf("%s: shrunk to %d", tt.name, f.ask.Load())
		}
	}
}

// TestRoomIsShared: what one reader has asked for and not got yet is missing in the room of the others.
func TestRoomIsShared(t *testing.T) {
	s := endpointtest.Serve(t, "7.0.15")
	s.Put("k", stringOf("abc"))
	r := toldReader(t, s, toldConfig(t))
	room := r.node.flight.room
	s.On("GET", func([]string) string {
		if room.TryAcquire(nodeBytes/2 + 1) {
			t.Error("there is room for another half")
		}
		return endpointtest.Usual
	})
	if _, err := r.askOne(t.Context(), nodeBytes/2, "GET", "k"); err != nil {
		t.Fatal(err)
	}
	if !room.TryAcquire(nodeBytes) {
		t.Error("the room was not given back")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("interrupted")
	cancel(over)
	if _, err := r.askOne(ctx, 1, "GET", "k"); !errors.Is(err, over) {
		t.Errorf("who waits for room was not interrupted: %v", err)
	}
}

// TestFieldTimes: when fields expire is read in the best way that the server allows, and never guessed.
func TestFieldTimes(t *testing.T) {
	const command, key = "-NOPERM User u has no permissions to run the 'x' command\r\n", "-NOPERM No permissions to access a key\r\n"
	hour := time.Now().Add(time.Hour).UnixMilli()
	for _, tt := range []struct {
		name string
		tell func(s *endpointtest.Server)
		a, b string // what is read of two hashes, of which b has a field that expires
	}{
		{"as they are", func(*endpointtest.Server) {}, "never", "in an hour"},
		{"only what is left", func(s *endpointtest.Server) { s.Always("HPEXPIRETIME", command) }, "never", "in an hour"},
		{"the clock goes on while what is left is told", func(s *endpointtest.Server) { s.Always("HPEXPIRETIME", command); s.On("HPTTL b", clockGoesOn(3)) }, "never", "in an hour"},
		{"the clock always goes on", func(s *endpointtest.Server) { s.Always("HPEXPIRETIME", command); s.On("HPTTL b", clockGoesOn(1000)) }, "never", "changed"},
		{"one hash is refused", func(s *endpointtest.Server) { s.Always("HPEXPIRETIME a", key) }, "NOPERM", "in an hour"},
		{"one hash is refused, and only what is left is told", func(s *endpointtest.Server) { s.Always("HPEXPIRETIME", command); s.Always("HPTTL a", key) }, "NOPERM", "in an hour"},
		{"neither, and the encoding has no room for expiries", func(s *endpointtest.Server) {
			s.Always("HPEXPIRETIME", command)
			s.Always("HPTTL", command)
			s.Always("OBJECT ENCODING b", endpointtest.Bulk("listpackex"))
		}, "never", "NOPERM"},
		{"neither, nor the encoding", func(s *endpointtest.Server) {
			for _, c := range []string{"HPEXPIRETIME", "HPTTL", "OBJECT"} {
				s.Always(c, command)
			}
		}, "NOPERM", "NOPERM"},
		{"a field that is gone", func(s *endpointtest.Server) { s.Always("HPEXPIRETIME b", "*2\r\n:-2\r\n:-1\r\n") }, "never", "never"},
		{"both fields are gone", func(s *endpointtest.Server) { s.Always("HPEXPIRETIME b", "*2\r\n:-2\r\n:-2\r\n") }, "never", "gone"},
		{"no list", func(s *endpointtest.Server) { s.Always("HPEXPIRETIME b", "*-1\r\n") }, "never", "changed"},
		{"a shorter list", func(s *endpointtest.Server) { s.Always("HPEXPIRETIME b", "*1\r\n:-1\r\n") }, "never", "changed"},
		{"no numbers", func(s *endpointtest.Server) { s.Always("HPEXPIRETIME b", "*2\r\n+x\r\n:-1\r\n") }, "never", "no number"},
		{"the server does not count such hashes", func(s *endpointtest.Server) { s.Tell("db0", "keys=2,expires=0,avg_ttl=0") }, "never", "in an hour"},
		{"the server has none", func(s *endpointtest.Server) { s.Tell("db0", "keys=2,expires=0,avg_ttl=0,subexpiry=0") }, "never", "never"},
	} {
		s := endpointtest.Serve(t, "7.4.1")
		s.Put("a", valueOf(keyspace.Hash, 2, 10))
		s.Put("b", expiringField(valueOf(keyspace.Hash, 2, 10), hour))
		tt.tell(s)
		out := make([]reading, 2)
		if err := toldReader(t, s, toldConfig(t)).read(t.Context(), []string{"a", "b"}, out, 0); err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{tt.a, tt.b} {
			got := outcome(out[i], nil)
			switch {
			case out[i].Err != nil && want == "no number":
				got = want
			case out[i].known() && out[i].FieldsAt == 0:
				got = "never"
			case out[i].known() && out[i].FieldsAt == hour:
				got = "in an hour"
			}
			if got != want {
				t.Errorf("%s: %s, want %s: %+v", tt.name, got, want, out[i])
			}
		}
	}
}

// clockGoesOn answers as usual, but lets the server's clock go on before and after it, as many times.
func clockGoesOn(times int) func([]string) string {
	return func([]string) string {
		if times--; times >= 0 {
			time.Sleep(1100 * time.Microsecond)
		}
		return endpointtest.Usual
	}
}
