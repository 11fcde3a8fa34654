package spool

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// breach is the first place where the chain of frames breaks.
type breach struct {
	segment  int    // index
	at       int64  // position in its file; 0: the segment as a whole
	expected int64  // the offset that should have come here
	reason   string // what is wrong
}

// recover reads all segments, cuts off a torn tail, and leaves the log ready for use. The
// rules are in FORMAT.md.
func (l *Log) recover() error {
	names, err := l.segmentNames()
	if err != nil {
		return err
	}
	var torn *breach
	for i, name := range names {
		seg, b, err := l.check(i, name)
		if err != nil {
			return err
		}
		if seg != nil {
			l.segments = append(l.segments, seg)
			l.end = seg.last
			l.size += seg.size
		}
		if torn = b; torn != nil {
			break
		}
	}
	if torn != nil {
		if err := l.cut(names, torn); err != nil {
			return err
		}
	}
	if len(l.segments) == 0 {
		return nil
	}
	l.durable, l.dirDirty = l.begin()-1, true // what a process left that was killed, may not be durable yet
	active := l.active()
	active.written = true
	_, err = l.acquire(active)
	return err
}

func (l *Log) segmentNames() ([]string, error) {
	names, err := l.fs.List()
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, ok := parseSegmentName(name)
		return !ok
	})
	slices.Sort(names)
	return names, nil
}

// check reads one segment. It returns what of it is good, nil if not even the header is.
func (l *Log) check(i int, name string) (*segment, *breach, error) {
	first, _ := parseSegmentName(name)
	expected := first
	if i > 0 {
		expected = l.end + 1
	}
	f, err := l.fs.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	scan := &scanner{file: f, size: size}
	if err := scan.need(headerSize); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	h, err := decodeHeader(scan.window())
	switch {
	case errors.Is(err, errUnwritten):
		return nil, &breach{segment: i, expected: expected, reason: "the segment has no header"}, nil
	case errors.Is(err, ErrVersion):
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	case err != nil:
		return nil, nil, &CorruptError{File: name, Reason: err.Error()}
	case h.first != first:
		return nil, nil, &CorruptError{File: name, Reason: fmt.Sprintf("the header belongs to a segment that begins with byte %d of the stream", h.first)}
	case first != expected:
		return nil, &breach{segment: i, expected: expected,
			reason: fmt.Sprintf("the segment begins with byte %d of the stream, but byte %d is expected", first, expected)}, nil
	}
	l.replID = h.replID
	scan.skip(headerSize)
	last, reason, err := scan.frames(first - 1)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	seg := &segment{name: name, first: first, last: last, size: scan.at}
	if reason != "" {
		return seg, &breach{segment: i, at: scan.at, expected: last + 1, reason: reason}, nil
	}
	return seg, nil, nil
}

// cut removes a torn tail, or refuses to if it is damage.
func (l *Log) cut(names []string, b *breach) error {
	for i := b.segment; i < len(names); i++ {
		from := int64(0)
		if i == b.segment {
			from = b.at
		}
		promised, err := l.holdsPromised(names[i], from, b.expected)
		if err != nil {
			return err
		}
		if promised {
			return &CorruptError{File: names[b.segment], At: b.at, Reason: b.reason}
		}
	}
	keep := b.segment
	if b.at > 0 {
		keep++
		if err := l.truncate(names[b.segment], b.at); err != nil {
			return err
		}
	}
	for i := len(names) - 1; i >= keep; i-- {
		if err := l.fs.Remove(names[i]); err != nil {
			return err
		}
	}
	return l.fs.Sync()
}

func (l *Log) truncate(name string, size int64) error {
	f, err := l.fs.Open(name)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cut the torn tail off %s: %w", name, err)
	}
	return nil
}

const searchBytes = 4 << 20

// holdsPromised searches a file, from a position on, for a whole frame that says that the
// byte with the expected offset was durable when it was written.
func (l *Log) holdsPromised(name string, from, expected int64) (bool, error) {
	f, err := l.fs.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	buf := make([]byte, min(searchBytes+frameHeader+maxPayload, max(size-from, 0)))
	for ; from < size; from += searchBytes {
		b := buf[:min(int64(len(buf)), size-from)]
		if n, err := f.ReadAt(b, from); n < len(b) {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		for q := 0; q < searchBytes && q+frameHeader <= len(b); q++ {
			fields := frameFields(b[q:])
			if fields.durable < expected || fields.start <= fields.durable {
				continue
			}
			if _, _, err := decodeFrame(b[q:]); err == nil {
				return true, nil
			}
		}
	}
	return false, nil
}

// scanner reads a segment from its begin to the first frame that is not good.
type scanner struct {
	file   File
	size   int64
	at     int64 // position of buf[lo]
	buf    []byte
	lo, hi int
}

func (s *scanner) window() []byte { return s.buf[s.lo:s.hi] }

func (s *scanner) skip(n int) {
	s.lo += n
	s.at += int64(n)
}

// need reads until the window has n bytes, or reaches the end of the file.
func (s *scanner) need(n int) error {
	if s.hi-s.lo >= n {
		return nil
	}
	buf := s.buf
	if len(buf) < n {
		buf = make([]byte, max(n, windowBytes))
	}
	s.hi = copy(buf, s.buf[s.lo:s.hi])
	s.lo, s.buf = 0, buf
	want := int(min(int64(len(s.buf)-s.hi), s.size-s.at-int64(s.hi)))
	if want <= 0 {
		return nil
	}
	got, err := s.file.ReadAt(s.buf[s.hi:s.hi+want], s.at+int64(s.hi))
	s.hi += got
	if got < want {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

// frames goes through the frames behind the offset last, and gives the last good one's last
// offset, and what is wrong with what follows; "" at the end of the file.
func (s *scanner) frames(last int64) (int64, string, error) {
	size := frameHeader
	for {
		if err := s.need(size); err != nil {
			return 0, "", err
		}
		if len(s.window()) == 0 {
			return last, "", nil
		}
		f, n, err := decodeFrame(s.window())
		switch {
		case errors.Is(err, errShort) && n > len(s.window()) && s.at+int64(n) <= s.size:
			size = n
			continue
		case err != nil:
			return last, err.Error(), nil
		case f.start != last+1:
			return last, fmt.Sprintf("the frame begins with byte %d of the stream, but byte %d is expected", f.start, last+1), nil
		}
		last = f.last()
		s.skip(n)
		size = frameHeader
	}
}
