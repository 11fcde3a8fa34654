package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/target"
)

// TestRelease: what the source said of a held key at an offset is not applied to a copy of later, also where the key
// was copied only after the source had been asked. A copy as of that very offset has no expiry yet.
func TestRelease(t *testing.T) {
	const asked = 500
	for _, c := range []struct {
		name   string
		held   reread.Copy
		copied int64 // offset of a copy that is made before the injection; 0: none
		want   string
	}{
		{"expires", reread.Copy{Present: true, ExpireAt: 9000}, 0, "PEXPIREAT k 9000"},
		{"persists", reread.Copy{Present: true}, 0, "EXISTS k, PERSIST k"},
		{"gone", reread.Copy{}, 0, "DEL k"},
		{"copied before", reread.Copy{Present: true, ExpireAt: 9000}, asked - 1, "PEXPIREAT k 9000"},
		{"copied as of the same offset", reread.Copy{Present: true, ExpireAt: 9000}, asked, "PEXPIREAT k 9000"},
		{"expires, copied later", reread.Copy{Present: true, ExpireAt: 9000}, asked + 1, ""},
		{"persists, copied later", reread.Copy{Present: true}, asked + 1, ""},
		{"gone, copied later", reread.Copy{}, asked + 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestStream(t)
			d := newTestDispatcher(l, nil)
			c.held.Key, c.held.Offset = keyspace.Key{Name: "k"}, asked
			d.releases.injections = []injection{{at: asked, keys: []reread.Copy{c.held}}}
			if c.copied > 0 {
				d.ahead.fences[c.held.Key] = c.copied
			}
			if err := d.releases.inject(t.Context(), group{start: asked - 1}); err != nil {
				t.Fatal(err)
			}
			if len(d.releases.injections) != 1 {
				t.Fatal("injected before its offset")
			}
			if err := d.releases.inject(t.Context(), group{start: asked}); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, n := range d.lanes {
				for _, it := range n.queue {
					for _, x := range it.calls {
						got = append(got, strings.Join(x.Args, " "))
					}
				}
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("sent %q, want %q", s, c.want)
			}
		})
	}
}

// TestReleaseAfterFailover: what a source said that has failed over meanwhile is void behind the point where the new one goes on.
func TestReleaseAfterFailover(t *testing.T) {
	l := newTestStream(t)
	d := newTestDispatcher(l, nil)
	for _, at := range []int64{400, 600} {
		d.releases.injections = append(d.releases.injections, injection{at: at, keys: []reread.Copy{{Key: keyspace.Key{Name: "k" + strconv.Itoa(int(at))}, Offset: at}}})
	}
	l.Moved.Store(&Moved{Behind: 500})
	if err := d.releases.inject(t.Context(), group{start: 700}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range d.lanes {
		for _, it := range n.queue {
			got = append(got, strings.Join(it.calls[0].Args, " "))
		}
	}
	if s := strings.Join(got, ", "); s != "DEL k400" || len(d.releases.injections) != 0 {
		t.Errorf("sent %q, %d left", s, len(d.releases.injections))
	}
	if l.Moved.Load() == nil {
		t.Error("keys that were copied would not be copied again")
	}
}

// TestHeldAgain: keys whose expiry an earlier run held, or passed on to another key, are noted once more; that run may have been
// killed before its list was on disk.
func TestHeldAgain(t *testing.T) {
	for _, c := range []struct{ command, want string }{
		{fmt.Sprintf("PEXPIREAT a %d", time.Now().UnixMilli()+60000), "[{0 a}]"},
		{"SET a v EX 10", "[{0 a}]"},
		{"PERSIST a", "[{0 a}]"},
		{"RENAME a b", "[{0 a} {0 b}]"},
		{"COPY a b", "[{0 a} {0 b}]"},
		{"COPY a b DB 5", "[{0 a} {5 b}]"},
		{"MOVE a 5", "[{0 a} {5 a}]"},
		{"EVAL s 2 a b", "[{0 a} {0 b}]"},
		{"INCR a", "[]"},
		{"INCR a, which is asked for", "[{0 a}]"},
		{"GETSET a v, which is not asked for", "[]"},
	} {
		var released bool
		c.command, _, released = strings.Cut(c.command, ",")
		for _, again := range []bool{false, true} {
			l := newTestStream(t)
			if l.Expiries.Begin(); released {
				l.Expiries.BeginRelease()
			}
			cp := &target.Checkpoint{Offset: 100, Units: map[target.Unit]int64{}}
			if again {
				cp.Units = map[target.Unit]int64{0: 200, 1: 200, 2: 200}
			}
			d := newTestDispatcher(l, cp)
			p, err := d.planner.plan(&sourceCommand{end: 150, args: bytes.Fields([]byte(c.command))}, 50000)
			if err != nil {
				t.Fatal(err)
			}
			if again && (len(p.pieces) > 0 || p.act != nil) {
				t.Errorf("%s: would be applied twice", c.command)
			}
			got := map[string]bool{}
			list := l.Expiries.All()
			for k, ok, err := list.Next(); ok || err != nil; k, ok, err = list.Next() {
				if err != nil {
					t.Fatal(err)
				}
				got[fmt.Sprint(k)] = true
			}
			if s := fmt.Sprint(slices.Sorted(maps.Keys(got))); s != c.want {
				t.Errorf("%s, applied before %v: noted %s, want %s", c.command, again, s, c.want)
			}
		}
	}
}

// TestPassFences: where many keys were copied ahead of the stream, it is followed to where none is.
func TestPassFences(t *testing.T) {
	l := newTestStream(t)
	l.RetryFor = time.Minute
	d := newTestDispatcher(l, &target.Checkpoint{Offset: 100})
	stretches := make(chan stretch, mostFenced)
	d.stretches = stretches
	l.Positions.SetDispatched(Mark{Offset: 100})
	for i := range mostFenced - 1 {
		d.ahead.fences[keyspace.Key{Name: strconv.Itoa(i)}] = int64(101 + i%3)
		stretches <- stretch{groups: []group{{start: int64(100 + i), end: int64(101 + i)}}}
	}
	if err := d.releases.passFences(t.Context()); err != nil || len(d.ahead.fences) != mostFenced-1 || l.Positions.dispatchedTo().Offset != 100 {
		t.Fatalf("%d fences, at %d: %v", len(d.ahead.fences), l.Positions.dispatchedTo().Offset, err)
	}
	d.ahead.fences[keyspace.Key{Name: "one more"}] = 102
	if err := d.releases.passFences(t.Context()); err != nil || len(d.ahead.fences) != 0 || l.Positions.dispatchedTo().Offset != 103 {
		t.Fatalf("%d fences, at %d: %v", len(d.ahead.fences), l.Positions.dispatchedTo().Offset, err)
	}
	close(stretches)
	for range stretches {
	}
	for i := range mostFenced {
		d.ahead.fences[keyspace.Key{Name: strconv.Itoa(i)}] = 900
	}
	if err := d.releases.passFences(t.Context()); err != nil {
		t.Errorf("at the end of the stream: %v", err)
	}
}

// TestSuspectsAreRemembered: keys that are copied once the link has caught up are copied again if the target goes back to a state that may
// lack the copies.
func TestSuspectsAreRemembered(t *testing.T) {
	s := newTestStream(t)
	d := newTestDispatcher(s, nil)
	if err := errors.Join(s.Doubts.later.Add(keyspace.Key{Name: "k"}), s.Doubts.Save()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no lane runs, so that nothing is copied
	if err := d.releases.copySuspects(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if n := len(s.Doubts.copied); n != 1 {
		t.Errorf("%d keys are remembered", n)
	}
}
