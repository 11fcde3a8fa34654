package psync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	defaultTimeout = 60 * time.Second // Redis: repl-timeout
	ackEvery       = time.Second      // as replicas do
	bufferBytes    = 512 << 10
	maxLine        = 64 << 10
)

// Config is what Start asks the source for.
type Config struct {
	// ReplID and Offset are the position to continue from: the replication ID, and the
	// number of the last byte of its stream that the caller has. "" asks for everything.
	ReplID string
	Offset int64

	// ListeningPort is the port that the source shows to others as this replica's: in INFO
	// and ROLE, and so to sentinels and to clients that look for replicas. Default 0, on
	// which nothing can listen: a sentinel (7.0) lists such a replica as down and
	// disconnected from the first moment and answers NOGOODSLAVE rather than promote it.
	// Any other port might one day be answered by someone.
	ListeningPort int

	// OnlyContinue has Start fail unless the source continues the stream from Offset. It never asks by SYNC, and hangs up
	// at once where the source would send a snapshot.
	OnlyContinue bool

	// Locate, if set, replaces ReplID and Offset. It is called last before the source is asked to continue, and may send requests over the
	// connection, whose replies it must read completely: so the position that it learns is only a round trip old.
	Locate func(net.Conn) (replID string, offset int64, err error)

	// Timeout is how long the source may send nothing before it counts as stalled, and how
	// long a write to it may take. Default 60 s, like repl-timeout.
	Timeout time.Duration
}

// Session is one replication connection. Read and CopySnapshot belong to one goroutine;
// Ack and Close may be called from any.
type Session struct {
	// Full tells that the source sends a snapshot: call CopySnapshot before Read.
	Full bool
	// ReplID names the stream from here on. It may differ from Config.ReplID after a
	// continuation, when the source was promoted since (4.0 and later): keep it. "" if the
	// source has no PSYNC: then the stream can never be continued.
	ReplID string
	// Offset is the number of the byte before the first byte of the stream; 0 where the
	// source has no PSYNC and does not tell.
	Offset int64
	// Legacy tells that the source was asked by SYNC, since it has no PSYNC (before 2.8),
	// or this has another name there: it tells no offset, takes no acknowledgements, and Ack
	// does nothing.
	Legacy bool

	conn    net.Conn
	timeout time.Duration

	buf        []byte
	start, end int  // buf[start:end] has been read and not consumed
	diskless   bool // the snapshot ended with a mark
	flows      bool // a byte of the stream has come

	mu    sync.Mutex // guards the two below and the setting of deadlines
	state state
	cause error // why the session ended before its time: a context's error

	writing sync.Mutex // one request at a time
	out     []byte     // guarded by writing
}

// Read returns bytes of the stream; it waits for at least one. The first has the number
// Offset+1. io.EOF means that the source has closed the connection, *StalledError that it
// fell silent. Close, or the end of a context given to CloseOn, ends a waiting Read.
func (s *Session) Read(p []byte) (int, error) {
	if err := s.expect("read the stream", streaming); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if s.start < s.end {
		n := copy(p, s.buf[s.start:s.end])
		s.start += n
		s.flows = true
		return n, nil
	}
	if s.awaitsAck() && !s.flows {
		return s.readFirst(p)
	}
	return s.receive("read the stream", p, s.timeout)
}

// readFirst repeats the first acknowledgement until the stream flows. The source ignores
// one that comes before it has noticed the end of its own diskless transfer, and goes on
// waiting for the next.
func (s *Session) readFirst(p []byte) (int, error) {
	for waited := time.Duration(0); ; {
		wait := min(ackEvery, s.timeout-waited)
		n, err := s.receive("read the stream", p, wait)
		if n > 0 {
			s.flows = true
			return n, nil
		}
		waited += wait
		var stalled *StalledError
		if !errors.As(err, &stalled) {
			return 0, err
		}
		if stalled.Waited = s.timeout; waited >= s.timeout {
			return 0, stalled
		}
		if err := s.ackFirst(); err != nil {
			return 0, err
		}
	}
}

// Close ends the session and its connection. The source forgets the replica.
func (s *Session) Close() error {
	s.mu.Lock()
	s.state = ended
	s.mu.Unlock()
	return s.conn.Close()
}

// CloseOn closes the session when ctx ends, and lets Read fail with the context's error.
// release undoes that; it reports whether it came in time.
func (s *Session) CloseOn(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() {
		s.mu.Lock()
		if s.state != ended {
			s.state, s.cause = ended, context.Cause(ctx)
		}
		s.mu.Unlock()
		s.conn.Close()
	})
}

// endedError needs mu.
func (s *Session) endedError(what string) error {
	if s.cause != nil {
		return fmt.Errorf("%s: %w", what, s.cause)
	}
	return fmt.Errorf("%s: %w", what, net.ErrClosed)
}

// receive reads from the connection once and waits for at least one byte.
func (s *Session) receive(what string, p []byte, wait time.Duration) (int, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return 0, s.readFailed(what, err)
	}
	for range 100 {
		n, err := s.conn.Read(p)
		if n > 0 {
			return n, nil // an error that came along will come again
		}
		if err != nil {
			return 0, s.readFailed(what, err)
		}
	}
	return 0, s.readFailed(what, io.ErrNoProgress)
}

// readFailed names the reason behind a failed read: a context or Close, if one of them
// made it fail.
func (s *Session) readFailed(what string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == ended:
		return s.endedError(what)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &StalledError{During: what, Waited: s.timeout, cause: err}
	case err == io.EOF:
		return io.EOF
	}
	return fmt.Errorf("%s: %w", what, err)
}

// fill reads into the buffer, behind what is there.
func (s *Session) fill(what string) error {
	if s.start == s.end {
		s.start, s.end = 0, 0
	}
	if s.end == len(s.buf) {
		s.end = copy(s.buf, s.buf[s.start:s.end])
		s.start = 0
	}
	n, err := s.receive(what, s.buf[s.end:], s.timeout)
	s.end += n
	return err
}
