package quiet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
)

func reading(change func(*Reading)) Reading {
	r := Reading{Addr: "a:1", RunID: "run", Role: "master", ReplID: "repl", Offset: 1000, Calls: map[string]int64{"set": 10, "sort": 4}, Unknown: map[string]int64{"cl.throttle": 3}, Info: 5, Changes: 7, LastSave: "100"}
	if change != nil {
		change(&r)
	}
	return r
}

func later(change func(*Reading)) Reading {
	r := reading(func(r *Reading) { r.Info = 6 })
	if change != nil {
		change(&r)
	}
	return r
}

func TestCompare(t *testing.T) {
	tests := []struct {
		name, why     string
		before, after func(*Reading)
		writes        int64
		says          string // part of the reason; "" is quiet
	}{
		{name: "nothing", why: "both witnesses agree"},
		{name: "pings, messages and expiry", why: "they move the offset, and no client has written", after: func(r *Reading) { r.Offset = 90_000 }},
		{name: "a write", why: "a writer is there", after: func(r *Reading) { r.Calls["set"], r.Changes = 12, 9 }, writes: 2, says: "still written (2 calls"},
		{name: "a write that changed nothing", why: "who sends it is a writer all the same", after: func(r *Reading) { r.Calls["set"] = 11 }, writes: 1, says: "still written"},
		{name: "a command for the first time", why: "it had no line before", after: func(r *Reading) { r.Calls["del"], r.Changes = 1, 8 }, writes: 1, says: "still written"},
		{name: "a module", why: "what it does inside is no call", after: func(r *Reading) { r.Changes = 9 }, writes: 2, says: "2 changes of its data"},
		{name: "SORT that reads", why: "the server counts it among the writes, and nothing has changed", after: func(r *Reading) { r.Calls["sort"] = 9 }},
		{name: "SORT that stores", why: "something has changed", after: func(r *Reading) { r.Calls["sort"], r.Changes = 5, 8 }, writes: 1, says: "still written"},
		{name: "SORT, and a save", why: "whether anything has changed is not known", after: func(r *Reading) { r.Calls["sort"], r.Changes, r.LastSave = 5, 0, "200" }, writes: 1, says: "still written"},
		{name: "a save", why: "it sets the changes back, and the calls still tell", after: func(r *Reading) { r.Changes, r.LastSave = 0, "200" }},
		{name: "a save that hides changes", why: "the number has not fallen, but it began anew", after: func(r *Reading) { r.LastSave, r.Calls["set"] = "200", 17 }, writes: 7, says: "still written"},
		{name: "an unknown command", why: "it may read, and nothing has changed", after: func(r *Reading) { r.Unknown["cl.throttle"] = 9 }},
		{name: "a save, and an unknown command", why: "the save hides whether it has changed anything", after: func(r *Reading) { r.Changes, r.LastSave, r.Unknown["cl.throttle"] = 0, "200", 9 }, says: "is not known whether it was written: CL.THROTTLE was called"},
		{name: "a save, and an unknown command for the first time", why: "it had no line before", after: func(r *Reading) { r.Changes, r.LastSave, r.Unknown["other"] = 0, "200", 1 }, says: "OTHER was called"},
		{name: "a save, and a reset that only an unknown command shows", why: "there is no witness left", after: func(r *Reading) { r.Changes, r.LastSave, r.Unknown = 0, "200", nil }, says: "is not known"},
		{name: "counters were reset", why: "the changes still tell", after: func(r *Reading) { r.Calls, r.Info = map[string]int64{}, 1 }},
		{name: "counters were reset while it was written", why: "the changes still tell", after: func(r *Reading) { r.Calls, r.Info, r.Changes = map[string]int64{"set": 3}, 1, 20 }, writes: 13, says: "13 changes"},
		{name: "counters were reset, many INFO since", why: "a line that is gone tells of it", after: func(r *Reading) { r.Calls, r.Info, r.Changes, r.LastSave = map[string]int64{}, 50, 0, "200" }, says: "is not known"},
		{name: "counters were reset, and a save", why: "there is no witness left", after: func(r *Reading) { r.Calls, r.Info, r.Changes, r.LastSave = map[string]int64{}, 1, 0, "200" }, says: "is not known"},
		{name: "calls are not counted", why: "the changes tell", before: func(r *Reading) { r.Calls, r.Info = nil, 0 }, after: func(r *Reading) { r.Calls, r.Info = nil, 0 }},
		{name: "nothing is told", why: "not known is not quiet", before: func(r *Reading) { r.Calls, r.Info, r.Changes = nil, 0, -1 }, after: func(r *Reading) { r.Calls, r.Info, r.Changes = nil, 0, -1 }, says: "is not known"},
		{name: "no answer", why: "not known is not quiet", after: func(r *Reading) { *r = Reading{Addr: "a:1", Silent: "connection refused"} }, says: "did not report whether it was written: connection refused"},
		{name: "restarted", why: "counters began anew", after: func(r *Reading) { r.RunID = "other" }, says: "restarted"},
		{name: "demoted", why: "its successor is written", after: func(r *Reading) { r.Role = "slave" }, says: "it is not a primary, so"},
		{name: "failover", why: "it was a replica in between", after: func(r *Reading) { r.ReplID = "other" }, says: "failover"},
		{name: "replaced", why: "the new primary's past is not known", after: func(r *Reading) { r.Addr = "b:2" }, says: "no longer a primary of the source"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Compare([]Reading{reading(tt.before)}, []Reading{later(tt.after)})
			n := r.Nodes[0]
			if r.Quiet != (tt.says == "") || !strings.Contains(n.Reason, tt.says) || n.Writes != tt.writes {
				t.Errorf("quiet %v, %d writes, %q (%s); want %q and %d writes", r.Quiet, n.Writes, n.Reason, tt.why, tt.says, tt.writes)
			}
		})
	}
	if Compare(nil, nil).Quiet {
		t.Error("no node at all counts as quiet")
	}
}

func TestParseReading(t *testing.T) {
	r := parseReading("a:1", map[string]string{"run_id": "x", "role": "master", "master_replid": "y", "master_repl_offset": "42", "rdb_changes_since_last_save": "3",
		"cmdstat_set": "calls=9,usec=1,failed_calls=4", "cmdstat_get": "calls=100,usec=1", "cmdstat_function|load": "calls=1", "cmdstat_script|load": "calls=8", "cmdstat_info": "calls=2", "cmdstat_eval": "calls=5", "cmdstat_publish": "calls=7", "cmdstat_my.module": "calls=3"})
	if r.Offset != 42 || r.Changes != 3 || r.Info != 2 || len(r.Calls) != 2 || r.Calls["set"] != 9 || r.Calls["function|load"] != 1 || len(r.Unknown) != 1 || r.Unknown["my.module"] != 3 {
		t.Errorf("%+v", r)
	}
	if r := parseReading("a:1", map[string]string{"role": "master"}); r.Calls != nil || r.Changes != -1 {
		t.Errorf("what is not told is read as 0: %+v", r)
	}
}

// TestWatchKeepsWhatItSaw: a save before the quiet time begins hides from the first and the last reading what was written in it.
func TestWatchKeepsWhatItSaw(t *testing.T) {
	s := endpointtest.Serve(t, "7.0.15")
	asked := 0
	s.On("INFO persistence", func([]string) string {
		asked++
		s.Tell("cmdstat_info", fmt.Sprintf("calls=%d,usec=1", asked))
		switch asked {
		case 1: // when the comparison begins
			s.Tell("rdb_changes_since_last_save", "7", "rdb_last_save_time", "100")
		case 2: // when the quiet time begins
			s.Tell("rdb_changes_since_last_save", "0", "rdb_last_save_time", "200")
		case 3:
			s.Tell("rdb_changes_since_last_save", "1")
		}
		return endpointtest.Usual
	})
	d := endpointtest.Open(t, s.URL())
	asked = 0
	before, err := Read(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	r, still, err := Watch(t.Context(), d, before, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Nodes[0]; r.Quiet || !still || n.Writes != 1 || !strings.Contains(n.Reason, "still written (1 changes") {
		t.Errorf("quiet %v, still %v, %+v; want the change that was seen in the quiet time", r.Quiet, still, n)
	}
}

const clientLines = `id=3 addr=10.0.0.1:50000 laddr=10.0.0.9:6379 fd=8 name=orders age=90 idle=0 flags=N db=0 sub=0 cmd=set user=default
id=4 addr=10.0.0.2:50001 fd=9 name= age=90 idle=40 flags=N db=0 cmd=hset
id=5 addr=10.0.0.3:50002 fd=10 name=reader age=90 idle=0 flags=N db=0 cmd=get
id=6 addr=10.0.0.4:50003 fd=11 name= age=90 idle=0 flags=S db=0 cmd=replconf
id=7 addr=10.0.0.5:50004 fd=12 name= age=90 idle=1 flags=N db=0 cmd=exec
id=8 addr=10.0.0.6:50005 fd=13 name= age=90 idle=60 flags=N db=0 cmd=exec
id=9 addr=10.0.0.7:50006 fd=14 name=queue age=90 idle=70 flags=b db=0 cmd=blpop
id=10 addr=10.0.0.8:50007 fd=15 name= age=90 idle=2 flags=b db=0 cmd=incr
`

func TestWriters(t *testing.T) {
	var names []string
	for _, c := range writers(parseClients(clientLines), 5*time.Second) {
		names = append(names, c.String())
	}
	want := "10.0.0.1:50000 (orders), last command set | 10.0.0.5:50004, last command exec | 10.0.0.8:50007, last command incr | 10.0.0.2:50001, last command hset | 10.0.0.7:50006 (queue), last command blpop"
	if got := strings.Join(names, " | "); got != want {
		t.Errorf("named\n%s, want\n%s", got, want)
	}
	many := parseClients(strings.Repeat("addr=10.0.0.1:1 idle=0 flags=N cmd=set\n", 30))
	if n := len(writers(many, time.Second)); n != mostWriters {
		t.Errorf("named %d, want %d", n, mostWriters)
	}
}

func TestHeld(t *testing.T) {
	for _, row := range []struct {
		line, why string
		want      bool
	}{
		{"id=10 addr=10.0.0.8:50007 idle=2 flags=b cmd=incr", "the pause holds it back", true},
		{"id=10 addr=10.0.0.8:50007 idle=2 flags=bU cmd=exec", "a transaction is held back only if it writes", true},
		{"id=10 addr=10.0.0.8:50007 idle=2 flags=b cmd=cl.throttle", "what a module's command does is not known", true},
		{"id=10 addr=10.0.0.8:50007 idle=2 flags=N cmd=set", "it is not held back", false},
		{"id=9 addr=10.0.0.7:50006 idle=70 flags=b cmd=blpop", "it has waited for data since before the pause", false},
		{"id=9 addr=10.0.0.7:50006 idle=2 flags=b cmd=blpop", "it waited before the pause, and has sent another command since", true},
		{"id=10 addr=10.0.0.8:50007 idle=70 flags=b cmd=blpop", "it did not wait before the pause", true},
		{"id=10 addr=10.0.0.8:50007 idle=2 flags=b cmd=xread", "it waits, and writes nothing", false},
		{"id=10 addr=10.0.0.8:50007 idle=2 flags=b cmd=wait", "it waits, and writes nothing", false},
		{"id=10 addr=10.0.0.8:50007 idle=2 flags=b cmd=publish", "a pause holds it back, and it changes no data", false},
		{"id=10 addr=10.0.0.8:50007 idle=2 flags=b cmd=pfcount", "a pause holds it back, and it changes no data", false},
	} {
		if got := len(held(parseClients(row.line), map[int64]bool{9: true}, 10*time.Second)) == 1; got != row.want {
			t.Errorf("%s: held %v, want %v: %s", row.line, got, row.want, row.why)
		}
	}
}
