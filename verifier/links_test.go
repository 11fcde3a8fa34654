package verifier

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// slowLinks are the links of a migration that answers as a test tells it, in the time of a clock that goes on by being asked.
type slowLinks struct {
	Applier
	links   []AppliedLink
	applied func(asked int) (Position, error)
	asked   int
	freezes func() error
}

func (s *slowLinks) Links() []AppliedLink { return s.links }

func (s *slowLinks) Applied(context.Context, int) (Position, error) {
	s.asked++
	return s.applied(s.asked)
}

func (s *slowLinks) Freeze(ctx context.Context, _ int) (Frame, error) {
	if _, limited := ctx.Deadline(); !limited {
		return nil, errors.New("the wait has no limit")
	}
	return nil, s.freezes()
}

// steppingClock goes on by a second whenever it is slept by.
func steppingClock() (*clock, *time.Time) {
	at := time.Unix(1_700_000_000, 0)
	return &clock{func() time.Time { return at }, func(ctx context.Context, _ time.Duration) error {
		at = at.Add(time.Second)
		return context.Cause(ctx)
	}}, &at
}

// TestWaitsForLinks: a window begins only when the target has applied what the source had written, as the migration says; whatever it
// says instead, the link counts as one that lags, and no wait is longer than all waits of a run may be together.
func TestWaitsForLinks(t *testing.T) {
	link := AppliedLink{Shard: "s:1", Reads: "r:1"}
	goal := []nodePosition{{"other:1", Position{"id", 1}}, {"r:1", Position{"id", 1000}}}
	says := func(replID string, offset int64, err error) func(int) (Position, error) {
		return func(int) (Position, error) { return Position{replID, offset}, err }
	}
	for _, tt := range []struct {
		name, why string
		applied   func(asked int) (Position, error)
		at        []nodePosition
		lags      bool // the error says so
		says      string
		spent     time.Duration // of the patience, at least
	}{
		{"at once", "", says("id", 1000, nil), goal, false, "", 0},
		{"beyond", "", says("id", 5000, nil), goal, false, "", 0},
		{"after a while", "", func(asked int) (Position, error) { return Position{"id", int64(995 + asked)}, nil }, goal, false, "", 4 * time.Second},
		{"a byte short", "one command may be missing", says("id", 999, nil), goal, true, "it has applied offset 999, and the source was at 1000", framePatience},
		{"of another stream", "its offsets tell nothing", says("else", 5000, nil), goal, true, "lags behind s:1", framePatience},
		{"it cannot be asked", "", says("", 0, errors.New("no socket")), goal, false, "ask how far the target has followed s:1: no socket", framePatience},
		{"it can be asked later", "", func(asked int) (Position, error) {
			if asked < 4 {
				return Position{}, errors.New("no socket")
			}
			return Position{"id", 1000}, nil
		}, goal, false, "", 3 * time.Second},
		{"a node that is not read", "where it stood is not known", says("id", 5000, nil), goal[:1], false, "from r:1, which this comparison does not read", 0},
	} {
		c, _ := steppingClock()
		m := &slowLinks{links: []AppliedLink{link}, applied: tt.applied}
		f := &linkWaits{cfg: &Config{Applier: m}, clock: c, patience: framePatience}
		err := f.await(t.Context(), 0, &link, tt.at)
		switch {
		case tt.says == "" && err != nil, tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)), errors.Is(err, ErrLags) != tt.lags:
			t.Errorf("%s: %v, want %q (%s)", tt.name, err, tt.says, tt.why)
		case framePatience-f.patience < tt.spent:
			t.Errorf("%s: %v of the patience is left", tt.name, f.patience)
		}
		if tt.spent < framePatience {
			continue
		}
		m.asked = 0
		if err := f.await(t.Context(), 0, &link, tt.at); err == nil || m.asked > 3 {
			t.Errorf("%s: waited for as long again: asked %d times, %v", tt.name, m.asked, err)
		}
	}
	over := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(over)
	c, _ := steppingClock()
	f := &linkWaits{cfg: &Config{Applier: &slowLinks{applied: says("id", 1, nil)}}, clock: c, patience: framePatience}
	if err := f.await(ctx, 0, &link, goal); !errors.Is(err, over) {
		t.Errorf("an interrupted wait: %v", err)
	}
}

// TestLinksThatCannotBeStopped: that a link lags is told before any other reason, since its keys may be on their way.
func TestLinksThatCannotBeStopped(t *testing.T) {
	c, at := steppingClock()
	no := errors.New("no")
	m := &slowLinks{}
	f := &linkWaits{cfg: &Config{Applier: m}, clock: c, patience: framePatience}
	for _, tt := range []struct {
		fails, told error
	}{{no, no}, {ErrLags, ErrLags}, {no, ErrLags}} {
		m.freezes = func() error { *at = at.Add(3 * time.Second); return tt.fails }
		before := f.patience
		_, err := f.freeze(t.Context(), 0, AppliedLink{Shard: "s:1"})
		if !errors.Is(err, tt.fails) || !strings.Contains(err.Error(), "stop applying what s:1 sends") || before-f.patience != 3*time.Second {
			t.Errorf("%v, patience %v after %v", err, f.patience, before)
		}
		if f.failed(err); !errors.Is(f.err, tt.told) {
			t.Errorf("after %v it is told: %v", tt.fails, f.err)
		}
	}
}

// TestWindowBesideLinks: in a window, every key of a link that had not caught up at its beginning counts as written, and so does a key
// of no link. Keys of the others are as the feed says.
func TestWindowBesideLinks(t *testing.T) {
	links := []AppliedLink{{Shard: "s:1", Reads: "s:1", Slots: keyspace.SlotRanges{{First: 0, Last: 0}}}, {Shard: "s:2", Reads: "s:2", Slots: keyspace.SlotRanges{{First: 1, Last: 1}}}}
	for _, tt := range []struct {
		name   string
		behind []bool
		slot   uint16
		wrote  bool
		want   writing
		late   bool
	}{
		{"caught up", []bool{false, false}, 0, false, unwritten, false},
		{"caught up, and written", []bool{false, false}, 1, true, written, false},
		{"its link lags", []bool{true, false}, 0, false, written, true},
		{"another link lags", []bool{true, false}, 1, false, unwritten, false},
		{"no link has its slot", []bool{false, false}, 2, false, written, true},
		{"a link that came later", []bool{false}, 1, false, written, true},
	} {
		o := DefaultConfig()
		o.Applier = &slowLinks{links: links}
		w := windows{cfg: &o, source: bareSide(endpoint.Source, &endpoint.Deployment{}, &o), feed: &oneFeed{wrote: tt.wrote}, behind: tt.behind}
		seen, err := w.end(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if did, late := seen.of(keyID{name: keyOfSlot(tt.slot)}, &pair{}); did != tt.want || late != tt.late {
			t.Errorf("%s: %d, late %v, want %d, %v", tt.name, did, late, tt.want, tt.late)
		}
	}
}

// oneFeed says of every key whether it was written.
type oneFeed struct{ wrote bool }

func (f *oneFeed) begin(context.Context) ([]nodePosition, error) { return nil, nil }
func (f *oneFeed) end(context.Context) (view, error)             { return f, nil }
func (f *oneFeed) still() bool                                   { return !f.wrote }
func (f *oneFeed) writing(string, keyspace.Type) writing {
	if f.wrote {
		return written
	}
	return unwritten
}
