package migrator

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// stream applies the commands of a link's stream.
type stream struct {
	*streamConfig
	stretches  chan stretch
	lanes      []*lane
	dispatcher *dispatcher
}

// newStream returns a stream with so many lanes, each with a writer of its own. It goes on behind a checkpoint of the target.
func newStream(cfg *streamConfig, lanes int, newWriter func() committer, cp *checkpoint) *stream {
	s := &stream{streamConfig: cfg, stretches: make(chan stretch, 16)}
	for i := range lanes {
		s.lanes = append(s.lanes, newLane(cfg, i, newWriter()))
	}
	s.dispatcher = newDispatcher(cfg, s.lanes, s.stretches, cp)
	cfg.Positions.follow(s.lanes)
	return s
}

// doubtUpTo has the stream copy the keys of commands up to an offset instead of applying them: an earlier run may have applied them. It is
// called before run.
func (s *stream) doubtUpTo(offset int64) { s.dispatcher.planner.doubtEnd = offset }

// run applies what a feed sends, and returns when the feed has ended and all of it is applied. Meanwhile it runs beside, whose context is
// done when nothing is applied any more.
func (s *stream) run(ctx context.Context, from feed, beside func(ctx context.Context) error) error {
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
		return s.Link.SaveCheckpoint(ctx, s.Positions.applied())
	})
	return g.Wait()
}

// fenced returns the units whose checkpoints hold the fence of a key that was copied as of an offset ahead of the stream. It is called when
// run has ended.
func (s *stream) fenced() map[unit]bool { return s.dispatcher.ahead.fenced() }

// lastFence returns the furthest offset as of which a key was copied ahead of the stream; 0: none was. It is called when run has ended.
func (s *stream) lastFence() int64 { return s.dispatcher.ahead.lastFence() }

// freeze stops the stream between two commands. It returns ErrOver if the stream ends before that. ended is closed when nobody will run the
// stream any more.
func (s *stream) freeze(ctx context.Context, ended <-chan struct{}) (*Frame, error) {
	return s.dispatcher.freeze(ctx, ended)
}
