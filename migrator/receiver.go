package migrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"surecut/internal/psync"
	"surecut/internal/retry"
	"surecut/internal/spool"
)

// errResync says that the source can no longer continue where the link stands.
var errResync = errors.New("the source no longer holds the stream from where this link stands (its repl-backlog-size is too small for the outage, or it was replaced): start again with a new Config.StateDir and Config.OnExisting replace; keys that were deleted since will show as extra in verify")

// receive reads the source into the spool until ctx ends. It connects again where that can help. ready is
// closed once the loader or the dispatcher has something to read.
func (l *link) receive(ctx context.Context, ready chan struct{}) error {
	progress := time.Now()
	pause := 100 * time.Millisecond
	ready = l.resumeSnapshot(ready)
	for {
		before := l.spool.End()
		err := l.session(ctx, &ready)
		l.online.Store(offline)
		if ctx.Err() != nil {
			if l.snap != nil {
				_ = l.snap.finish(context.Canceled) // it gives back what it was told
			}
			return nil
		}
		if l.spool.End() > before {
			progress, pause = time.Now(), 100*time.Millisecond
		}
		var disk *diskError
		switch {
		case errors.Is(err, spool.ErrFull):
			err = fmt.Errorf("%w (%w)", errSpoolFull, err)
		case errors.As(err, &disk):
			return disk
		}
		if !psync.Retryable(err) || endsReceiving(err) || time.Since(progress) > l.m.cfg.RetryFor {
			return fmt.Errorf("source %s: %w", l.node(), err)
		}
		l.log.Warn("the source is lost; trying again", "error", err, "in", pause)
		_ = retry.Pause(ctx, pause) // the next session sees that it is over
		pause = min(pause*2, 5*time.Second)
	}
}

// endsReceiving says whether an error is one that another connection to the source cannot mend.
func endsReceiving(err error) bool {
	return slices.ContainsFunc([]error{errResync, errMixed, errSyncLost, errFailedOver, errResharded, errStranger, errCut, spool.ErrFull},
		func(end error) bool { return errors.Is(err, end) })
}

// diskError is a failure of the spool's disk. To connect to the source again would not mend it, and what the source sends meanwhile
// may be more than its backlog holds.
type diskError struct{ err error }

func (e *diskError) Error() string {
	return e.err.Error() + " (make room or mend the disk under Config.StateDir, and run the same command again to resume)"
}

func (e *diskError) Unwrap() error { return e.err }

// resumeSnapshot announces a snapshot that an earlier run has received whole, or has loaded.
func (l *link) resumeSnapshot(ready chan struct{}) chan struct{} {
	stage := l.snapshotStage()
	if !l.resumed || stage != snapshotReceived && stage != snapshotLoaded {
		return ready
	}
	if stage == snapshotReceived {
		s, err := openSnapshot(l.snapshotPath())
		if err != nil {
			l.fail(err)
			return ready
		}
		l.snap = s
	}
	close(ready)
	return nil
}

// session is one connection to the source, from handshake to loss.
func (l *link) session(ctx context.Context, ready *chan struct{}) error {
	if l.noOffsets.Load() && l.snap != nil { // to ask for SYNC again would have the source make a snapshot for nothing
		return errSyncLost
	}
	at, err := l.seek(ctx)
	if err != nil {
		return err
	}
	conn, err := l.source.d.DialReplica(ctx, at)
	if err != nil {
		return err
	}
	cfg := psync.Config{}
	stage := l.snapshotStage()
	begun := stage != snapshotReceiving && stage != ""
	if begun && l.spool.Started() {
		cfg.ReplID, cfg.Offset = l.spool.ReplID(), l.spool.End()
	}
	asked := l.sourceNow()
	s, err := psync.Start(ctx, conn, cfg)
	if err != nil {
		return err // Start has closed the connection
	}
	defer s.Close()
	if s.Legacy {
		l.noOffsets.Store(true)
	}
	switch {
	case s.Legacy && begun:
		return errSyncLost
	case s.Full && begun: // or the spool is gone, whose end the source would have to know
		return l.resynced(at)
	case s.Full && l.m.cfg.Mode == ModeIncremental:
		return errResync
	}
	if err := l.settled(ctx, at); err != nil {
		return err
	}
	switch {
	case s.Full:
		if err := l.receiveSnapshot(ctx, s, asked, ready); err != nil {
			return err
		}
	default:
		if err := l.continued(s); err != nil {
			return err
		}
	}
	if err := l.measureDistance(ctx); err != nil {
		return err
	}
	return l.receiveStream(ctx, at, s)
}

// measureDistance notes where the source stands at the beginning of a session: before the target has reached that
// point, a lag that is measured by what has been received says nothing.
func (l *link) measureDistance(ctx context.Context) error {
	if l.noOffsets.Load() {
		l.online.Store(0)
		l.log.Warn("the source has no PSYNC (it came with 2.8): if its connection is lost, everything is copied again; nothing can be compared at one offset")
		return nil
	}
	offset, err := l.source.position(ctx)
	if err != nil {
		return err
	}
	l.online.Store(offset)
	return nil
}

// continued takes over the replication ID, which is another one after a failover (since 4.0).
func (l *link) continued(s *psync.Session) error {
	// while it was lost, the target has gone on to expire keys that the source may have renewed
	holding := l.m.cfg.HoldExpiry > 0
	l.m.update(func() {
		l.st.ReplID = s.ReplID
		l.st.Holding = l.st.Holding || holding
		l.rehold = holding
	})
	if err := l.m.saveState(); err != nil {
		return err
	}
	if s.ReplID == l.spool.ReplID() {
		return nil
	}
	l.moved.Store(&moved{behind: s.Offset})
	if err := l.spool.SetReplID(s.ReplID); err != nil {
		return &diskError{err}
	}
	return l.m.saveState()
}

// errCut says that a snapshot was cut off after parts of it may have been loaded.
var errCut = errors.New("the source was lost before its snapshot was whole: run the same command again; what was loaded of it is then taken back first")

func (l *link) receiveSnapshot(ctx context.Context, s *psync.Session, asked int64, ready *chan struct{}) error {
	if l.snap != nil {
		return errCut
	}
	snap, err := createSnapshot(l.snapshotPath(), l.m.cfg.SpoolLimit)
	if err != nil {
		return err
	}
	l.snap = snap
	if err := l.spool.Start(s.ReplID, s.Offset); err != nil {
		return &diskError{err}
	}
	l.m.update(func() {
		l.st.ReplID, l.st.Start, l.st.StartedMs, l.st.Snapshot, l.st.Reach = s.ReplID, s.Offset, asked, snapshotReceiving, 0
		l.st.Sync = s.Legacy
	})
	if err := l.m.saveState(); err != nil {
		return err
	}
	close(*ready)
	*ready = nil
	_, err = s.CopySnapshot(ctx, snap, func(received, total int64) {
		l.ledger.snapshotReceived.Store(received)
		l.ledger.snapshotTotal.Store(total)
	})
	if err := snap.finish(err); err != nil {
		if !psync.Retryable(err) {
			return fmt.Errorf("spool the snapshot: %w", err)
		}
		return errors.Join(errCut, err)
	}
	if l.m.cfg.Mode == ModeFull {
		return nil
	}
	l.m.update(func() {
		if l.st.Snapshot == snapshotReceiving { // a small one is loaded by now
			l.st.Snapshot = snapshotReceived
		}
	})
	return l.m.saveState()
}

func (l *link) snapshotStage() string {
	l.m.stateMu.Lock()
	defer l.m.stateMu.Unlock()
	return l.st.Snapshot
}

// receiveStream spools until the connection is lost, and acknowledges what it has.
func (l *link) receiveStream(ctx context.Context, at string, s *psync.Session) (err error) {
	release := s.CloseOn(ctx)
	defer release()
	watching, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { l.acknowledge(ctx, s) })
	left := false
	beside.Go(func() { left = l.watch(watching, at, s) })
	defer func() {
		s.Close()
		stop()
		beside.Wait()
		if left {
			err = fmt.Errorf("%s: %w", at, errLeft)
		}
	}()
	buf := make([]byte, 256<<10)
	for {
		n, err := s.Read(buf)
		if err != nil {
			return err
		}
		if err := l.spool.Append(time.Now().UnixMilli(), buf[:n]); err != nil {
			return &diskError{err}
		}
		if bytes.Contains(buf[:n], []byte("GETACK")) {
			if err := s.Ack(l.spool.End()); err != nil {
				return err
			}
		}
	}
}

// acknowledge tells the source every second what has been received, as a replica does, until the session ends.
func (l *link) acknowledge(ctx context.Context, s *psync.Session) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := s.Ack(l.spool.End()); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
