package psync

import (
	"fmt"
	"strconv"
	"time"

	"surecut/internal/resp"
)

// Ack tells the source that the stream has been taken up to the byte with this number. It
// belongs to the streaming state and may be called beside Read. The source sends no reply.
//
// CopySnapshot sends the first one itself, and Read repeats it every second until the stream
// flows. From then on the caller sends them.
func (s *Session) Ack(offset int64) error {
	if err := s.expect("acknowledge", streaming); err != nil {
		return err
	}
	if s.Legacy { // would be answered by an error in the middle of the stream
		return nil
	}
	return s.sendAck(offset)
}

// ackFirst sends the first acknowledgement: after a diskless transfer a source keeps the stream back until it comes (2.8.18 and
// later), even from a replica that asked by SYNC, which it wants no others from.
func (s *Session) ackFirst() error {
	if !s.awaitsAck() {
		return nil
	}
	return s.sendAck(s.Offset)
}

// awaitsAck says whether the source takes a first acknowledgement.
func (s *Session) awaitsAck() bool { return s.Full && (!s.Legacy || s.diskless) }

func (s *Session) sendAck(offset int64) error {
	return s.send("acknowledge", "REPLCONF", "ACK", strconv.FormatInt(offset, 10))
}

// send writes one request.
func (s *Session) send(what string, args ...string) error {
	words := make([][]byte, len(args))
	for i, arg := range args {
		words[i] = []byte(arg)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.out = resp.AppendCommand(s.out[:0], words...)
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
		return s.writeFailed(what, err)
	}
	if _, err := s.conn.Write(s.out); err != nil {
		return s.writeFailed(what, err)
	}
	return nil
}

func (s *Session) writeFailed(what string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == ended {
		return s.endedError(what)
	}
	return fmt.Errorf("%s: %w", what, err)
}
