package migrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"surecut/internal/spool"

	"surecut/migrator/internal/receive"
)

// keepCheckpoint saves the link's checkpoint several times a second until ctx ends. It also looks for restarts and failovers of the target,
// and trims the spool. stopping is done once the link is told to stop.
func (l *link) keepCheckpoint(ctx, stopping context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	processes := map[string]string{}
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
			if now, err := l.m.target.processes(ctx); err == nil && !maps.Equal(now, processes) {
				if err := l.verifyUnits(ctx); err != nil && ctx.Err() == nil {
					return err
				}
				processes = now
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
		if err := errors.Join(l.expiries.Save(), l.doubts.later.Save(), l.scripts.save()); err != nil {
			return err
		}
		err := l.m.target.saveLink(ctx, l.name, saved, "replication_id", replID, "offset", fmt.Sprint(at.offset),
			"db", fmt.Sprint(at.db), "shard", l.shard.Primary())
		if err != nil {
			return fmt.Errorf("save the checkpoint: %w", err)
		}
		return nil
	})
}

// compact deletes the checkpoints of units that are not ahead of the link's own. It keeps those that hold the fence of a key which was
// copied as of a later offset.
func (l *link) compact(ctx context.Context, d *dispatcher) error {
	if !l.m.target.can.transactions { // units have no checkpoints then
		return l.settleReach(d)
	}
	if err := l.verifyUnits(ctx); err != nil {
		return err
	}
	fenced := map[unit]bool{}
	for k := range d.fences {
		slot := l.m.target.slot(k.Name)
		fenced[d.lane(slot).unitOf(slot)] = true
	}
	var keys []ownKey
	for _, u := range l.positions.forgetSettled(fenced) {
		keys = append(keys, l.m.target.ownUnit(l.name, u))
	}
	return l.m.target.forgetOwn(ctx, keys)
}

// verifyUnits returns errRegressed if the target lacks a checkpoint that it has acknowledged: a server that restarted without its data,
// or a replica that was promoted too early, has lost it together with the commands that were applied with it.
func (l *link) verifyUnits(ctx context.Context) error {
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
	return l.does(working) && l.dispatcher.Load() != nil && l.nearlyCaughtUp() && !l.expiries.Holding()
}
