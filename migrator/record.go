package migrator

import "surecut/migrator/internal/receive"

// linkRecord makes durable what a link's receiver tells of, and passes it on to who acts on it.
type linkRecord struct{ l *link }

// SnapshotBegins remembers where the stream begins.
func (r linkRecord) SnapshotBegins(b receive.Beginning) error {
	return r.l.standing.advance(receiving, func(st *linkState) error {
		st.ReplID, st.Start, st.StartedMs, st.Reach, st.Sync = b.ReplID, b.Offset, b.AskedMs, 0, b.Legacy
		return nil
	})
}

// SnapshotIsWhole remembers that the snapshot need not be asked for again.
func (r linkRecord) SnapshotIsWhole() error {
	r.l.m.update(func() {
		if r.l.st.Stage == receiving { // a small one is loaded by now
			r.l.st.enter(received)
		}
	})
	return r.l.m.saveState()
}

// StreamContinues remembers the replication ID. While the source was lost, the target has gone on to expire keys that the source may
// have renewed. What was read from the source beyond the end of a stream that has another name now is void.
func (r linkRecord) StreamContinues(replID string, offset int64, renamed bool) error {
	l := r.l
	l.expiries.beginAgain(l.m.cfg.HoldExpiry > 0)
	l.m.update(func() { l.st.ReplID = replID })
	if renamed {
		l.moved.Store(&moved{behind: offset})
	}
	return l.m.saveState()
}

// LastPrimary returns the primary of the shard when the link was last connected, and the stream that it had.
func (r linkRecord) LastPrimary() (addr, replID string) {
	r.l.m.stateMu.Lock()
	defer r.l.m.stateMu.Unlock()
	return r.l.st.Primary, r.l.st.ReplID
}

// RememberPrimary remembers a primary that has the link's stream.
func (r linkRecord) RememberPrimary(addr string) error {
	r.l.m.update(func() { r.l.st.Primary = addr })
	return r.l.m.saveState()
}

// standing is what the state on disk remembers of a link.
type standing struct {
	m  *Migration
	st *linkState // guarded by m.stateMu
}

// stage says where the link stands.
func (s *standing) stage() stage {
	s.m.stateMu.Lock()
	defer s.m.stateMu.Unlock()
	return s.st.Stage
}

// advance takes the link to a stage, and makes that durable together with what else changes. It does nothing if that is an error.
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

// hasReceived says with what an earlier run has left the receiver begins.
func (s *standing) hasReceived() receive.Progress {
	switch stage := s.stage(); {
	case stage == received:
		return receive.Downloaded
	case stage.inTarget():
		return receive.Loaded
	}
	return receive.Nothing
}

// countsOffsets says whether the source tells offsets; one without PSYNC does not.
func (s *standing) countsOffsets() bool {
	s.m.stateMu.Lock()
	defer s.m.stateMu.Unlock()
	return !s.st.Sync
}

// lost says whether the target has lost what the link has brought.
func (s *standing) lost() bool {
	s.m.stateMu.Lock()
	defer s.m.stateMu.Unlock()
	return s.st.Lost
}

// takeLoss says whether the target has lost keys since the loading began, for somebody who loads them again.
func (s *standing) takeLoss() (lost bool) {
	s.m.update(func() { lost, s.st.Lost = s.st.Lost, false })
	return lost
}
