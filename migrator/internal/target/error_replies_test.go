package target

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/internal/resp"
)

// outcomes says for each error reply (down) what it leads to in each place where one is read (across):
//
//	again   the command is sent again
//	ends    the migration ends
//	key     a value is built by commands or reported, the keys of a call are copied, a library is reported; the rest goes on
//	exists  the same, and the reason is ErrExists
const outcomes = `
                              own   connect library bare  queued frame EXEC  aborted applied value  expiry chunk wave  copy
OOM no                        ends  ends    ends    ends  ends   ends  ends  ends    key     ends   ends   ends  ends  ends
NOPERM no                     ends  ends    ends    ends  ends   ends  ends  ends    key     ends   ends   ends  ends  ends
NOAUTH no                     ends  ends    ends    ends  ends   ends  ends  ends    key     ends   ends   ends  ends  ends
WRONGPASS no                  ends  ends    ends    ends  ends   ends  ends  ends    key     ends   ends   ends  ends  ends
DENIED no                     ends  ends    ends    ends  ends   ends  ends  ends    key     ends   ends   ends  ends  ends
BUSY no                       again again   again   again again  again again again   key     again  again  ends  again again
MISCONF no                    again again   again   again again  again again again   key     again  again  ends  again again
NOREPLICAS no                 again again   again   again again  again again again   key     again  again  ends  again again
TRYAGAIN no                   again again   again   again again  again again again   key     again  again  ends  again again
ASK 1 h:1                     again again   again   again again  again again again   key     again  again  ends  again again
MOVED 1 h:1                   again again   again   again again  again again again   key     again  again  ends  again again
CLUSTERDOWN no                again again   again   again again  again again again   key     again  again  ends  again again
READONLY no                   again again   again   again again  again again again   key     again  again  ends  again again
MASTERDOWN no                 again again   again   again again  again again again   key     again  again  ends  again again
LOADING no                    again again   again   again again  again again again   key     again  again  ends  again again
BUSYKEY no                    ends  ends    key     key   key    ends  ends  key     key     exists ends   key   key   key
NOSCRIPT no                   ends  ends    key     key   key    ends  ends  key     key     key    ends   key   key   key
WRONGTYPE no                  ends  ends    key     key   key    ends  ends  key     key     key    ends   key   key   key
CROSSSLOT no                  ends  ends    key     key   key    ends  key   key     key     key    ends   key   key   key
EXECABORT no                  ends  ends    key     key   key    ends  key   key     key     key    ends   key   key   key
ERR no                        ends  ends    key     key   key    ends  ends  key     key     key    ends   key   key   key
ERR max number of clients reached
                              again again   again   again again  again again -       key     again  again  ends  again again
ERR max number of clients + cluster connections reached
                              again again   again   again again  again again -       key     again  again  ends  again again
ERR Connection refused        again again   again   -     -      -     -     -       -       again  again  ends  again again
`

// TestErrorReplies drives each place that reads error replies of the target.
func TestErrorReplies(t *testing.T) {
	columns, rows := parseOutcomes(t)
	for _, r := range rows {
		t.Run(r.reply, func(t *testing.T) {
			failed := replied(t, r.reply)
			for i, place := range columns {
				if r.want[i] == "-" { // that place reads no such reply
					continue
				}
				if got := places[place](t, r.reply, failed); got != r.want[i] {
					t.Errorf("%s: %s, want %s", place, got, r.want[i])
				}
			}
		})
	}
}

type outcomeRow struct {
	reply string
	want  []string
}

func parseOutcomes(t *testing.T) (columns []string, rows []outcomeRow) {
	lines := strings.Split(strings.Trim(outcomes, "\n"), "\n")
	columns = strings.Fields(lines[0])
	reply := ""
	for _, line := range lines[1:] {
		words := strings.Fields(line)
		from := max(len(words)-len(columns), 0)
		if !slices.Contains([]string{"again", "ends", "key", "-"}, words[len(words)-1]) { // the reply is alone on its line
			reply = line
			continue
		}
		rows = append(rows, outcomeRow{strings.TrimSpace(reply + strings.Join(words[:from], " ")), words[from:]})
		reply = ""
		if len(words) < len(columns) {
			t.Fatalf("%q has %d columns", line, len(words)-from)
		}
	}
	return columns, rows
}

// places has by column what a reply, or the error that a client makes of it, leads to there.
var places = map[string]func(t *testing.T, reply string, failed error) string{
	"own":     func(_ *testing.T, _ string, failed error) string { return told(AgainOrEnd("h:1", failed)) },
	"connect": func(_ *testing.T, _ string, failed error) string { return judged(&Value{}, &connectError{failed}) },
	"library": everywhere,
	"bare": func(_ *testing.T, reply string, _ error) string {
		x := newTestTransaction()
		again, err := newTestWriter(nil).settleBare(x, repliesTo([]string{"-" + reply, ":1"}))
		return settled(x, again, err)
	},
	"queued":  transacted("+OK", "+QUEUED", "-%s", "+QUEUED", "-EXECABORT Transaction discarded because of previous errors."),
	"frame":   transacted("+OK", "-%s", "+QUEUED", "+QUEUED", "-EXECABORT Transaction discarded because of previous errors."),
	"EXEC":    transacted("+OK", "+QUEUED", "+QUEUED", "+QUEUED", "-%s"),
	"aborted": transacted("+OK", "+QUEUED", "+QUEUED", "+QUEUED", "-EXECABORT Transaction discarded because of: %s"),
	"applied": transacted("+OK", "+QUEUED", "+QUEUED", "+QUEUED", "*3 / :2 / -%s / :1"),
	"value":   func(_ *testing.T, _ string, failed error) string { return judged(&Value{}, failed) },
	"expiry":  func(_ *testing.T, _ string, failed error) string { return judged(&Value{restored: true}, failed) },
	"chunk": func(_ *testing.T, _ string, failed error) string {
		err := judgeBuilt("where", "h:1", failed)
		switch {
		case errors.As(err, new(*RefusedError)):
			return "key"
		case consequenceOf(failed, toBuild).again():
			return "again"
		}
		return told(nil, err)
	},
	"wave": func(t *testing.T, reply string, _ error) string { return waved(t, reply, nil, "EXISTS", 1) },
	"copy": func(t *testing.T, reply string, _ error) string {
		return waved(t, reply, map[keyspace.Key]int64{{Name: "a"}: 1}, "SET", 2)
	},
}

// replied returns an error reply as a client returns it, and checks that one which is read from a pipe leads to the same.
func replied(t *testing.T, reply string) error {
	t.Helper()
	dc := fakeReplies(t, []string{"-" + reply})
	err := dc.Do(t.Context(), arbitrary(dc, "GET", "a")).Error()
	for p := range toGoOn + 1 {
		if from := resp.Error(reply); !endpoint.Unreached(err) && consequenceOf(err, p) != consequenceOf(from, p) {
			t.Errorf("purpose %d: %v leads to %d from a client, and to %d from a pipe", p, err, consequenceOf(err, p), consequenceOf(from, p))
		}
	}
	return err
}

func told(again, end error) string {
	switch {
	case again != nil && end != nil:
		return "both"
	case again != nil:
		return "again"
	case end != nil:
		return "ends"
	}
	return "nothing"
}

func newTestTransaction() *Transaction {
	return &Transaction{sent: time.Now(), Calls: []Call{{Args: []string{"SET", "a", "v"}, pos: 2}, {Args: []string{"INCR", "b"}, pos: 3}}}
}

func settled(x *Transaction, again, err error) string {
	if len(x.Failed) > 0 { // again concerns the rest of the transaction
		return "key"
	}
	return told(again, err)
}

func transacted(replies ...string) func(*testing.T, string, error) string {
	return func(_ *testing.T, reply string, _ error) string {
		x := newTestTransaction()
		again, err := newTestWriter(nil).settle(x, repliesTo(strings.Split(strings.ReplaceAll(strings.Join(replies, "\n"), "%s", reply), "\n")))
		return settled(x, again, err)
	}
}

func judged(k *Value, failed error) string {
	refused, again, err := judge("h:1", k, failed)
	switch {
	case refused == nil:
		return told(again, err)
	case errors.Is(refused, ErrExists):
		return "exists"
	}
	return "key"
}

// served returns a target in a server that answers one command with an error reply, and then all as they deserve.
func served(t *testing.T, reply string, words string) (*Target, *endpointtest.Server) {
	s := endpointtest.Serve(t, "7.0.15")
	s.On("SCRIPT", func([]string) string { return "+OK\r\n" })
	s.On("SET", func([]string) string { return "+OK\r\n" })
	s.Once(words, "-"+reply+"\r\n")
	to := newTestTarget()
	to.d = endpointtest.Open(t, s.URL())
	to.DBs.Only = true
	return to, s
}

func everywhere(t *testing.T, reply string, _ error) string {
	to, s := served(t, reply, "SCRIPT")
	err := to.Everywhere(t.Context(), []string{"SCRIPT", "FLUSH"})
	switch {
	case errors.As(err, new(*RefusedError)):
		return "key"
	case err == nil && len(s.Calls("SCRIPT")) == 2:
		return "again"
	}
	return told(nil, err)
}

// waved sends a call through a proxy. That it was waited for shows in how often a command was sent.
func waved(t *testing.T, reply string, fence map[keyspace.Key]int64, repeated string, times int) string {
	to, s := served(t, reply, "SET")
	p := &proxy{t: to, kind: endpoint.Twemproxy}
	p.addr.Store(&s.Addr)
	to.way, to.Can = p, Abilities{}
	w := p.NewWriter(Writing{Checkpoints: to.NewCheckpoints("0")})
	defer w.Close()
	x := &Transaction{Fence: fence, Calls: []Call{{Args: []string{"SET", "a", "v"}, Key: keyspace.Key{Name: "a"}}}}
	err := w.Commit(t.Context(), []*Transaction{x})
	switch n := len(s.Calls(repeated)); {
	case err == nil && n == times:
		return "again"
	case err == nil && len(x.Failed) == 1:
		return "key"
	case err == nil:
		return fmt.Sprint("nothing, and ", n, " times ", repeated)
	}
	return told(nil, err)
}

// TestRepliesAreListed: the codes that any server may take back lead to another attempt, and each that ends the migration advises.
func TestRepliesAreListed(t *testing.T) {
	for code, o := range replies {
		if o.is.again() != endpoint.Passing(code) {
			t.Errorf("%s: sent again is %v, and passing is %v", code, o.is.again(), endpoint.Passing(code))
		}
		end := endOf(resp.Error(code + " no"))
		if o.is == endsRun && !strings.Contains(end.Error(), "run the same command again to resume") {
			t.Errorf("%s: %v does not say how to go on", code, end)
		}
	}
	for _, code := range []string{"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "BUSY", "MISCONF"} {
		if _, listed := replies[code]; !listed {
			t.Errorf("%s is not listed", code)
		}
	}
}

// TestSeveralErrors: of the errors of one transaction, those that pass explain the others.
func TestSeveralErrors(t *testing.T) {
	for _, c := range []struct{ name, why, replies, want string }{
		{"MULTI while loading", "EXEC has no MULTI then", "-LOADING x|-LOADING x|-LOADING x|-LOADING x|-ERR EXEC without MULTI", "again"},
		{"full and moved", "the other node may have memory", "+OK|+QUEUED|-OOM x|-MOVED 1 h:1|-EXECABORT x", "again"},
		{"forbidden and unknown", "nothing may be applied without what is forbidden", "+OK|+QUEUED|-ERR unknown command|-NOPERM x|-EXECABORT x", "ends"},
		{"no password", "EXEC's own reply says less", "-NOAUTH x|-NOAUTH x|-NOAUTH x|-NOAUTH x|-NOAUTH x", "ends"},
	} {
		x := newTestTransaction()
		again, err := newTestWriter(nil).settle(x, repliesTo(strings.Split(c.replies, "|")))
		if got := settled(x, again, err); got != c.want {
			t.Errorf("%s: %s (%v), want %s: %s", c.name, got, errors.Join(again, err), c.want, c.why)
		}
	}
}

// TestSendElsewhere: a server that may come back with other data is met on a new connection, wherever it says so.
func TestSendElsewhere(t *testing.T) {
	for _, code := range []string{"MOVED", "CLUSTERDOWN", "READONLY", "MASTERDOWN", "LOADING"} {
		for _, reply := range []string{code + " no", "EXECABORT Transaction discarded because of: " + code + " no"} {
			if is := consequenceOf(resp.Error(reply), toFollow); is != sendElsewhere {
				t.Errorf("%s leads to %d", reply, is)
			}
		}
	}
}

// TestEndsForGood: an error that has ended something once ends it for whoever hears of it later.
func TestEndsForGood(t *testing.T) {
	for _, reply := range []string{"OOM no", "NOPERM no", "ERR no"} {
		_, end := AgainOrEnd("h:1", resp.Error(reply))
		if told(AgainOrEnd("", &connectError{end})) != "ends" || judged(&Value{}, &connectError{end}) != "ends" {
			t.Errorf("%v is tried again", end)
		}
	}
	for _, err := range []error{ErrClaimed, ErrReplaced, ErrLost, ErrGivenAway} {
		if told(AgainOrEnd("h:1", fmt.Errorf("read: %w", err))) != "ends" {
			t.Errorf("%v is tried again", err)
		}
	}
	if _, end := AgainOrEnd("h:1", resp.Error("OOM no")); end.Error() != "target h:1: "+ErrTargetFull.Error() {
		t.Errorf("full: %v", end)
	}
}
