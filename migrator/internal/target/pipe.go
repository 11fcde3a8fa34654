package target

import (
	"bufio"
	"context"
	"net"
	"strconv"
	"time"

	"surecut/internal/resp"
)

// pipeTimeout bounds a whole batch. It is long, since a large RESTORE blocks a server for many seconds. A pipe that freezes is given up
// much earlier, with an endpoint.FrozenError.
const pipeTimeout = 2 * time.Minute

// repliesAtOnce is how many bytes of replies are read at once: those of a batch in a busy stream.
const repliesAtOnce = 16 << 10

// mostKept bounds the size of a buffer that is kept from one batch to the next.
const mostKept = 1 << 20

// pipe is a connection for the bulk of the traffic: the values of a snapshot, and the transactions of the stream. It appends commands to a
// buffer, and keeps only those parts of the replies that matter, which takes much less CPU than a client.
type pipe struct {
	conn net.Conn
	in   answers
	keep func() bool // cancels the closing at the end of the context
	id   string      // CLIENT ID; empty before Redis 5.0
	db   int         // the selected database
	out  []byte
	sent int      // number of commands in out
	res  []answer // reused
}

// openPipe opens a pipe, and says who answers.
func openPipe(ctx context.Context, ns *nodes, addr string) (p *pipe, server Instance, err error) {
	conn, err := ns.d.DialCommands(ctx, addr)
	if err != nil {
		return nil, server, err
	}
	p = &pipe{conn: conn, in: answers{in: bufio.NewReaderSize(conn, repliesAtOnce)}, db: -1}
	p.keep = context.AfterFunc(ctx, func() { conn.Close() })
	p.add("CLIENT", "SETNAME", ns.Claim.connectionName()) // by which a later run can find and end it
	p.add("CLIENT", "ID")
	p.add("INFO", "server")
	p.add("INFO", "replication")
	if server, err = p.introduced(ns.Can.Ends); err != nil {
		p.close()
		return nil, server, err
	}
	return p, server, nil
}

// introduced sends the first commands of a pipe and reads their replies. named says that a pipe without a name must not be used.
func (p *pipe) introduced(named bool) (server Instance, err error) {
	if err := p.send(); err != nil {
		return server, err
	}
	switch got := p.in.next(); {
	case got.kind == answerNone:
		return server, got.err
	case got.kind == answerError && named:
		return server, unnamed(got.err)
	}
	switch got := p.in.next(); got.kind {
	case answerNone:
		return server, got.err
	case answerInt:
		p.id = strconv.FormatInt(got.n, 10)
	}
	var texts [2]string
	for i := range texts {
		if texts[i], err = p.in.text(); err != nil {
			return server, err
		}
	}
	return instanceOf(texts[0], texts[1]), nil
}

func (p *pipe) close() {
	p.keep()
	p.conn.Close()
}

// add queues a command and returns its index in the batch.
func (p *pipe) add(args ...string) int {
	p.out = resp.AppendCommand(p.out, args...)
	p.sent++
	return p.sent - 1
}

// addSeries queues all commands of a series.
func (p *pipe) addSeries(s *Series) {
	p.out = append(p.out, s.bytes...)
	p.sent += s.Len()
}

// forget drops the commands that were queued.
func (p *pipe) forget() {
	if p.out, p.sent = p.out[:0], 0; cap(p.out) > mostKept {
		p.out = nil
	}
}

// unsend drops the commands that were queued, SELECT commands among them.
func (p *pipe) unsend() {
	p.forget()
	p.db = -1
}

func (p *pipe) send() error {
	defer p.forget()
	if err := p.conn.SetDeadline(time.Now().Add(pipeTimeout)); err != nil {
		return err
	}
	_, err := p.conn.Write(p.out)
	return err
}

// exchange sends the batch and returns an answer for each command, which are valid until the next batch. If one of them is answerNone, the
// pipe cannot be used any more.
func (p *pipe) exchange() []answer {
	n := p.sent
	lost := p.send()
	p.res = p.res[:0]
	for range n { // a server that closes the connection may have said why before all was sent
		if got := p.in.next(); got.kind != answerNone {
			p.res = append(p.res, got)
			continue
		} else if lost == nil {
			lost = got.err
		}
		break
	}
	for len(p.res) < n {
		p.res = append(p.res, answer{err: lost})
	}
	return p.res
}
