package target_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/resp"
	"surecut/migrator/internal/target"
	"surecut/migrator/internal/target/targettest"
)

// inSeries puts all calls of a transaction into one series.
func inSeries(x *target.Transaction) {
	s := &target.Series{}
	for _, c := range x.Calls {
		encoded := resp.AppendCommand(nil, c.Args...)
		at := bytes.Index(encoded, []byte("\r\n"+c.Key.Name+"\r\n")) + 2
		s.Add(encoded, at, at+len(c.Key.Name), c.Reads)
	}
	x.Calls = []target.Call{{Series: s}}
}

// TestSeries: whatever happens, commands in a series end as they would have done as calls.
func TestSeries(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		tell      func(r *rig)
		failed    string
	}{
		{name: "all well", tell: func(*rig) {}},
		{name: "one is refused", why: "the others are applied", failed: "HSET", tell: func(r *rig) { r.s.Always("HSET h", "-WRONGTYPE x\r\n") }},
		{name: "one is to come again", tell: func(r *rig) { r.s.Once("SET b", "-TRYAGAIN x\r\n") }},
		{name: "closed in between", tell: func(r *rig) { r.s.Once("HSET h", endpointtest.HangUp) }},
		{name: "applied and not answered", tell: func(r *rig) { r.s.Once("SET c", endpointtest.Unheard) }},
		{name: "EXEC is not answered", tell: func(r *rig) { r.s.Once("EXEC", endpointtest.Unheard) }},
		{name: "a key has expired", why: "it is asked for before its command", failed: "HSET", tell: func(r *rig) {
			r.to.Expiring.Note(0, "h", time.Now().Add(time.Second).UnixMilli())
		}},
		{name: "a key may have expired", why: "it is there", tell: func(r *rig) {
			r.s.Do(0, "HSET", "h", "old", "x")
			r.to.Expiring.Note(0, "h", time.Now().Add(time.Second).UnixMilli())
		}},
		{name: "expiries are not known", failed: "HSET", tell: func(r *rig) { r.to.Expiring.Forget() }},
		{name: "a key that nothing reads may have expired", tell: func(r *rig) { r.to.Expiring.Note(0, "b", time.Now().Add(time.Second).UnixMilli()) }},
	} {
		for _, absolute := range []bool{false, true} {
			outcome := func(t *testing.T, series bool) string {
				r := serverRig(t, "7.0.15")
				r.begin(t)
				for range 2 { // the first one selects the database
					before := r.transaction(400, "SET a 1")
					before.Absolute = true
					if err := r.w.Commit(soon(t), []*target.Transaction{before}); err != nil {
						t.Fatal(err)
					}
				}
				tt.tell(r)
				x := r.transaction(500, "SET a 2", "SET b 2", "HSET h f v", "SET c 2", "DEL a")
				x.Absolute, x.Calls[2].Reads = absolute, true
				if series {
					inSeries(x)
				}
				if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil {
					t.Fatal(err)
				}
				if failed(x) != tt.failed {
					t.Errorf("to be copied: %q, want %q (%s)", failed(x), tt.failed, tt.why)
				}
				text := fmt.Sprintf("a %q b %q c %q h %q, checkpoint at %d, bare %v", r.text("a"), r.text("b"), r.text("c"),
					targettest.Field(r.s, 0, "h", "f"), checkpointOf(r.of, r.to, x.Units[0]), x.Bare)
				for _, f := range x.Failed {
					text += fmt.Sprintf(", %q of %v: %v", f.Call.Args, f.Call.Key, f.Reply)
				}
				return text
			}
			t.Run(fmt.Sprintf("%s, absolute %v", tt.name, absolute), func(t *testing.T) {
				if calls, series := outcome(t, false), outcome(t, true); calls != series {
					t.Errorf("calls:  %s\nseries: %s", calls, series)
				}
			})
		}
	}
}

// TestExpiryBeforeSeries: a key whose expiry is set by a call may have expired before the series behind it arrives.
func TestExpiryBeforeSeries(t *testing.T) {
	for _, absolute := range []bool{false, true} {
		r := serverRig(t, "7.0.15")
		r.begin(t)
		at := time.Now().Add(time.Second).UnixMilli()
		x := r.transaction(500, "HSET h f v")
		x.Calls[0].Reads, x.Absolute = true, absolute
		inSeries(x)
		x.Calls = slices.Insert(x.Calls, 0, target.Call{Args: []string{"PEXPIREAT", "h", strconv.FormatInt(at, 10)}, Key: keyspace.Key{Name: "h"}, Expires: at})
		if err := r.w.Commit(soon(t), []*target.Transaction{x}); err != nil {
			t.Fatal(err)
		}
		if got := failed(x); got != "HSET" {
			t.Errorf("absolute %v: failed %q, though the target does not have the key", absolute, got)
		}
	}
}

// TestSeriesExpands: the calls of a series do not change when it is used again.
func TestSeriesExpands(t *testing.T) {
	x := &target.Transaction{Calls: []target.Call{{Args: []string{"SET", "a", "1"}, Key: keyspace.Key{Name: "a"}}, {Args: []string{"INCR", "n"}, Key: keyspace.Key{Name: "n"}, Reads: true}}}
	inSeries(x)
	s := x.Calls[0].Series
	x.Calls[0].DB, x.Calls[0].Key.DB = 3, 2
	if s.Len() != 2 || s.Size() != len("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n") {
		t.Errorf("%d commands of %d bytes", s.Len(), s.Size())
	}
	x.Expand()
	s.Blank()
	s.Add([]byte("*3\r\n$3\r\nDEL\r\n$1\r\nx\r\n$1\r\ny\r\n"), 17, 18, false)
	want := `[3 2:a [SET a 1] absolute true, reads false, 1] [3 2:n [INCR n] absolute false, reads true, 1]`
	got := ""
	for _, c := range x.Calls {
		got += fmt.Sprintf(" [%d %d:%s %v absolute %v, reads %v, %d]", c.DB, c.Key.DB, c.Key.Name, c.Args, c.Absolute, c.Reads, c.Commands)
	}
	if got != " "+want || len(x.Calls) != 2 {
		t.Errorf("got%s", got)
	}
}
