package migrator

import (
	"surecut/migrator/internal/receive"
	"surecut/migrator/internal/stream"
)

// linkRecord makes durable what a link's receiver reports, and passes it on to the parts of the link that act on it.
type linkRecord struct{ l *link }

// SnapshotBegins saves where the stream begins, and that a snapshot is being received.
func (r linkRecord) SnapshotBegins(b receive.Beginning) error {
	if moving := r.l.scope.Moving; moving != nil {
		if err := moving.Table.BeginAnew(moving.Index, r.l.replaces()); err != nil {
			return err
		}
	}
	return r.l.standing.advance(receiving, func(st *linkState) error {
		st.ReplID, st.Start, st.StartedMs, st.Reach, st.Sync = b.ReplID, b.Offset, b.AskedMs, 0, b.Legacy
		return nil
	})
}

// replaces says whether the next snapshot takes the place of an earlier one, or of a part of one. The stream has a gap then.
func (l *link) replaces() bool {
	nothing := l.loadsNothing() // asked before the state is locked: the table saves the state while it is locked itself
	l.m.stateMu.Lock()
	defer l.m.stateMu.Unlock()
	return (l.st.Again || l.st.Stage != fresh) && !nothing
}

// SnapshotIsWhole saves that the snapshot is on disk, so that it need not be asked for again.
func (r linkRecord) SnapshotIsWhole() error {
	r.l.m.update(func() {
		if r.l.st.Stage == receiving { // a small snapshot may be loaded already
			r.l.st.enter(received)
		}
	})
	return r.l.m.saveState()
}

// StreamContinues saves the replication ID. While the source was lost, the target has gone on to expire keys that the source may have
// renewed, so expiries are held again. If the ID has changed, what was read from the source at later offsets than this one is void.
func (r linkRecord) StreamContinues(replID string, offset int64, renamed bool) error {
	l := r.l
	l.expiries.BeginAgain(l.m.cfg.HoldExpiry > 0)
	l.m.update(func() { l.st.ReplID = replID })
	if renamed && l.m.table != nil {
		l.m.table.Break() // offsets at which the old primary stood say nothing of the new one
	}
	if renamed {
		l.moved.Store(&stream.Moved{Behind: offset})
	}
	return l.m.saveState()
}

// LastPrimary returns the primary of the shard when the link was last connected, and the replication ID of its stream.
func (r linkRecord) LastPrimary() (addr, replID string) {
	r.l.m.stateMu.Lock()
	defer r.l.m.stateMu.Unlock()
	return r.l.st.Primary, r.l.st.ReplID
}

// RememberPrimary saves the address of a primary that has the link's stream.
func (r linkRecord) RememberPrimary(addr string) error {
	r.l.m.update(func() { r.l.st.Primary = addr })
	return r.l.m.saveState()
}

// standing is what the state on disk remembers of a link.
type standing struct {
	m  *Migration
	st *linkState // guarded by m.stateMu
}

// stage returns the stage of the link.
func (s *standing) stage() stage {
	s.m.stateMu.Lock()
	defer s.m.stateMu.Unlock()
	return s.st.Stage
}

// advance takes the link to a stage, and makes that durable together with what also changes. If also returns an error, nothing is saved.
func (s *standing) advance(to stage, also func(*linkState) error) (err error) {
	s.m.update(func() {
		if err = also(s.st); err == nil {
			s.st.enter(to)
		}
	})
	if err != nil {
		return err
	}
	return s.m.saveState()
}

// hasReceived says how much of the snapshot an earlier run has received.
func (s *standing) hasReceived() receive.Progress {
	switch stage := s.stage(); {
	case stage == received:
		return receive.Downloaded
	case stage.inTarget():
		return receive.Loaded
	}
	return receive.Nothing
}

// countsOffsets says whether the source has offsets that can be asked for. A source without PSYNC has none.
func (s *standing) countsOffsets() bool {
	s.m.stateMu.Lock()
	defer s.m.stateMu.Unlock()
	return !s.st.Sync
}

// lost says whether the target has lost keys that the link had written.
func (s *standing) lost() bool {
	s.m.stateMu.Lock()
	defer s.m.stateMu.Unlock()
	return s.st.Lost
}

// takeLoss says whether the target has lost keys that the link had written, and forgets the loss: the caller loads them again.
func (s *standing) takeLoss() (lost bool) {
	s.m.update(func() { lost, s.st.Lost = s.st.Lost, false })
	return lost
}
