package stream

import (
	"context"
	"sync/atomic"

	"surecut/migrator/internal/target"

	"golang.org/x/sync/errgroup"
)

// Stream applies the commands of a link's stream.
type Stream struct {
	*Config
	stretches  chan stretch
	lanes      []*lane
	dispatcher *dispatcher
	settled    atomic.Bool // see Settled
}

// New returns a stream with so many lanes, each with a writer of its own. It goes on behind a checkpoint of the target.
func New(cfg *Config, lanes int, newWriter func() Committer, cp *target.Checkpoint) *Stream {
	s := &Stream{Config: cfg, stretches: make(chan stretch, 16)}
	for i := range lanes {
		s.lanes = append(s.lanes, newLane(cfg, i, newWriter()))
	}
	s.dispatcher = newDispatcher(cfg, s.lanes, s.stretches, cp)
	cfg.Positions.follow(s.lanes)
	return s
}

// DoubtUpTo has the stream copy the keys of commands up to an offset instead of applying them: an earlier run may have applied them. It is
// called before run.
func (s *Stream) DoubtUpTo(offset int64) { s.dispatcher.planner.doubtEnd = offset }

// Run applies what a feed sends, and returns when the feed has ended and all of it is applied. Meanwhile it runs beside, whose context is
// done when nothing is applied any more.
func (s *Stream) Run(ctx context.Context, from Feed, beside func(ctx context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	applying, stop := context.WithCancel(ctx)
	defer stop()
	for _, n := range s.lanes {
		g.Go(func() error {
			if err := n.run(applying); ctx.Err() != nil || applying.Err() == nil {
				return err
			}
			return nil
		})
	}
	g.Go(func() error { return from.run(ctx, s.stretches) })
	g.Go(func() error { return beside(applying) })
	g.Go(func() error {
		defer stop()
		defer close(s.dispatcher.over)
		if err := s.dispatcher.run(ctx); err != nil {
			return err
		}
		s.settled.Store(s.dispatcher.ahead.resumedEnd == 0 && !s.Doubts.open())
		return s.Link.SaveCheckpoint(ctx, s.Positions.Applied())
	})
	return g.Wait()
}

// Settled says whether the stream has ended behind everything that earlier runs have applied, and without a key in doubt. It returns false
// before the end.
func (s *Stream) Settled() bool { return s.settled.Load() }

// Fenced returns the units whose checkpoints hold the fence of a key that was copied as of an offset ahead of the stream. It is called when
// run has ended.
func (s *Stream) Fenced() map[target.Unit]bool { return s.dispatcher.ahead.fenced() }

// LastFence returns the furthest offset as of which a key was copied ahead of the stream; 0: none was. It is called when run has ended.
func (s *Stream) LastFence() int64 { return s.dispatcher.ahead.lastFence() }

// Freeze stops the stream between two commands. It returns ErrOver if the stream ends before that. ended is closed when nobody will run the
// stream any more.
func (s *Stream) Freeze(ctx context.Context, ended <-chan struct{}) (*Frame, error) {
	return s.dispatcher.freeze(ctx, ended)
}
