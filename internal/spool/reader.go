package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
)

const windowBytes = 512 << 10

// Reader follows a Log. It belongs to one goroutine.
type Reader struct {
	log  *Log
	era  int
	next int64 // offset of the byte to deliver next

	seg  *segment
	file File

	buf    []byte
	lo, hi int   // buf[lo:hi] has been read and not decoded
	pos    int64 // position in the file of buf[hi]
}

// NewReader reads from the byte after offset on, which may lie inside a frame. offset is
// from Begin-1 to End; else the error wraps ErrRange.
func (l *Log) NewReader(offset int64) (*Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, ErrClosed
	case len(l.segments) == 0:
		return nil, ErrNotStarted
	case offset < l.begin()-1 || offset > l.end:
		return nil, l.rangeError(offset)
	}
	r := &Reader{log: l, era: l.era, next: offset + 1, buf: make([]byte, windowBytes)}
	if err := r.enter(l.segmentOf(r.next)); err != nil {
		return nil, fmt.Errorf("read the spool: %w", err)
	}
	return r, nil
}

// segmentOf gives the segment with the byte at offset: the last that does not begin behind
// it. It needs mu and a begun log; the offset is not below Begin.
func (l *Log) segmentOf(offset int64) *segment {
	i := len(l.segments) - 1
	for l.segments[i].first > offset {
		i--
	}
	return l.segments[i]
}

func (l *Log) rangeError(offset int64) error {
	return &RangeError{Offset: offset, Begin: l.begin(), End: l.end}
}

// enter needs the log's mu.
func (r *Reader) enter(seg *segment) error {
	f, err := r.log.acquire(seg)
	if err != nil {
		return err
	}
	r.seg, r.file, r.pos, r.lo, r.hi = seg, f, headerSize, 0, 0
	return nil
}

// leave needs the log's mu.
func (r *Reader) leave() error {
	seg := r.seg
	r.seg, r.file = nil, nil
	if seg == nil {
		return nil
	}
	return r.log.release(seg)
}

// Next returns the next bytes: those of one frame, or what of a frame lies behind the offset
// that the Reader was opened with. data[0] is the byte with the number startOffset; the
// position after it is startOffset+len(data)-1. data is valid until the next call.
//
// At the end of the log it waits. Errors: the context's; io.EOF at the end of a closed log;
// one that wraps ErrRange when the log was trimmed up to here or started anew; one that
// wraps ErrCorrupt.
func (r *Reader) Next(ctx context.Context) (data []byte, startOffset, receivedAtMs int64, err error) {
	for {
		if r.seg == nil {
			return nil, 0, 0, ErrClosed
		}
		need := 0
		if r.hi > r.lo {
			f, size, err := decodeFrame(r.buf[r.lo:r.hi])
			switch {
			case err == nil && f.last() < r.next:
				r.lo += size
				continue
			case err == nil && f.start <= r.next:
				r.lo += size
				data := f.payload[r.next-f.start:]
				start := r.next
				r.next = f.last() + 1
				return data, start, f.receivedAt, nil
			case err == nil:
				return nil, 0, 0, r.corrupt(fmt.Sprintf("the frame begins with byte %d of the stream, not %d", f.start, r.next))
			case !errors.Is(err, errShort):
				return nil, 0, 0, r.corrupt(err.Error())
			}
			need = size
		}
		if err := r.fill(ctx, need); err != nil {
			return nil, 0, 0, err
		}
	}
}

// Ready says whether the log holds bytes that Next has not delivered, so that Next does not wait.
func (r *Reader) Ready() bool {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.era == r.log.era && r.next <= r.log.end
}

func (r *Reader) corrupt(reason string) error {
	return fmt.Errorf("read the spool: %w", &CorruptError{File: r.seg.name, At: r.pos - int64(r.hi-r.lo), Reason: reason})
}

// fill reads more of the segment, so that the buffer has room for need bytes at lo, or moves
// on to the next segment, or waits.
func (r *Reader) fill(ctx context.Context, need int) error {
	size, err := r.await(ctx)
	if err != nil || size == 0 {
		return err
	}
	if need > len(r.buf) {
		buf := make([]byte, need)
		r.hi = copy(buf, r.buf[r.lo:r.hi])
		r.lo, r.buf = 0, buf
	} else if r.lo > 0 {
		r.hi = copy(r.buf, r.buf[r.lo:r.hi])
		r.lo = 0
	}
	n := int(min(int64(len(r.buf)-r.hi), size-r.pos))
	got, err := r.file.ReadAt(r.buf[r.hi:r.hi+n], r.pos)
	r.hi += got
	r.pos += int64(got)
	if got < n {
		if err == io.EOF {
			return r.corrupt(fmt.Sprintf("the file ends at byte %d, although %d bytes were written", r.pos, size))
		}
		return fmt.Errorf("read the spool: %w", err)
	}
	return nil
}

// await returns the size of the segment as soon as that is behind pos; 0 after having moved
// on to the next segment.
func (r *Reader) await(ctx context.Context) (size int64, err error) {
	for {
		wait, size, err := r.look()
		if wait == nil {
			return size, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// look does one step of await; it returns what to wait for if there is nothing to do.
func (r *Reader) look() (wait <-chan struct{}, size int64, err error) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case r.era != l.era:
		return nil, 0, l.rangeError(r.next - 1)
	case r.pos < r.seg.size:
		return nil, r.seg.size, nil
	case r.hi > r.lo:
		return nil, 0, r.corrupt("the last frame of the segment is cut short")
	case r.next <= l.end:
		if r.next < l.begin() {
			return nil, 0, l.rangeError(r.next - 1)
		}
		next := l.segmentOf(r.next)
		if next == r.seg {
			return nil, 0, r.corrupt(fmt.Sprintf("the segment ends before byte %d of the stream", r.next))
		}
		return nil, 0, errors.Join(r.leave(), r.enter(next))
	case l.closed:
		return nil, 0, io.EOF
	}
	l.waited = true
	return l.changed, 0, nil
}

// Offset gives the number of the last byte that Next has delivered, or the offset that the
// Reader was opened with.
func (r *Reader) Offset() int64 { return r.next - 1 }

// Close ends the Reader. It must not be called while Next waits: end its context instead.
func (r *Reader) Close() error {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.leave()
}
