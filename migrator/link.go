package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"surecut/internal/endpoint"
	"surecut/internal/files"
	"surecut/internal/rdb"
	"surecut/internal/spool"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/load"
	"surecut/migrator/internal/receive"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/scope"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// activity is what the present run does with a link. How far the link has come is its stage.
type activity int32

const (
	preparing activity = iota // agrees with the source on where to begin; again where the link begins anew (see link.again)
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
	standing standing // what the state on disk remembers of the link
	scope    scope.Scope
	ledger   *ledger.Ledger

	file     *files.Source // set where the source is a file; spool and receiver are nil then
	whole    atomic.Bool   // all of the file is in the target
	cut      atomic.Int64  // bytes at the end of the file that were dropped
	spool    *spool.Log
	receiver *receive.Receiver // nil where the source is a file, or is scanned
	expiries *ledger.Expiries
	doubts   *stream.Doubts
	scripts  *stream.Scripts
	source   *reread.Reader
	writer   target.Writer // the dispatcher's
	clock    *reread.Clock

	began stage                        // stage of the link when the run began, or last began anew
	cuts  int                          // snapshots in a row that were cut off
	moved atomic.Pointer[stream.Moved] // set by the receiver, taken by the dispatcher

	applying atomic.Pointer[stream.Stream] // nil: no stream has begun yet
	ended    chan struct{}
	failed   chan error

	doing     atomic.Int32 // the activity
	positions *stream.Positions
	instances target.Instances

	releasesSaved int // how often all held keys had been released when the last record was written; guarded by positions.saving
}

func newLink(m *Migration, i int, nodes endpoint.Shard, node string) *link {
	st := &m.state.Links[i]
	source := m.cfg.Sides.Source
	l := &link{m: m, name: st.Name, st: st, dir: filepath.Join(m.cfg.StateDir, "link-"+st.Name),
		log: m.cfg.Log.With("link", st.Name, "source", nodes.Primary.Addr), scope: scope.New(m.cfg.Filter.To(m.target.DBs), nodes, source),
		ended: make(chan struct{}), failed: make(chan error, 1), positions: stream.NewPositions(), expiries: ledger.NewExpiries(st.Expiries), standing: standing{m, st}}
	l.clock = reread.NewClock(source, l.log)
	l.shard = receive.NewShard(nodes, node, receive.ShardConfig{
		Source:      source,
		Follows:     source.Kind() == endpoint.Sentinel || source.Kind() == endpoint.Cluster,
		FromReplica: m.cfg.ReadFrom == "replica",
		NoSnapshot:  m.cfg.Mode == ModeIncremental,
		Primaries:   linkRecord{l},
		Refresh:     m.refreshSource,
		Find:        func() (endpoint.Shard, bool, bool) { return m.shardNow(l) },
		Moved:       func(ctx context.Context) error { return l.clock.Measure(ctx, l.shard.Node()) },
		Log:         l.log,
	})
	l.ledger = ledger.New(l.log, &l.scope.Filter, l.shard.Primary, &m.problems, st.countedBefore())
	l.source = reread.NewReader(source, l.shard.Node, m.cfg.RetryFor, &l.scope.Filter)
	return l
}

// newReceiver returns the receiver of a source that is replicated. It writes the stream to the spool, and the snapshot to snapshotPath.
func (l *link) newReceiver() *receive.Receiver {
	cfg := &l.m.cfg
	return receive.New(receive.Config{
		Nodes:         l.shard,
		Record:        linkRecord{l},
		Dial:          cfg.Sides.Source.DialReplica,
		Offset:        l.source.Position,
		Now:           l.clock.Now,
		Spool:         l.spool,
		SnapshotPath:  l.snapshotPath(),
		SnapshotLimit: cfg.SpoolLimit,
		SnapshotOnly:  cfg.Mode == ModeFull,
		NoSnapshot:    cfg.Mode == ModeIncremental,
		RetryFor:      cfg.RetryFor,
		Received: func(received, total int64) {
			l.ledger.SnapshotReceived.Store(received)
			l.ledger.SnapshotTotal.Store(total)
		},
		Log: l.log,
	})
}

// run replicates until it is stopped, and then returns nil, or until it fails. After a failure, l.again decides whether the link begins
// anew.
func (l *link) run(ctx context.Context) (err error) {
	defer close(l.ended)
	if err := l.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	l.began = l.standing.stage()
	if l.file != nil {
		return l.runFile(ctx)
	}
	if l.m.scans() {
		return l.runScan(ctx)
	}
	if !l.standing.countsOffsets() && (l.began == received || l.began.inTarget()) {
		return receive.ErrNoPSYNC
	}
	var why error
	if l.standing.lost() {
		why = target.ErrLost
	}
	for ; ; why = nil {
		if why == nil {
			why = l.replicateOnce(ctx)
		}
		if again, err := l.again(ctx, why); !again || err != nil {
			return err
		}
	}
}

// replicateOnce replicates until it is stopped, and then returns nil, or until it fails.
func (l *link) replicateOnce(ctx context.Context) error {
	if err := l.clock.Measure(ctx, l.shard.Node()); err != nil && !l.shard.Seeks() { // else ShardConfig.Moved measures it again
		return err
	}
	if err := l.alignSpool(ctx); err != nil {
		return err
	}
	receiving, stopReceiving := context.WithCancel(ctx)
	defer stopReceiving()
	defer context.AfterFunc(l.m.stopping, stopReceiving)()
	if err := l.prepareTarget(receiving); err != nil {
		if receiving.Err() != nil && ctx.Err() == nil {
			return l.stopped()
		}
		return err
	}

	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, stopReceiving)() // the receiver must not go on when applying has failed
	ready := make(chan struct{})                  // closed once the snapshot is on its way, or none is needed
	g.Go(func() error {
		if err := l.receiver.Run(receiving, l.standing.hasReceived(), ready); err != nil {
			return err // this is the reason for the end; the readers of the spool end with the context
		}
		if ctx.Err() != nil { // the spool stays open: another run of the link may go on with it
			return context.Cause(ctx)
		}
		return l.spool.Close() // its readers still get the rest
	})
	over := make(chan struct{})
	g.Go(func() error {
		defer close(over)
		select {
		case <-ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-receiving.Done():
			if ctx.Err() != nil { // the receiver has failed
				return context.Cause(ctx)
			}
			return l.stopped()
		}
		return l.replicate(ctx, receiving, stopReceiving)
	})
	g.Go(func() error {
		select {
		case err := <-l.failed:
			return err
		case <-over:
		}
		select {
		case err := <-l.failed:
			return err
		default:
			return nil
		}
	})
	return g.Wait()
}

// open opens the files in the link's directory, including those that an earlier run has left there.
func (l *link) open() error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return fmt.Errorf("Config.StateDir: %w", err)
	}
	var err error
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
	if l.file != nil || l.m.scans() {
		return nil
	}
	dir := filepath.Join(l.dir, "stream")
	if l.spool, err = spool.Open(dir, spool.Options{LimitBytes: l.m.cfg.SpoolLimit}); errors.Is(err, spool.ErrCorrupt) {
		return fmt.Errorf("%w (the disk returned other bytes than were written; move %s away and run the same command again: the source is asked for that part of the stream once more, as far as its backlog reaches)", err, dir)
	}
	l.receiver = l.newReceiver()
	return err
}

func (l *link) writing() target.Writing {
	return target.Writing{Link: l.name, Acknowledged: l.positions.Acknowledged, Instances: &l.instances}
}

// NewWriter returns a writer for the link.
func (l *link) newWriter() target.Writer { return l.m.target.NewWriter(l.writing()) }

// alignSpool begins the spool anew at the target's checkpoint where the spool does not hold the stream from there on: a power failure may
// have taken the end of the spool, or the target may have gone back to an earlier state. The source's backlog may still reach that far.
func (l *link) alignSpool(ctx context.Context) error {
	if !l.standing.stage().inTarget() {
		return nil
	}
	r, err := l.m.target.ReadRecords(ctx, l.recordKeys())
	if err != nil {
		return err
	}
	record := r.Lowest
	if record["offset"] == "" {
		return nil // l.stream will report that the record is missing
	}
	offset, err := strconv.ParseInt(record["offset"], 10, 64)
	if err != nil {
		return fmt.Errorf("target key %s: %w", l.m.target.LinkKey(l.name), err)
	}
	if l.spool.Started() && l.spool.Begin()-1 <= offset && offset <= l.spool.End() {
		return nil
	}
	l.log.Warn("the spool does not hold the stream from where the target stands; it is asked for again", "spool", l.spool.End(), "applied", offset)
	return l.spool.Start(l.st.ReplID, offset)
}

func (l *link) close() error {
	l.writer.Close()
	err := errors.Join(l.expiries.Close(), l.doubts.Close(), l.scripts.Close())
	if l.spool != nil {
		err = errors.Join(err, l.spool.Close())
	}
	if l.receiver != nil {
		err = errors.Join(err, l.receiver.Reset())
	}
	return err
}

func (l *link) do(what activity) { l.doing.Store(int32(what)) }

func (l *link) does(what activity) bool { return l.doing.Load() == int32(what) }

// stopped marks the link as ended in good order.
func (l *link) stopped() error {
	l.do(ended)
	return nil
}

// replicate loads the snapshot and then applies the stream, until the receiver has ended and everything received is applied.
func (l *link) replicate(ctx, receiving context.Context, stopReceiving func()) error {
	l.do(working)
	if !l.standing.stage().inTarget() {
		if err := l.loadSnapshot(ctx, receiving); err != nil {
			if receiving.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
				return l.stopped()
			}
			return err
		}
	}
	if l.m.cfg.Mode == ModeFull {
		stopReceiving()
		return l.stopped()
	}
	if err := l.stream(ctx, receiving); err != nil {
		return err
	}
	return l.stopped()
}

// loadSnapshot writes the snapshot to the target. receiving ends when the migration is told to stop.
func (l *link) loadSnapshot(ctx, receiving context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(receiving, func() {
		if l.m.cfg.Mode != ModeFull { // a full copy goes on to the end of what was received of the snapshot
			cancel()
		}
	})()
	ld := l.loadConfig(l.began != fresh)
	if ld.Hold = ld.Followed && l.m.cfg.HoldExpiry > 0 && l.spool != nil && l.standing.countsOffsets(); ld.Hold {
		l.expiries.Begin()
	}
	if err := l.loadWhole(ctx, ld); err != nil {
		return err
	}
	if l.st.Again {
		if err := l.m.proveSlots(ctx); err != nil {
			return err
		}
		out := &sweep{target: l.m.target, scope: &l.scope, snapshot: func() io.Reader { return l.receiver.Snapshot().Reader() },
			asked: l.st.StartedMs, keys: l.ledger.SnapshotKeys.Load(), log: l.log}
		if err := out.run(ctx); err != nil {
			return err
		}
	}
	start := stream.Mark{Offset: l.st.Start, DB: l.st.StreamDB, Received: time.Now().UnixMilli()}
	if err := l.saveCheckpoint(ctx, start); err != nil {
		return err
	}
	l.cuts = 0
	err := l.standing.advance(loaded, func(st *linkState) error {
		if st.Lost { // the target has lost keys since loadWhole looked
			return target.ErrLost
		}
		st.Again = false
		return nil
	})
	if err != nil || l.spool == nil {
		return err
	}
	return os.Remove(l.snapshotPath())
}

// loadWhole loads the snapshot until it was loaded without a loss: where a server of the target was restarted or replaced meanwhile, or
// has lost keys, it may not hold all that it has acknowledged, and the snapshot is loaded again.
func (l *link) loadWhole(ctx context.Context, ld *load.Config) error {
	t := l.m.target
	servers := func() (found map[string]target.Instance, err error) {
		err = t.Retry(ctx, func() (again, err error) {
			found, again = t.Instances(ctx)
			return again, ctx.Err()
		})
		return found, err
	}
	before, err := servers()
	for err == nil {
		if err = l.loadOnce(ctx, ld); err != nil {
			break
		}
		after, err := servers()
		if err != nil {
			return err
		}
		if same := maps.EqualFunc(before, after, func(a, b target.Instance) bool { return a.Process == b.Process }); !l.standing.takeLoss() && same {
			return nil
		}
		l.log.Warn("the target has restarted, or lost keys, while the snapshot was loaded; it is loaded again")
		before, ld.Over = after, l.over(true)
		l.ledger.ForgetSnapshot()
	}
	return err
}

// loadOnce loads the snapshot. It does nothing for an AOF that has no RDB at its beginning.
func (l *link) loadOnce(ctx context.Context, ld *load.Config) error {
	if l.m.scans() {
		_, err := l.loadScan(ctx, ld, nil)
		return err
	}
	from, err := l.snapshotReader()
	if err != nil || from == nil {
		return err
	}
	defer from.Close() // it was only read, so the error does not matter
	watch := l.m.cfg.Snapshots
	snapshot := rdb.NewReader(from, rdb.Options{MaxValue: int(l.m.cfg.BigValue), Shapes: watch != nil})
	if watch != nil {
		watch.Begin(l.st.Shard)
		ld.Show = func(e *rdb.Entry) { watch.Entry(l.st.Shard, e) }
	}
	if err := load.New(ld).Load(ctx, snapshot); err != nil {
		return err
	}
	if l.file != nil { // the commands of an AOF begin here
		l.m.update(func() { l.st.Start = snapshot.Consumed() })
	}
	if watch != nil {
		watch.End(l.st.Shard)
	}
	return nil
}

func (l *link) snapshotPath() string { return filepath.Join(l.dir, "snapshot.rdb") }

// stream applies the spooled stream until the spool is closed and all of it is applied.
func (l *link) stream(ctx, receiving context.Context) error {
	cp, err := l.loadCheckpoint(ctx)
	if err != nil {
		return err
	}
	if !cp.Present {
		return fmt.Errorf("the target has lost the checkpoint %s, and with it what was migrated: start again with a new Config.StateDir", l.m.target.LinkKey(l.name))
	}
	if l.began != fresh && l.m.cfg.HoldExpiry > 0 && l.file == nil {
		// Between the runs the target has gone on to expire keys, and the earlier run may have ended before it saved all held keys.
		l.expiries.Begin()
	}
	if err := l.standing.advance(following, func(*linkState) error { return nil }); err != nil {
		return err
	}
	if err := errors.Join(l.doubts.Resume(), l.doubtReach(ctx, cp)); err != nil {
		return err
	}
	l.positions.Begin(stream.Mark{Offset: cp.Offset, DB: cp.DB, Received: time.Now().UnixMilli()}, cp.Units)
	from, err := l.feed(stream.Mark{Offset: cp.Offset, DB: cp.DB}, receiving)
	if errors.Is(err, spool.ErrClosed) && receiving.Err() != nil { // told to stop before anything was received; the next run goes on here
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	s := stream.New(l.streamConfig(), l.m.state.Lanes, func() stream.Committer { return l.newWriter() }, cp)
	if !l.m.target.Can.Transactions && l.began != fresh && l.file == nil {
		s.DoubtUpTo(l.mayHaveReached(ctx))
	}
	l.applying.Store(s)
	if err := s.Run(ctx, from, func(ctx context.Context) error { return l.keepCheckpoint(ctx, receiving) }); err != nil {
		return err
	}
	return l.compact(ctx, s)
}

// feed returns what the stream is read from, beginning at a mark. A file ends early if receiving ends.
func (l *link) feed(at stream.Mark, receiving context.Context) (stream.Feed, error) {
	if l.file == nil {
		return stream.NewSpoolFeed(l.spool, &l.scope.Filter, at, l.observer())
	}
	return stream.NewFileFeed(stream.FileConfig{
		File: l.file, Names: &l.scope.Filter, Start: l.st.Start, StartedMs: l.st.StartedMs, Stopped: func() bool { return receiving.Err() != nil },
		AcceptCut: l.m.cfg.AcceptCut, Cut: l.cut.Store, Observe: l.observer(), Log: l.log,
	}, at), nil
}

// LoadCheckpoint reads from the target how far it has come. From here on, no server may take the place of another unnoticed, if commands go
// to it without a checkpoint. None do if the link could not go back (link.again): that of a file, and that of a source without offsets.
func (l *link) loadCheckpoint(ctx context.Context) (cp *target.Checkpoint, err error) {
	t := l.m.target
	if err := t.EndLeft(ctx); err != nil {
		return nil, err
	}
	err = t.Retry(ctx, func() (again, err error) {
		servers, err := t.Instances(ctx)
		if err != nil {
			return err, ctx.Err()
		}
		if cp, err = t.LoadCheckpoint(ctx, l.name, l.recordKeys(), t.Units()); err == nil && t.Can.Ends && l.file == nil && l.standing.countsOffsets() {
			l.instances.Begin(servers, cp.Nodes)
		}
		return target.Classify("", err)
	})
	return cp, err
}

// fail ends the link with an error that its finder cannot return.
func (l *link) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}
