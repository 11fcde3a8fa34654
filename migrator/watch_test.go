package migrator

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

func TestParseNotice(t *testing.T) {
	for _, c := range []struct {
		channel, message, why string
		key                   keyspace.Key
		event                 string
		ok                    bool
	}{
		{"__keyevent@3__:set", "a", "", keyspace.Key{DB: 3, Name: "a"}, "set", true},
		{"__keyspace@0__:a", "del", "", keyspace.Key{Name: "a"}, "del", true},
		{"__keyspace@0__:x__:y", "del", "the key holds what ends the head", keyspace.Key{Name: "x__:y"}, "del", true},
		{"__keyevent@0__:set", "__keyevent@1__:del", "any bytes are a key", keyspace.Key{Name: "__keyevent@1__:del"}, "set", true},
		{"__keyevent@x__:set", "a", "no database", keyspace.Key{}, "", false},
		{"__keyevent@-1__:set", "a", "no database", keyspace.Key{}, "", false},
		{"__sentinel__:hello", "a", "another channel", keyspace.Key{}, "", false},
		{"news", "a", "another channel", keyspace.Key{}, "", false},
	} {
		key, event, ok := parseNotice(c.channel, c.message)
		if key != c.key || event != c.event || ok != c.ok {
			t.Errorf("%s %s: %v %q %v: %s", c.channel, c.message, key, event, ok, c.why)
		}
	}
}

// TestNoticesOfEveryWrite: a source that notifies of some writes only would have a Watch miss the others.
func TestNoticesOfEveryWrite(t *testing.T) {
	for _, tt := range []struct{ reply, pattern, says string }{
		{endpointtest.Strings("notify-keyspace-events", "AE"), "__keyevent@*__:*", ""},
		{endpointtest.Strings("notify-keyspace-events", "AKE"), "__keyevent@*__:*", ""},
		{endpointtest.Strings("notify-keyspace-events", "AK"), "__keyspace@*__:*", ""},
		{endpointtest.Strings("notify-keyspace-events", "A"), "", `is "A", which`},
		{endpointtest.Strings("notify-keyspace-events", "g$E"), "", `is "g$E", which`},
		{endpointtest.Strings("notify-keyspace-events", ""), "", `is "", which`},
		{"-NOPERM no permissions\r\n", "", "CONFIG GET notify-keyspace-events: NOPERM"},
	} {
		from := serve(t, nil)
		from.Always("CONFIG GET notify-keyspace-events", tt.reply)
		cfg := between(t, from.URL(), serve(t, nil).URL())
		cfg.Capture = CaptureScan
		m, err := New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		pattern, err := m.links[0].notices(t.Context())
		saysSo(t, err, tt.says, tt.reply)
		if pattern != tt.pattern {
			t.Errorf("%q listens to %q, want %q", tt.reply, pattern, tt.pattern)
		}
		if _, err := m.Watch(t.Context()); tt.says != "" && err == nil {
			t.Errorf("%q is watched", tt.reply)
		}
		m.state.close()
	}
}

// TestNoticesWait: what is notified waits in bounded memory, each key once, and is counted as a write if a client can have written.
func TestNoticesWait(t *testing.T) {
	w := &Watch{keys: map[keyspace.Key]struct{}{}}
	for _, n := range []struct{ channel, message string }{
		{"__keyevent@0__:set", "a"}, {"__keyspace@0__:a", "set"}, {"__keyevent@2__:del", "a"},
		{"__keyevent@0__:expired", "b"}, {"__keyevent@0__:set", keyspace.Prefix + ":x"}, {"other", "c"},
	} {
		w.take(n.channel, n.message)
	}
	if got := w.next(); len(got) != 3 || w.Seen() != 3 || len(w.next()) > 0 {
		t.Errorf("%v wait, %d writes are counted", got, w.Seen())
	}
	for i := range mostNotices + 10 {
		w.take("__keyevent@0__:set", fmt.Sprint(i))
	}
	if len(w.keys) != mostNotices || w.Seen() != 3+mostNotices+10 {
		t.Errorf("%d keys wait, %d writes are counted", len(w.keys), w.Seen())
	}
	if got := w.next(); len(got) != noticesAtOnce || len(w.keys) != mostNotices-noticesAtOnce {
		t.Errorf("%d at once, and %d are left", len(got), len(w.keys))
	}
}

// TestWatchCopies: what is notified is copied, and a lost connection counts as a write. An error of the target ends the watch and is told.
func TestWatchCopies(t *testing.T) {
	from, to := serve(t, texts{"a": "1"}), serve(t, nil)
	from.Always("CONFIG GET notify-keyspace-events", endpointtest.Strings("notify-keyspace-events", "AE"))
	from.Always("PSUBSCRIBE", endpointtest.HangUp)
	cfg := between(t, from.URL(), to.URL())
	cfg.Capture = CaptureScan
	m := mustMigrate(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w, err := m.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	await := func(what string, so func() bool) {
		t.Helper()
		for !so() {
			if time.Sleep(5 * time.Millisecond); ctx.Err() != nil {
				t.Fatal(what)
			}
		}
	}
	await("a lost connection is not counted", func() bool { return w.Seen() > 0 })
	from.Put("a", text("2"))
	w.take("__keyevent@0__:set", "a")
	await("the key is not copied", func() bool { return w.Copied() == 1 })
	if got := heldBy(to)["a"]; got != "2" {
		t.Errorf("the target holds %q", got)
	}
	to.Always("RESTORE a", "-OOM command not allowed\r\n")
	w.take("__keyevent@0__:set", "a")
	await("the watch goes on", func() bool {
		select {
		case <-w.over:
			return true
		default:
			return false
		}
	})
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), errTargetFull.Error()) {
		t.Errorf("ended by %v", err)
	}
}
