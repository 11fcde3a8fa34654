package writes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"strings"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/psync"
	"surecut/internal/resp"
)

// ackEvery is how often a Replica acknowledges. That is often enough for a server whose repl-timeout is 30 s (the default is 60 s).
// It is rare enough that most of the time the server does not count it among the good replicas for min-replicas-max-lag (10 s).
const ackEvery = 15 * time.Second

// handshakeTimeout bounds the requests before the stream begins.
const handshakeTimeout = 10 * time.Second

// defaultBacklog is the size of the backlog (repl-backlog-size) where the server does not tell it.
const defaultBacklog = 1 << 20

// Replica follows the stream that one server sends to its replicas.
type Replica struct {
	ReplID string
	From   int64 // offset at which the stream began

	told    // its points are offsets of the stream
	session *psync.Session
}

// ErrNoBacklog says that a server keeps no backlog. PSYNC is not sent to it, because it would answer with a snapshot.
var ErrNoBacklog = errors.New("the server keeps no replication backlog (repl_backlog_active is 0), so it would answer PSYNC with a snapshot")

// Follow asks the server at the other end of conn for its stream from its present offset on. The connection must be logged in with
// no reply pending; Follow owns it. Names go into the set.
//
// The server is only asked to continue a stream, and only if it keeps a backlog that reaches back to the offset, so that it makes no
// snapshot: the offset is asked for last before PSYNC, and PSYNC is not sent if the stream moves so fast that the backlog may lose
// the offset until then. Every acknowledgement names offset 0, so that WAIT never counts this Replica.
func Follow(ctx context.Context, conn net.Conn, set *Set) (*Replica, error) {
	hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	first, err := askInfo(hctx, conn, "server", "replication")
	if err == nil {
		_, _, err = present(first)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	s, err := psync.Start(hctx, conn, psync.Config{OnlyContinue: true, Locate: func(conn net.Conn) (string, int64, error) {
		again, err := askInfo(hctx, conn, "replication")
		if err != nil {
			return "", 0, err
		}
		again["run_id"] = first["run_id"] // in place of the replication ID before 4.0
		return reachable(first, again)
	}})
	if err != nil {
		return nil, err // Start has closed the connection
	}
	r := &Replica{ReplID: s.ReplID, From: s.Offset, told: newTold("the replication stream", set, s.Offset), session: s}
	go r.read()
	go r.acknowledge()
	return r, nil
}

// reachable returns the present ID and offset of a server's stream by the later of two INFO. It returns an error if the stream moved by
// more than an eighth of the backlog between them, which took longer than what is left until PSYNC.
func reachable(first, again map[string]string) (id string, offset int64, err error) {
	was, before, err := present(first)
	if err != nil {
		return "", 0, err
	}
	if id, offset, err = present(again); err != nil {
		return "", 0, err
	}
	backlog, err := strconv.ParseInt(again["repl_backlog_size"], 10, 64)
	if err != nil {
		backlog = defaultBacklog
	}
	switch {
	case id != was:
		return "", 0, errors.New("the server has become part of another replication during the handshake")
	case offset-before > backlog/8:
		return "", 0, fmt.Errorf("its stream moved by %d bytes during the handshake, which is too fast for its replication backlog of %d bytes: it might answer PSYNC with a snapshot", offset-before, backlog)
	}
	return id, offset, nil
}

// present returns the ID and the offset of a server's stream from its INFO.
func present(info map[string]string) (id string, offset int64, err error) {
	if info["repl_backlog_active"] != "1" {
		return "", 0, ErrNoBacklog
	}
	if info["role"] == "slave" && info["master_link_status"] != "up" {
		return "", 0, errors.New("the replica is not connected to its primary")
	}
	if id, offset, err = endpoint.StreamPosition(info); err == nil && len(id) != 40 {
		err = fmt.Errorf("INFO contains the replication ID %q, which does not have 40 characters", id)
	}
	return id, offset, err
}

// Await returns once everything up to the offset is in the set. If it returns an error, that will not happen.
func (r *Replica) Await(ctx context.Context, offset int64) error { return r.await(ctx, offset) }

// Close ends the session, and the server forgets the replica.
func (r *Replica) Close() {
	r.session.Close()
	<-r.done
}

func (r *Replica) read() {
	defer close(r.done)
	s := newSkimmer(r.session)
	for {
		r.mu.Lock()
		seed := r.set.seed
		r.mu.Unlock()
		err := s.next(seed)
		r.mu.Lock()
		if err == nil {
			r.tell(s, seed == r.set.seed)
			r.upTo = r.From + s.offset
		} else {
			r.lose(err)
		}
		r.announce()
		r.mu.Unlock()
		if err != nil {
			r.session.Close()
			return
		}
	}
}

// tell puts the keys of a command into the set. The caller holds mu. Hashes of long arguments are useless if the set was exchanged
// while the command was read.
func (r *Replica) tell(s *skimmer, seeded bool) {
	if !seeded && len(s.long) > 0 {
		r.set.AddAll("a long command was running when the window began")
		return
	}
	s.tell(r.set)
}

func (r *Replica) acknowledge() {
	tick := time.NewTicker(ackEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-tick.C:
			_ = r.session.Ack(0) // a failure shows in Read
		}
	}
}

// askInfo sends INFO and reads its reply, without reading beyond it.
func askInfo(ctx context.Context, conn net.Conn, sections ...string) (map[string]string, error) {
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	fields := map[string]string{}
	for _, section := range sections {
		if _, err := conn.Write(resp.AppendCommand(nil, []byte("INFO"), []byte(section))); err != nil {
			return nil, fmt.Errorf("INFO %s: %w", section, err)
		}
		text, err := readBulk(conn)
		if err != nil {
			return nil, fmt.Errorf("INFO %s: %w", section, err)
		}
		maps.Copy(fields, endpoint.ParseInfo(text))
	}
	return fields, nil
}

func readBulk(r io.Reader) (string, error) {
	var head []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(head), "\r\n"); head = append(head, one[0]) {
		if _, err := io.ReadFull(r, one); err != nil {
			return "", err
		}
		if len(head) > 4096 {
			return "", errors.New("the reply does not follow the Redis protocol")
		}
	}
	if head[0] == '-' {
		return "", resp.Error(strings.TrimRight(string(head[1:]), "\r\n"))
	}
	n, err := strconv.Atoi(strings.TrimRight(string(head[1:]), "\r\n"))
	if err != nil || head[0] != '$' || n < 0 || n > 16<<20 {
		return "", errors.New("the reply does not follow the Redis protocol")
	}
	text := make([]byte, n+2)
	if _, err := io.ReadFull(r, text); err != nil {
		return "", err
	}
	return string(text[:n]), nil
}
