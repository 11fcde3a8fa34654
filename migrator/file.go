package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"surecut/internal/files"
)

// openFile opens the file of a source that is one. It returns nil where the source is a server.
func openFile(m *Migration, path string) (*files.Source, error) {
	switch spec := m.cfg.Sides.Source.Spec(); {
	case !spec.IsFile():
		return nil, nil
	case spec.IsAOF():
		return files.OpenAOF(path)
	}
	return files.OpenRDB(path)
}

// runFile loads a file into the target: first its RDB, then its commands. Offsets count bytes of the file or, where an AOF has several
// files, of all of them.
func (l *link) runFile(ctx context.Context) error {
	if err := l.identify(); err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(l.m.stopping, stop)()
	g, ctx := errgroup.WithContext(ctx)
	over := make(chan struct{})
	g.Go(func() error {
		defer close(over)
		return l.loadFile(ctx, reading)
	})
	g.Go(func() error {
		select {
		case err := <-l.failed:
			return err
		case <-over:
			return nil
		}
	})
	return g.Wait()
}

// identify checks that a run which resumes reads the same file as the earlier one. A first run writes the fingerprint of the file to the
// state.
func (l *link) identify() error {
	print, err := l.file.Fingerprint()
	if err != nil {
		return fmt.Errorf("source %s: %w", l.shard.Node(), err)
	}
	if l.began != fresh {
		if l.st.ReplID != print {
			return fmt.Errorf("source %s: the file is not the one that this migration has begun with (a server still writes to it, or it was replaced): copy it aside, and start again with a new Config.StateDir and Config.OnExisting replace", l.shard.Node())
		}
		return nil
	}
	return l.standing.advance(received, func(st *linkState) error {
		st.ReplID, st.StartedMs = print, time.Now().UnixMilli()
		if l.file.AOF {
			l.expiries.Begin()
		}
		return nil
	})
}

func (l *link) loadFile(ctx, reading context.Context) error {
	l.do(working)
	if !l.standing.stage().inTarget() {
		if err := l.loadSnapshot(ctx, reading); err != nil {
			if reading.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
				return l.stopped()
			}
			return err
		}
	}
	if l.file.AOF {
		if err := l.stream(ctx, reading); err != nil {
			return err
		}
		if l.positions.Applied().Offset < l.file.Size()-l.cut.Load() {
			return l.stopped()
		}
	}
	l.whole.Store(true)
	return l.stopped()
}

// snapshotReader returns a reader of the snapshot, from its beginning; nil: an AOF has none.
func (l *link) snapshotReader() (io.ReadCloser, error) {
	switch {
	case l.file == nil:
		return io.NopCloser(l.receiver.Snapshot().Reader()), nil
	case !l.file.HasRDB():
		return nil, nil
	}
	return l.file.RDB()
}

// received returns the offset up to which the stream has been received. A file counts as received to its end.
func (l *link) received() int64 {
	if l.file != nil {
		return l.file.Size()
	}
	return l.spool.End()
}
