package migrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"surecut/internal/endpoint"
	"surecut/internal/spool"

	"surecut/migrator/internal/receive"
)

// keepCheckpoint saves the link's checkpoint several times a second until ctx ends. It also looks for restarts and failovers of the target,
// and trims the spool. stopping is done once the link is told to stop.
func (l *link) keepCheckpoint(ctx, stopping context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	servers := map[string]instance{}
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		at := l.positions.applied()
		if err := l.saveCheckpoint(ctx, at); err != nil && ctx.Err() == nil {
			return err
		}
		if n%10 == 0 {
			l.m.target.watchSentinels(ctx)
			if now, err := l.m.target.instances(ctx); err == nil && !maps.Equal(now, servers) {
				if err := l.verifyUnits(ctx); err != nil && ctx.Err() == nil {
					return err
				}
				servers = now
			}
		}
		if n%50 == 0 && l.spool != nil {
			if err := l.spool.TrimBefore(at.offset - l.m.cfg.keepApplied()); err != nil && !errors.Is(err, spool.ErrClosed) {
				return err
			}
		}
		l.m.target.expiring.pass(l.name, l.appliedTime(), len(l.m.links))
		if stopping.Err() != nil {
			l.do(draining)
		}
	}
}

// appliedTime returns when the oldest command that is not applied was received, in Unix ms, and the present time if there is none. It
// returns 0 while the source is not connected, or while the link applies commands from before it was: when these were received says nothing
// of when the source ran them.
func (l *link) appliedTime() int64 {
	now, at := time.Now().UnixMilli(), l.positions.applied()
	switch {
	case at.offset < l.sourceStood():
		return 0
	case l.received() <= at.offset:
		return now
	}
	return min(at.received, now)
}

// saveCheckpoint saves a checkpoint of the link on the target, if it is ahead of the one that the target holds.
func (l *link) saveCheckpoint(ctx context.Context, at mark) error {
	return l.positions.save(at, func(saved int64) error {
		l.m.stateMu.Lock()
		replID := l.st.ReplID
		l.m.stateMu.Unlock()
		if err := errors.Join(l.expiries.Save(), l.doubts.save(), l.scripts.save()); err != nil {
			return err
		}
		copies, releases := l.doubts.copies(), l.expiries.Releases()
		keys := l.recordKeys()
		g, ctx := errgroup.WithContext(ctx)
		for _, k := range keys {
			g.Go(func() error {
				return l.m.target.saveRecord(ctx, k, saved, at.offset, &l.instances, "replication_id", replID,
					"db", fmt.Sprint(at.db), "shard", l.shard.Primary())
			})
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("save the checkpoint: %w", err)
		}
		l.doubts.saved(copies)
		l.releasesSaved = releases
		return l.noteRecords(keys)
	})
}

// recordKeys returns the keys of the link's records on the target, its own first.
func (l *link) recordKeys() []recordKey {
	t := l.m.target
	keys := []recordKey{{name: t.linkKey(l.name), main: true}}
	if l.m.cfg.Sides.Target.Kind() != endpoint.Cluster || !t.can.placement {
		return keys
	}
	l.m.stateMu.Lock()
	defer l.m.stateMu.Unlock()
	for _, w := range l.m.state.Witnesses {
		keys = append(keys, recordKey{name: t.nodeKey(l.name, w.Slot), must: slices.Contains(l.st.Recorded, w.Slot)})
	}
	return keys
}

// noteRecords makes durable which records the target holds by now.
func (l *link) noteRecords(keys []recordKey) error {
	if !slices.ContainsFunc(keys, func(k recordKey) bool { return !k.main && !k.must }) {
		return nil
	}
	l.m.update(func() {
		l.st.Recorded = nil
		for _, w := range l.m.state.Witnesses {
			name := l.m.target.nodeKey(l.name, w.Slot)
			if slices.ContainsFunc(keys, func(k recordKey) bool { return k.name == name }) {
				l.st.Recorded = append(l.st.Recorded, w.Slot)
			}
		}
	})
	return l.m.saveState()
}

// compact deletes the checkpoints of units that are not ahead of the link's own. It keeps those that hold the fence of a key which was
// copied as of a later offset.
func (l *link) compact(ctx context.Context, s *stream) error {
	if !l.m.target.can.transactions { // units have no checkpoints then
		return l.settleReach(s)
	}
	if err := l.verifyUnits(ctx); err != nil {
		return err
	}
	var keys []ownKey
	for _, u := range l.positions.forgetSettled(s.fenced()) {
		keys = append(keys, l.m.target.ownUnit(l.name, u))
	}
	return l.m.target.forgetOwn(ctx, keys)
}

// verifyUnits returns errRegressed if the target lacks a checkpoint that it has acknowledged: a server that restarted without its data,
// or a replica that was promoted too early, has lost it together with the commands that were applied with it. Where other commands may be
// lost, which went without a checkpoint, it returns errReplaced.
func (l *link) verifyUnits(ctx context.Context) error {
	err := l.m.target.retry(ctx, func() (again, err error) {
		now, err := l.m.target.instances(ctx)
		if err != nil {
			return err, ctx.Err()
		}
		for addr, server := range now {
			if err := l.instances.check(addr, server); err != nil {
				return nil, fmt.Errorf("target %s: %w", addr, err)
			}
		}
		return nil, nil
	})
	if err != nil {
		return err
	}
	return l.m.target.verifyUnits(ctx, l.name, l.positions.acknowledgedUnits())
}

// lag returns how much of the received stream the target has not applied, in bytes and by age.
func (l *link) lag() (bytes int64, age time.Duration) {
	at := l.positions.applied()
	bytes = l.received() - at.offset
	if bytes <= 0 {
		return 0, 0
	}
	return bytes, max(time.Duration(time.Now().UnixMilli()-at.received)*time.Millisecond, 0)
}

// sourceStood returns the offset at which the source stood when it was connected; receive.Offline while it is not connected.
func (l *link) sourceStood() int64 {
	if l.receiver == nil {
		return receive.Offline
	}
	return l.receiver.Online()
}

// nearlyCaughtUp says whether the target lags by less than Config.MaxLag behind a source that is connected.
func (l *link) nearlyCaughtUp() bool {
	if l.positions.applied().offset < l.sourceStood() {
		return false
	}
	bytes, age := l.lag()
	return bytes == 0 || age < l.m.cfg.MaxLag
}

// caughtUp says whether the target follows the source: it has nearly caught up, and no key is without its expiry.
func (l *link) caughtUp() bool {
	return l.does(working) && l.applying.Load() != nil && l.nearlyCaughtUp() && !l.expiries.Holding()
}
