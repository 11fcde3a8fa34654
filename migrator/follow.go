package migrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"surecut/internal/endpoint"

	"surecut/migrator/internal/receive"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// A failover is followed without a restart. After a failover of the source, the link asks for the topology again and continues the stream
// with a node of its shard; if the new primary lacks a part of what the link has received, a new snapshot replaces what is in the target.
// After a failover of the target, the stream is applied again from the checkpoints and records of the new primary, which may have lost
// writes. A cluster gets a new snapshot instead where its checkpoints are older though no server was replaced, since they do not tell what
// else is lost.

// mostCuts is how often in a row a link asks for another snapshot after one was cut off.
const mostCuts = 3

// refreshSource discovers the topology of the source again, at most once a second for all links.
func (m *Migration) refreshSource(ctx context.Context) error {
	m.refresh.Lock()
	defer m.refresh.Unlock()
	if time.Since(m.refreshed) < time.Second {
		return nil
	}
	m.refreshed = time.Now()
	return m.cfg.Sides.Source.Refresh(ctx)
}

// refreshSourceNow discovers the topology of the source again, even if that was done a moment ago.
func (m *Migration) refreshSourceNow(ctx context.Context) error {
	m.refresh.Lock()
	m.refreshed = time.Time{}
	m.refresh.Unlock()
	return m.refreshSource(ctx)
}

// shardNow returns the shard of a link in the topology as last discovered. In a cluster that is the shard whose primary is one of the
// link's nodes; ok is false if there is none, and where slots that move are not followed, once one has moved: then watchSlots reports it.
// proven says that the primary was known as one of the shard's nodes.
func (m *Migration) shardNow(l *link) (shard endpoint.Shard, proven, ok bool) {
	shards := m.cfg.Sides.Source.Shards()
	if !m.slotted {
		primary, ok := m.cfg.Sides.Source.PrimaryOf(l.scope.FirstSlot())
		i := slices.IndexFunc(shards, func(s endpoint.Shard) bool { return ok && s.Primary.Addr == primary.Addr })
		if i < 0 {
			return shard, false, false
		}
		return shards[i], true, true
	}
	known, err := m.holdings()
	if err != nil {
		return shard, false, false
	}
	var homes []home
	var moves []slotMove
	if m.table != nil {
		homes = m.homes(known, shards)
	} else {
		homes, moves = compareSlots(known, shards)
	}
	i := slices.Index(m.all(), l)
	if i < 0 || len(moves) > 0 || homes[i].shard < 0 {
		return shard, false, false
	}
	return shards[homes[i].shard], homes[i].proven, true
}

// again says whether the link is to begin anew after once has ended with err, and prepares it for that. If it returns an error,
// that ends the link.
func (r *replica) again(ctx context.Context, err error) (bool, error) {
	if err == nil || ctx.Err() != nil {
		return false, err
	}
	if m := r.l.m; m.table != nil && (errors.Is(err, target.ErrRegressed) || errors.Is(err, target.ErrReplaced)) {
		if err := m.table.BeginAgain(); err != nil { // the target may have lost keys of slots that were read again
			return false, err
		}
	}
	if r.l.m.stopping.Err() != nil {
		return false, err
	}
	if errors.Is(err, receive.ErrStranger) && r.l.m.table != nil {
		return false, r.l.depart()
	}
	if errors.Is(err, target.ErrRegressed) {
		if err := r.l.m.mend(ctx); err != nil { // other links may have lost keys as well
			return false, err
		}
	}
	var begun error
	far := true // the stream may go back by more than what was applied since the last record
	switch {
	case errors.Is(err, receive.ErrCut) && r.l.shard.Follows() && r.cuts < mostCuts:
		r.cuts++
		r.l.log.Warn("the connection to the source was lost before its snapshot was complete; another snapshot is requested", "error", err)
	case errors.Is(err, receive.ErrFailedOver), errors.Is(err, receive.ErrNoPSYNC), errors.Is(err, receive.ErrDamaged):
		r.l.log.Warn("a new snapshot will replace what the target holds", "reason", err)
		begun = r.l.startOver(err)
	case errors.Is(err, target.ErrRegressed) && r.l.standing.lost():
		r.l.log.Warn("a new snapshot will replace what the target holds", "reason", err)
		begun = r.l.startOver(err)
	case errors.Is(err, target.ErrReplaced):
		r.l.log.Warn("a part of the stream is applied again, since a server of the target may lack it", "reason", err)
		far, begun = r.l.rewind(ctx, err)
	case errors.Is(err, target.ErrRegressed) && r.l.m.cfg.Sides.Target.Kind() == endpoint.Cluster: // checkpoints do not tell what each shard has lost
		r.l.log.Warn("a new snapshot will replace what the target holds", "reason", err)
		begun = r.l.startOver(err)
	case errors.Is(err, target.ErrRegressed) && !r.l.m.target.Cluster:
		r.l.log.Warn("the stream is applied again from the target's checkpoint on", "reason", err)
		_, begun = r.l.rewind(ctx, err)
	default:
		return false, err
	}
	if begun != nil {
		return false, begun
	}
	return true, r.reset(far)
}

// reset forgets what the link has in memory, before it begins anew. far says that the stream may go back by more than what was applied since
// the last record.
func (r *replica) reset(far bool) error {
	r.l.applying.Store(nil)
	r.l.positions.Reset()
	r.l.records.checkpoints.Reset()
	r.l.doubts.Reset()
	r.l.expiries.Restart()
	r.l.began = r.l.standing.stage()
	r.l.shard.Reset()
	if far && r.l.standing.countsOffsets() { // without offsets, a new snapshot will replace what the target holds
		r.l.m.target.Expiring.Forget() // expiries that were forgotten as passed matter again
	}
	r.l.ledger.ForgetUnsettled()
	select {
	case err := <-r.l.failed: // left by a goroutine of the run that has ended
		r.l.log.Debug("a goroutine of the last attempt has left this error", "error", err)
	default:
	}
	r.l.writer.Close()
	r.l.writer = r.l.newWriter()
	r.l.do(preparing)
	return r.receiver.Reset()
}

// startOver prepares the link for a new snapshot that replaces the earlier one. It fails unless all keys of the target come from this
// migration: otherwise nothing tells which of them are to be deleted because the source does not have them any more. why is the reason for
// starting over.
func (l *link) startOver(why error) error {
	switch {
	case l.m.cfg.Mode == ModeIncremental:
		return fmt.Errorf("%w: a new snapshot is needed, but Config.Mode incremental takes none", why)
	case !l.m.target.Can.Nodes:
		return fmt.Errorf("%w; a new snapshot is needed, but through a proxy it is not known which keys of the target it must replace: start again with a new Config.StateDir and an empty target", why)
	case !l.m.state.TargetWasEmpty:
		return fmt.Errorf("%w; a new snapshot is needed, but the target held keys before this migration began, so it is not known which of them the snapshot must replace: run verify and repair, or start again with a new Config.StateDir and Config.OnExisting replace", why)
	case len(l.m.live()) > 1 && l.scope.Slots == nil && l.scope.Moving == nil:
		return fmt.Errorf("%w; a new snapshot is needed, but it is not known which keys of the target came from this shard: start again with a new Config.StateDir", why)
	}
	if err := errors.Join(l.expiries.Clear(), l.doubts.Clear()); err != nil {
		return err
	}
	l.ledger.ForgetSnapshot()
	l.ledger.MendReported()
	err := l.standing.advance(fresh, func(st *linkState) error {
		st.Again, st.Lost = true, false
		l.expiries.Forget()
		return nil
	})
	if err != nil {
		return err
	}
	return l.problems.Clear() // not before: a run that is killed in between still holds what was copied before
}

// forgetCheckpoints deletes the link's record and its checkpoints on the target: a new snapshot begins at another offset.
func (l *link) forgetCheckpoints(ctx context.Context) error {
	keys, units := l.records.keys(), make([]target.Unit, l.m.target.Units())
	for u := range units {
		units[u] = target.Unit(u)
	}
	l.m.update(func() { l.st.Recorded = nil })
	return l.m.target.Retry(ctx, func() (again, err error) { return l.records.checkpoints.Forget(ctx, keys, units), ctx.Err() })
}

// rewind prepares the link for a target that has gone back to an earlier state, or a node that may have, if checkpoints and records say
// which one. Keys that were copied or released since are copied and released once more. If the records are not older than those that the
// target has acknowledged, that means since the last one; older says whether they are.
func (l *link) rewind(ctx context.Context, why error) (older bool, err error) {
	r, err := l.records.checkpoints.ReadRecords(ctx, l.records.keys())
	if err != nil && !errors.Is(err, target.ErrRegressed) {
		return true, err
	}
	saved := l.positions.SavedTo()
	older = saved == (stream.Mark{})
	for _, at := range r.At {
		older = older || at < saved.Offset
	}
	// The record of a node goes with the slot of its witness when that moves, and another one is written within seconds.
	silent := r.Silent && (l.m.cfg.Sides.Target.Kind() == endpoint.Cluster || l.m.target.Can.Tells)
	switch lost := err != nil || len(r.Lowest) == 0 || silent || !l.doubts.KnowsCopies(older); {
	case !l.m.target.Can.Transactions && (lost || !l.m.target.Can.Tells): // one of the servers behind the proxy may have gone back, and nothing tells how far
		return true, why
	case lost && l.m.cfg.Sides.Target.Kind() == endpoint.Standalone: // the server came up without its data, and no other one has taken its place
		return true, why
	case lost:
		return true, l.startOver(why)
	}
	if err := l.doubts.Rewind(older); err != nil {
		return true, err
	}
	if older || l.expiries.Releases() > l.records.releasesSaved {
		if err := l.expiries.TakeBack(); err != nil {
			return true, err
		}
	}
	return older, l.m.saveState()
}
