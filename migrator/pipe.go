package migrator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"surecut/internal/resp"
)

// pipeTimeout bounds a whole batch, as that of other connections: a large RESTORE blocks a server for many seconds.
const pipeTimeout = 2 * time.Minute

// pipe is a connection for the values of a snapshot. A full phase is a long row of RESTOREs of which nothing but errors is
// looked at: sent as bytes, with replies read as lines, it takes a third less CPU of the whole run than through a client.
type pipe struct {
	conn net.Conn
	in   *bufio.Reader
	keep func() bool // undoes that the end of the context closes it
	id   string      // CLIENT ID; empty before Redis 5.0
	db   int         // the selected database
	out  []byte
	sent int     // commands in out
	res  []error // reused
}

// pipe returns the writer's pipe to a node, beside its connection: what a lost one still had on its way is silenced with that.
func (w *writer) pipe(ctx context.Context, addr string) (*pipe, error) {
	c, err := w.conn(ctx, addr)
	if err != nil {
		return nil, err
	}
	if c.pipe != nil {
		return c.pipe, nil
	}
	p, err := openPipe(ctx, w.t, addr)
	if err != nil {
		w.drop(addr)
		return nil, fmt.Errorf("target %s: %w", addr, err)
	}
	c.pipe = p
	return p, nil
}

func openPipe(ctx context.Context, t *target, addr string) (*pipe, error) {
	conn, err := t.d.DialReplica(ctx, addr)
	if err != nil {
		return nil, err
	}
	p := &pipe{conn: conn, in: bufio.NewReader(conn), db: -1}
	p.keep = context.AfterFunc(ctx, func() { conn.Close() })
	p.add("CLIENT", "SETNAME", clientName(t.id)) // a run that finds it left behind ends it
	p.add("CLIENT", "ID")
	if err := p.send(); err != nil {
		p.close()
		return nil, err
	}
	for range 2 {
		line, err := p.line()
		if err != nil {
			p.close()
			return nil, err
		}
		if line[0] == ':' {
			p.id = string(line[1:])
		}
	}
	return p, nil
}

func (p *pipe) close() {
	p.keep()
	p.conn.Close()
}

// add queues a command and gives its place in the batch.
func (p *pipe) add(args ...string) int {
	p.out = resp.AppendCommand(p.out, args...)
	p.sent++
	return p.sent - 1
}

func (p *pipe) send() error {
	defer func() {
		if p.out, p.sent = p.out[:0], 0; cap(p.out) > 4*loadBatchBytes {
			p.out = nil
		}
	}()
	if err := p.conn.SetDeadline(time.Now().Add(pipeTimeout)); err != nil {
		return err
	}
	_, err := p.conn.Write(p.out)
	return err
}

// exchange sends the batch. Of each command it gives nil, a resp.Error, or why there is no reply; the result is valid until
// the next batch. Without a reply the pipe is of no more use.
func (p *pipe) exchange() []error {
	n := p.sent
	lost := p.send()
	p.res = p.res[:0]
	for range n {
		if lost != nil {
			p.res = append(p.res, lost)
			continue
		}
		line, err := p.line()
		switch {
		case err != nil:
			lost = err
			p.res = append(p.res, err)
		case line[0] == '-':
			p.res = append(p.res, resp.Error(line[1:]))
		default:
			p.res = append(p.res, nil)
		}
	}
	return p.res
}

// line reads one reply of a single line; those of the commands that go through a pipe have no others.
func (p *pipe) line() ([]byte, error) {
	line, err := p.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errors.New("a reply is longer than any to RESTORE")
	}
	if err != nil {
		return nil, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' || line[0] != '+' && line[0] != '-' && line[0] != ':' {
		return nil, fmt.Errorf("a reply begins with %s", strconv.Quote(string(line[:min(len(line), 20)])))
	}
	return line[:len(line)-2], nil
}
