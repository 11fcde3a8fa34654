package migrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sync/semaphore"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/internal/resp"
	"surecut/internal/spool"
)

// source command of the stream; args belong to it.
type sourceCommand struct {
	end  int64 // offset of its last byte
	db   int
	args [][]byte
}

// group is one command, or all of a MULTI ... EXEC, or nothing but control commands.
type group struct {
	start, end int64
	startDB    int // selected before the group
	db         int // selected after it
	received   int64
	commands   []sourceCommand
	control    int64 // PING, SELECT, REPLCONF, MULTI, EXEC

	room   *semaphore.Weighted // what it takes of it is given back once it is dispatched
	weight int64
}

// parsedBytes bounds what is parsed and not dispatched: a command may have 512 MiB.
const parsedBytes = 8 << 20

// take waits until there is room for the group; the largest takes all of it.
func (g *group) take(ctx context.Context, room *semaphore.Weighted) error {
	g.room, g.weight = room, min(g.end-g.start, parsedBytes)
	if room.Acquire(ctx, g.weight) != nil {
		return context.Cause(ctx)
	}
	return nil
}

// done gives back what take has taken.
func (g *group) done() {
	if g.room != nil {
		g.room.Release(g.weight)
	}
}

// parser turns the spooled stream into groups.
type parser struct {
	r        commandReader
	room     *semaphore.Weighted
	filter   *keyspace.Filter // names keys as the target does
	received func() int64     // when the source sent what was read last, Unix ms
	offset   int64
	db       int
	keys     []int // reused
	observe  func(db int, args [][]byte, at time.Time)
	close    func()
}

// commandReader splits a stream into commands.
type commandReader interface {
	ReadCommand() (args [][]byte, n int64, err error)
}

// spooled reads a spool as a stream of bytes, and knows when the source sent them.
type spooled struct {
	ctx      context.Context
	r        *spool.Reader
	rest     []byte
	received int64
}

func (s *spooled) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		data, _, received, err := s.r.Next(s.ctx)
		if err != nil {
			return 0, err
		}
		s.rest, s.received = data, received
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func newParser(ctx context.Context, log *spool.Log, filter *keyspace.Filter, offset int64, db int) (*parser, error) {
	r, err := log.NewReader(offset)
	if err != nil {
		return nil, fmt.Errorf("read the spool from offset %d: %w", offset, err)
	}
	from := &spooled{ctx: ctx, r: r}
	return &parser{r: resp.NewReader(from), room: semaphore.NewWeighted(parsedBytes), filter: filter, received: func() int64 { return from.received }, offset: offset, db: db, close: func() { _ = r.Close() }}, nil
}

// run sends groups until the spool is closed and read to its last whole command.
func (p *parser) run(ctx context.Context, out chan<- group) error {
	defer close(out)
	for {
		g, err := p.next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("stream at offset %d: %w", p.offset, err)
		}
		if err := g.take(ctx, p.room); err != nil {
			return err
		}
		select {
		case out <- g:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// observer shows the commands of the link's stream to whoever asked for them; nil: nobody did.
func (l *link) observer() func(db int, args [][]byte, at time.Time) {
	if l.m.cfg.Observe == nil {
		return nil
	}
	return func(db int, args [][]byte, at time.Time) { l.m.cfg.Observe(l.st.Shard, db, args, at) }
}

// next reads one group. The bytes of a group that is cut off are not counted.
func (p *parser) next() (group, error) {
	g := group{start: p.offset, startDB: p.db}
	end, db, inMulti := p.offset, p.db, false
	for {
		args, n, err := p.r.ReadCommand()
		if inMulti && errors.Is(err, io.EOF) {
			return g, io.ErrUnexpectedEOF
		}
		if err != nil {
			return g, err
		}
		end += n
		if len(args) == 0 {
			g.control++
			if !inMulti {
				break
			}
			continue
		}
		control := true
		if p.observe != nil && !is(args, "PING", 0) && !is(args, "REPLCONF", 0) {
			p.observe(db, args, time.UnixMilli(p.received()))
		}
		switch {
		case is(args, "SELECT", 2):
			if db, err = strconv.Atoi(string(args[1])); err != nil {
				return g, fmt.Errorf("SELECT %q: no database number", args[1])
			}
		case is(args, "MULTI", 1):
			inMulti = true
		case is(args, "EXEC", 1):
			inMulti = false
		case is(args, "PING", 0), is(args, "REPLCONF", 0):
		default:
			control = false
			c := sourceCommand{end: end, db: db, args: copyArgs(args)}
			p.rename(&c)
			g.commands = append(g.commands, c)
		}
		if control {
			g.control++
		}
		if !inMulti {
			break
		}
	}
	g.end, g.db, g.received = end, db, p.received()
	p.offset, p.db = end, db
	return g, nil
}

// rename gives the keys of a command their names on the target. What has no keys that can be found stays as it is: see
// dispatcher.plan.
func (p *parser) rename(c *sourceCommand) {
	prefix := p.filter.DBPrefix[c.db]
	if prefix == "" {
		return
	}
	spec, known := command.Lookup(c.args)
	if !known || spec.Class == command.Keyless {
		return
	}
	var err error
	if p.keys, err = spec.Keys(c.args, p.keys[:0]); err != nil {
		return
	}
	for _, k := range p.keys {
		c.args[k] = append([]byte(prefix), c.args[k]...)
	}
}

func is(args [][]byte, name string, argc int) bool {
	return len(args[0]) == len(name) && (argc == 0 || len(args) == argc) && bytes.EqualFold(args[0], []byte(name))
}

// copyArgs gives arguments that outlive the reader's buffer, in one allocation.
func copyArgs(args [][]byte) [][]byte {
	size := 0
	for _, a := range args {
		size += len(a)
	}
	buf := make([]byte, 0, size)
	out := make([][]byte, len(args))
	for i, a := range args {
		from := len(buf)
		buf = append(buf, a...)
		out[i] = buf[from:len(buf):len(buf)]
	}
	return out
}
