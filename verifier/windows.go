package verifier

import (
	"context"
	"errors"
	"fmt"
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

// openWindow begins a window. Where there is a migration, it returns when the target has applied what the source had written before
// the window, as far as the migration says so. Where there is none, the target may be read once awaitLead has returned.
func (v *verification) openWindow(ctx context.Context) error {
	v.behind = nil
	if v.fixed {
		return nil
	}
	at, err := v.feed.begin(ctx)
	if err != nil {
		return err
	}
	v.leadEnds = v.clock.now().Add(v.lead())
	if v.cfg.Applier == nil {
		return nil
	}
	links := v.cfg.Applier.Links()
	v.behind = make([]bool, len(links))
	for i := range links {
		err := v.awaitApplied(ctx, i, &links[i], at)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			v.behind[i] = true
			v.setFrameError(err)
		}
	}
	return nil
}

// lead returns how long a key must have been unwritten before the target is read.
func (v *verification) lead() time.Duration { return max(v.cfg.Interval, leastLead) }

// awaitLead returns when the target may be read in the open window.
func (v *verification) awaitLead(ctx context.Context) error {
	if v.fixed || v.cfg.Applier != nil {
		return nil
	}
	if left := v.leadEnds.Sub(v.clock.now()); left > 0 {
		return v.clock.sleep(ctx, left)
	}
	return nil
}

// awaitApplied returns once the target has applied what the node of a link had written by the given position. Its patience, which
// all links share, is the same as that of the frames.
func (v *verification) awaitApplied(ctx context.Context, link int, l *AppliedLink, at []nodePosition) error {
	var goal *nodePosition
	for i := range at {
		if at[i].addr == l.Reads {
			goal = &at[i]
		}
	}
	if goal == nil {
		return fmt.Errorf("the migration reads the shard of %s from %s, which this comparison does not read, or whose offset is not known", l.Shard, l.Reads)
	}
	begun := v.clock.now()
	patience := max(v.patience, frameRetry)
	for {
		applied, err := v.cfg.Applier.Applied(ctx, link)
		passed := v.clock.now().Sub(begun)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && applied.ReplID == goal.at.ReplID && applied.Offset >= goal.at.Offset:
			v.patience -= passed
			return nil
		case passed > patience && err != nil:
			v.patience -= passed
			return fmt.Errorf("ask how far the target has followed %s: %w", l.Shard, err)
		case passed > patience:
			v.patience -= passed
			return fmt.Errorf("the target lags behind %s: %w (it has applied offset %d, and the source was at %d)", l.Shard, ErrLags, applied.Offset, goal.at.Offset)
		}
		if err := v.clock.sleep(ctx, appliedPoll); err != nil {
			return err
		}
	}
}

// endWindow returns what was written in the window up to now.
func (v *verification) endWindow(ctx context.Context) (sighting, error) {
	if v.fixed {
		return sighting{still: true, of: func(keyID, *pair) (writing, bool) { return unwritten, false }}, nil
	}
	seen, err := v.feed.end(ctx)
	if err != nil {
		return sighting{}, err
	}
	var links []AppliedLink
	if v.cfg.Applier != nil {
		links = v.cfg.Applier.Links()
	}
	behind := v.behind
	return sighting{still: seen.still(), of: func(id keyID, p *pair) (w writing, late bool) {
		name := v.source.named(id)
		if links != nil {
			link := linkOf(links, v.source.dep.Slot(name))
			if link < 0 || link >= len(behind) || behind[link] {
				return written, true
			}
		}
		return seen.writing(name, v.sharedType(p)), false
	}}, nil
}

// sharedType returns the type of a key whose whole values were compared on both sides. It returns None where one side lacks the
// key, or where values were not compared: then a change of nothing but a stream's groups changes no verdict.
func (v *verification) sharedType(p *pair) keyspace.Type {
	if v.cfg.Depth != DepthValue || p.Source.Type != p.Target.Type {
		return keyspace.None
	}
	return p.Source.Type
}

// sighting says which writes a window has seen up to its end.
type sighting struct {
	still bool                                      // nothing was written
	of    func(keyID, *pair) (w writing, late bool) // for one key as it was read; late: its link was behind the beginning of the window
}

// setFrameError keeps why keys could not be compared at one offset. That a link lags takes precedence.
func (v *verification) setFrameError(err error) {
	if v.frameError == nil || errors.Is(err, ErrLags) {
		v.frameError = err
	}
}
