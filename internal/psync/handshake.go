package psync

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"surecut/internal/resp"
)

const (
	stepPing     = "PING"
	stepPort     = "REPLCONF listening-port"
	stepCapa     = "REPLCONF capa"
	stepVersion  = "REPLCONF version"
	stepPSYNC    = "PSYNC"
	stepSYNC     = "SYNC"
	stepSnapshot = "snapshot"
)

// readsLike is the newest version of Valkey whose snapshots can be read here. Valkey (since 9.1) makes a diskless snapshot
// that the replica's version reads. To a replica that names none it sends one in the format of Redis 7.2, which has no place
// for hashes whose fields expire: then it makes none at all. Redis does not know the option.
const readsLike = "9.0.0"

// Start makes conn, which is connected and authenticated and on which nothing is pending,
// a replication connection, and owns it from then on: when Start fails it closes it. ctx
// bounds the handshake only.
//
// The source may keep Start waiting for as long as it prepares, with keep-alives.
//
// Errors: *RefusedError for an error reply, *StalledError, *UnexpectedError, io.EOF
// wrapped when the source hangs up, the context's own. Retryable sorts them.
func Start(ctx context.Context, conn net.Conn, cfg Config) (*Session, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	s := &Session{conn: conn, timeout: cfg.Timeout, buf: make([]byte, bufferBytes)}
	release := s.CloseOn(ctx)
	err := s.handshake(cfg)
	if !release() && err == nil { // ctx ended just now and has closed the connection
		err = fmt.Errorf("replication handshake: %w", context.Cause(ctx))
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Session) handshake(cfg Config) error {
	if err := s.greet(); err != nil {
		return err
	}
	s.advance(announcing)
	if err := s.configure(stepPort, "listening-port", strconv.Itoa(cfg.ListeningPort)); err != nil {
		return err
	}
	s.advance(offering)
	if err := s.configure(stepCapa, "capa", "eof", "capa", "psync2"); err != nil {
		return err
	}
	s.advance(naming)
	if err := s.configure(stepVersion, "version", readsLike); err != nil {
		return err
	}
	s.advance(asking)
	if cfg.Locate != nil {
		if rest := bytes.Trim(s.buf[s.start:s.end], "\r\n"); len(rest) > 0 {
			return unexpected(stepVersion, "nothing after the reply", rest)
		}
		s.start, s.end = 0, 0
		var err error
		if cfg.ReplID, cfg.Offset, err = cfg.Locate(s.conn); err != nil {
			return fmt.Errorf("replication handshake: position to continue from: %w", err)
		}
	}
	return s.ask(cfg)
}

// greet lets PSYNC decide where PING alone is refused: the user may lack it, a source
// whose last BGSAVE failed answers MISCONF, a replica without its primary MASTERDOWN.
func (s *Session) greet() error {
	reply, err := s.request(stepPing, "PING")
	if err != nil {
		return err
	}
	if refusal, ok := errorReply(reply); ok {
		switch refusal.Code() {
		case "NOPERM", "MISCONF", "MASTERDOWN":
			return nil
		}
		return &RefusedError{Step: stepPing, Reply: refusal}
	}
	if reply[0] != '+' {
		return unexpected(stepPing, "+PONG", reply)
	}
	return nil
}

// configure tolerates a server that does not know the option (ERR): before 2.8.18 there is
// no capa, before 2.6 no REPLCONF. A user without the permission is not tolerated: the
// refusals of each later REPLCONF ACK would stand in the middle of the stream.
func (s *Session) configure(step string, args ...string) error {
	reply, err := s.request(step, append([]string{"REPLCONF"}, args...)...)
	if err != nil {
		return err
	}
	if refusal, ok := errorReply(reply); ok {
		if refusal.Code() == "ERR" {
			return nil
		}
		return &RefusedError{Step: step, Reply: refusal}
	}
	if reply[0] != '+' {
		return unexpected(step, "+OK", reply)
	}
	return nil
}

// ask sends PSYNC, and SYNC to a server that does not know it.
func (s *Session) ask(cfg Config) error {
	id, offset := "?", int64(-1)
	if cfg.ReplID != "" {
		id, offset = cfg.ReplID, cfg.Offset+1
	}
	reply, err := s.request(stepPSYNC, "PSYNC", id, strconv.FormatInt(offset, 10))
	if err != nil {
		return err
	}
	if refusal, ok := errorReply(reply); ok {
		if refusal.Code() != "ERR" || lacksPrimary(refusal) || cfg.OnlyContinue {
			return &RefusedError{Step: stepPSYNC, Reply: refusal}
		}
		return s.askLegacy()
	}
	words := strings.Fields(string(reply))
	switch {
	case len(words) > 0 && words[0] == "+FULLRESYNC" && !cfg.OnlyContinue:
		return s.fullResync(words, reply)
	case len(words) > 0 && words[0] == "+CONTINUE" && cfg.ReplID != "":
		s.ReplID, s.Offset = cfg.ReplID, cfg.Offset
		if len(words) > 1 {
			s.ReplID = words[1]
		}
		s.advance(streaming)
		return nil
	}
	if cfg.OnlyContinue {
		return unexpected(stepPSYNC, "+CONTINUE", reply)
	}
	return unexpected(stepPSYNC, "+FULLRESYNC or +CONTINUE", reply)
}

// fullResync takes "+FULLRESYNC id offset"; some clouds append fields of their own.
func (s *Session) fullResync(words []string, reply []byte) error {
	if len(words) < 3 {
		return unexpected(stepPSYNC, "+FULLRESYNC with ID and offset", reply)
	}
	offset, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil || offset < 0 {
		return unexpected(stepPSYNC, "+FULLRESYNC with ID and offset", reply)
	}
	s.Full, s.ReplID, s.Offset = true, words[1], offset
	s.advance(awaiting)
	return nil
}

// askLegacy sends SYNC, whose only reply is the snapshot.
func (s *Session) askLegacy() error {
	if err := s.send(stepSYNC, "SYNC"); err != nil {
		return err
	}
	s.Full, s.Legacy = true, true
	s.advance(awaiting)
	return nil
}

// request sends one request and reads its reply line.
func (s *Session) request(step string, args ...string) ([]byte, error) {
	what := "replication handshake: " + step
	if err := s.send(what, args...); err != nil {
		return nil, err
	}
	return s.readLine(what)
}

// readLine returns the next line that is not a keep-alive, without its end. It is valid
// until the next read.
func (s *Session) readLine(what string) ([]byte, error) {
	for scanned := 0; ; {
		for s.start < s.end && scanned == 0 && (s.buf[s.start] == '\n' || s.buf[s.start] == '\r') {
			s.start++
		}
		b := s.buf[s.start:s.end]
		if i := bytes.IndexByte(b[scanned:], '\n'); i >= 0 {
			line := b[:scanned+i]
			s.start += len(line) + 1
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		scanned = len(b)
		if scanned > maxLine {
			return nil, unexpected(what, "a line", b)
		}
		switch err := s.fill(what); {
		case err == io.EOF && scanned > 0:
			return nil, fmt.Errorf("%s: %w", what, io.ErrUnexpectedEOF)
		case err == io.EOF:
			return nil, fmt.Errorf("%s: the source closed the connection: %w", what, err)
		case err != nil:
			return nil, err
		}
	}
}

func errorReply(line []byte) (resp.Error, bool) {
	if line[0] != '-' {
		return "", false
	}
	return resp.Error(line[1:]), true
}

func unexpected(step, wanted string, found []byte) error {
	more := ""
	if len(found) > 80 {
		found, more = found[:80], "..."
	}
	return &UnexpectedError{Step: step, Wanted: wanted, Found: fmt.Sprintf("%q%s", found, more)}
}
