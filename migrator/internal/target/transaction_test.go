package target

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
	"surecut/internal/resp"
)

// repliesTo reads replies as a pipe does; "" closes the connection.
func repliesTo(texts []string) (out []answer) {
	r := answers{in: bufio.NewReader(strings.NewReader(strings.ReplaceAll(strings.Join(texts, " / ")+" / ", " / ", "\r\n")))}
	for _, text := range texts {
		if text == "" {
			r.in.Reset(strings.NewReader(""))
		}
		out = append(out, r.next())
	}
	return out
}

// fakeReplies is a server that answers each command with the next of its replies; "" closes the connection.
func fakeReplies(t *testing.T, replies []string) rueidis.DedicatedClient {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { answerEach(conn, replies) })
		}
	})
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{l.Addr().String()}, ForceSingleClient: true, DisableCache: true,
		DisableRetry: true, AlwaysRESP2: true, ClientSetInfo: rueidis.DisableClientSetInfo})
	if err != nil {
		t.Fatal(err)
	}
	dc, release := c.Dedicate()
	t.Cleanup(func() {
		dc.Close()
		release()
		c.Close()
		l.Close()
		wg.Wait()
	})
	return dc
}

func answerEach(conn net.Conn, replies []string) {
	defer conn.Close()
	in := resp.NewReader(bufio.NewReader(conn))
	for {
		args, _, err := in.ReadCommand()
		if err != nil {
			return
		}
		reply := "+OK"
		switch name := strings.ToUpper(string(args[0])); {
		case name == "PING":
			reply = "+PONG"
		case name == "HELLO":
			reply = "-ERR unknown command `HELLO`"
		case name != "CLIENT" && len(replies) > 0:
			reply, replies = replies[0], replies[1:]
		}
		if reply == "" {
			return
		}
		if _, err := io.WriteString(conn, strings.ReplaceAll(reply, " / ", "\r\n")+"\r\n"); err != nil {
			return
		}
	}
}

// newTestWriter is a writer whose server does not exist.
func newTestWriter(acknowledged map[Unit]int64) *direct {
	t := newTestTarget()
	return newDirect(t, Writing{Checkpoints: t.NewCheckpoints("0"), Acknowledged: func(u Unit) int64 { return acknowledged[u] }})
}

// TestSettle: MULTI, HSET, two calls, EXEC; what each sequence of replies means.
func TestSettle(t *testing.T) {
	const q = "+QUEUED"
	future := time.Now().Add(time.Hour).UnixMilli()
	for _, c := range []struct {
		name, why string
		replies   []string
		again     bool  // to be sent once more
		doubt     bool  // the target has to be asked
		err       error // ends the migration
		fatal     bool  // some other error does
		written   bool  // the checkpoint had been acknowledged
		selects   bool  // the second command in the transaction is a SELECT, and not a checkpoint
		failed    string
		left      int // calls
	}{
		{name: "applied", replies: []string{"+OK", q, q, q, "*3 / +OK / :1 / :1"}, left: 2},
		{name: "a call fails", why: "the others are applied", replies: []string{"+OK", q, q, q, "*3 / +OK / -WRONGTYPE x / :1"}, failed: "INCR", left: 2},
		{name: "a renewal finds no key", replies: []string{"+OK", q, q, q, "*3 / +OK / :1 / :0"}, failed: "PEXPIREAT", left: 2},
		{name: "a database that the server lacks", why: "the calls ran in another one", selects: true, replies: []string{"+OK", q, q, q, "*3 / -ERR DB index is out of range / :1 / :1"}, fatal: true, left: 2},
		{name: "nil", why: "is a result", replies: []string{"+OK", q, q, q, "*3 / +OK / $-1 / :1"}, left: 2},
		{name: "checkpoint is gone", why: "all fields of one that was acknowledged are new", written: true, replies: []string{"+OK", q, q, q, "*3 / :2 / :1 / :1"}, err: ErrRegressed, left: 2},
		{name: "checkpoint has a new field", why: "the offset of a copied key", written: true, replies: []string{"+OK", q, q, q, "*3 / :1 / :1 / :1"}, left: 2},
		{name: "first checkpoint", why: "nothing was acknowledged before", replies: []string{"+OK", q, q, q, "*3 / :2 / :1 / :1"}, left: 2},
		{name: "lost at once", replies: []string{""}, again: true, doubt: true, left: 2},
		{name: "lost before EXEC's reply", why: "it may have run", replies: []string{"+OK", q, q, q, ""}, again: true, doubt: true, left: 2},
		{name: "moved", replies: []string{"+OK", q, "-MOVED 1 a:1", q, "-EXECABORT Transaction discarded because of previous errors."}, again: true, left: 2},
		{name: "asked", replies: []string{"+OK", "-ASK 1 a:1", q, q, "-EXECABORT x"}, again: true, left: 2},
		{name: "moved at EXEC", replies: []string{"+OK", q, q, q, "-MOVED 1 a:1"}, again: true, left: 2},
		{name: "loading", replies: []string{"-LOADING x", "-LOADING x", "-LOADING x", "-LOADING x", "-LOADING x"}, again: true, left: 2},
		{name: "read only", replies: []string{"+OK", "-READONLY x", "-READONLY x", q, "-EXECABORT x"}, again: true, left: 2},
		{name: "read only at EXEC", why: "6.2 and later say why", replies: []string{"+OK", q, q, q, "-EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica."}, again: true, left: 2},
		{name: "full", replies: []string{"+OK", q, "-OOM x", q, "-EXECABORT x"}, err: ErrTargetFull, left: 2},
		{name: "full at EXEC", replies: []string{"+OK", q, q, q, "-EXECABORT Transaction discarded because of: OOM command not allowed"}, err: ErrTargetFull, left: 2},
		{name: "unknown command", why: "the rest goes in without it", replies: []string{"+OK", q, "-ERR unknown command", q, "-EXECABORT x"}, again: true, failed: "INCR", left: 1},
		{name: "no permission", why: "a user's mistake is not repaired by copies", replies: []string{"+OK", q, "-NOPERM x", q, "-EXECABORT x"}, fatal: true, left: 2},
		{name: "checkpoint refused", why: "without it nothing may be applied", replies: []string{"+OK", "-WRONGTYPE x", q, q, "-EXECABORT x"}, fatal: true, left: 2},
		{name: "EXEC refused for itself", replies: []string{"+OK", q, q, q, "-EXECABORT x"}, again: true, failed: "INCR PEXPIREAT", left: 0},
		{name: "EXEC without MULTI", replies: []string{"+OK", q, q, q, "-ERR EXEC without MULTI"}, fatal: true, left: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &Transaction{sent: time.Now(), Calls: []Call{{Args: []string{"INCR", "a"}, pos: 2}, {Args: []string{"PEXPIREAT", "a", "1"}, pos: 3, Renew: future}}}
			if c.written {
				x.written = []writtenUnit{{unit: 0, pos: 1, fields: 2}}
			}
			if c.selects {
				x.selects = []int{1}
			}
			again, err := newTestWriter(nil).settle(x, repliesTo(c.replies))
			if (again != nil) != c.again || x.doubt != c.doubt {
				t.Errorf("%s: again %v, doubt %v; want %v, %v", c.why, again, x.doubt, c.again, c.doubt)
			}
			if (err != nil) != (c.fatal || c.err != nil) || c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("%s: error %v", c.why, err)
			}
			var failed []string
			for _, f := range x.Failed {
				failed = append(failed, f.Call.Args[0])
			}
			if got := strings.Join(failed, " "); got != c.failed || len(x.Calls) != c.left {
				t.Errorf("%s: failed %q and %d calls left, want %q and %d", c.why, got, len(x.Calls), c.failed, c.left)
			}
		})
	}
}

// TestSettleBare: SET and PEXPIREAT as single commands; what each pair of replies means.
func TestSettleBare(t *testing.T) {
	future := time.Now().Add(time.Hour).UnixMilli()
	for _, c := range []struct {
		name, why string
		replies   []string
		again     bool
		doubt     bool
		err       error
		fatal     bool
		failed    string
	}{
		{name: "applied", replies: []string{"+OK", ":1"}},
		{name: "a renewal finds no key", replies: []string{"+OK", ":0"}, failed: "PEXPIREAT"},
		{name: "refused", why: "the other one is applied", replies: []string{"-WRONGTYPE x", ":1"}, failed: "SET"},
		{name: "unknown command", replies: []string{"-ERR unknown command", ":1"}, failed: "SET"},
		{name: "lost at once", replies: []string{"", ""}, again: true, doubt: true},
		{name: "lost in between", why: "what the reply showed is not forgotten", replies: []string{"-WRONGTYPE x", ""}, again: true, doubt: true, failed: "SET"},
		{name: "moved", why: "all of them come again", replies: []string{"+OK", "-MOVED 1 a:1"}, again: true},
		{name: "moved, and a finding", replies: []string{"-MOVED 1 a:1", ":0"}, again: true, failed: "PEXPIREAT"},
		{name: "full", why: "the next run applies it", replies: []string{"-OOM x", ":1"}, err: ErrTargetFull},
		{name: "no permission", replies: []string{"+OK", "-NOPERM x"}, fatal: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &Transaction{Bare: true, sent: time.Now(), Calls: []Call{{Args: []string{"SET", "a", "v"}}, {Args: []string{"PEXPIREAT", "a", "1"}, Renew: future}}}
			w := newTestWriter(nil)
			again, err := w.settleBare(x, repliesTo(c.replies))
			if (again != nil) != c.again || x.doubt != c.doubt || (err != nil) != (c.fatal || c.err != nil) || c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("%s: again %v, doubt %v, error %v", c.why, again, x.doubt, err)
			}
			failed := func() (names string) {
				for _, f := range x.Failed {
					names += f.Call.Args[0]
				}
				return names
			}
			if got := failed(); got != c.failed {
				t.Errorf("%s: failed %q, want %q", c.why, got, c.failed)
			}
			if !c.again {
				return
			}
			// Sent again, the commands may be answered otherwise, and a finding counts once.
			if _, err := w.dropApplied(t.Context(), &conn{}, []*Transaction{x}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.settleBare(x, repliesTo([]string{"+OK", ":1"})); err != nil {
				t.Fatal(err)
			}
			want := c.failed
			if c.doubt { // the lost reply to PEXPIREAT might have shown that the key was gone
				want += "PEXPIREAT"
			}
			if got := failed(); got != want {
				t.Errorf("%s: sent again, failed %q, want %q", c.why, got, want)
			}
		})
	}
}

// TestMayGoBare: what has to hold for a batch to be sent without its checkpoint.
func TestMayGoBare(t *testing.T) {
	server := Instance{Process: "p"}
	for name, c := range map[string]struct {
		change func(w *direct, c *conn, p *pipe, x *Transaction)
		want   bool
	}{
		"absolute":                          {func(*direct, *conn, *pipe, *Transaction) {}, true},
		"not absolute":                      {func(_ *direct, _ *conn, _ *pipe, x *Transaction) { x.Absolute = false }, false},
		"a copy":                            {func(_ *direct, _ *conn, _ *pipe, x *Transaction) { x.Fence = map[keyspace.Key]int64{{}: 1} }, false},
		"a fence to forget":                 {func(_ *direct, _ *conn, _ *pipe, x *Transaction) { x.Forget = []string{"f:0:a"} }, false},
		"another database":                  {func(_ *direct, _ *conn, _ *pipe, x *Transaction) { x.Calls[0].DB = 1 }, false},
		"no database yet":                   {func(_ *direct, _ *conn, p *pipe, _ *Transaction) { p.db = -1 }, false},
		"a connection that cannot be ended": {func(_ *direct, c *conn, _ *pipe, _ *Transaction) { c.ends = false }, false},
		"a pipe that cannot be ended":       {func(_ *direct, _ *conn, p *pipe, _ *Transaction) { p.id = "" }, false},
		"another server":                    {func(_ *direct, c *conn, _ *pipe, _ *Transaction) { c.server.Process = "q" }, false},
		"no record on the node":             {func(w *direct, _ *conn, _ *pipe, _ *Transaction) { w.Checkpoints.instances.recorded = nil }, false},
		"a key that may have expired": {func(w *direct, _ *conn, _ *pipe, _ *Transaction) {
			w.t.Expiring.Note(0, "a", time.Now().UnixMilli()+1000)
		}, false},
		"a key that expires later": {func(w *direct, _ *conn, _ *pipe, _ *Transaction) {
			w.t.Expiring.Note(0, "a", time.Now().UnixMilli()+3_600_000)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestWriter(nil)
			w.Checkpoints.instances.begin(map[string]Instance{"x": server}, map[string]bool{"x": true})
			conn, p := &conn{addr: "x", server: server, ends: true}, &pipe{id: "7"}
			x := &Transaction{Absolute: true, Calls: []Call{{Args: []string{"HSET", "a", "f", "v"}, Key: keyspace.Key{Name: "a"}, Reads: true}}}
			c.change(w, conn, p, x)
			if got := w.mayGoBare(conn, p, x); got != c.want || w.Checkpoints.instances.bare != c.want {
				t.Errorf("may go without a checkpoint: %v, want %v", got, c.want)
			}
		})
	}
}

// TestSettleGone: replies that say that the target had lost what the source still had.
func TestSettleGone(t *testing.T) {
	for _, c := range []struct {
		command, reply string
		lacks          bool
	}{
		{"COPY a b", ":0", true}, {"COPY a b", ":1", false},
		{"RENAMENX a b", ":0", true}, {"SMOVE a b m", ":0", true},
		{"RPOPLPUSH a b", "$-1", true}, {"RPOPLPUSH a b", "$1 / x", false},
		{"LMOVE a b LEFT LEFT", "$-1", true}, {"LPUSHX a x", ":0", true},
		{"SPOP a", "$-1", false}, {"SADD a x", ":0", false},
		{"HPERSIST a FIELDS 1 f", "*1 / :-2", true}, {"HPERSIST a FIELDS 1 f", "*1 / :-1", true}, {"HPERSIST a FIELDS 1 f", "*1 / :1", false},
		{"HPERSIST a FIELDS 2 f g", "*2 / :1 / :-2", true}, {"HPERSIST a FIELDS 2 f g", "*2 / :1 / :-1", false},
	} {
		args := strings.Fields(c.command)
		x := &Transaction{sent: time.Now(), Calls: []Call{{Args: args, pos: 1, Renew: RenewOf(args[0])}}}
		if again, err := newTestWriter(nil).settle(x, repliesTo([]string{"+OK", "+QUEUED", "*1 / " + c.reply})); again != nil || err != nil {
			t.Fatal(again, err)
		}
		if got := len(x.Failed) > 0; got != c.lacks {
			t.Errorf("%s answered by %s: repaired %v, want %v", c.command, c.reply, got, c.lacks)
		}
	}
}

// TestUnseen: of a transaction that turns out to be applied after its connection broke, nobody knows whether the target
// had the keys.
func TestUnseen(t *testing.T) {
	dc := fakeReplies(t, []string{"$3 / 500"})
	x := &Transaction{Units: []Unit{1}, End: 500, doubt: true, Calls: []Call{{Args: []string{"INCR", "a"}}, {Args: []string{"RENAME", "b", "c"}, Renew: RenewOf("RENAME")}}}
	left, err := newTestWriter(map[Unit]int64{1: 400}).dropApplied(t.Context(), &conn{dc: dc, db: 0}, []*Transaction{x})
	if err != nil || len(left) != 0 || len(x.Failed) != 1 || x.Failed[0].Call.Args[1] != "b" {
		t.Errorf("left %d, failed %v, %v", len(left), x.Failed, err)
	}
}

// TestInDoubt: a transaction that a broken connection left in doubt is applied where the unit's checkpoint has moved to
// its end. Where the checkpoint stood there before, it says nothing: a copy must not be left out for it.
func TestInDoubt(t *testing.T) {
	const end = 500
	for _, c := range []struct {
		name           string
		before, stored int64
		again          bool
	}{
		{"not applied", 400, 400, true},
		{"applied", 400, end, false},
		{"applied, first of its unit", 0, end, false},
		{"the checkpoint had come as far before", end, end, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dc := fakeReplies(t, []string{fmt.Sprintf("$3 / %d", c.stored)})
			w := newTestWriter(map[Unit]int64{1: c.before})
			x := &Transaction{Units: []Unit{1}, End: end, doubt: true}
			left, err := w.dropApplied(t.Context(), &conn{dc: dc, db: 0}, []*Transaction{x})
			if err != nil || (len(left) == 1) != c.again {
				t.Errorf("%d to be sent again, %v", len(left), err)
			}
		})
	}
}

// TestEncodeAllocations: what is sent of a call is written into a buffer that is used again.
func TestEncodeAllocations(t *testing.T) {
	w, to := newTestWriter(nil), &pipe{}
	x := &Transaction{Units: []Unit{1}}
	for range 100 {
		x.Calls = append(x.Calls, Call{Args: []string{"SET", "key", "value"}})
	}
	for name, encode := range map[string]func(){"in a transaction": func() { w.encode(to, x) }, "bare": func() { w.encodeBare(to, x) }} {
		each := testing.AllocsPerRun(100, func() {
			encode()
			to.forget()
		}) / float64(len(x.Calls))
		if each > 0.1 {
			t.Errorf("%s: %.2f allocations for each call", name, each)
		}
	}
}

// TestRestoreAllocations: nor does what is sent of a value.
func TestRestoreAllocations(t *testing.T) {
	w, to, b := newTestWriter(nil), &pipe{}, &Batch{Payload: make([]byte, 100)}
	for range 100 {
		b.Keys = append(b.Keys, Value{Name: "key", To: 100, ExpireAt: 1e12, Idle: -1, Freq: -1})
	}
	each := testing.AllocsPerRun(100, func() {
		w.queueValues(to, b, b.Keys)
		to.forget()
	}) / float64(len(b.Keys))
	if each > 0.1 {
		t.Errorf("%.2f allocations for each value", each)
	}
}

// TestSettleSeries: where EXEC runs nothing since a command of a series was refused, the others are sent again without it.
func TestSettleSeries(t *testing.T) {
	s := &Series{}
	s.Add([]byte("*2\r\n$4\r\nINCR\r\n$1\r\na\r\n"), 18, 19, true)
	s.Add([]byte("*2\r\n$4\r\nDECR\r\n$1\r\nb\r\n"), 18, 19, true)
	x := &Transaction{sent: time.Now(), Calls: []Call{{Series: s, pos: 2}}}
	again, err := newTestWriter(nil).settle(x, repliesTo([]string{"+OK", "+QUEUED", "+QUEUED", "-ERR unknown command", "-EXECABORT x"}))
	if again == nil || err != nil || len(x.Failed) != 1 || x.Failed[0].Call.Key.Name != "b" || len(x.Calls) != 1 || x.Calls[0].Key.Name != "a" {
		t.Errorf("again %v, %v, failed %+v, left %+v", again, err, x.Failed, x.Calls)
	}
}
