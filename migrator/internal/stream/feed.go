package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/sync/semaphore"

	"surecut/internal/files"
	"surecut/internal/keyspace"
	"surecut/internal/resp"
	"surecut/internal/spool"
)

// Feed hands the groups of a stream to the dispatcher.
type Feed interface {
	// run sends the groups, and closes out at the end.
	run(ctx context.Context, out chan<- stretch) error

	Close() error
}

// SpoolFeed reads the stream that a source sends, from the spool.
type SpoolFeed struct {
	reader  *spool.Reader
	names   *keyspace.Filter
	at      Mark
	observe Observer
}

// NewSpoolFeed returns a feed that begins at a mark. names knows the names of keys on the target. The feed must be closed.
func NewSpoolFeed(log *spool.Log, names *keyspace.Filter, at Mark, observe Observer) (*SpoolFeed, error) {
	r, err := log.NewReader(at.Offset)
	if err != nil {
		return nil, fmt.Errorf("read the spool from offset %d: %w", at.Offset, err)
	}
	return &SpoolFeed{r, names, at, observe}, nil
}

// Close closes the reader of the spool.
func (f *SpoolFeed) Close() error { return f.reader.Close() }

func (f *SpoolFeed) run(ctx context.Context, out chan<- stretch) error {
	defer close(out)
	p := f.parser(ctx)
	p.out = out
	return p.run(ctx)
}

func (f *SpoolFeed) parser(ctx context.Context) *parser {
	from := &spooled{ctx: ctx, r: f.reader}
	p := &parser{r: resp.NewReader(from), blank: make(chan stretch, mostBlank), room: semaphore.NewWeighted(ParsedBytes), filter: f.names,
		received: func() int64 { return from.received }, offset: f.at.Offset, db: f.at.DB, observe: f.observe}
	from.before = func() error { return p.flush(ctx) }
	return p
}

// Keys calls do with the keys of all commands from the feed's mark up to an offset, which the spool must hold. No stream may use the feed.
func (f *SpoolFeed) Keys(ctx context.Context, end int64, do func(keyspace.Key)) error {
	p := f.parser(ctx)
	for p.offset < end {
		g, err := p.next()
		if err != nil {
			return fmt.Errorf("stream at offset %d: %w", p.offset, err)
		}
		for i := range g.commands {
			for _, k := range keysOf(&g.commands[i]) {
				do(k)
			}
		}
	}
	return nil
}

// spooled reads a spool as a stream of bytes, and knows when they were received.
type spooled struct {
	ctx      context.Context
	r        *spool.Reader
	rest     []byte
	received int64
	before   func() error // called before Read waits
}

func (s *spooled) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if !s.r.Ready() {
			if err := s.before(); err != nil {
				return 0, err
			}
		}
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

// FileFeed reads the commands of an AOF. Offsets count bytes of the file or, where an AOF has several files, of all of them.
type FileFeed struct {
	FileConfig
	offset int64
	db     int
	room   *semaphore.Weighted
}

// FileConfig configures a FileFeed.
type FileConfig struct {
	File      *files.Source
	Names     *keyspace.Filter  // knows the names of keys on the target
	Start     int64             // where the commands of the file begin
	StartedMs int64             // when the file was opened, Unix ms: its commands count as received then
	Stopped   func() bool       // says whether the migration is told to stop
	AcceptCut bool              // an end of the file that is no whole command is dropped, as a server would do, instead of being refused
	Cut       func(bytes int64) // called with the number of bytes that were dropped
	Observe   Observer
	Log       *slog.Logger
}

// NewFileFeed returns a feed that begins at an offset, where a database is selected.
func NewFileFeed(cfg FileConfig, at Mark) *FileFeed {
	return &FileFeed{FileConfig: cfg, offset: at.Offset, db: at.DB, room: semaphore.NewWeighted(ParsedBytes)}
}

// Close does nothing: each part of the file is closed when it is read.
func (f *FileFeed) Close() error { return nil }

// run sends groups until the file ends, or the migration is told to stop.
func (f *FileFeed) run(ctx context.Context, out chan<- stretch) error {
	defer close(out)
	for !f.Stopped() {
		c, end, fresh, err := f.File.Commands(f.offset)
		if err != nil || c == nil {
			return err
		}
		if fresh || f.offset == f.Start {
			f.db = 0
		}
		err = f.part(ctx, c, end, out)
		if err = errors.Join(err, c.Close()); err != nil {
			return err
		}
	}
	return nil
}

// part sends the groups of one file of an AOF. What follows its last command, such as annotations, becomes a group without commands.
func (f *FileFeed) part(ctx context.Context, c *files.Commands, end int64, out chan<- stretch) (err error) {
	p := &parser{r: c.Reader, blank: make(chan stretch, mostBlank), room: f.room, filter: f.Names, received: func() int64 { return f.StartedMs }, offset: f.offset, db: f.db, observe: f.Observe, out: out}
	defer func() { err = errors.Join(err, p.flush(ctx)) }()
	for over := false; !over && !f.Stopped(); {
		g, err := p.next()
		switch {
		case err == io.EOF:
			over = true
			g = group{start: p.offset, startDB: p.db, db: p.db, end: end}
			f.offset = end
		case errors.Is(err, io.ErrUnexpectedEOF):
			return f.drop(p.offset, end)
		case err != nil:
			return c.Fail(err)
		default:
			f.offset, f.db = g.end, g.db
		}
		if err := p.add(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// drop drops the end of the file, which is no whole command, if AcceptCut is set and a server would drop it too.
func (f *FileFeed) drop(offset, end int64) error {
	cut, err := f.File.CutAt(offset, end)
	if err != nil {
		return err
	}
	if !f.AcceptCut {
		return fmt.Errorf("%v: if these bytes may be dropped, run the same command again with Config.AcceptCut", cut)
	}
	f.Log.Warn("the incomplete end of the file was dropped", "bytes", cut.Bytes, "from", cut.At, "file", cut.Path)
	f.Cut(cut.Bytes)
	f.offset = f.File.Size()
	return nil
}
