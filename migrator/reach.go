package migrator

import (
	"context"
	"fmt"

	"surecut/internal/command"
	"surecut/internal/keyspace"
)

// If the target has no transactions, the checkpoint of a link is written after the data. So after a restart it is not known which commands
// beyond the checkpoint were applied, and none of them is applied again: their keys are copied from the source. The reach bounds these
// commands: it is an offset on disk that is moved ahead before any command beyond it is sent.

// reachStep is how far ahead the reach is moved, in bytes of the stream.
const reachStep = 1 << 20

// reserve makes durable that commands up to an offset may have been applied.
func (l *link) reserve(offset int64) error {
	if l.m.target.can.transactions {
		return nil
	}
	far := false
	l.m.update(func() {
		if far = offset > l.st.Reach; far {
			l.st.Reach = offset + reachStep
		}
	})
	if !far {
		return nil
	}
	return l.m.saveState()
}

// settleReach takes the reach back to what was applied, at the end of a run: no command beyond it was sent. Keys may have been copied as of
// later offsets.
func (l *link) settleReach(d *dispatcher) error {
	at := max(l.positions.applied().offset, d.ahead.lastFence())
	l.m.update(func() { l.st.Reach = at })
	return l.m.saveState()
}

// mayHaveReached returns the offset up to which earlier runs may have applied commands: that is neither beyond the reach, nor beyond where
// the source is by now. The primary is asked as well, since the replica that the link reads now may be behind the one that it read before.
func (l *link) mayHaveReached(ctx context.Context) int64 {
	at := l.spool.End()
	for _, node := range []string{l.shard.Node(), l.shard.Primary()} {
		offset, err := l.source.PositionOf(ctx, node)
		if err != nil {
			return l.st.Reach
		}
		at = max(at, offset)
	}
	return min(at, l.st.Reach)
}

// doubtReach notes the keys of all commands in the spool that an earlier run may have applied beyond the checkpoint; they are copied before
// anything is applied. For commands up to the reach that are not in the spool, planDoubtful copies the keys when they come.
func (l *link) doubtReach(ctx context.Context, cp *checkpoint) error {
	if l.m.target.can.transactions || l.st.Reach <= cp.offset || l.file != nil {
		return nil
	}
	end := min(l.st.Reach, l.spool.End())
	if err := l.source.AwaitOffset(ctx, end); err != nil {
		return err
	}
	p, err := newParser(ctx, l.spool, &l.scope.Filter, cp.offset, cp.db)
	if err != nil {
		return err
	}
	defer p.close()
	keys := map[keyspace.Key]bool{}
	for p.offset < end {
		g, err := p.next()
		if err != nil {
			return fmt.Errorf("stream at offset %d: %w", p.offset, err)
		}
		for i := range g.commands {
			for _, k := range keysOf(&g.commands[i]) {
				if l.scope.Carries(k) {
					keys[k] = true
				}
			}
		}
	}
	failed := make([]failure, 0, len(keys))
	for k := range keys {
		failed = append(failed, failure{call{key: k}, errInterrupted})
	}
	l.log.Info("keys that an earlier run may have written beyond its checkpoint are copied again", "keys", len(keys), "from", cp.offset, "to", end)
	return l.doubts.note(failed)
}

// keysOf returns the keys that a command of the source names; none for a command that is unknown or has no keys.
func keysOf(c *sourceCommand) []keyspace.Key {
	spec, known := command.Lookup(c.args)
	if !known || spec.Class == command.Keyless {
		return nil
	}
	indexes, err := spec.Keys(c.args, nil)
	if err != nil {
		return nil
	}
	var keys []keyspace.Key
	for _, i := range indexes {
		keys = append(keys, keyspace.Key{DB: c.db, Name: string(c.args[i])})
	}
	return keys
}
