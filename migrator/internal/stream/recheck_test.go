package stream

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"surecut/internal/command"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/target"
)

// TestSuspects: what the stream says after an outage, of keys that the target may have lost meanwhile.
func TestSuspects(t *testing.T) {
	type step struct{ command, sent, noted string }
	for _, c := range []struct {
		name, why string
		change    func(*testStream)
		steps     []step
	}{
		{"first touch", "the key may be gone, and is kept from now on", nil, []step{
			{"INCR a", "EXISTS a|PERSIST a|INCR a", ""}, {"INCR a", "INCR a", ""}, {"INCR b", "EXISTS b|PERSIST b|INCR b", ""}}},
		{"overwritten", "what it was does not matter", nil, []step{
			{"SET a 1", "SET a 1", ""}, {"INCR a", "INCR a", ""}, {"DEL b", "DEL b", ""}, {"INCR b", "INCR b", ""},
			{"SET c 1 KEEPTTL", "EXISTS c|PERSIST c|SET c 1 KEEPTTL", ""}}},
		{"made of others", "which may be gone", nil, []step{
			{"SUNIONSTORE a b c", "SUNIONSTORE a b c", "{0 a}"}, {"SMOVE d e m", "SMOVE d e m", "{0 d}{0 e}"}, {"COPY f g", "COPY f g|PTTL g", "{0 g}"},
			{"MOVE h 3", "MOVE h 3|PTTL h", "{0 h}{3 h}"}, {"DEL i j", "DEL i|DEL j", ""}, {"SUNIONSTORE a c", "SUNIONSTORE a c", ""}}},
		{"fields", "their expiry cannot be held", nil, []step{{"HPERSIST h FIELDS 1 f", "EXISTS h|PERSIST h|HPERSIST h FIELDS 1 f", "{0 h}"}}},
		{"nothing was released yet", "the target has no expiries", func(l *testStream) { l.hold(t, ledger.HeldFirst) }, []step{
			{"INCR a", "INCR a", ""}, {"SUNIONSTORE a b", "SUNIONSTORE a b", ""}, {"HPERSIST h FIELDS 1 f", "HPERSIST h FIELDS 1 f", "{0 h}"}}},
		{"nothing is held", "the link has caught up", func(l *testStream) { l.hold(t, ledger.AllReleased) }, []step{
			{"INCR a", "INCR a", ""}, {"SUNIONSTORE a b", "SUNIONSTORE a b", ""}}},
		{"being released", "", func(l *testStream) { l.Expiries.Next(0) }, []step{{"INCR a", "INCR a", ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestStream(t)
			l.hold(t, ledger.HeldAgain)
			if c.change != nil {
				c.change(l)
			}
			d := newTestDispatcher(l, nil)
			list := l.Doubts.later.Cursor()
			for _, s := range c.steps {
				p, err := d.planner.plan(&sourceCommand{end: 1000, args: bytes.Fields([]byte(s.command))}, 50000)
				if err != nil {
					t.Fatal(err)
				}
				var sent []string
				for _, x := range p.pieces {
					if x.call.Args != nil {
						sent = append(sent, strings.Join(x.call.Args, " "))
					}
				}
				noted := ""
				for {
					k, ok, err := list.Next()
					if err != nil {
						t.Fatal(err)
					}
					if !ok {
						break
					}
					noted += fmt.Sprint(k)
				}
				if got := strings.Join(sent, "|"); got != s.sent || noted != s.noted {
					t.Errorf("%s: %s sent %q and noted %q, want %q and %q", c.why, s.command, got, noted, s.sent, s.noted)
				}
			}
		})
	}
}

// TestUnwitnessed: keys of the last transaction of a run that was killed are copied, for nobody saw its replies.
func TestUnwitnessed(t *testing.T) {
	l := newTestStream(t)
	l.Expiries.Begin()
	d := newTestDispatcher(l, &target.Checkpoint{Offset: 100, Units: map[target.Unit]int64{0: 300, 1: 300, 2: 300}, Witnessed: map[target.Unit]int64{0: 200, 1: 200, 2: 200}})
	for _, c := range []struct {
		end  int64
		key  string
		want string
	}{{150, "a", ""}, {200, "b", ""}, {201, "c", "{0 c}"}, {300, "d", "{0 c}{0 d}"}, {301, "e", "{0 c}{0 d}"}} {
		if _, err := d.planner.plan(&sourceCommand{end: c.end, args: bytes.Fields([]byte("INCR " + c.key))}, 50000); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := l.Doubts.later.Each(func(k keyspace.Key) error { got += fmt.Sprint(k); return nil }); err != nil || got != c.want {
			t.Errorf("up to %d: noted %q, %v; want %q", c.end, got, err, c.want)
		}
	}
}

// TestSuspectsOnTheirWay: a lane that finds a key missing just when the release begins has it copied before the holding ends.
func TestSuspectsOnTheirWay(t *testing.T) {
	l := newTestStream(t)
	l.hold(t, ledger.HeldAgain)
	source := endpointtest.Serve(t, "7.0.0")
	l.Source = reread.NewReader(endpointtest.Open(t, source.URL()), func() string { return source.Addr }, 0, &keyspace.Filter{})
	l.Writer = l.newWriter()
	d := newTestDispatcher(l, nil)
	if err := d.releases.router.send(t.Context(), group{start: 100}, d.planner.holds.ask(&sourceCommand{end: 150, args: bytes.Fields([]byte("INCR k"))}, &command.Spec{Name: "INCR"}, []int{1})); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, n := range d.lanes {
		go func() { _ = n.run(ctx) }()
	}
	if err := d.releases.copySuspects(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.releases.router.meet(ctx, d.lanes, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if copies := l.Doubts.Copies(); copies != 1 || !l.Doubts.later.Empty() {
		t.Errorf("%d keys were copied; nobody copies those that are noted now", copies)
	}
}
