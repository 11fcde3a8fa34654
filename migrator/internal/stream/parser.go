package stream

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
)

// sourceCommand is a command of the stream. Nobody changes its args once it is parsed. They lie in memory of its stretch until the planner
// keeps them.
type sourceCommand struct {
	end     int64 // offset of its last byte
	db      int
	args    [][]byte
	encoded []byte // the command as it is sent, which args are parts of; nil: its keys were given other names
}

// group is one command, or all of a MULTI ... EXEC, or no command but those counted in control.
type group struct {
	start, end int64
	startDB    int // database selected before the group
	db         int // database selected after the group
	received   int64
	commands   []sourceCommand
	control    int64 // number of control commands: PING, SELECT, REPLCONF, MULTI, EXEC
}

// stretch holds groups that were received together. The parser sends stretches to the dispatcher, since waking a goroutine for every
// command would cost more than the command.
//
// A stretch belongs to the parser, then to the dispatcher. Between two stretches, when no command is being dispatched, the dispatcher gives
// it back, and its lists and the bytes of the arguments are written over. Of most commands a copy is on its way to the target by then. Of
// all others the planner keeps the arguments (planner.keep).
type stretch struct {
	groups   []group
	commands []sourceCommand // those of the groups; nil: a later stretch has them
	args     [][]byte        // those of the commands; nil: a later stretch has them
	bytes    []byte          // those of the args; nil: a later stretch has them
	home     chan<- stretch  // where blank stretches go; nil: they are not used again

	room   *semaphore.Weighted // from which take has acquired weight; nil: take was not called
	weight int64
}

// Bounds of what is parsed and not dispatched. A single command may have 512 MiB.
const (
	ParsedBytes   = 8 << 20
	stretchBytes  = 1 << 20 // a stretch is sent once its groups have this size
	stretchGroups = 4096
)

// take waits until there is room for the stretch. A stretch that is larger than the whole room takes all of it.
func (c *stretch) take(ctx context.Context, room *semaphore.Weighted) error {
	c.room, c.weight = room, min(c.groups[len(c.groups)-1].end-c.groups[0].start, ParsedBytes)
	if room.Acquire(ctx, c.weight) != nil {
		return context.Cause(ctx)
	}
	return nil
}

// done gives back the room that take has acquired.
func (c *stretch) done() {
	if c.room != nil {
		c.room.Release(c.weight)
	}
	c.room = nil
}

// giveBack blanks a stretch whose groups are dispatched, and sends it home unless enough others are there.
func (c *stretch) giveBack() {
	if c.home == nil {
		return
	}
	s := stretch{groups: blank(c.groups, stretchGroups), commands: blank(c.commands, stretchGroups), args: blank(c.args, mostArgs)}
	if cap(c.bytes) <= mostStretchBytes {
		s.bytes = c.bytes[:0]
	}
	select {
	case c.home <- s:
	default:
	}
}

// blank clears a list, so that it keeps nothing in memory, and empties it. A list with room for more elements than most is dropped.
func blank[T any](list []T, most int) []T {
	clear(list)
	if cap(list) > most {
		return nil
	}
	return list[:0]
}

// Sizes of slabs, in elements. They bound how much other memory one command keeps in use if it is held for long.
const (
	slabBytes    = 64 << 10
	slabArgs     = 1024
	slabCommands = 256
)

// Bounds of what stretches keep to be used again.
const (
	mostBlank        = 8                 // stretches
	mostArgs         = 4 * stretchGroups // arguments in the list of one stretch
	mostStretchBytes = stretchBytes      // of the arguments of one stretch
)

// parser turns the spooled stream into groups.
type parser struct {
	r        commandReader
	room     *semaphore.Weighted
	filter   *keyspace.Filter // knows the names of keys on the target
	received func() int64     // returns when the bytes that were read last were received, Unix ms
	offset   int64
	db       int
	keys     []int // reused
	observe  Observer

	out  chan<- stretch
	open []group // groups of the next stretch

	bytes    []byte          // of the args
	args     [][]byte        // of the commands
	commands []sourceCommand // of open and, if within is set, of the group that is being read
	within   bool
	blank    chan stretch // from the dispatcher; nil: none come
}

// keep copies a command out of the reader's buffer.
func (p *parser) keep(args [][]byte) (kept [][]byte, encoded []byte) {
	if cap(p.args)-len(p.args) < len(args) {
		p.args = make([][]byte, 0, max(len(args), slabArgs, min(2*cap(p.args), mostArgs)))
	}
	at := len(p.args)
	p.args = p.args[:at+len(args)]
	kept, encoded = p.args[at:len(p.args):len(p.args)], p.encoded(args)
	begin := resp.CountSize(len(args))
	for i, a := range args {
		begin += resp.CountSize(len(a))
		end := begin + len(a)
		kept[i] = encoded[begin:end:end]
		begin = end + 2
	}
	return kept, encoded
}

// encoded returns a copy of a command, in the form in which servers send it.
func (p *parser) encoded(args [][]byte) []byte {
	size := resp.CommandSize(args)
	if cap(p.bytes)-len(p.bytes) < size {
		p.bytes = make([]byte, 0, max(size, slabBytes, min(2*cap(p.bytes), mostStretchBytes)))
	}
	at := len(p.bytes)
	if last := p.r.Last(); len(last) == size && last[0] == '*' { // with leading zeros it would be longer
		p.bytes = append(p.bytes, last...)
	} else {
		p.bytes = resp.AppendCommand(p.bytes, args...)
	}
	return p.bytes[at:len(p.bytes):len(p.bytes)]
}

// command appends a command to those of a group, which must be the last ones that were appended.
func (p *parser) command(group []sourceCommand, c sourceCommand) []sourceCommand {
	if len(p.commands) == cap(p.commands) {
		p.commands = append(make([]sourceCommand, 0, max(2*len(group), slabCommands, min(2*cap(p.commands), stretchGroups))), group...)
	}
	p.commands = append(p.commands, c)
	n := len(p.commands)
	return p.commands[n-len(group)-1 : n : n]
}

// Observer is called with every command as the source sent it, and with the time of its receipt; nil: nobody wants to know.
type Observer func(db int, args [][]byte, at time.Time)

// commandReader splits a stream into commands.
type commandReader interface {
	ReadCommand() (args [][]byte, n int64, err error)
	Last() []byte // the command as it came
}

// run parses groups and sends them, until the spool is closed and read up to its last whole command.
func (p *parser) run(ctx context.Context) error {
	for {
		g, err := p.next()
		if err != nil && ctx.Err() != nil { // whatever the cause is, it is not the end of the stream
			return context.Cause(ctx)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return p.flush(ctx)
		}
		if err != nil {
			return errors.Join(p.flush(ctx), fmt.Errorf("stream at offset %d: %w", p.offset, err))
		}
		if err := p.add(ctx, g); err != nil {
			return err
		}
	}
}

// add adds a group to the open stretch, and sends the stretch once it is large enough.
func (p *parser) add(ctx context.Context, g group) error {
	p.open = append(p.open, g)
	if len(p.open) < stretchGroups && g.end-p.open[0].start < stretchBytes {
		return nil
	}
	return p.flush(ctx)
}

// flush sends the open stretch. It is also called before the parser waits for bytes.
func (p *parser) flush(ctx context.Context) error {
	if len(p.open) == 0 {
		return nil
	}
	c := stretch{groups: p.open, home: p.blank}
	if !p.within { // else the group that is being read goes on in these lists
		c.commands, c.args, c.bytes = p.commands, p.args, p.bytes
		p.commands, p.args, p.bytes = nil, nil, nil
	}
	select {
	case s := <-p.blank:
		if p.open = s.groups; cap(p.open) == 0 {
			p.open = make([]group, 0, stretchGroups)
		}
		if !p.within {
			p.commands, p.args, p.bytes = s.commands, s.args, s.bytes
		}
	default:
		p.open = make([]group, 0, min(2*len(p.open), stretchGroups))
	}
	if err := c.take(ctx, p.room); err != nil {
		return err
	}
	select {
	case p.out <- c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// next reads one group. If the group is cut off, the parser's offset stays before it.
func (p *parser) next() (group, error) {
	g := group{start: p.offset, startDB: p.db}
	end, db, inMulti := p.offset, p.db, false
	defer func() { p.within = false }()
	for {
		p.within = len(g.commands) > 0
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
				return g, fmt.Errorf("SELECT %q: this is not a number of a database", args[1])
			}
		case is(args, "MULTI", 1):
			inMulti = true
		case is(args, "EXEC", 1):
			inMulti = false
		case is(args, "PING", 0), is(args, "REPLCONF", 0):
		default:
			control = false
			c := sourceCommand{end: end, db: db}
			c.args, c.encoded = p.keep(args)
			p.rename(&c)
			g.commands = p.command(g.commands, c)
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

// rename gives the keys of a command their names on the target. A command whose keys cannot be found stays as it is; planner.plan
// decides on it.
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
	c.encoded = nil
	for _, k := range p.keys {
		c.args[k] = append([]byte(prefix), c.args[k]...)
	}
}

func is(args [][]byte, name string, argc int) bool {
	return len(args[0]) == len(name) && (argc == 0 || len(args) == argc) && bytes.EqualFold(args[0], []byte(name))
}
