package migrator

import (
	"context"
	"maps"
	"slices"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// If the target has no transactions, the checkpoint of a link is written after the data. So after a restart it is not known which commands
// beyond the checkpoint were applied, and none of them is applied again: their keys are copied from the source. The reach bounds these
// commands: it is an offset on disk that is moved ahead before any command beyond it is sent.

// reachStep is how far ahead the reach is moved, in bytes of the stream.
const reachStep = 1 << 20

// reach is the offset up to which commands may have been applied. linkState.Reach holds it.
type reach struct{ l *link }

// reserve makes durable that commands up to an offset may have been applied.
func (r *reach) reserve(offset int64) error {
	if r.l.m.target.Can.Transactions {
		return nil
	}
	far := false
	r.l.m.update(func() {
		if far = offset > r.l.st.Reach; far {
			r.l.st.Reach = offset + reachStep
		}
	})
	if !far {
		return nil
	}
	return r.l.m.saveState()
}

// settle takes the reach back to what was applied, at the end of a run: no command beyond it was sent. Keys may have been copied as of
// later offsets.
func (r *reach) settle(s *stream.Stream) error {
	at := max(r.l.positions.Applied().Offset, s.LastFence())
	r.l.m.update(func() { r.l.st.Reach = at })
	return r.l.m.saveState()
}

// doubtful returns the offset up to which earlier runs may have applied commands, 0 if checkpoints tell: it is neither beyond the reach, nor
// beyond where the source is by now. The primary is asked as well, since the replica that the link reads now may be behind the one that it read before.
func (r *reach) doubtful(ctx context.Context) int64 {
	if r.l.m.target.Can.Transactions || r.l.began == fresh || r.l.file != nil {
		return 0
	}
	at := r.l.replica.spool.End()
	for _, node := range []string{r.l.shard.Node(), r.l.shard.Primary()} {
		offset, err := r.l.source.PositionOf(ctx, node)
		if err != nil {
			return r.l.st.Reach
		}
		at = max(at, offset)
	}
	return min(at, r.l.st.Reach)
}

// doubt notes the keys of all commands in the spool that an earlier run may have applied beyond the checkpoint; they are copied before
// anything is applied. For commands up to the reach that are not in the spool, planDoubtful copies the keys when they come.
func (r *reach) doubt(ctx context.Context, cp *target.Checkpoint) error {
	if r.l.m.target.Can.Transactions || r.l.st.Reach <= cp.Offset || r.l.file != nil {
		return nil
	}
	end := min(r.l.st.Reach, r.l.replica.spool.End())
	if err := r.l.source.AwaitOffset(ctx, end); err != nil {
		return err
	}
	from, err := stream.NewSpoolFeed(r.l.replica.spool, &r.l.scope.Filter, stream.Mark{Offset: cp.Offset, DB: cp.DB}, nil)
	if err != nil {
		return err
	}
	defer from.Close()
	found := map[keyspace.Key]bool{}
	err = from.Keys(ctx, end, func(k keyspace.Key) {
		if r.l.scope.Carries(k) {
			found[k] = true
		}
	})
	if err != nil {
		return err
	}
	r.l.log.Info("keys that an earlier run may have written beyond its checkpoint are copied again", "keys", len(found), "from", cp.Offset, "to", end)
	return r.l.doubts.AddInterrupted(slices.Collect(maps.Keys(found)))
}
