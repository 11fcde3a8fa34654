package writes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/resp"
)

// keepAlive is how often a Tracking asks for an echo when nobody else does, so that neither the server's timeout for idle clients
// nor a firewall ends its connection.
const keepAlive = 10 * time.Second

// Tracking learns from one server which keys are written, by CLIENT TRACKING in broadcasting mode (since 6.0).
//
// Await is a barrier for this reason: the server collects the keys that were written during one cycle of its event loop. At the end
// of the cycle it puts the invalidations into the output of its trackers, before it sends the cycle's replies. If a caller has
// received a reply, the cycle of that reply has ended, so an ECHO that is sent afterwards runs in a later cycle, and its reply
// comes after the invalidations of everything written before. Only SWAPDB invalidates nothing: users of a Tracking must check
// whether SWAPDB was run.
//
// A server bounds what it keeps for a client that does not read (client-output-buffer-limit) by the class of the client, and the
// class normal has no bound by default: while surecut is suspended, every write of the server's clients would take memory of the
// server for good. So the connection subscribes to a channel that nobody publishes to, which puts it into the class pubsub (by default 32
// MiB, or 8 MiB for 60 s). Beyond that the server closes the connection, and it is not known what was written.
type Tracking struct {
	told  // its points are the numbers of echoes, which come back in order
	conn  net.Conn
	asked int64 // how many echoes were asked for; guarded by mu
}

// Track turns tracking on for the connection, which must be logged in with no reply pending, and owns it.
func Track(ctx context.Context, conn net.Conn, set *Set) (*Tracking, error) {
	t := &Tracking{told: newTold("the connection for CLIENT TRACKING", set, 0), conn: conn}
	in := bufio.NewReaderSize(conn, 128<<10)
	hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(hctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := t.turnOn(in)
	if !stop() && err == nil {
		err = context.Cause(hctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("CLIENT TRACKING: %w", err)
	}
	go t.read(in)
	go t.keepAlive()
	return t, nil
}

func (t *Tracking) turnOn(in *bufio.Reader) error {
	for _, words := range [][]string{{"HELLO", "3"}, {"SUBSCRIBE", endpoint.NoChannel}, {"CLIENT", "TRACKING", "ON", "BCAST"}} {
		if err := t.send(words...); err != nil {
			return err
		}
		_, err := (&reply{in: in}).read(nil, 0)
		if refusal := resp.Error(""); words[0] == "SUBSCRIBE" && errors.As(err, &refusal) {
			continue // the user may not subscribe; the check of permissions says so
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Tracking) send(words ...string) error {
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	if err := t.conn.SetWriteDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	_, err := t.conn.Write(resp.AppendCommand(nil, args...))
	return err
}

// Await returns once everything that the server ran before this call is in the set. If it returns an error, that will not happen.
func (t *Tracking) Await(ctx context.Context) error {
	n, err := t.echo()
	if err != nil {
		return err
	}
	return t.await(ctx, n)
}

// echo asks for the next echo. It holds the lock while it sends the request, so that echoes come back in the order of their
// numbers.
func (t *Tracking) echo() (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	return t.asked, t.send("ECHO", strconv.FormatInt(t.asked, 10))
}

// Close ends the connection.
func (t *Tracking) Close() {
	t.conn.Close()
	<-t.done
}

func (t *Tracking) read(in *bufio.Reader) {
	defer close(t.done)
	r := &reply{in: in}
	for {
		kind, err := r.read(t.take, 0)
		t.mu.Lock()
		switch {
		case err != nil:
			t.lose(err)
		case kind != '>':
			t.upTo++
		}
		t.announce()
		t.mu.Unlock()
		if err != nil {
			t.conn.Close()
			return
		}
	}
}

// take puts one name of an invalidation into the set. A nil stands for all keys.
func (t *Tracking) take(name []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if name == nil {
		t.set.AddAll("FLUSHALL or FLUSHDB was run")
		return
	}
	t.set.Add(name)
}

func (t *Tracking) keepAlive() {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-t.done:
			return
		case <-tick.C:
			_, _ = t.echo() // a failure shows in read
		}
	}
}

// reply reads those kinds of RESP3 replies that trackers get.
type reply struct {
	in   *bufio.Reader
	name []byte
}

// read reads one reply. It passes the elements of the array inside a push to take: the names that were written, or nil for all
// keys. It returns the first byte of the reply. An error reply is returned as an error only at the outermost level.
func (r *reply) read(take func([]byte), depth int) (kind byte, err error) {
	line, err := r.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 3 {
		return 0, errors.New("the reply does not follow the Redis protocol")
	}
	kind = line[0]
	text := string(line[1 : len(line)-2])
	switch kind {
	case '-', '!':
		return kind, resp.Error(text)
	case '+', ':', '#', ',', '(':
		return kind, nil
	case '_':
		if depth == 1 && take != nil {
			take(nil)
		}
		return kind, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return kind, errors.New("the reply does not follow the Redis protocol")
	}
	switch kind {
	case '$', '=':
		return kind, r.bulk(n, take, depth)
	case '%':
		n *= 2
	case '*', '>', '~':
		if n < 0 && depth == 1 && take != nil {
			take(nil)
		}
	default:
		return kind, errors.New("the reply does not follow the Redis protocol")
	}
	for range n {
		if _, err := r.read(take, depth+1); err != nil {
			return kind, err
		}
	}
	return kind, nil
}

// bulk reads a string. At depth 2, the string is a name in the list of a push.
func (r *reply) bulk(n int, take func([]byte), depth int) error {
	if n < 0 {
		return nil
	}
	if cap(r.name) < n || cap(r.name) > 1<<20 {
		r.name = make([]byte, n, max(n, 256))
	}
	r.name = r.name[:n]
	if _, err := io.ReadFull(r.in, r.name); err != nil {
		return err
	}
	if _, err := r.in.Discard(2); err != nil {
		return err
	}
	if depth == 2 && take != nil {
		take(r.name)
	}
	return nil
}
