package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	defaultSegment = 64 << 20
	maxSegment     = 512 << 20
	maxAppend      = 64 << 20
)

// Options of a Log. Zero fields get the defaults.
type Options struct {
	// SegmentBytes is the size from which on a new segment begins. Default 64 MiB; at most
	// 512 MiB and a quarter of LimitBytes.
	SegmentBytes int64
	// LimitBytes bounds the size on disk. 0: no bound.
	LimitBytes int64
	// SyncEvery is how often what was appended is made durable. Default 1 s.
	SyncEvery time.Duration
	// FS replaces the directory of the operating system.
	FS FS
}

func (o Options) withDefaults(dir string) (Options, error) {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = defaultSegment
	}
	o.SegmentBytes = min(o.SegmentBytes, maxSegment)
	if o.LimitBytes > 0 {
		o.SegmentBytes = min(o.SegmentBytes, o.LimitBytes/4)
	}
	if o.SyncEvery <= 0 {
		o.SyncEvery = time.Second
	}
	if o.FS == nil {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return o, err
		}
		o.FS = Dir(dir)
	}
	return o, nil
}

// Log is an open spool. Its methods may be called from any goroutine.
type Log struct {
	dir  string
	fs   FS
	opt  Options
	lock io.Closer

	appending sync.Mutex // held by Append, Start, SetReplID: one writer. Taken first.
	scratch   []byte     // guarded by appending
	syncing   sync.Mutex // held while files are being made durable. Taken before mu.

	mu       sync.Mutex // guards all below, and the segments
	segments []*segment // in order; the last one is written to
	replID   string
	end      int64
	size     int64
	durable  int64 // all up to this offset survives a power failure
	dirDirty bool  // a segment was created since the directory was made durable
	failed   error // the spool takes no more
	closed   bool
	era      int           // counts Start
	changed  chan struct{} // closed when readers have something to look at
	waited   bool          // a reader waits for it

	stop, stopped chan struct{} // of the goroutine that makes durable
}

// segment is guarded by the Log's mu; its file may be used without by those who hold a reference.
type segment struct {
	name        string
	first, last int64 // offsets; last is first-1 while there is no frame
	size        int64
	synced      int64 // size that has been made durable
	file        File  // nil while nobody refers to it
	refs        int
	written     bool // the writer's own reference, kept until the segment is durable
}

// Open opens the spool in dir, which is created if it is missing, and recovers it: a torn
// tail is cut off. A spool that was never started has no ReplID and takes no Append.
//
// Errors wrap ErrCorrupt (*CorruptError names file and position), ErrVersion or ErrLocked,
// or are the file system's.
func Open(dir string, o Options) (*Log, error) {
	o, err := o.withDefaults(dir)
	if err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	l := &Log{
		dir: dir, fs: o.FS, opt: o,
		changed: make(chan struct{}), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	if l.lock, err = l.fs.Lock(); err != nil {
		return nil, fmt.Errorf("open the spool %s: %w", dir, err)
	}
	if err := l.recover(); err != nil {
		l.lock.Close()
		return nil, fmt.Errorf("open the spool %s: %w", dir, err)
	}
	go l.keepDurable()
	return l, nil
}

// ReplID gives the replication ID of the stream, "" if there is none.
func (l *Log) ReplID() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.replID
}

// Started tells whether Start was ever called on this directory.
func (l *Log) Started() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segments) > 0
}

// Begin gives the lowest offset held; End()+1 if the spool holds nothing.
func (l *Log) Begin() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.begin()
}

func (l *Log) begin() int64 {
	if len(l.segments) == 0 {
		return l.end + 1
	}
	return l.segments[0].first
}

// End gives the offset of the last byte; the offset given to Start if nothing came since.
func (l *Log) End() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// Durable gives the offset up to which everything survives a power failure.
func (l *Log) Durable() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

// Size gives the bytes on disk.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// TrimBefore removes the segments that hold only bytes below offset, but never the last
// one. Readers that stand there finish the segment and get an error that wraps ErrRange.
func (l *Log) TrimBefore(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	for len(l.segments) > 1 && l.segments[0].last < offset {
		if err := l.removeFirst(); err != nil {
			return fmt.Errorf("trim the spool: %w", err)
		}
	}
	return nil
}

// removeFirst needs mu.
func (l *Log) removeFirst() error {
	seg := l.segments[0]
	if err := l.fs.Remove(seg.name); err != nil {
		return err
	}
	l.segments = l.segments[1:]
	l.size -= seg.size
	return l.unpin(seg)
}

// acquire opens the segment's file or shares it. It needs mu.
func (l *Log) acquire(seg *segment) (File, error) {
	if seg.file == nil {
		f, err := l.fs.Open(seg.name)
		if err != nil {
			return nil, err
		}
		seg.file = f
	}
	seg.refs++
	return seg.file, nil
}

// release needs mu.
func (l *Log) release(seg *segment) error {
	seg.refs--
	if seg.refs > 0 {
		return nil
	}
	f := seg.file
	seg.file = nil
	return f.Close()
}

// unpin gives up the writer's reference. It needs mu.
func (l *Log) unpin(seg *segment) error {
	if !seg.written {
		return nil
	}
	seg.written = false
	return l.release(seg)
}

// wake lets waiting readers look again. It needs mu.
func (l *Log) wake() {
	if l.waited {
		close(l.changed)
		l.changed, l.waited = make(chan struct{}), false
	}
}

// Close makes everything durable and ends the Log. Readers get what is left, then io.EOF;
// each of them has its own Close.
func (l *Log) Close() error {
	l.appending.Lock()
	defer l.appending.Unlock()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.wake()
	l.mu.Unlock()
	close(l.stop)
	<-l.stopped
	errs := []error{l.makeDurable()}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, seg := range l.segments {
		errs = append(errs, l.unpin(seg))
	}
	errs = append(errs, l.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the spool: %w", err)
	}
	return nil
}
