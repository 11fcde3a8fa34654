//go:build servers

package quiet

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint/endpointtest"
)

func images() []string {
	if os.Getenv("SURECUT_TEST_ALL") != "" {
		return servers.Images()
	}
	return []string{"redis:6.0", "redis:7.0", "valkey/valkey:8.1"}
}

// TestWhatCountsAsWritten does one thing between two readings of a real server, and wants it told from silence, or not.
func TestWhatCountsAsWritten(t *testing.T) {
	for _, image := range images() {
		t.Run(image, func(t *testing.T) {
			s := servers.Standalone(t, image)
			d := endpointtest.Open(t, s.URL())
			s.Must("SET", "string", "5")
			s.Must("RPUSH", "list", "3", "1")
			tests := []struct {
				name, why string
				do        func()
				since     string // the first Redis version that has it, as "7."; "" is all
				written   bool
			}{
				{name: "nothing", why: "the server does its own work meanwhile", do: func() {}},
				{name: "reads", why: "a reader harms nothing", do: func() { s.Must("GET", "string"); s.Must("LRANGE", "list", "0", "-1") }},
				{name: "a sort that reads", why: "the server calls it a write", do: func() { s.Must("SORT", "list") }},
				{name: "a message", why: "it moves the offset where there are replicas, and is no data", do: func() { s.Must("PUBLISH", "__sentinel__:hello", "127.0.0.1") }},
				{name: "a script that reads", why: "a script counts by what it runs", do: func() { s.Must("EVAL", "return redis.call('get', KEYS[1])", "1", "string") }},
				{name: "a cached script", why: "it is no data", do: func() { s.Must("SCRIPT", "LOAD", "return 1") }},
				{name: "an administrator", why: "looking is not writing", do: func() { s.Must("CONFIG", "GET", "save"); s.Must("CLIENT", "LIST"); s.Must("INFO") }},
				{name: "counters are reset", why: "the changes of the data still tell", do: func() { s.Must("CONFIG", "RESETSTAT") }},
				{name: "a save", why: "the calls still tell", do: func() { s.Must("SAVE") }},
				{name: "a write", why: "a writer is there", do: func() { s.Must("SET", "string", "6") }, written: true},
				{name: "a write that changes nothing", why: "who sends it is a writer", do: func() { s.Must("SADD", "s", "a"); s.Must("SADD", "s", "a") }, written: true},
				{name: "a write that fails", why: "who sends it is a writer", do: func() { _ = s.Do("LPUSH", "string", "x").Error() }, written: true},
				{name: "a delete of nothing", why: "who sends it is a writer", do: func() { s.Must("DEL", "not there") }, written: true},
				{name: "a sort that stores", why: "it changes a key", do: func() { s.Must("SORT", "list", "STORE", "sorted") }, written: true},
				{name: "a script that writes", why: "what it ran counts", do: func() { s.Must("EVAL", "return redis.call('incr', KEYS[1])", "1", "string") }, written: true},
				{name: "a write after a reset", why: "the changes of the data still tell", do: func() { s.Must("CONFIG", "RESETSTAT"); s.Must("INCR", "string") }, written: true},
				{name: "a write before a reset", why: "its call is forgotten, its change is not", do: func() { s.Must("INCR", "string"); s.Must("CONFIG", "RESETSTAT") }, written: true},
				{name: "a write before a save", why: "its change is forgotten, its call is not", do: func() { s.Must("INCR", "string"); s.Must("SAVE") }, written: true},
				{name: "reset and saved", why: "nothing tells any more, and that is not quiet", do: func() { s.Must("CONFIG", "RESETSTAT"); s.Must("SAVE") }, written: true},
				{name: "a flush", why: "all data is gone", do: func() { s.Must("FLUSHALL") }, written: true},
				{name: "a function", why: "libraries travel, too", since: "7.", do: func() {
					s.Must("FUNCTION", "LOAD", "REPLACE", "#!lua name=l\nredis.register_function('f', function() return 1 end)")
				}, written: true},
			}
			time.Sleep(1100 * time.Millisecond) // rdb_last_save_time counts seconds, and the server has just begun
			for _, tt := range tests {
				if tt.since != "" && strings.HasSuffix(image, ":6.0") {
					continue
				}
				before, err := Read(t.Context(), d)
				if err != nil {
					t.Fatal(err)
				}
				tt.do()
				after, err := Read(t.Context(), d)
				if err != nil {
					t.Fatal(err)
				}
				r := Compare(before, after)
				if r.Quiet == tt.written {
					t.Errorf("%s (%s): quiet is %v: %+v\nbefore %+v\nafter %+v", tt.name, tt.why, r.Quiet, r.Nodes, before, after)
				}
				s.Must("SET", "string", "5")
				s.Must("RPUSH", "list", "3", "1")
			}
		})
	}
}

// TestExpiryIsNoWriter: keys that expire are deleted in the stream, and nobody has written.
func TestExpiryIsNoWriter(t *testing.T) {
	s := servers.Standalone(t, "redis:7.0")
	servers.Replica(t, s)
	d := endpointtest.Open(t, s.URL())
	for _, key := range []string{"a", "b", "c"} {
		s.Must("SET", key, "1", "PX", "300")
	}
	before, err := Read(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); s.Info("stats")["expired_keys"] != "3"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the keys do not expire")
		}
	}
	after, err := Read(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	r := Compare(before, after)
	if !r.Quiet || r.Nodes[0].OffsetEnd <= r.Nodes[0].OffsetBegin {
		t.Errorf("%+v; want quiet, with an offset that the deletions have moved", r)
	}
}

// TestWatchNamesTheWriter: who writes is told, with the name that he has given himself; who reads is not.
func TestWatchNamesTheWriter(t *testing.T) {
	s := servers.Standalone(t, "redis:7.0")
	d := endpointtest.Open(t, s.URL())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	write := s.Client(0)
	dedicated, release := write.Dedicate()
	defer release()
	if err := dedicated.Do(ctx, dedicated.B().Arbitrary("CLIENT", "SETNAME", "orders").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		for ctx.Err() == nil {
			_ = dedicated.Do(ctx, dedicated.B().Incr().Key("counter").Build()).Error()
			time.Sleep(5 * time.Millisecond)
		}
	}()
	before, err := Read(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	r, still, err := Watch(t.Context(), d, before, time.Minute)
	cancel()
	<-over
	if err != nil {
		t.Fatal(err)
	}
	if r.Quiet || !still || len(r.Nodes[0].Writers) != 1 || r.Nodes[0].Writers[0].Name != "orders" || r.Nodes[0].Writers[0].Command != "incr" || r.Nodes[0].Writes == 0 {
		t.Errorf("%+v, still %v; want the writer, told at once and not after a minute", r, still)
	}

	// one who has stopped during the comparison leaves a source that is quiet now
	before = []Reading{before[0]}
	r, still, err = Watch(t.Context(), d, before, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.Quiet || still {
		t.Errorf("quiet %v, still %v; want that it was written before and is not now", r.Quiet, still)
	}
}

// TestPauseHoldsWritesBack: a pause is put back, and who waits for its end is a writer.
func TestPauseHoldsWritesBack(t *testing.T) {
	s := servers.Standalone(t, "redis:7.0")
	d := endpointtest.Open(t, s.URL())
	s.Must("SET", "k", "before")
	blocked := s.Client(1)
	go func() { _ = blocked.Do(t.Context(), blocked.B().Arbitrary("BLPOP", "no list", "60").Build()).Error() }()
	for deadline := time.Now().Add(time.Minute); s.Info("clients")["blocked_clients"] != "1"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the BLPOP does not wait")
		}
	}
	before, err := Read(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	p, err := PauseWrites(t.Context(), d, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	r := Compare(before, before)
	if p.Judge(t.Context(), &r); !r.Quiet || r.PausedMs != 60_000 {
		t.Errorf("%+v; want quiet, since nobody waits", r)
	}
	wrote := make(chan error, 1)
	go func() {
		c := s.Client(0)
		wrote <- c.Do(t.Context(), c.B().Set().Key("k").Value("after").Build()).Error()
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if r = Compare(before, before); r.Quiet {
			p.Judge(t.Context(), &r)
		}
		if !r.Quiet {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the client that waits is not seen")
		}
	}
	if n := r.Nodes[0]; len(n.Writers) != 1 || n.Writers[0].Command != "set" || !strings.Contains(n.Reason, "1 of its clients are waiting") {
		t.Errorf("%+v; want the SET that waits, and not the BLPOP", n)
	}
	if err := p.End(); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Errorf("the write that waited: %v", err)
	}
}

func TestPauseRefusedWhereThereIsNone(t *testing.T) {
	s := servers.Standalone(t, "redis:6.0")
	_, err := PauseWrites(t.Context(), endpointtest.Open(t, s.URL()), time.Second)
	if err == nil || !strings.Contains(err.Error(), "needs 6.2 or later") || !strings.Contains(err.Error(), s.Addr) {
		t.Errorf("%v; want that it is refused, with the version", err)
	}
}

// TestMayNotPause: a user who may not pause is told so before anything is paused.
func TestMayNotPause(t *testing.T) {
	s := servers.Standalone(t, "redis:7.0")
	s.Must("ACL", "SETUSER", "mover", "on", "nopass", "~*", "+@all", "-client|unpause")
	_, err := PauseWrites(t.Context(), endpointtest.Open(t, "redis://mover:x@"+s.Addr), time.Minute)
	if err == nil || !strings.Contains(err.Error(), "mover may not run CLIENT UNPAUSE") {
		t.Errorf("%v; want that the user may not let the writes go again", err)
	}
	s.Must("SET", "k", "not paused")
}

// TestWhoIsConnectedIsNotKnown: a user who may not ask for the clients still learns that the source is written.
func TestWhoIsConnectedIsNotKnown(t *testing.T) {
	s := servers.Standalone(t, "redis:7.0")
	s.Must("ACL", "SETUSER", "mover", "on", "nopass", "~*", "+@all", "-client")
	d := endpointtest.Open(t, "redis://mover:x@"+s.Addr)
	before, err := Read(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	s.Must("SET", "k", "v")
	r, _, err := Watch(t.Context(), d, before, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Nodes[0]; r.Quiet || len(n.Writers) != 0 || !strings.Contains(n.Reason, "still written") || !strings.Contains(n.Reason, "not known who is connected, because CLIENT LIST") {
		t.Errorf("%+v", n)
	}
}
