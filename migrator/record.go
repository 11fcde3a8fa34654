package migrator

import "surecut/migrator/internal/receive"

// linkRecord makes durable what a link's receiver tells of, and passes it on to who acts on it.
type linkRecord struct{ l *link }

// SnapshotBegins remembers where the stream begins.
func (r linkRecord) SnapshotBegins(b receive.Beginning) error {
	l := r.l
	l.noOffsets.Store(b.Legacy)
	l.m.update(func() {
		l.st.ReplID, l.st.Start, l.st.StartedMs, l.st.Snapshot, l.st.Reach = b.ReplID, b.Offset, b.AskedMs, snapshotReceiving, 0
		l.st.Sync = b.Legacy
	})
	return l.m.saveState()
}

// SnapshotIsWhole remembers that the snapshot need not be asked for again.
func (r linkRecord) SnapshotIsWhole() error {
	l := r.l
	l.m.update(func() {
		if l.st.Snapshot == snapshotReceiving { // a small one is loaded by now
			l.st.Snapshot = snapshotReceived
		}
	})
	return l.m.saveState()
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

// snapshotStage says how far the link's snapshot is.
func (l *link) snapshotStage() string {
	l.m.stateMu.Lock()
	defer l.m.stateMu.Unlock()
	return l.st.Snapshot
}

// hasReceived says with what an earlier run has left the receiver begins.
func (l *link) hasReceived() receive.Progress {
	switch l.snapshotStage() {
	case snapshotReceived:
		return receive.Downloaded
	case snapshotLoaded:
		return receive.Loaded
	}
	return receive.Nothing
}
