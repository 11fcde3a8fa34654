package migrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/spool"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/receive"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/scope"
	"surecut/migrator/internal/slots"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// activity is what the present run does with a link. How far the link has come is its stage.
type activity int32

const (
	preparing activity = iota // agrees with the source on where to begin; again where the link begins anew (see replica.again)
	working
	draining // was told to stop, and applies what was received
	ended
)

// link replicates one source shard into the target.
type link struct {
	m        *Migration
	name     string
	shard    *receive.Shard // the nodes of the source shard
	st       *linkState     // guarded by m.stateMu for writing; read by the link
	dir      string
	log      *slog.Logger
	opened   atomic.Pointer[os.FileInfo] // of dir; nil: it is not open yet
	standing standing                    // what the state on disk remembers of the link
	scope    scope.Scope
	ledger   *ledger.Ledger
	problems *ledger.Problems

	origin   origin
	replica  *replica  // the origin if the source is replicated, else nil
	file     *fromFile // the origin if it is a file, else nil
	expiries *ledger.Expiries
	doubts   *stream.Doubts
	scripts  *stream.Scripts
	source   *reread.Reader
	writer   target.Writer // the dispatcher's
	clock    *reread.Clock

	began stage                        // stage of the link when the run began, or last began anew
	moved atomic.Pointer[stream.Moved] // set by the receiver, taken by the dispatcher

	applying atomic.Pointer[stream.Stream] // nil: no stream has begun yet
	ended    chan struct{}
	failed   chan error
	gone     atomic.Bool        // no node of the shard belongs to the source any more
	leaving  context.Context    // done when the shard has gone, which ends run in good order
	leave    context.CancelFunc // ends leaving

	doing     atomic.Int32 // the activity
	positions *stream.Positions
	records   records
	reach     reach
}

func newLink(m *Migration, i int, nodes endpoint.Shard, node string) *link {
	st := m.state.Links[i]
	source := m.cfg.Sides.Source
	joins := m.table != nil && len(m.table.Owned(i)) == 0 // then it begins with a snapshot, of which it loads nothing
	l := &link{m: m, name: st.Name, st: st, dir: filepath.Join(m.cfg.StateDir, "link-"+st.Name),
		log: m.cfg.Log.With("link", st.Name, "source", nodes.Primary.Addr), scope: scope.New(m.cfg.Filter.To(m.target.DBs), nodes, source),
		ended: make(chan struct{}), failed: make(chan error, 1), positions: stream.NewPositions(), expiries: ledger.NewExpiries(st.Expiries), standing: standing{m, st}}
	l.records.l, l.records.checkpoints, l.reach.l = l, m.target.NewCheckpoints(st.Name), l
	l.clock = reread.NewClock(source, l.log)
	l.shard = receive.NewShard(nodes, node, receive.ShardConfig{
		Source:      source,
		Follows:     source.Kind() == endpoint.Sentinel || source.Kind() == endpoint.Cluster,
		FromReplica: m.cfg.ReadFrom == "replica",
		NoSnapshot:  m.cfg.Mode == ModeIncremental && !joins,
		Primaries:   linkRecord{l},
		Refresh:     m.refreshSource,
		RefreshNow:  m.refreshSourceNow,
		Find:        func() (endpoint.Shard, bool, bool) { return m.shardNow(l) },
		Moved:       func(ctx context.Context) error { return l.clock.Measure(ctx, l.shard.Node()) },
		Log:         l.log,
	})
	m.linksMu.Lock()
	if i == len(m.problems) {
		m.problems = append(m.problems, &ledger.Problems{})
	}
	l.problems = m.problems[i]
	m.linksMu.Unlock()
	l.ledger = ledger.New(l.log, &l.scope.Filter, l.shard.Primary, l.problems, st.countedBefore())
	l.source = reread.NewReader(source, l.shard.Node, m.cfg.RetryFor, &l.scope.Filter)
	l.source.Tell(&m.waits)
	l.leaving, l.leave = context.WithCancel(context.Background())
	if l.gone.Store(st.Gone); st.Gone {
		close(l.ended)
	}
	if m.table != nil && nodes.Primary.ID == "" { // the shard has no slots, or has gone: its node may not answer
		l.shard.Reset()
	}
	if m.table != nil {
		l.scope.Moving, l.source.TellsMoves = &slots.Link{Table: m.table, Notes: m.notes, Index: i}, true
	}
	return l
}

// run copies until the link is told to stop, and then returns nil, or until it fails.
func (l *link) run(ctx context.Context) (err error) {
	defer close(l.ended)
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(l.leaving, end)()
	defer func() {
		if l.gone.Load() {
			err = nil
		}
	}()
	if err := l.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	l.began = l.standing.stage()
	return l.origin.run(ctx)
}

// open opens the files in the link's directory, including those that an earlier run has left there.
func (l *link) open() error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return fmt.Errorf("Config.StateDir: %w", err)
	}
	dir, err := os.Stat(l.dir)
	if err != nil {
		return fmt.Errorf("Config.StateDir: %w", err)
	}
	l.opened.Store(&dir)
	err = l.problems.Open(l.dir, !l.standing.stage().inTarget()) // a snapshot that was not loaded to its end is loaded again from its beginning
	if err != nil {
		return err
	}
	if err = l.expiries.Open(l.dir); err != nil {
		return err
	}
	if l.doubts, err = stream.OpenDoubts(l.dir); err != nil {
		return err
	}
	l.writer = l.newWriter()
	if l.scripts, err = stream.OpenScripts(filepath.Join(l.dir, "scripts")); err != nil {
		return err
	}
	return l.origin.open()
}

// intact returns an error if the link's directory is not at its place any more.
func (l *link) intact() error {
	opened := l.opened.Load()
	if opened == nil {
		return nil
	}
	there, err := os.Stat(l.dir)
	switch {
	case err == nil && os.SameFile(there, *opened):
		return nil
	case err == nil:
		err = errors.New("it is another directory by now")
	}
	return fmt.Errorf("Config.StateDir: %s: %w (%w)", l.dir, errStateGone, err)
}

func (l *link) writing() target.Writing {
	return target.Writing{Checkpoints: l.records.checkpoints, Acknowledged: l.positions.Acknowledged}
}

// newWriter returns a writer for the link.
func (l *link) newWriter() target.Writer { return l.m.target.NewWriter(l.writing()) }

func (l *link) close() error {
	l.writer.Close()
	return errors.Join(l.problems.Saved(), l.problems.Close(), l.expiries.Close(), l.doubts.Close(), l.scripts.Close(), l.origin.close())
}

func (l *link) do(what activity) { l.doing.Store(int32(what)) }

func (l *link) does(what activity) bool { return l.doing.Load() == int32(what) }

// stopped marks the link as ended in good order.
func (l *link) stopped() error {
	l.do(ended)
	return nil
}

func (l *link) snapshotPath() string { return filepath.Join(l.dir, "snapshot.rdb") }

// stream applies the spooled stream until the spool is closed and all of it is applied.
func (l *link) stream(ctx, receiving context.Context) error {
	cp, err := l.records.load(ctx)
	if err != nil {
		return err
	}
	if !cp.Present {
		return fmt.Errorf("the target has lost the checkpoint %s, and so probably the data that was migrated: start again with a new Config.StateDir", l.records.checkpoints.RecordName())
	}
	if moving := l.scope.Moving; moving != nil {
		if err := moving.Table.Resume(moving.Index, cp.Offset, l.m.state.TargetWasEmpty && l.m.target.Can.Nodes); err != nil {
			return err
		}
	}
	if l.began != fresh && l.m.cfg.HoldExpiry > 0 && l.file == nil {
		// Between the runs the target has gone on to expire keys, and the earlier run may have ended before it saved all held keys.
		l.expiries.Begin()
	}
	if err := l.standing.advance(following, func(*linkState) error { return nil }); err != nil {
		return err
	}
	doubtful := l.reach.doubtful(ctx) // before the link counts as caught up
	from, err := l.begin(ctx, receiving, cp)
	if errors.Is(err, spool.ErrClosed) && receiving.Err() != nil { // told to stop before anything was received; the next run goes on here
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	s := stream.New(l.streamConfig(), l.m.state.Lanes, func() stream.Committer { return l.newWriter() }, cp)
	s.DoubtUpTo(doubtful)
	l.applying.Store(s)
	if err := s.Run(ctx, from, func(ctx context.Context) error { return l.keepCheckpoint(ctx, receiving) }); err != nil {
		return err
	}
	return l.records.compact(ctx, s)
}

// begin notes what is in doubt, and returns the stream from the checkpoint on. It returns spool.ErrClosed if the link was told to stop before.
func (l *link) begin(ctx, receiving context.Context, cp *target.Checkpoint) (stream.Feed, error) {
	if err := errors.Join(l.doubts.Resume(), l.reach.doubt(ctx, cp)); err != nil {
		return nil, err
	}
	l.positions.Begin(stream.Mark{Offset: cp.Offset, DB: cp.DB, Received: time.Now().UnixMilli()}, cp.Units)
	return l.origin.feed(stream.Mark{Offset: cp.Offset, DB: cp.DB}, receiving)
}

// fail ends the link with an error that its finder cannot return.
func (l *link) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}
