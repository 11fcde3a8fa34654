package target_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// codisRig is a rig with a proxy that stands for a whole Codis.
func codisRig(t *testing.T) *rig {
	s := targettest.ServeCodis(t)
	return newRig(t, s, "redis+codis://"+s.Addr)
}

// twemproxyRig is a rig with a twemproxy that takes names of 500 bytes.
func twemproxyRig(t *testing.T) *rig {
	s, url := targettest.ServeTwemproxy(t, 500)
	return newRig(t, s, url)
}

const notReached = "-ERR handle request, slot-0007 is not ready, may be offline\r\n"

// readOnce has a Codis answer the next reads of a key by these replies: a read is sent as a script.
func readOnce(s *endpointtest.Server, key string, replies ...string) {
	s.On("EVAL", func(args []string) string {
		if len(replies) == 0 || len(args) < 5 || args[3] != key || args[4] != "EXISTS" {
			return endpointtest.Usual
		}
		next := replies[0]
		replies = replies[1:]
		return next
	})
}

// TestProxiedCommitOnce: what was sent once is not sent again, whatever becomes of its reply: its key is named instead, to be copied.
func TestProxiedCommitOnce(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		tell      func(s *endpointtest.Server)
		n         string // what INCR n leaves
		failed    string
	}{
		{"all well", "", func(*endpointtest.Server) {}, "1", ""},
		{"not run", "nobody knows, nor of the rest of the wave", func(s *endpointtest.Server) { s.Once("INCR n", endpointtest.HangUp) }, "", "INCR SET"},
		{"run, and not answered", "", func(s *endpointtest.Server) { s.Once("INCR n", endpointtest.Unheard) }, "1", "INCR SET"},
		{"the proxy does not reach the server", "the command may have run", func(s *endpointtest.Server) { s.Once("INCR n", notReached) }, "", "INCR"},
		{"nor for a while", "the next wave waits until it does", func(s *endpointtest.Server) {
			s.Once("INCR n", notReached)
			readOnce(s, "n", notReached, notReached)
		}, "", "INCR"},
		{"refused", "", func(s *endpointtest.Server) { s.Always("INCR n", "-ERR value is not an integer or out of range\r\n") }, "", "INCR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := codisRig(t)
			tt.tell(r.s)
			x := r.transaction(500, "INCR n", "SET other 1", "APPEND n x")
			if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil {
				t.Fatal(err)
			}
			if r.text("n") != tt.n+"x" || failed(x) != tt.failed || len(r.s.Calls("INCR n")) != 1 || len(r.s.Calls("APPEND n")) != 1 {
				t.Errorf("n is %q after %d commands, to be copied: %q; want %q, %q (%s)", r.text("n"), len(r.s.Calls("INCR n")), failed(x), tt.n+"x", tt.failed, tt.why)
			}
		})
	}
}

// TestProxiedWaves: a command on a key is sent only when the one before on that key was answered, and while a server is not reached nothing
// more is sent than the question whether it is, and then, which servers there are.
func TestProxiedWaves(t *testing.T) {
	r := codisRig(t)
	r.s.Once("INCR n", notReached)
	readOnce(r.s, "n", notReached)
	from := len(r.s.Calls(""))
	x := r.transaction(500, "INCR n", "SET a 1", "APPEND n x", "APPEND a 2", "DEL n a")
	if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil {
		t.Fatal(err)
	}
	var sent []string
	for _, call := range r.s.Calls("")[from:] {
		name, _, _ := strings.Cut(call, " ")
		if !slices.Contains([]string{"PING", "SELECT"}, name) && !strings.Contains(call, "run_id") {
			sent = append(sent, name)
		}
	}
	if got := strings.Join(sent, " "); got != "INCR SET EVAL EVAL APPEND APPEND DEL" {
		t.Errorf("sent: %s", got)
	}
}

// TestProxiedCopies: calls that copy keys are sent until all are answered; what is refused for good is named once.
func TestProxiedCopies(t *testing.T) {
	r := codisRig(t)
	b := r.batch(t, target.Overwrite{}, 0, "k")
	r.s.Do(0, "SET", "k", "old")
	r.s.Once("SLOTSRESTORE k", endpointtest.Unheard, notReached, endpointtest.HangUp)
	r.s.Always("RPUSH refused", "-WRONGTYPE x\r\n")
	x := r.transaction(500, "SET plain 1", "RPUSH refused x")
	x.Calls = append(x.Calls, target.Call{Args: []string{"RESTORE", "k", "0", string(b.Payload)}, Key: keyspace.Key{Name: "k"}})
	x.Fence = map[keyspace.Key]int64{{Name: "k"}: 500}
	if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil || r.text("k") != "k" || failed(x) != "RPUSH" {
		t.Errorf("%v, k is %q, refused: %q", err, r.text("k"), failed(x))
	}
	if n := len(r.s.Calls("SLOTSRESTORE k")); n != 4 {
		t.Errorf("%d attempts", n)
	}
}

// TestProxiedExpired: a call on a key that may have expired runs only if the key is there, in one step.
func TestProxiedExpired(t *testing.T) {
	for _, tt := range []struct {
		name    string
		there   bool
		call    []string
		failed  bool
		text    string // of k
		scripts int
	}{
		{"gone", false, []string{"APPEND", "k", "x"}, true, "", 1},
		{"there", true, []string{"APPEND", "k", "x"}, false, "vx", 1},
		{"a script on what is gone", false, []string{"EVAL", "return redis.call(unpack(ARGV))", "1", "k", "APPEND", "k", "x"}, true, "x", 2},
		{"a script on what is there", true, []string{"EVAL", "return redis.call(unpack(ARGV))", "1", "k", "APPEND", "k", "x"}, false, "vx", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := codisRig(t)
			r.to.Expiring.Note(0, "k", time.Now().Add(time.Second).UnixMilli())
			if tt.there {
				r.s.Do(0, "SET", "k", "v")
			}
			scripts := len(r.s.Calls("EVAL"))
			x := &target.Transaction{Calls: []target.Call{{Args: tt.call, Key: keyspace.Key{Name: "k"}, Reads: true}}}
			if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil || len(x.Failed) > 0 != tt.failed || r.text("k") != tt.text {
				t.Errorf("%v, to be copied: %v, k is %q", err, x.Failed, r.text("k"))
			}
			if n := len(r.s.Calls("EVAL")) - scripts; n != tt.scripts {
				t.Errorf("%d scripts", n)
			}
			if tt.failed && !errors.Is(x.Failed[0].Reply, target.ErrExpired) {
				t.Error(x.Failed[0].Reply)
			}
		})
	}
}

// TestProxiedDatabase: a command whose database could not be selected has run in another one, so that its own reply says nothing.
func TestProxiedDatabase(t *testing.T) {
	r := codisRig(t)
	r.s.Once("SELECT 3", "-ERR invalid DB index\r\n")
	x := r.transaction(500, "SET a 1")
	x.Calls[0].DB = 3
	if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil || failed(x) != "SET" || !strings.Contains(x.Failed[0].Reply.Error(), "invalid DB index") {
		t.Errorf("%v, %v", err, x.Failed)
	}
	x.Failed = nil
	if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil || len(x.Failed) > 0 || !slices.Equal(r.s.NamesIn(3), []string{"a"}) {
		t.Errorf("the database is selected anew: %v, %v, %v", err, x.Failed, r.s.NamesIn(3))
	}
}

// TestProxiedRestore: values are written in the form of the proxy, each step after the answer to the one before.
func TestProxiedRestore(t *testing.T) {
	for _, kind := range []string{"Codis", "twemproxy"} {
		for _, tt := range []struct {
			name, why string
			over      target.Overwrite
			tell      func(s *endpointtest.Server)
			refused   string // of b
			text      string // of b, where it is not written
		}{
			{name: "all well", tell: func(*endpointtest.Server) {}},
			{name: "a key that was there", refused: "the key exists already", text: "old", tell: func(s *endpointtest.Server) { s.Do(0, "SET", "b", "old") }},
			{name: "a key that may be overwritten", over: target.Overwrite{First: true}, tell: func(s *endpointtest.Server) { s.Do(0, "SET", "b", "old") }},
			{name: "written, and not answered", over: target.Overwrite{Later: true}, tell: func(s *endpointtest.Server) {
				s.Once("RESTORE b", endpointtest.Unheard)
				s.Once("SLOTSRESTORE b", endpointtest.Unheard)
			}},
			{name: "without its expiry", why: "it is written again as a whole", over: target.Overwrite{Later: true}, tell: func(s *endpointtest.Server) { s.Once("PEXPIREAT b", endpointtest.HangUp) }},
			{name: "the server is not reached", tell: func(s *endpointtest.Server) {
				s.Once("RESTORE b", notReached, "-ERR Connection refused\r\n")
				s.Once("SLOTSRESTORE b", notReached, "-ERR Connection refused\r\n")
			}},
			{name: "nor asked whether the key is there", refused: "the key exists already", text: "old", tell: func(s *endpointtest.Server) {
				s.Do(0, "SET", "b", "old")
				s.Once("EXISTS b", notReached)
				readOnce(s, "b", notReached)
			}},
			{name: "a payload that the server does not read", refused: "DUMP payload version or checksum are wrong", tell: func(s *endpointtest.Server) {
				s.Always("RESTORE b", "-ERR DUMP payload version or checksum are wrong\r\n")
				s.Always("SLOTSRESTORE b", "-ERR DUMP payload version or checksum are wrong\r\n")
			}},
		} {
			t.Run(kind+", "+tt.name, func(t *testing.T) {
				t.Parallel()
				r := (map[string]func(*testing.T) *rig{"Codis": codisRig, "twemproxy": twemproxyRig})[kind](t)
				tt.tell(r.s)
				at := time.Now().Add(time.Hour).UnixMilli()
				settled, err := r.restore(t, r.batch(t, tt.over, at, "a", "b", "c"))
				if err != nil || len(settled) != 3 || settled["a"]+settled["c"] != "" || settled["b"] != tt.refused {
					t.Errorf("%q, %v; want %q for b (%s)", settled, err, tt.refused, tt.why)
				}
				for _, name := range []string{"a", "b", "c"} {
					want, wantAt := name, at
					if name == "b" && tt.refused != "" {
						want, wantAt = tt.text, 0
					}
					if text, expireAt, _ := targettest.Held(r.s, keyspace.Key{Name: name}); text != want || expireAt != wantAt {
						t.Errorf("%s is %q and expires at %d, want %q, %d (%s)", name, text, expireAt, want, wantAt, tt.why)
					}
				}
			})
		}
	}
}

// TestTwemproxyNames: a name that is too long for the proxy concerns its key alone, and the proxy is tried out with few names.
func TestTwemproxyNames(t *testing.T) {
	r := twemproxyRig(t)
	name := func(n int) string { return strings.Repeat("x", n) }
	lengths := []int{400, 450, 500, 501, 600, 480, 700, 501}
	for i, n := range lengths {
		b := r.batch(t, target.Overwrite{First: true}, 0, "short")
		b.Keys = append(b.Keys, b.Keys[0])
		b.Keys[1].Name = name(n)
		settled, err := r.restore(t, b)
		if refused := settled[name(n)] != ""; err != nil || refused != (n > 500) || settled["short"] != "" {
			t.Errorf("%d: a name of %d bytes: %v, %v", i, n, settled[name(n)], err)
		}
		x := r.transaction(500, "SET "+name(n)+" 1", "SET other 1")
		if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil || len(x.Failed) > 0 != (n > 500) {
			t.Errorf("%d: a command with a name of %d bytes: %v, %v", i, n, err, failed(x))
		}
		_, err = r.w.Rebuild(soon(t), target.Value{Name: name(n)}, target.Overwrite{First: true}, list(2, nil))
		if errors.As(err, new(*target.RefusedError)) != (n > 500) {
			t.Errorf("%d: a value with a name of %d bytes by commands: %v", i, n, err)
		}
	}
	tried := 0
	for _, call := range r.s.Calls("EXISTS") {
		if strings.HasPrefix(call, "EXISTS kkk") {
			tried++
		}
	}
	if tried > 4 { // 450, 500, 501; what lies between the longest that was passed and the shortest that was not
		t.Errorf("%d names were tried", tried)
	}
}

// TestProxiedRebuild: what was built of a value that is refused or goes away is deleted; a connection that breaks ends the load.
func TestProxiedRebuild(t *testing.T) {
	for _, tt := range []struct {
		name string
		tell func(s *endpointtest.Server)
		walk func(keyspace.Visitor) error
		old  bool
		left string
		ok   func(err error) bool
	}{
		{"all well", func(*endpointtest.Server) {}, list(2500, nil), false, "list", func(err error) bool { return err == nil }},
		{"refused", func(s *endpointtest.Server) { s.Once("RPUSH", "", "-ERR no\r\n") }, list(2500, nil), false, "", isRefused},
		{"gone at the source", func(*endpointtest.Server) {}, list(2500, keyspace.ErrGone), false, "", func(err error) bool { return errors.Is(err, keyspace.ErrGone) }},
		{"a key that is there", func(*endpointtest.Server) {}, list(2500, nil), true, "string", func(err error) bool { return errors.Is(err, target.ErrExists) && isRefused(err) }},
		{"the server is not reached", func(s *endpointtest.Server) { s.Once("RPUSH", "", notReached) }, list(2500, nil), false, "list", isToResume},
		{"the connection breaks", func(s *endpointtest.Server) { s.Once("RPUSH", "", endpointtest.HangUp) }, list(2500, nil), false, "list", isToResume},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := codisRig(t)
			tt.tell(r.s)
			if tt.old {
				r.s.Do(0, "SET", "big", "old")
			}
			_, err := r.w.Rebuild(soon(t), target.Value{Name: "big"}, target.Overwrite{}, tt.walk)
			left := ""
			if v := r.s.Get("big"); v != nil {
				left = v.Type.String()
			}
			if !tt.ok(err) || left != tt.left {
				t.Errorf("%v, left: %q, want %q", err, left, tt.left)
			}
			if isToResume(err) { // as the run does that comes again
				_, err := r.w.Rebuild(soon(t), target.Value{Name: "big"}, target.Overwrite{First: true}, tt.walk)
				if v := r.s.Get("big"); err != nil || v == nil || len(v.List) != 2500 {
					t.Errorf("the next run: %v", err)
				}
			}
		})
	}
}

func isRefused(err error) bool { return errors.As(err, new(*target.RefusedError)) }

func isToResume(err error) bool {
	return err != nil && !isRefused(err) && strings.Contains(err.Error(), "run the same command again")
}

// TestProxiedRemove: a failure to delete is told.
func TestProxiedRemove(t *testing.T) {
	r := twemproxyRig(t)
	r.s.Do(0, "SET", "a", "x")
	r.s.Once("DEL a", notReached)
	if err := r.w.Remove(t.Context(), []keyspace.Key{{Name: "a"}}); err == nil || !strings.Contains(err.Error(), r.s.Addr) {
		t.Errorf("the server is not reached: %v", err)
	}
	if err := r.w.Remove(t.Context(), []keyspace.Key{{Name: "a"}}); err != nil || len(r.s.Names()) > 0 {
		t.Error(err)
	}
}
