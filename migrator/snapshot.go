package migrator

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// errSpoolFull says that the disk quota is used up.
var errSpoolFull = errors.New("the spool has reached Config.SpoolLimit: the target is slower than the source writes; raise the limit, or speed up the target, and run the same command again to resume")

// snapshotFile is a link's RDB on disk: the receiver writes it, the loader follows.
type snapshotFile struct {
	f     *os.File
	limit int64

	mu    sync.Mutex
	grown *sync.Cond
	size  int64
	whole bool
	err   error // why it will not become whole
}

func createSnapshot(path string, limit int64) (*snapshotFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spool the snapshot: %w", err)
	}
	s := &snapshotFile{f: f, limit: limit}
	s.grown = sync.NewCond(&s.mu)
	return s, nil
}

// openSnapshot opens one that an earlier run has received, whole or in part.
func openSnapshot(path string) (*snapshotFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the spooled snapshot: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s := &snapshotFile{f: f, size: st.Size(), whole: true}
	s.grown = sync.NewCond(&s.mu)
	return s, nil
}

// Write appends; it never waits for the loader.
func (s *snapshotFile) Write(p []byte) (int, error) {
	s.mu.Lock()
	size := s.size
	s.mu.Unlock()
	if size+int64(len(p)) > s.limit {
		return 0, errSpoolFull
	}
	n, err := s.f.WriteAt(p, size)
	s.mu.Lock()
	s.size += int64(n)
	s.mu.Unlock()
	s.grown.Broadcast()
	return n, snapshotFailed(err)
}

func snapshotFailed(err error) error {
	if err == nil {
		return nil
	}
	return &diskError{fmt.Errorf("spool the snapshot: %w", err)}
}

// finish says that no more will come: err nil where the snapshot is whole, which is durable then.
func (s *snapshotFile) finish(err error) error {
	if err == nil {
		err = snapshotFailed(s.f.Sync())
	}
	s.mu.Lock()
	if s.whole { // what happens to the source afterwards does not matter
		s.mu.Unlock()
		return nil
	}
	s.whole, s.err = err == nil, err
	s.mu.Unlock()
	s.grown.Broadcast()
	return err
}

// close may be called while a reader waits.
func (s *snapshotFile) close() error {
	s.mu.Lock()
	if !s.whole && s.err == nil {
		s.err = os.ErrClosed
	}
	s.mu.Unlock()
	s.grown.Broadcast()
	return s.f.Close()
}

// reader follows the file as it grows, and ends with io.EOF once it is whole.
func (s *snapshotFile) reader() io.Reader { return &snapshotReader{s: s} }

type snapshotReader struct {
	s   *snapshotFile
	pos int64
}

func (r *snapshotReader) Read(p []byte) (int, error) {
	s := r.s
	s.mu.Lock()
	for r.pos >= s.size && !s.whole && s.err == nil {
		s.grown.Wait()
	}
	size, err := s.size, s.err
	s.mu.Unlock()
	if r.pos >= size {
		if err != nil {
			return 0, fmt.Errorf("the snapshot was cut off after %d bytes: %w", size, err)
		}
		return 0, io.EOF
	}
	n, err := s.f.ReadAt(p[:min(int64(len(p)), size-r.pos)], r.pos)
	r.pos += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}
