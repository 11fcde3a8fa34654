package verifier

import (
	"context"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/retry"
)

// leastLead is the least time for which a key of the source must have been unwritten before the target is read, where nobody says
// how far the target has come.
const leastLead = time.Second

// appliedPoll is how often a migration is asked how far the target has come.
const appliedPoll = 20 * time.Millisecond

// writing says what is known about writes of one key during a window.
type writing uint8

const (
	unwritten writing = iota // nobody wrote the key
	written                  // the key was written, or may have been written
	untold                   // nothing tells of writes; only reading the key again can
)

// feed tells which keys of the source are written.
type feed interface {
	// begin opens a window: every write from now on belongs to it. It returns the positions of the source's nodes; writes before these
	// positions may belong to the window or not.
	begin(ctx context.Context) ([]nodePosition, error)
	// end returns once all writes between begin and the call of end are known. The window stays open.
	end(ctx context.Context) (view, error)
}

// nodePosition is where one node of the source stood at an instant.
type nodePosition struct {
	addr string
	at   Position
}

// view says what was written in a window, up to one call of end.
type view interface {
	// writing says whether a key was written. The type is the one that was read on both sides, or None where it does not matter.
	writing(name string, t keyspace.Type) writing
	// still says that nothing at all was written.
	still() bool
}

// clock tells the time of a run, which tests may simulate.
type clock struct {
	now   func() time.Time
	sleep func(ctx context.Context, d time.Duration) error
}

var realClock = clock{time.Now, retry.Pause}

// windows opens and ends the windows of a run. One window is open at a time.
type windows struct {
	cfg    *Config
	clock  *clock
	source *side
	feed   feed // nil where the source is fixed
	fixed  bool // the source is files, which nobody writes
	links  *linkWaits

	leadEnds time.Time // when the target may be read in the open window
	behind   []bool    // by link: the target had not applied what was written before the open window
}

// open begins a window. Where there is a migration, it returns when the target has applied what the source had written before
// the window, as far as the migration says so. Where there is none, the target may be read once awaitLead has returned.
func (w *windows) open(ctx context.Context) error {
	w.behind = nil
	if w.fixed {
		return nil
	}
	at, err := w.feed.begin(ctx)
	if err != nil {
		return err
	}
	w.leadEnds = w.clock.now().Add(w.lead())
	if w.cfg.Applier == nil {
		return nil
	}
	links := w.cfg.Applier.Links()
	w.behind = make([]bool, len(links))
	for i := range links {
		err := w.links.await(ctx, i, &links[i], at)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			w.behind[i] = true
			w.links.failed(err)
		}
	}
	return nil
}

// lead returns how long a key must have been unwritten before the target is read.
func (w *windows) lead() time.Duration { return max(w.cfg.Interval, leastLead) }

// awaitLead returns when the target may be read in the open window.
func (w *windows) awaitLead(ctx context.Context) error {
	if w.fixed || w.cfg.Applier != nil {
		return nil
	}
	if left := w.leadEnds.Sub(w.clock.now()); left > 0 {
		return w.clock.sleep(ctx, left)
	}
	return nil
}

// end returns what was written in the window up to now.
func (w *windows) end(ctx context.Context) (sighting, error) {
	if w.fixed {
		return sighting{still: true, of: func(keyID, *pair) (writing, bool) { return unwritten, false }}, nil
	}
	seen, err := w.feed.end(ctx)
	if err != nil {
		return sighting{}, err
	}
	var links []AppliedLink
	if w.cfg.Applier != nil {
		links = w.cfg.Applier.Links()
	}
	behind := w.behind
	return sighting{still: seen.still(), of: func(id keyID, p *pair) (did writing, late bool) {
		name := w.source.named(id)
		if links != nil {
			link := linkOf(links, w.source.dep.Slot(name))
			if link < 0 || link >= len(behind) || behind[link] {
				return written, true
			}
		}
		return seen.writing(name, w.sharedType(p)), false
	}}, nil
}

// sharedType returns the type of a key whose whole values were compared on both sides. It returns None where one side lacks the
// key, or where values were not compared: then a change of nothing but a stream's groups changes no verdict.
func (w *windows) sharedType(p *pair) keyspace.Type {
	if w.cfg.Depth != DepthValue || p.Source.Type != p.Target.Type {
		return keyspace.None
	}
	return p.Source.Type
}

// sighting says which writes a window has seen up to its end.
type sighting struct {
	still bool                                      // nothing was written
	of    func(keyID, *pair) (w writing, late bool) // for one key as it was read; late: its link was behind the beginning of the window
}
