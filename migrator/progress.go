package migrator

import (
	"context"
	"maps"
	"time"

	"surecut/migrator/internal/receive"
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
		if err := l.records.save(ctx, at); err != nil && ctx.Err() == nil {
			return err
		}
		if n%10 == 0 {
			l.m.target.WatchSentinels(ctx)
			if now, err := l.records.checkpoints.Servers(ctx); err == nil && !maps.Equal(now, servers) {
				if err := l.records.verify(ctx); err != nil && ctx.Err() == nil {
					return err
				}
				servers = now
			}
		}
		if n%50 == 0 && l.replica != nil {
			if err := l.replica.trim(at.Offset - l.m.cfg.keepApplied()); err != nil {
				return err
			}
		}
		l.m.target.Expiring.Pass(l.name, l.appliedTime(), len(l.m.live()))
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
	case l.origin.received() <= at.Offset:
		if offset, since := l.sourceOffset(); offset > at.Offset {
			return min(since.UnixMilli(), now)
		}
		return now
	}
	return min(at.Received, now)
}

// lag returns how much of the source's stream the target has not applied, in bytes and by age. That is what was received, and what the
// source is known to have written beyond that.
func (l *link) lag() (bytes int64, age time.Duration) {
	at, received := l.positions.Applied(), l.origin.received()
	if at.Offset < received {
		bytes, age = received-at.Offset, time.Duration(time.Now().UnixMilli()-at.Received)*time.Millisecond
	}
	if offset, since := l.sourceOffset(); offset > max(received, at.Offset) {
		bytes, age = offset-at.Offset, max(age, time.Since(since))
	}
	return bytes, max(age, 0)
}

// sourceOffset returns the highest offset at which the source is known to have stood, and since when that is known. 0: it tells none.
func (l *link) sourceOffset() (offset int64, since time.Time) {
	if l.replica == nil || l.replica.receiver == nil {
		return 0, since
	}
	return l.replica.receiver.SourceOffset()
}

// sourceStood returns the offset at which the source stood when it was connected; receive.Offline while it is not connected.
func (l *link) sourceStood() int64 {
	if l.replica == nil || l.replica.receiver == nil {
		return receive.Offline
	}
	return l.replica.receiver.Online()
}

// nearlyCaughtUp says whether the target lags by less than Config.MaxLag behind a source that is connected.
func (l *link) nearlyCaughtUp() bool {
	if l.positions.Applied().Offset < l.sourceStood() {
		return false
	}
	bytes, age := l.lag()
	return bytes == 0 || age < l.m.cfg.MaxLag
}

// caughtUp says whether the target follows the source: it has nearly caught up, no key is without its expiry, and no slot of the source moves.
func (l *link) caughtUp() bool {
	return l.does(working) && l.applying.Load() != nil && l.nearlyCaughtUp() && !l.expiries.Holding() && l.m.movingSlots() == 0
}
