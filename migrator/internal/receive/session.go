package receive

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"surecut/internal/psync"
	"surecut/internal/retry"
)

// session receives over one connection to the source, until it is lost.
func (r *Receiver) session(ctx context.Context) error {
	if r.legacy.Load() && r.snapshot != nil { // another SYNC would have the source make a snapshot for nothing
		return ErrNoPSYNC
	}
	s, asked, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := r.accept(ctx, s, asked); err != nil {
		return err
	}
	return r.receiveStream(ctx, s)
}

// connect begins a session, or returns an error if the source offers something else than is needed. asked is when it asked for the stream,
// in Unix ms by the source's clock.
func (r *Receiver) connect(ctx context.Context) (s *psync.Session, asked int64, err error) {
	if r.at, err = r.cfg.Nodes.Next(ctx); err != nil {
		return nil, 0, err
	}
	conn, err := r.cfg.Dial(ctx, r.at)
	if err != nil {
		return nil, 0, err
	}
	from := psync.Config{}
	if r.begun && r.cfg.Spool.Started() {
		from.ReplID, from.Offset = r.cfg.Spool.ReplID(), r.cfg.Spool.End()
	}
	asked = r.cfg.Now()
	r.expect(true)
	if s, err = psync.Start(ctx, heard{conn, r}, from); err != nil {
		return nil, 0, err // Start has closed the connection
	}
	if s.Legacy {
		r.legacy.Store(true)
	}
	switch {
	case s.Legacy && r.begun:
		err = ErrNoPSYNC
	case s.Full && r.begun: // the source cannot continue the stream, or the spool is gone and its end unknown
		err = r.cfg.Nodes.Refuse(ctx, r.at, from.ReplID)
	case s.Full && r.cfg.NoSnapshot:
		err = ErrNotContinued
	}
	if err != nil {
		s.Close()
		return nil, 0, err
	}
	return s, asked, nil
}

// accept receives the snapshot that precedes the stream of a session, or notes that the stream goes on.
func (r *Receiver) accept(ctx context.Context, s *psync.Session, asked int64) error {
	if err := r.cfg.Nodes.Settle(ctx, r.at); err != nil {
		return err
	}
	if s.Full {
		return r.receiveSnapshot(ctx, s, asked)
	}
	return r.goOn(s)
}

// goOn records that the stream goes on, and its replication ID, which is a new one after a failover.
func (r *Receiver) goOn(s *psync.Session) error {
	renamed := s.ReplID != r.cfg.Spool.ReplID()
	if err := r.cfg.Record.StreamContinues(s.ReplID, s.Offset, renamed); err != nil || !renamed {
		return err
	}
	err := onDisk("write the new replication ID to the spool", r.cfg.Spool.SetReplID(s.ReplID))
	r.source.forget() // the new primary may stand at an earlier offset
	return err
}

func (r *Receiver) receiveSnapshot(ctx context.Context, s *psync.Session, asked int64) error {
	if r.snapshot != nil {
		return ErrCut
	}
	// Without a stream, another run begins with another snapshot. So this one need not be durable, and its end does not wait for the disk.
	snapshot, err := CreateSnapshot(r.cfg.SnapshotPath, r.cfg.SnapshotLimit, !r.cfg.SnapshotOnly)
	if err != nil {
		return err
	}
	r.snapshot = snapshot
	if err := r.cfg.Spool.Start(s.ReplID, s.Offset); err != nil {
		return &DiskError{err}
	}
	if err := r.cfg.Record.SnapshotBegins(Beginning{ReplID: s.ReplID, Offset: s.Offset, AskedMs: asked, Legacy: s.Legacy}); err != nil {
		return err
	}
	r.ready()
	_, err = s.CopySnapshot(ctx, snapshot, r.cfg.Received)
	if err := snapshot.Finish(err); err != nil {
		if !psync.Retryable(err) {
			return fmt.Errorf("write the snapshot to the spool: %w", err)
		}
		return errors.Join(ErrCut, err)
	}
	if r.cfg.SnapshotOnly {
		return nil
	}
	r.begun = true
	return r.cfg.Record.SnapshotIsWhole()
}

// gathering is for how long at least the bytes of the stream are gathered after those that were read before. Each part that is read wakes
// the receiver and everybody behind it, which costs more than many commands: a busy source sends in thousands of small parts a second.
// What comes after a silence does not wait.
const gathering = 5 * time.Millisecond

// receiveStream writes the stream to the spool until the connection is lost or the node is to be left. It acknowledges what it has
// received.
func (r *Receiver) receiveStream(ctx context.Context, s *psync.Session) (err error) {
	r.expect(false)
	release := s.CloseOn(ctx)
	defer release()
	watching, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { r.acknowledge(ctx, s) })
	var left, frozen error
	beside.Go(func() {
		if frozen = r.followSource(watching); frozen != nil {
			s.Close()
		}
	})
	beside.Go(func() {
		if left = r.cfg.Nodes.Watch(watching, r.at); left != nil {
			s.Close()
		}
	})
	defer func() {
		s.Close()
		stop()
		beside.Wait()
		if left = cmp.Or(left, frozen); left != nil {
			err = fmt.Errorf("%s: %w", r.at, left)
		}
	}()
	buf := make([]byte, 256<<10)
	for {
		n, err := s.Read(buf)
		if err != nil {
			return err
		}
		due := time.Now().Add(gathering)
		if err := r.cfg.Spool.Append(time.Now().UnixMilli(), buf[:n]); err != nil {
			return &DiskError{err}
		}
		if bytes.Contains(buf[:n], []byte("GETACK")) {
			if err := s.Ack(r.cfg.Spool.End()); err != nil {
				return err
			}
		}
		if n < len(buf)/2 { // a source that sends faster than that wakes nobody needlessly
			_ = retry.Pause(ctx, time.Until(due)) // the next Read notices the end of ctx
		}
	}
}

// acknowledge tells the source every second, as a replica does, up to which offset the stream was received, until the session ends.
func (r *Receiver) acknowledge(ctx context.Context, s *psync.Session) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := s.Ack(r.cfg.Spool.End()); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
