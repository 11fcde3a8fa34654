package migrator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"

	"surecut/internal/rdb"
	"surecut/internal/spool"
	"surecut/migrator/internal/load"
	"surecut/migrator/internal/receive"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// replica is a source that is replicated: its snapshot is received into a file, and its stream into the spool.
type replica struct {
	l        *link
	spool    *spool.Log
	receiver *receive.Receiver // nil before open
	cuts     int               // snapshots in a row that were cut off
}

// open opens the spool, with what an earlier run has left in it.
func (r *replica) open() (err error) {
	dir := filepath.Join(r.l.dir, "stream")
	if r.spool, err = spool.Open(dir, spool.Options{LimitBytes: r.l.m.cfg.SpoolLimit}); errors.Is(err, spool.ErrCorrupt) {
		return fmt.Errorf("%w (the disk returned other bytes than were written; move %s away and run the same command again: the source is asked for that part of the stream once more, as far as its backlog reaches)", err, dir)
	}
	r.receiver = r.newReceiver()
	return err
}

func (r *replica) close() error {
	var err error
	if r.spool != nil {
		err = r.spool.Close()
	}
	if r.receiver != nil {
		err = errors.Join(err, r.receiver.Reset())
	}
	return err
}

// newReceiver returns the receiver of a source that is replicated. It writes the stream to the spool, and the snapshot to snapshotPath.
func (r *replica) newReceiver() *receive.Receiver {
	cfg := &r.l.m.cfg
	return receive.New(receive.Config{
		Nodes:         r.l.shard,
		Record:        linkRecord{r.l},
		Dial:          cfg.Sides.Source.DialReplica,
		Now:           r.l.clock.Now,
		Spool:         r.spool,
		SnapshotPath:  r.l.snapshotPath(),
		SnapshotLimit: cfg.SpoolLimit,
		SnapshotOnly:  cfg.Mode == ModeFull,
		NoSnapshot:    cfg.Mode == ModeIncremental && !r.l.loadsNothing(),
		RetryFor:      cfg.RetryFor,
		Received: func(received, total int64) {
			r.l.ledger.SnapshotReceived.Store(received)
			r.l.ledger.SnapshotTotal.Store(total)
		},
		Waits: &r.l.m.waits,
		Name:  "link " + r.l.name,
		Log:   r.l.log,
	})
}

// run replicates until it is stopped, or until it fails. After a failure, again decides whether the link begins anew.
func (r *replica) run(ctx context.Context) error {
	if !r.l.standing.countsOffsets() && (r.l.began == received || r.l.began.inTarget()) {
		return receive.ErrNoPSYNC
	}
	var why error
	if r.l.standing.lost() {
		why = target.ErrLost
	}
	for ; ; why = nil {
		if why == nil {
			why = r.once(ctx)
		}
		if again, err := r.again(ctx, why); !again || err != nil {
			return err
		}
	}
}

// once replicates until it is stopped, and then returns nil, or until it fails.
func (r *replica) once(ctx context.Context) error {
	if err := r.l.clock.Measure(ctx, r.l.shard.Node()); err != nil && !r.l.shard.Seeks() { // else ShardConfig.Moved measures it again
		return err
	}
	if err := r.align(ctx); err != nil {
		return err
	}
	stopping, stop := context.WithCancel(ctx) // done once the link is told to stop
	defer stop()
	defer context.AfterFunc(r.l.m.stopping, stop)()
	if err := r.l.prepareTarget(stopping); err != nil {
		if stopping.Err() != nil && ctx.Err() == nil {
			return r.l.stopped()
		}
		return err
	}

	g, ctx := errgroup.WithContext(ctx)
	receiving, stopReceiving := context.WithCancel(ctx) // the receiver does not go on when applying has failed
	defer stopReceiving()
	ready := make(chan struct{}) // closed once the snapshot is on its way, or none is needed
	g.Go(func() error {
		if err := r.receiver.Run(receiving, stopping, r.l.standing.hasReceived(), ready); err != nil {
			return err // this is the reason for the end; the readers of the spool end with the context
		}
		if ctx.Err() != nil { // the spool stays open: another run of the link may go on with it
			return context.Cause(ctx)
		}
		return r.spool.Close() // its readers still get the rest
	})
	over := make(chan struct{})
	g.Go(func() error {
		defer close(over)
		defer stopReceiving()
		told := stopping.Done()
		if r.l.standing.stage().inTarget() { // what the source has written by now is received, and applied
			told = nil
		}
		select {
		case <-ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-told:
			if ctx.Err() != nil { // the receiver has failed
				return context.Cause(ctx)
			}
			return r.l.stopped()
		}
		return r.replicate(ctx, stopping, stopReceiving)
	})
	g.Go(func() error {
		select {
		case err := <-r.l.failed:
			return err
		case <-over:
		}
		select {
		case err := <-r.l.failed:
			return err
		default:
			return nil
		}
	})
	return g.Wait()
}

// align begins the spool anew at the target's checkpoint where the spool does not hold the stream from there on: a power failure may
// have taken the end of the spool, or the target may have gone back to an earlier state. The source's backlog may still reach that far.
func (r *replica) align(ctx context.Context) error {
	if !r.l.standing.stage().inTarget() {
		return nil
	}
	found, err := r.l.records.checkpoints.ReadRecords(ctx, r.l.records.keys())
	if err != nil {
		return err
	}
	record := found.Lowest
	if record["offset"] == "" {
		return nil // link.stream will report that the record is missing
	}
	offset, err := strconv.ParseInt(record["offset"], 10, 64)
	if err != nil {
		return fmt.Errorf("target key %s: offset %q is not a number", r.l.records.checkpoints.RecordName(), record["offset"])
	}
	if r.spool.Started() && r.spool.Begin()-1 <= offset && offset <= r.spool.End() {
		return nil
	}
	r.l.log.Warn("the spool does not hold the stream from the target's checkpoint on; the source is asked for it again", "spool", r.spool.End(), "applied", offset)
	return r.spool.Start(r.l.st.ReplID, offset)
}

// replicate loads the snapshot and then applies the stream, until the receiver has ended and everything received is applied. If stopping
// is done while the snapshot is loaded, replicate ends at once.
func (r *replica) replicate(ctx, stopping context.Context, stopReceiving func()) error {
	r.l.do(working)
	if !r.l.standing.stage().inTarget() {
		if err := (&loading{r.l}).run(ctx, stopping); err != nil {
			if stopping.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
				return r.l.stopped()
			}
			return err
		}
	}
	if r.l.m.cfg.Mode == ModeFull {
		stopReceiving()
		return r.l.stopped()
	}
	if err := r.l.stream(ctx, stopping); err != nil {
		return err
	}
	return r.l.stopped()
}

// load loads the snapshot that is being received, or was. What an earlier run has received was whole, so that damage to it comes from the
// disk; damage to another one comes from the source.
func (r *replica) load(ctx context.Context, ld *load.Config) error {
	_, err := r.l.loadRDB(ctx, ld, r.receiver.Snapshot().Reader())
	if r.l.began == received && errors.As(err, new(*rdb.FormatError)) {
		return fmt.Errorf("%w: %s: %w", receive.ErrDamaged, r.l.snapshotPath(), err)
	}
	return err
}

// feed reads the spool.
func (r *replica) feed(at stream.Mark, _ context.Context) (stream.Feed, error) {
	return stream.NewSpoolFeed(r.spool, &r.l.scope.Filter, at, r.l.observer())
}

func (r *replica) received() int64 { return r.spool.End() }

// unsettled says why it is not certain that the target holds everything that the source had when the link was told to end; "": it does.
func (r *replica) unsettled() string {
	if r.l.m.cfg.Mode == ModeFull { // no stream was asked for
		return ""
	}
	li := r.l.report()
	var final int64
	known := r.receiver != nil // else the run has ended before it opened the link
	if known {
		final, known = r.receiver.FinalOffset()
	}
	switch {
	case !known:
		return fmt.Sprintf("it is not known how far the source %s had come, since it did not say so in time; the target has its stream up to offset %d", li.Shard, li.AppliedOffset)
	case li.AppliedOffset < final && !li.Sync:
		return fmt.Sprintf("the source %s stood at offset %d, and the target has its stream up to offset %d", li.Shard, final, li.AppliedOffset)
	}
	return ""
}

// trim removes from the spool what lies before an offset.
func (r *replica) trim(offset int64) error {
	if err := r.spool.TrimBefore(offset); err != nil && !errors.Is(err, spool.ErrClosed) {
		return err
	}
	return nil
}
