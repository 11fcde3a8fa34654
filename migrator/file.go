package migrator

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"surecut/internal/files"
	"surecut/migrator/internal/load"
	"surecut/migrator/internal/stream"
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

// fromFile is a file of a server: an RDB, or an AOF.
type fromFile struct {
	l     *link
	file  *files.Source
	whole atomic.Bool  // all of the file is in the target
	cut   atomic.Int64 // bytes at its end that were dropped
}

func (f *fromFile) open() error  { return nil }
func (f *fromFile) close() error { return nil }

// run loads a file into the target: first its RDB, then its commands. Offsets count bytes of the file or, where an AOF has several
// files, of all of them.
func (f *fromFile) run(ctx context.Context) error {
	if err := f.identify(); err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(f.l.m.stopping, stop)()
	g, ctx := errgroup.WithContext(ctx)
	over := make(chan struct{})
	g.Go(func() error {
		defer close(over)
		return f.copy(ctx, reading)
	})
	g.Go(func() error {
		select {
		case err := <-f.l.failed:
			return err
		case <-over:
			return nil
		}
	})
	return g.Wait()
}

// identify checks that a run which resumes reads the same file as the earlier one. A first run writes the fingerprint of the file to the
// state.
func (f *fromFile) identify() error {
	print, err := f.file.Fingerprint()
	if err != nil {
		return fmt.Errorf("source %s: %w", f.l.shard.Node(), err)
	}
	if f.l.began != fresh {
		if f.l.st.ReplID != print {
			return fmt.Errorf("source %s: the file has changed since this migration began (a server still writes to it, or it was replaced): copy it to another place, and start again with a new Config.StateDir and Config.OnExisting replace", f.l.shard.Node())
		}
		return nil
	}
	return f.l.standing.advance(received, func(st *linkState) error {
		st.ReplID, st.StartedMs = print, time.Now().UnixMilli()
		if f.file.AOF {
			f.l.expiries.Begin()
		}
		return nil
	})
}

func (f *fromFile) copy(ctx, reading context.Context) error {
	f.l.do(working)
	if !f.l.standing.stage().inTarget() {
		if err := (&loading{f.l}).run(ctx, reading); err != nil {
			if reading.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
				return f.l.stopped()
			}
			return err
		}
	}
	if f.file.AOF {
		if err := f.l.stream(ctx, reading); err != nil {
			return err
		}
		if f.l.positions.Applied().Offset < f.end() {
			return f.l.stopped()
		}
	}
	f.whole.Store(true)
	return f.l.stopped()
}

// load loads the RDB, or that at the beginning of an AOF. An AOF may have none.
func (f *fromFile) load(ctx context.Context, ld *load.Config) error {
	if !f.file.HasRDB() {
		return nil
	}
	from, err := f.file.RDB()
	if err != nil {
		return err
	}
	defer from.Close() // it was only read, so the error does not matter
	end, err := f.l.loadRDB(ctx, ld, from)
	if err == nil { // the commands of an AOF begin here
		f.l.m.update(func() { f.l.st.Start = end })
	}
	return err
}

// feed reads the commands of an AOF, until receiving ends.
func (f *fromFile) feed(at stream.Mark, receiving context.Context) (stream.Feed, error) {
	return stream.NewFileFeed(stream.FileConfig{
		File: f.file, Names: &f.l.scope.Filter, Start: f.l.st.Start, StartedMs: f.l.st.StartedMs, Stopped: func() bool { return receiving.Err() != nil },
		AcceptCut: f.l.m.cfg.AcceptCut, Cut: f.cut.Store, Observe: f.l.observer(), Log: f.l.log,
	}, at), nil
}

// received returns the size of the file, which counts as received to its end.
func (f *fromFile) received() int64 { return f.file.Size() }

// end returns the offset at which the commands of the file end.
func (f *fromFile) end() int64 { return f.file.Size() - f.cut.Load() }
