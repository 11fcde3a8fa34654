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
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// keepCheckpoint saves the link's checkpoint several times a second until ctx ends. It also looks for restarts and failovers of the target,
// and trims the spool. stopping is done once the link is told to stop.
func (l *link) keepCheckpoint(ctx, stopping context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	servers := map[string]target.Instance{}
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		at := l.positions.Applied()
		if err := l.saveCheckpoint(ctx, at); err != nil && ctx.Err() == nil {
			return err
		}
		if n%10 == 0 {
			l.m.target.WatchSentinels(ctx)
			if now, err := l.m.target.Instances(ctx); err == nil && !maps.Equal(now, servers) {
				if err := l.verifyUnits(ctx); err != nil && ctx.Err() == nil {
					return err
				}
				servers = now
			}
		}
		if n%50 == 0 && l.spool != nil {
			if err := l.spool.TrimBefore(at.Offset - l.m.cfg.keepApplied()); err != nil && !errors.Is(err, spool.ErrClosed) {
				return err
			}
		}
		l.m.target.Expiring.Pass(l.name, l.appliedTime(), len(l.m.links))
		if stopping.Err() != nil {
			l.do(draining)
		}
	}
}

// appliedTime returns when the oldest command that is not applied was received, in Unix ms, and the present time if there is none. It
// returns 0 while the source is not connected, or while the link applies commands from before it was: when these were received says nothing
// of when the source ran them.
func (l *link) appliedTime() int64 {
	now, at := time.Now().UnixMilli(), l.positions.Applied()
	switch {
	case at.Offset < l.sourceStood():
		return 0
	case l.received() <= at.Offset:
		return now
	}
	return min(at.Received, now)
}

// saveCheckpoint saves a checkpoint of the link on the target, if it is ahead of the one that the target holds.
func (l *link) saveCheckpoint(ctx context.Context, at stream.Mark) error {
	return l.positions.Save(at, func(saved int64) error {
		l.m.stateMu.Lock()
		replID := l.st.ReplID
		l.m.stateMu.Unlock()
		if err := errors.Join(l.expiries.Save(), l.doubts.Save(), l.scripts.Save()); err != nil {
			return err
		}
		copies, releases := l.doubts.Copies(), l.expiries.Releases()
		keys := l.recordKeys()
		g, ctx := errgroup.WithContext(ctx)
		for _, k := range keys {
			g.Go(func() error {
				return l.m.target.SaveRecord(ctx, k, saved, at.Offset, &l.instances, "replication_id", replID,
					"db", fmt.Sprint(at.DB), "shard", l.shard.Primary())
			})
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("save the checkpoint: %w", err)
		}
		l.doubts.Saved(copies)
		l.releasesSaved = releases
		return l.noteRecords(keys)
	})
}

// recordKeys returns the keys of the link's records on the target, its own first.
func (l *link) recordKeys() []target.RecordKey {
	t := l.m.target
	keys := []target.RecordKey{{Name: t.LinkKey(l.name), Main: true}}
	if l.m.cfg.Sides.Target.Kind() != endpoint.Cluster || !t.Can.Placement {
		return keys
	}
	l.m.stateMu.Lock()
	defer l.m.stateMu.Unlock()
	for _, w := range l.m.state.Witnesses {
		keys = append(keys, target.RecordKey{Name: t.NodeKey(l.name, w.Slot), Must: slices.Contains(l.st.Recorded, w.Slot)})
	}
	return keys
}

// noteRecords makes durable which records the target holds by now.
func (l *link) noteRecords(keys []target.RecordKey) error {
	if !slices.ContainsFunc(keys, func(k target.RecordKey) bool { return !k.Main && !k.Must }) {
		return nil
	}
	l.m.update(func() {
		l.st.Recorded = nil
		for _, w := range l.m.state.Witnesses {
			name := l.m.target.NodeKey(l.name, w.Slot)
			if slices.ContainsFunc(keys, func(k target.RecordKey) bool { return k.Name == name }) {
				l.st.Recorded = append(l.st.Recorded, w.Slot)
			}
		}
	})
	return l.m.saveState()
}

// compact deletes the checkpoints of units that are not ahead of the link's own. It keeps those that hold the fence of a key which was
// copied as of a later offset.
func (l *link) compact(ctx context.Context, s *stream.Stream) error {
	if !l.m.target.Can.Transactions { // units have no checkpoints then
		return l.settleReach(s)
	}
	if err := l.verifyUnits(ctx); err != nil {
		return err
	}
	var keys []target.OwnKey
	for _, u := range l.positions.ForgetSettled(s.Fenced()) {
		keys = append(keys, l.m.target.OwnUnit(l.name, u))
	}
	return l.m.target.ForgetOwn(ctx, keys)
}

// VerifyUnits returns ErrRegressed if the target lacks a checkpoint that it has acknowledged: a server that restarted without its data,
// or a replica that was promoted too early, has lost it together with the commands that were applied with it. Where other commands may be
// lost, which went without a checkpoint, it returns ErrReplaced.
func (l *link) verifyUnits(ctx context.Context) error {
	err := l.m.target.Retry(ctx, func() (again, err error) {
		now, err := l.m.target.Instances(ctx)
		if err != nil {
			return err, ctx.Err()
		}
		for addr, server := range now {
			if err := l.instances.Check(addr, server); err != nil {
				return nil, fmt.Errorf("target %s: %w", addr, err)
			}
		}
		return nil, nil
	})
	if err != nil {
		return err
	}
	return l.m.target.VerifyUnits(ctx, l.name, l.positions.AcknowledgedUnits())
}

// lag returns how much of the received stream the target has not applied, in bytes and by age.
func (l *link) lag() (bytes int64, age time.Duration) {
	at := l.positions.Applied()
	bytes = l.received() - at.Offset
	if bytes <= 0 {
		return 0, 0
	}
	return bytes, max(time.Duration(time.Now().UnixMilli()-at.Received)*time.Millisecond, 0)
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
	if l.positions.Applied().Offset < l.sourceStood() {
		return false
	}
	bytes, age := l.lag()
	return bytes == 0 || age < l.m.cfg.MaxLag
}

// caughtUp says whether the target follows the source: it has nearly caught up, and no key is without its expiry.
func (l *link) caughtUp() bool {
	return l.does(working) && l.applying.Load() != nil && l.nearlyCaughtUp() && !l.expiries.Holding()
}
