package spool

import (
	"errors"
	"fmt"
	"time"
)

// Start begins an empty log of the stream replID after offset; what the spool held is
// removed. It is durable when Start returns. replID may be "" for a source that has none.
func (l *Log) Start(replID string, offset int64) error {
	if len(replID) > maxReplID {
		return fmt.Errorf("start the spool: the replication ID has %d bytes, but at most %d are allowed", len(replID), maxReplID)
	}
	if offset < 0 {
		return fmt.Errorf("start the spool: the offset %d is negative", offset)
	}
	l.appending.Lock()
	defer l.appending.Unlock()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if err := l.restart(replID, offset); err != nil {
		return fmt.Errorf("start the spool: %w", err)
	}
	return nil
}

// restart needs all three locks.
func (l *Log) restart(replID string, offset int64) error {
	l.era++
	l.wake()
	for len(l.segments) > 0 {
		if err := l.removeFirst(); err != nil {
			return err
		}
	}
	if err := l.fs.Sync(); err != nil {
		return err
	}
	l.replID, l.end, l.durable = "", offset, offset
	seg, err := l.create(replID, offset+1)
	if err != nil {
		return err
	}
	if err := errors.Join(seg.file.Sync(), l.fs.Sync()); err != nil {
		l.failed = err
		return err
	}
	seg.synced = seg.size
	l.publish(seg, replID)
	l.dirDirty = false
	return nil
}

// SetReplID gives the stream a new replication ID from the byte after End on, as
// +CONTINUE does when the source was promoted.
func (l *Log) SetReplID(replID string) error {
	if len(replID) > maxReplID {
		return fmt.Errorf("set the replication ID: it has %d bytes, but at most %d are allowed", len(replID), maxReplID)
	}
	l.appending.Lock()
	defer l.appending.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if len(l.segments) == 0 {
		return ErrNotStarted
	}
	if replID == l.replID {
		return nil
	}
	if active := l.active(); active.last < active.first { // its name is taken: give it a new header
		h := header{first: active.first, createdAt: time.Now().UnixMilli(), replID: replID}
		if _, err := active.file.WriteAt(h.appendTo(nil), 0); err != nil {
			l.failed = fmt.Errorf("set the replication ID: %w", err)
			return l.failed
		}
		active.synced, l.replID = 0, replID
		return nil
	}
	if err := l.rotate(replID); err != nil {
		return fmt.Errorf("set the replication ID: %w", err)
	}
	return nil
}

// Append adds bytes of the stream, received at a Unix time in ms, behind End. Either all of
// p is in the log then, and survives the process, or nothing of it. p is copied; it may
// have 64 MiB.
//
// It does not wait for the disk. A *FullError (ErrFull) refuses what exceeds the quota. When
// making durable has failed in the background, this and every later Append fails.
func (l *Log) Append(receivedAtMs int64, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if len(p) > maxAppend {
		return fmt.Errorf("append to the spool: %d bytes are more than the %d that are allowed at once", len(p), maxAppend)
	}
	l.appending.Lock()
	defer l.appending.Unlock()
	seg, next, err := l.reserve(len(p))
	if err != nil {
		return fmt.Errorf("append to the spool: %w", err)
	}
	next.receivedAt = receivedAtMs
	size, err := l.writeFrames(seg, next, p)
	if err != nil {
		return fmt.Errorf("append to the spool: %w", l.undo(seg, err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size += size - seg.size
	seg.size = size
	l.end += int64(len(p))
	seg.last = l.end
	l.wake()
	return nil
}

// reserve checks that n bytes may be appended, and gives the segment and the offsets of the
// first frame.
func (l *Log) reserve(n int) (*segment, frame, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, frame{}, err
	}
	if len(l.segments) == 0 {
		return nil, frame{}, ErrNotStarted
	}
	need := int64(n) + int64((n+maxPayload-1)/maxPayload)*frameHeader
	active := l.active()
	full := active.size >= l.opt.SegmentBytes && active.last >= active.first
	if full {
		need += headerSize
	}
	if l.opt.LimitBytes > 0 && l.size+need > l.opt.LimitBytes {
		return nil, frame{}, &FullError{Limit: l.opt.LimitBytes, Size: l.size, Need: need}
	}
	if full {
		if err := l.rotate(l.replID); err != nil {
			return nil, frame{}, err
		}
	}
	return l.active(), frame{start: l.end + 1, durable: l.durable}, nil
}

// writeFrames writes p as frames, the first of them like next, with one write for each,
// and gives the segment's size with them.
func (l *Log) writeFrames(seg *segment, next frame, p []byte) (size int64, err error) {
	size = seg.size
	for len(p) > 0 {
		n := min(len(p), maxPayload)
		next.payload = p[:n]
		l.scratch = next.appendTo(l.scratch[:0])
		if _, err := seg.file.WriteAt(l.scratch, size); err != nil {
			return 0, err
		}
		size += int64(len(l.scratch))
		next.start += int64(n)
		p = p[n:]
	}
	return size, nil
}

// undo cuts off what a failed append left. If that fails too, what is behind the last
// frame is unknown, and the log takes no more.
func (l *Log) undo(seg *segment, cause error) error {
	err := seg.file.Truncate(seg.size)
	if err == nil {
		return cause
	}
	err = errors.Join(cause, fmt.Errorf("cut the segment back: %w", err))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
	return err
}

// usable needs mu.
func (l *Log) usable() error {
	if l.closed {
		return ErrClosed
	}
	return l.failed
}

// active needs mu, and a log that was started.
func (l *Log) active() *segment { return l.segments[len(l.segments)-1] }

// rotate begins the next segment. It needs appending and mu.
func (l *Log) rotate(replID string) error {
	seg, err := l.create(replID, l.end+1)
	if err != nil {
		return err
	}
	l.publish(seg, replID)
	return nil
}

// create makes a segment, which does not belong to the log yet.
func (l *Log) create(replID string, first int64) (*segment, error) {
	name := segmentName(first)
	f, err := l.fs.Create(name)
	if err != nil {
		return nil, err
	}
	h := header{first: first, createdAt: time.Now().UnixMilli(), replID: replID}
	if _, err := f.WriteAt(h.appendTo(nil), 0); err != nil {
		f.Close()
		if gone := l.fs.Remove(name); gone != nil { // the name is taken, by no segment
			l.failed = errors.Join(err, gone)
		}
		return nil, err
	}
	return &segment{name: name, first: first, last: first - 1, size: headerSize, file: f, refs: 1, written: true}, nil
}

// publish needs mu.
func (l *Log) publish(seg *segment, replID string) {
	l.segments = append(l.segments, seg)
	l.replID = replID
	l.size += seg.size
	l.dirDirty = true
	l.wake()
}
