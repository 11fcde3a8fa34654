package receive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"surecut/internal/psync"
	"surecut/internal/retry"
	"surecut/internal/spool"
	"surecut/internal/waiting"
)

// Progress is how much of the snapshot earlier runs have received and loaded.
type Progress uint8

// The values of Progress.
const (
	Nothing    Progress = iota // a snapshot is needed
	Downloaded                 // the snapshot is whole on disk
	Loaded                     // the snapshot is not needed any more
)

// Nodes chooses among the nodes of the shard.
type Nodes interface {
	Next(ctx context.Context) (addr string, err error) // returns the node to connect to
	Settle(ctx context.Context, addr string) error     // notes that a session with a node has begun
	// Standing returns the offset up to which the source has written the stream with an ID. FinalStanding makes sure before that it asks the
	// node which is the primary by now.
	Standing(ctx context.Context, replID string) (int64, error)
	FinalStanding(ctx context.Context, replID string) (int64, error)
	Refuse(ctx context.Context, addr, replID string) error // returns why the snapshot of a node that cannot continue the stream is not taken
	Watch(ctx context.Context, addr string) error          // waits until a node is to be left, and returns why; nil when ctx ends
}

// Beginning is the point at which a stream begins, and to which the snapshot before it belongs.
type Beginning struct {
	ReplID  string
	Offset  int64 // of the last byte before the stream
	AskedMs int64 // when the snapshot was asked for, Unix ms by the source's clock
	Legacy  bool  // the source has no PSYNC, so that offsets are counted here
}

// Record makes durable how far receiving has come. Its methods return once that is durable.
type Record interface {
	SnapshotBegins(Beginning) error
	SnapshotIsWhole() error
	// StreamContinues says that the stream goes on at an offset after a loss. renamed says that its replication ID is a new one, as after a
	// failover (since 4.0): then what was read from the source at later offsets is void.
	StreamContinues(replID string, offset int64, renamed bool) error
}

// Config configures a Receiver.
type Config struct {
	Nodes  Nodes
	Record Record
	Dial   func(ctx context.Context, addr string) (net.Conn, error)
	Now    func() int64 // returns the time by the source's clock, Unix ms

	Spool         *spool.Log
	SnapshotPath  string
	SnapshotLimit int64         // bytes
	SnapshotOnly  bool          // the stream is not needed: the caller ends Run once the snapshot is loaded
	NoSnapshot    bool          // only the rest of a stream is wanted, and no snapshot
	RetryFor      time.Duration // how long to connect again to a source that sends nothing new
	Received      func(received, total int64)
	Waits         *waiting.Book // what is waited for; may be nil
	Name          string        // of the receiver, for Waits
	Log           *slog.Logger
}

// Receiver receives one shard.
type Receiver struct {
	cfg      Config
	snapshot *Snapshot // nil: none was begun, or an earlier run has loaded it
	begun    bool      // the snapshot is whole, so that the stream has to be continued from the end of the spool
	at       string    // address of the node that was connected last
	ready    func()

	legacy  atomic.Bool // the source has no PSYNC
	source  standing
	hearing hearing
	wait    *waiting.Wait // for the source
	late    time.Duration // lateAfter
}

// New returns a receiver that is not connected.
func New(cfg Config) *Receiver {
	r := &Receiver{cfg: cfg, wait: cfg.Waits.New(cfg.Name, "source").Beside(), late: lateAfter}
	r.source.disconnect()
	return r
}

// Snapshot returns the snapshot; nil: there is none. It may be called once Run has closed ready.
func (r *Receiver) Snapshot() *Snapshot { return r.snapshot }

// Reset prepares the Receiver for another Run, after the last one has ended. It closes the snapshot.
func (r *Receiver) Reset() error {
	r.source.disconnect()
	snapshot := r.snapshot
	r.snapshot, r.begun = nil, false
	if snapshot == nil {
		return nil
	}
	return snapshot.Close()
}

// Run receives until ctx ends, and then returns nil. Once stopping is done, it receives no more than what the source has written by then
// (see receiveRest). It connects again after errors where that may help. It closes ready once the snapshot can be read, or none is needed.
func (r *Receiver) Run(ctx, stopping context.Context, has Progress, ready chan<- struct{}) error {
	r.ready = sync.OnceFunc(func() { close(ready) })
	r.source.forget()
	if err := r.resume(has); err != nil {
		return err
	}
	r.hear(true) // nothing is late yet
	defer r.wait.Over()
	ctx, end := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer end()
	beside.Go(func() { r.listen(ctx) })
	beside.Go(func() {
		defer end()
		select {
		case <-stopping.Done():
			r.receiveRest(ctx)
		case <-ctx.Done():
		}
	})
	return r.receive(ctx)
}

// receive receives in one session after the other until ctx ends.
func (r *Receiver) receive(ctx context.Context) error {
	patience := newPatience(r.cfg.RetryFor)
	for {
		before := r.cfg.Spool.End()
		err := r.session(ctx)
		r.source.disconnect()
		r.expect(false)
		if ctx.Err() != nil {
			if r.snapshot != nil {
				_ = r.snapshot.Finish(context.Canceled) // the result is the same error
			}
			return nil
		}
		if r.cfg.Spool.End() > before {
			patience = newPatience(r.cfg.RetryFor)
		}
		if err := r.lasting(err, patience); err != nil {
			return err
		}
		r.failed(err)
		patience.wait(ctx, r.cfg.Log, err)
	}
}

// resume takes over what an earlier run has received.
func (r *Receiver) resume(has Progress) error {
	if has == Nothing {
		return nil
	}
	if has == Downloaded {
		s, err := OpenSnapshot(r.cfg.SnapshotPath)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		r.snapshot = s
	}
	r.begun = true
	r.ready()
	return nil
}

// lasting returns the error by which Run ends after a session has ended with err; nil if another session may help.
func (r *Receiver) lasting(err error, p *patience) error {
	var disk *DiskError
	switch {
	case errors.Is(err, spool.ErrFull):
		err = fmt.Errorf("%w (%w)", ErrFull, err)
	case errors.As(err, &disk):
		return disk
	}
	if !psync.Retryable(err) || final(err) || p.over() {
		return fmt.Errorf("source %s: %w", r.at, err)
	}
	return nil
}

// patience says how long to connect again to a source.
type patience struct {
	until time.Time
	pause time.Duration
}

func newPatience(most time.Duration) *patience {
	return &patience{until: time.Now().Add(most), pause: 100 * time.Millisecond}
}

func (p *patience) over() bool { return time.Now().After(p.until) }

func (p *patience) wait(ctx context.Context, log *slog.Logger, why error) {
	log.Warn("the connection to the source was lost; connecting again", "error", why, "in", p.pause)
	_ = retry.Pause(ctx, p.pause) // the next session notices the end of ctx
	p.pause = min(p.pause*2, 5*time.Second)
}
