package target_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// batch holds strings for one node, whose texts are their names.
func (r *rig) batch(t *testing.T, over target.Overwrite, expireAt int64, names ...string) *target.Batch {
	t.Helper()
	addr, err := r.to.AddrOf(names[0])
	if err != nil {
		t.Fatal(err)
	}
	b := &target.Batch{Addr: addr, Over: over}
	for _, name := range names {
		k := target.Value{Name: name, ExpireAt: expireAt, Idle: -1, Freq: -1, From: len(b.Payload)}
		if b.Payload, err = r.to.Payloads.AppendValue(b.Payload, rdb.TypeString, append([]byte{byte(len(name))}, name...), 1<<20); err != nil {
			t.Fatal(err)
		}
		k.To = len(b.Payload)
		b.Keys = append(b.Keys, k)
	}
	return b
}

// restore restores a batch, and says of each key how it was settled: "" for written, else why it was refused.
func (r *rig) restore(t *testing.T, b *target.Batch) (settled map[string]string, err error) {
	t.Helper()
	settled = map[string]string{}
	return settled, r.w.Restore(soon(t), b, func(k *target.Value, refused *target.RefusedError) error {
		if _, twice := settled[k.Name]; twice {
			t.Errorf("%s was settled twice", k.Name)
		}
		settled[k.Name] = ""
		if refused != nil {
			settled[k.Name] = refused.Reply.Error()
		}
		return nil
	})
}

// TestRestoreFaults: whatever happens while a batch is under way, each of its keys is settled once and holds its value, if it is not refused.
func TestRestoreFaults(t *testing.T) {
	const hangUp, unheard = endpointtest.HangUp, endpointtest.Unheard
	for _, tt := range []struct {
		name, why string
		version   string
		over      target.Overwrite
		tell      func(s *endpointtest.Server)
		refused   string // of b
		text      string // of b, if it is another than its own
	}{
		{name: "all well", tell: func(*endpointtest.Server) {}},
		{name: "closed before the first", tell: func(s *endpointtest.Server) { s.Once("RESTORE a", hangUp) }},
		{name: "closed in between", tell: func(s *endpointtest.Server) { s.Once("RESTORE b", hangUp) }},
		{name: "closed within a reply", tell: func(s *endpointtest.Server) { s.Once("RESTORE b", "+O"+hangUp) }},
		{name: "written, and not answered", over: target.Overwrite{Later: true}, tell: func(s *endpointtest.Server) { s.Once("RESTORE b", unheard) }},
		{name: "written, and not answered, where keys must not be overwritten", why: "it may be somebody else's key", refused: "the key exists already",
			tell: func(s *endpointtest.Server) { s.Once("RESTORE b", unheard) }},
		{name: "a key that was there", over: target.Overwrite{Later: true}, refused: "the key exists already", text: "old", tell: func(s *endpointtest.Server) { s.Do(0, "SET", "b", "old") }},
		{name: "a key that may be overwritten", over: target.Overwrite{First: true}, tell: func(s *endpointtest.Server) { s.Do(0, "SET", "b", "old") }},
		{name: "the slot is being moved", tell: func(s *endpointtest.Server) { s.Once("RESTORE b", "-TRYAGAIN x\r\n") }},
		{name: "the process changed", why: "the reply to a is lost as well", over: target.Overwrite{Later: true}, tell: func(s *endpointtest.Server) { s.On("RESTORE b", once1(func() string { s.Restart(); return hangUp })) }},
		{name: "a payload that the server does not read", refused: "ERR DUMP payload version or checksum are wrong",
			tell: func(s *endpointtest.Server) {
				s.Always("RESTORE b", "-ERR DUMP payload version or checksum are wrong\r\n")
			}},
		{name: "without REPLACE", version: "2.8.24", over: target.Overwrite{First: true}, tell: func(s *endpointtest.Server) { s.Do(0, "SET", "b", "old") }},
		{name: "closed when the exact expiry of the first is still to come", version: "4.0.14", tell: func(s *endpointtest.Server) { s.Once("RESTORE b", hangUp) }},
		{name: "closed before the exact expiry", why: "the value is there and is not sent again", version: "4.0.14", tell: func(s *endpointtest.Server) { s.Once("PEXPIREAT b", hangUp) }},
		{name: "closed before the last exact expiry", version: "4.0.14", tell: func(s *endpointtest.Server) { s.Once("PEXPIREAT c", hangUp, hangUp) }},
		{name: "a key that was there, and exact expiries", why: "it keeps its own", version: "4.0.14", refused: "the key exists already", text: "old",
			tell: func(s *endpointtest.Server) { s.Do(0, "SET", "b", "old") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.version == "" {
				tt.version = "7.0.15"
			}
			r := serverRig(t, tt.version)
			at := time.Now().Add(time.Hour).UnixMilli()
			b := r.batch(t, tt.over, at, "a", "b", "c")
			tt.tell(r.s)
			settled, err := r.restore(t, b)
			if err != nil || len(settled) != 3 || settled["a"]+settled["c"] != "" || settled["b"] != tt.refused {
				t.Errorf("%q, %v; want %q for b (%s)", settled, err, tt.refused, tt.why)
			}
			for _, name := range []string{"a", "b", "c"} {
				text, expireAt, there := targettest.Held(r.s, keyspace.Key{Name: name})
				switch {
				case name == "b" && tt.refused != "" && tt.refused != "the key exists already":
					if there {
						t.Error("b was written")
					}
				case name == "b" && tt.text != "":
					if text != tt.text || expireAt != 0 {
						t.Errorf("b is %q and expires at %d (%s)", text, expireAt, tt.why)
					}
				case text != name || expireAt != at:
					t.Errorf("%s is %q and expires at %d, want %d (%s)", name, text, expireAt, at, tt.why)
				}
			}
			if exact := len(r.s.Calls("PEXPIREAT c")) > 0; exact != (tt.version < "5") {
				t.Errorf("the exact expiry was sent by a command of its own: %v", exact)
			}
			if strings.HasPrefix(tt.name, "closed before the exact") && len(r.s.Calls("RESTORE b")) != 1 {
				t.Error("the value was sent again")
			}
		})
	}
}

// TestRestoreDatabases: values go where they belong, and where a database cannot be selected, the load ends.
func TestRestoreDatabases(t *testing.T) {
	r := serverRig(t, "7.0.15")
	b := r.batch(t, target.Overwrite{}, 0, "a", "b", "c")
	b.Keys[1].DB = 4
	if _, err := r.restore(t, b); err != nil || !slices.Equal(r.s.Names(), []string{"a", "c"}) || !slices.Equal(r.s.NamesIn(4), []string{"b"}) {
		t.Errorf("%v, %v, %v", err, r.s.Names(), r.s.NamesIn(4))
	}
	r.renew(t)
	b = r.batch(t, target.Overwrite{First: true}, 0, "a", "b", "c")
	b.Keys[1].DB = 5
	r.s.Always("SELECT 5", "-NOPERM no\r\n")
	if _, err := r.restore(t, b); err == nil || !strings.Contains(err.Error(), "database 5") {
		t.Errorf("a database that cannot be selected: %v", err)
	}
}

// TestRestoreMoved: keys whose slot moves while they are under way are written where it is, and the others of their batch once.
func TestRestoreMoved(t *testing.T) {
	r, c := clusterRig(t)
	s := c.Of("{a}1")
	stays := ""
	for i := 0; stays == ""; i++ {
		if name := fmt.Sprint("stays", i); c.Of(name) == s {
			stays = name
		}
	}
	to := c.Servers[0]
	if to == s {
		to = c.Servers[1]
	}
	s.On("RESTORE {a}2", once1(func() string { c.Move("{a}1", to); return endpointtest.Usual }))
	settled, err := r.restore(t, r.batch(t, target.Overwrite{}, 0, stays, "{a}1", "{a}2"))
	if err != nil || len(settled) != 3 || settled[stays]+settled["{a}1"]+settled["{a}2"] != "" {
		t.Fatalf("%q, %v", settled, err)
	}
	if !slices.Equal(to.Names(), []string{"{a}1", "{a}2"}) || !slices.Equal(s.Names(), []string{stays}) || len(s.Calls("RESTORE "+stays)) != 1 {
		t.Errorf("%v and %v", s.Names(), to.Names())
	}
}

// list shows a list of n elements, and ends with an error.
func list(n int, err error) func(keyspace.Visitor) error {
	return func(v keyspace.Visitor) error {
		for i := range n {
			if err := v.ListElement([]byte(fmt.Sprint(i))); err != nil {
				return err
			}
		}
		return err
	}
}

// TestRebuildKilled: a value is built under another name, so that at no moment half of it is seen, and after the connection broke at any
// step a run that comes again builds it whole and leaves nothing behind.
func TestRebuildKilled(t *testing.T) {
	const big, elements = "big", 2500
	for _, tt := range []struct {
		words   string
		skip    int // how many of these commands are answered before
		unheard bool
	}{{words: "DEL"}, {words: "RPUSH"}, {words: "RPUSH", skip: 1}, {words: "RPUSH", skip: 2}, {words: "RPUSH", skip: 2, unheard: true}, {words: "PEXPIREAT"},
		{words: "EXISTS"}, {words: "RENAME"}, {words: "RENAME", unheard: true}} {
		for _, old := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after %d, unheard %v, over another %v", tt.words, tt.skip, tt.unheard, old), func(t *testing.T) {
				r := serverRig(t, "7.0.15")
				if old {
					r.s.Do(0, "SET", big, "old")
				}
				whole := func() bool {
					v := r.s.Get(big)
					return v != nil && v.Type == keyspace.List && len(v.List) == elements
				}
				r.s.On("", func([]string) string { // before each command
					if v := r.s.Get(big); v != nil && v.Type == keyspace.List && !whole() || old && v == nil {
						t.Error("half of the value is seen")
					}
					return endpointtest.Usual
				})
				answers := make([]string, tt.skip, tt.skip+1)
				if tt.unheard {
					answers = append(answers, endpointtest.Unheard)
				} else {
					answers = append(answers, endpointtest.HangUp)
				}
				r.s.Once(tt.words, answers...)
				k := target.Value{Name: big, ExpireAt: time.Now().Add(time.Hour).UnixMilli()}
				over := target.Overwrite{First: true}
				if _, err := r.w.Rebuild(soon(t), k, over, list(elements, nil)); err == nil || errors.As(err, new(*target.RefusedError)) || !strings.Contains(err.Error(), "run the same command again") {
					t.Fatalf("the first run: %v", err)
				}
				r.renew(t)
				if _, err := r.w.Rebuild(soon(t), k, over, list(elements, nil)); err != nil || !whole() || r.s.Get(big).ExpireAt != k.ExpireAt {
					t.Errorf("the second run: %v", err)
				}
				if names := r.s.Names(); !slices.Equal(names, []string{big}) {
					t.Errorf("left: %v", names)
				}
			})
		}
	}
}

// TestRebuildRefused: what is built of a value that is refused, or goes away, is deleted.
func TestRebuildRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		tell    func(s *endpointtest.Server)
		walk    func(keyspace.Visitor) error
		refused bool
		err     error
	}{
		{"by the server", func(s *endpointtest.Server) { s.Once("RPUSH", "", "-ERR no such\r\n") }, list(2500, nil), true, nil},
		{"at the end", func(s *endpointtest.Server) { s.Once("RENAMENX", "-ERR no such\r\n") }, list(2500, nil), true, nil},
		{"since another key has come", func(s *endpointtest.Server) {
			s.Before("RENAMENX", func() { s.Do(0, "SET", "big", "somebody's") })
		}, list(2500, nil), true, target.ErrExists},
		{"expired meanwhile", func(s *endpointtest.Server) { s.Always("EXISTS", ":0\r\n") }, list(2500, nil), false, keyspace.ErrGone},
		{"gone at the source", func(*endpointtest.Server) {}, list(2500, keyspace.ErrGone), false, keyspace.ErrGone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serverRig(t, "7.0.15")
			r.s.Do(3, "SET", "big", "of another database")
			tt.tell(r.s)
			_, err := r.w.Rebuild(soon(t), target.Value{Name: "big"}, target.Overwrite{}, tt.walk)
			if got := errors.As(err, new(*target.RefusedError)); got != tt.refused || err == nil || tt.err != nil && !errors.Is(err, tt.err) {
				t.Errorf("%v", err)
			}
			for _, name := range r.s.Names() {
				if v := r.s.Get(name); name != "big" || v.Type != keyspace.String {
					t.Errorf("%s is left", name)
				}
			}
			if _, err := r.w.Rebuild(soon(t), target.Value{Name: "next", DB: 3}, target.Overwrite{}, list(3, nil)); err == nil && r.s.GetIn(3, "next") == nil {
				t.Error("the next value is not where it belongs")
			}
		})
	}
}

// TestRemove: keys are deleted with what was built of them, in their databases, and a failure is told.
func TestRemove(t *testing.T) {
	r := serverRig(t, "7.0.15")
	r.s.Once("RENAMENX", endpointtest.HangUp)
	if _, err := r.w.Rebuild(soon(t), target.Value{Name: "big", DB: 2}, target.Overwrite{}, list(10, nil)); err == nil || len(r.s.NamesIn(2)) != 1 {
		t.Fatal(err, r.s.NamesIn(2))
	}
	r.renew(t)
	for _, db := range []int{0, 2} {
		r.s.Do(db, "SET", "a", "x")
	}
	keys := []keyspace.Key{{Name: "a"}, {DB: 2, Name: "big"}}
	r.s.Once("DEL", endpointtest.HangUp)
	if err := r.w.Remove(t.Context(), keys); err == nil || !strings.Contains(err.Error(), r.s.Addr) {
		t.Errorf("the connection broke: %v", err)
	}
	if err := r.w.Remove(t.Context(), keys); err != nil || len(r.s.Names()) > 0 || !slices.Equal(r.s.NamesIn(2), []string{"a"}) {
		t.Errorf("%v; left %v and %v", err, r.s.Names(), r.s.NamesIn(2))
	}
	r.s.Once("SELECT 2", "-NOPERM no\r\n")
	if err := r.w.Remove(t.Context(), []keyspace.Key{{Name: "b"}, {DB: 2, Name: "a"}}); err == nil {
		t.Error("a database that cannot be selected")
	}
	r.s.Do(0, "SET", "b", "x")
	if err := r.w.Remove(t.Context(), []keyspace.Key{{Name: "b"}}); err != nil || len(r.s.Names()) > 0 {
		t.Errorf("after that: %v, %v", err, r.s.Names())
	}
}
