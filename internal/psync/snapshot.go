package psync

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
)

const markBytes = 40

// CopySnapshot writes the snapshot, an RDB, to w, and returns its size. What the source
// has sent behind it stays for Read. It waits for the source to make the snapshot first.
//
// progress, if not nil, is called after each write with the bytes written so far and the
// size of the whole, 0 where the source does not know it (a diskless transfer).
//
// Errors: *RefusedError when the source could not make it, *StalledError, an error that
// wraps io.ErrUnexpectedEOF when it is cut short, w's own, the context's. The session is
// closed then.
//
// That the RDB is whole in itself, only its own CRC64 tells.
func (s *Session) CopySnapshot(ctx context.Context, w io.Writer, progress func(received, total int64)) (int64, error) {
	if err := s.expect("copy the snapshot", awaiting); err != nil {
		return 0, err
	}
	release := s.CloseOn(ctx)
	n, err := s.copySnapshot(w, progress)
	if err == nil {
		err = s.ackFirst()
	}
	if !release() && err == nil {
		err = fmt.Errorf("copy the snapshot: %w", context.Cause(ctx))
	}
	if err != nil {
		s.Close()
	}
	return n, err
}

func (s *Session) copySnapshot(w io.Writer, progress func(received, total int64)) (int64, error) {
	total, mark, err := s.snapshotHeader()
	if err != nil {
		return 0, err
	}
	s.advance(receiving)
	out := &snapshotWriter{w: w, total: total, progress: progress}
	if s.diskless = mark != nil; s.diskless {
		err = s.copyToMark(out, mark)
	} else {
		err = s.copyLength(out, total)
	}
	if err != nil {
		return out.written, err
	}
	s.advance(streaming)
	return out.written, nil
}

// snapshotHeader reads "$<length>" or "$EOF:<mark of 40 bytes>".
func (s *Session) snapshotHeader() (total int64, mark []byte, err error) {
	line, err := s.readLine("wait for the snapshot")
	if err != nil {
		return 0, nil, err
	}
	if refusal, ok := errorReply(line); ok {
		step := stepSnapshot
		if s.Legacy {
			step = stepSYNC
		}
		return 0, nil, &RefusedError{Step: step, Reply: refusal}
	}
	if m, ok := bytes.CutPrefix(line, []byte("$EOF:")); ok && len(m) == markBytes {
		return 0, bytes.Clone(m), nil
	}
	if line[0] == '$' {
		if total, err := strconv.ParseInt(string(line[1:]), 10, 64); err == nil && total >= 0 {
			return total, nil, nil
		}
	}
	return 0, nil, unexpected(stepSnapshot, "$<length> or $EOF:<mark>", line)
}

// copyLength copies a snapshot whose size was announced.
func (s *Session) copyLength(out *snapshotWriter, total int64) error {
	for out.written < total {
		if s.start == s.end {
			if err := s.fillSnapshot(out); err != nil {
				return err
			}
		}
		n := int(min(int64(s.end-s.start), total-out.written))
		if err := out.write(s.buf[s.start : s.start+n]); err != nil {
			return err
		}
		s.start += n
	}
	return nil
}

// copyToMark copies a snapshot that ends before the mark. The last bytes that could be
// the beginning of a mark are held back, so that it is found wherever reads cut it, and
// what follows it in the same read is not swallowed.
func (s *Session) copyToMark(out *snapshotWriter, mark []byte) error {
	for {
		window := s.buf[s.start:s.end]
		if i := bytes.Index(window, mark); i >= 0 {
			s.start += i + len(mark)
			return out.write(window[:i])
		}
		if sure := len(window) - (len(mark) - 1); sure > 0 {
			if err := out.write(window[:sure]); err != nil {
				return err
			}
			s.start += sure
		}
		if s.start > 0 { // let the next read have the whole buffer
			s.end = copy(s.buf, s.buf[s.start:s.end])
			s.start = 0
		}
		if err := s.fillSnapshot(out); err != nil {
			return err
		}
	}
}

func (s *Session) fillSnapshot(out *snapshotWriter) error {
	err := s.fill("copy the snapshot")
	if err != io.EOF {
		return err
	}
	if out.total > 0 {
		return fmt.Errorf("copy the snapshot: the source ended it after %d of %d bytes: %w", out.written, out.total, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("copy the snapshot: the source ended it after %d bytes, without its end mark: %w", out.written, io.ErrUnexpectedEOF)
}

type snapshotWriter struct {
	w              io.Writer
	written, total int64
	progress       func(received, total int64)
}

func (o *snapshotWriter) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := o.w.Write(p)
	o.written += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return &writeError{err}
	}
	if o.progress != nil {
		o.progress(o.written, o.total)
	}
	return nil
}
