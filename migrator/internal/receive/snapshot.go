package receive

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Snapshot is the file of a snapshot, an RDB. It can be read while it is being written. It is safe for concurrent use.
type Snapshot struct {
	f       *os.File
	limit   int64
	durable bool // Finish makes it durable

	behind sync.WaitGroup // syncBehind

	mu      sync.Mutex
	grown   *sync.Cond
	size    int64
	whole   bool
	err     error // why the snapshot will not become whole
	syncing bool  // syncBehind runs
	synced  int64 // how many bytes are durable
	syncErr error // why others may not be
}

// syncBytes is how much of a durable snapshot is written before it is synced. Without that, Finish would have to wait for all that the
// operating system still holds back, which may be gigabytes, while the source has to keep its stream.
const syncBytes = 16 << 20

// CreateSnapshot creates an empty snapshot, of at most limit bytes, in place of any file at the path. durable says that a later run is to
// find the whole snapshot, even after a power failure.
func CreateSnapshot(path string, limit int64, durable bool) (*Snapshot, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write the snapshot to the spool: %w", err)
	}
	s := &Snapshot{f: f, limit: limit, durable: durable}
	s.grown = sync.NewCond(&s.mu)
	return s, nil
}

// OpenSnapshot opens a whole snapshot that an earlier run has received.
func OpenSnapshot(path string) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the spooled snapshot: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s := &Snapshot{f: f, size: st.Size(), whole: true}
	s.grown = sync.NewCond(&s.mu)
	return s, nil
}

// Write appends to the snapshot. It does not wait for readers.
func (s *Snapshot) Write(p []byte) (int, error) {
	s.mu.Lock()
	size := s.size
	s.mu.Unlock()
	if size+int64(len(p)) > s.limit {
		return 0, ErrFull
	}
	n, err := s.f.WriteAt(p, size)
	s.mu.Lock()
	s.size += int64(n)
	if s.durable && !s.syncing && s.size-s.synced >= syncBytes {
		s.syncing = true
		size := s.size
		s.behind.Go(func() { s.syncBehind(size) })
	}
	s.mu.Unlock()
	s.grown.Broadcast()
	return n, onDisk("write the snapshot to the spool", err)
}

// syncBehind makes the first size bytes durable, while more are written.
func (s *Snapshot) syncBehind(size int64) {
	err := s.f.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.syncing = false; err == nil {
		s.synced = size
	} else if s.syncErr == nil { // a later Sync may succeed although these bytes are lost
		s.syncErr = err
	}
}

// Finish ends the writing. err nil says that the snapshot is whole: Finish then makes it durable if that is wanted. It returns err, or why
// that failed.
func (s *Snapshot) Finish(err error) error {
	s.behind.Wait()
	if err == nil && s.durable {
		err = onDisk("write the snapshot to the spool", cmp.Or(s.syncErr, s.f.Sync()))
	}
	s.mu.Lock()
	if s.whole { // an error after the end of the snapshot does not matter
		s.mu.Unlock()
		return nil
	}
	s.whole, s.err = err == nil, err
	s.mu.Unlock()
	s.grown.Broadcast()
	return err
}

// Close closes the file. It may be called while a reader waits.
func (s *Snapshot) Close() error {
	s.mu.Lock()
	if !s.whole && s.err == nil {
		s.err = os.ErrClosed
	}
	s.mu.Unlock()
	s.grown.Broadcast()
	s.behind.Wait()
	return s.f.Close()
}

// Reader returns a reader from the beginning of the snapshot. It waits for bytes that are still to come, and returns io.EOF at the end of a
// whole snapshot.
func (s *Snapshot) Reader() io.Reader { return &snapshotCursor{s: s} }

type snapshotCursor struct {
	s   *Snapshot
	pos int64
}

func (r *snapshotCursor) Read(p []byte) (int, error) {
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
