package migrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/stream"
)

// mostAwaited is how long Freeze waits for a link that lags.
const mostAwaited = 10 * time.Second

// ErrLags says that a link has not caught up, so that it cannot be stopped at an offset of the source.
var ErrLags = errors.New("has not caught up")

// LinkInfo says which shard a link replicates (the address of its primary), and from which node it reads, whose offsets count.
type LinkInfo struct {
	Shard, Reads string
	Slots        keyspace.SlotRanges // nil: all
}

// LinkInfos lists the links in shard order. The link of a shard that has left the source is among them, without slots.
func (m *Migration) LinkInfos() []LinkInfo {
	infos := []LinkInfo{}
	for _, l := range m.all() {
		info := LinkInfo{Shard: l.shard.Primary(), Reads: l.shard.Node(), Slots: l.scope.Slots}
		if moving := l.scope.Moving; moving != nil {
			info.Slots = append(keyspace.SlotRanges{}, moving.Table.Owned(moving.Index)...) // nil would stand for all
		}
		infos = append(infos, info)
	}
	return infos
}

// Applied is how far the target has followed one link: it has applied the stream with this replication ID up to the offset.
type Applied struct {
	ReplID string
	Offset int64
}

// Applied returns how far the target has followed a link, at the moment of the call.
func (m *Migration) Applied(_ context.Context, link int) (Applied, error) {
	l, there := m.linkAt(link)
	if !there {
		return Applied{}, fmt.Errorf("applied offset: there is no link %d", link)
	}
	if !l.standing.countsOffsets() || l.applying.Load() == nil {
		return Applied{}, fmt.Errorf("applied offset: the link of shard %s has none now, since it is not applying a stream yet, or its source has no offsets (added in Redis 2.8)", l.shard.Primary())
	}
	if n := m.movingSlots(); n > 0 {
		return Applied{}, fmt.Errorf("applied offset: %d slots of the source move, whose commands are not applied until they have settled", n)
	}
	m.stateMu.Lock()
	id := l.st.ReplID
	m.stateMu.Unlock()
	return Applied{ReplID: id, Offset: l.positions.Applied().Offset}, nil
}

// Frame is a link that stands still between two commands.
type Frame = stream.Frame

// Freeze stops applying one link at a command boundary, once it has caught up. The caller must Release the frame within 15 seconds,
// after which the link goes on by itself and ApplyTo fails.
func (m *Migration) Freeze(ctx context.Context, link int) (*Frame, error) {
	l, there := m.linkAt(link)
	if !there {
		return nil, fmt.Errorf("freeze: there is no link %d", link)
	}
	if !l.standing.countsOffsets() {
		return nil, fmt.Errorf("freeze: shard %s has no PSYNC (added in Redis 2.8), so its offsets are not known", l.shard.Primary())
	}
	s, err := l.awaitCaughtUp(ctx)
	if err != nil {
		return nil, fmt.Errorf("freeze: %w", err)
	}
	f, err := s.Freeze(ctx, l.ended)
	if errors.Is(err, stream.ErrOver) {
		return nil, fmt.Errorf("freeze: the link of shard %s has started again meanwhile", l.shard.Primary())
	}
	return f, err
}

// awaitCaughtUp waits until a link has caught up, for up to mostAwaited, and returns its stream.
func (l *link) awaitCaughtUp(ctx context.Context) (*stream.Stream, error) {
	deadline := time.NewTimer(mostAwaited)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s := l.applying.Load(); s != nil && l.caughtUp() {
			return s, nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return nil, fmt.Errorf("the link of shard %s %w", l.shard.Primary(), ErrLags)
		case <-l.ended:
			return nil, fmt.Errorf("the link of shard %s has ended", l.shard.Primary())
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
