package spool

import (
	"fmt"
	"time"
)

// keepDurable runs until Close. Errors stay in the log, for the next Append.
func (l *Log) keepDurable() {
	defer close(l.stopped)
	tick := time.NewTicker(l.opt.SyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			_ = l.makeDurable() // kept in l.failed
		}
	}
}

// Sync makes durable all that was appended before it.
func (l *Log) Sync() error {
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return l.makeDurable()
}

// syncWork is what one round makes durable: the state at its begin.
type syncWork struct {
	segments []*segment
	files    []File
	sizes    []int64
	dir      bool
	end      int64
}

func (l *Log) makeDurable() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	w, err := l.syncBegin()
	if err != nil || w == nil {
		return err
	}
	for i, f := range w.files {
		if err = f.Sync(); err != nil {
			err = fmt.Errorf("make %s durable: %w", w.segments[i].name, err)
			break
		}
	}
	if err == nil && w.dir {
		if err = l.fs.Sync(); err != nil {
			err = fmt.Errorf("make the spool directory durable: %w", err)
		}
	}
	return l.syncEnd(w, err)
}

// syncBegin takes references to what has to be made durable; nil if there is nothing.
func (l *Log) syncBegin() (*syncWork, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return nil, l.failed
	}
	w := &syncWork{dir: l.dirDirty, end: l.end}
	for _, seg := range l.segments {
		if seg.synced == seg.size {
			continue
		}
		f, err := l.acquire(seg)
		if err != nil {
			l.failed = fmt.Errorf("make %s durable: %w", seg.name, err)
			for _, taken := range w.segments {
				_ = l.release(taken) // the first error is the one to tell
			}
			return nil, l.failed
		}
		w.segments, w.files, w.sizes = append(w.segments, seg), append(w.files, f), append(w.sizes, seg.size)
	}
	if len(w.segments) == 0 && !w.dir {
		return nil, nil
	}
	l.dirDirty = false // a segment created from here on sets it again
	return w, nil
}

func (l *Log) syncEnd(w *syncWork, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, seg := range w.segments {
		if err == nil {
			seg.synced = w.sizes[i]
		}
		if cerr := l.release(seg); err == nil {
			err = cerr
		}
		if err == nil && len(l.segments) > 0 && seg != l.active() && seg.synced == seg.size {
			err = l.unpin(seg)
		}
	}
	if err != nil {
		l.failed = err
		return err
	}
	l.durable = w.end
	return nil
}
