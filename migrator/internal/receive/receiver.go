package receive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"surecut/internal/psync"
	"surecut/internal/retry"
	"surecut/internal/spool"
)

// Progress is what a run has already when it begins to receive.
type Progress uint8

// What there may be.
const (
	Nothing    Progress = iota // a snapshot is needed
	Downloaded                 // the snapshot is whole on disk
	Loaded                     // the snapshot is needed no more
)

// Nodes are those of the shard.
type Nodes interface {
	Next(ctx context.Context) (addr string, err error) // the one to connect to
	Settle(ctx context.Context, addr string) error     // a session with it has begun
	Refuse(addr string) error                          // it offers a snapshot in place of the rest of the stream: why that is not taken
	Watch(ctx context.Context, addr string) error      // says why it is to be left, once it is; nil when ctx ends
}

// Beginning is where a stream begins: behind the snapshot that precedes it.
type Beginning struct {
	ReplID  string
	Offset  int64 // of the last byte before the stream
	AskedMs int64 // when the snapshot was asked for, Unix ms by the source's clock
	Legacy  bool  // the source has no PSYNC, so that its offsets are counted here
}

// Record makes durable how far receiving has come. Its methods return once that is so.
type Record interface {
	SnapshotBegins(Beginning) error
	SnapshotIsWhole() error
	// StreamContinues says that the stream goes on after a loss, under a replication ID that is another one after a failover (since
	// 4.0): then what the source said of itself beyond the offset is void.
	StreamContinues(replID string, offset int64, renamed bool) error
}

// Config is what a Receiver works with.
type Config struct {
	Nodes  Nodes
	Record Record
	Dial   func(ctx context.Context, addr string) (net.Conn, error)
	Offset func(ctx context.Context) (int64, error) // where the source stands now
	Now    func() int64                             // the source's clock, Unix ms

	Spool         *spool.Log
	SnapshotPath  string
	SnapshotLimit int64         // bytes
	SnapshotOnly  bool          // no stream is wanted: whoever loads the snapshot ends the Receiver
	NoSnapshot    bool          // only a stream that goes on is wanted
	RetryFor      time.Duration // how long a source is tried again that sends nothing new
	Received      func(received, total int64)
	Log           *slog.Logger
}

// Receiver receives one shard.
type Receiver struct {
	cfg      Config
	snapshot *Snapshot // nil: none was begun, or what was received is loaded
	begun    bool      // a snapshot is whole, so that the stream has to go on where the spool ends
	legacy   bool      // the source has no PSYNC
	at       string    // the node that was connected last
	ready    func()
	online   atomic.Int64
}

// Offline is a position that nobody reaches.
const Offline = math.MaxInt64

// New returns a receiver that is not connected.
func New(cfg Config) *Receiver {
	r := &Receiver{cfg: cfg}
	r.online.Store(Offline)
	return r
}

// Online returns where the source stood when it was connected; Offline if it is not. Before the target has reached that point, a lag
// that is measured by what was received says nothing.
func (r *Receiver) Online() int64 { return r.online.Load() }

// Snapshot returns the snapshot; nil: there is none. It may be asked for once Run has said that there is something to read.
func (r *Receiver) Snapshot() *Snapshot { return r.snapshot }

// Reset forgets the last run, which has ended, and closes its snapshot.
func (r *Receiver) Reset() error {
	r.online.Store(Offline)
	snapshot := r.snapshot
	r.snapshot, r.begun = nil, false
	if snapshot == nil {
		return nil
	}
	return snapshot.Close()
}

// Run receives until ctx ends, which is no error. It connects again where that can help. ready is closed once there is something to read
// in the snapshot, or none is needed.
func (r *Receiver) Run(ctx context.Context, has Progress, ready chan<- struct{}) error {
	r.ready = sync.OnceFunc(func() { close(ready) })
	if err := r.resume(has); err != nil {
		return err
	}
	patience := newPatience(r.cfg.RetryFor)
	for {
		before := r.cfg.Spool.End()
		err := r.session(ctx)
		r.online.Store(Offline)
		if ctx.Err() != nil {
			if r.snapshot != nil {
				_ = r.snapshot.Finish(context.Canceled) // it returns what it was told
			}
			return nil
		}
		if r.cfg.Spool.End() > before {
			patience = newPatience(r.cfg.RetryFor)
		}
		if err := r.lasting(err, patience); err != nil {
			return err
		}
		patience.wait(ctx, r.cfg.Log, err)
	}
}

// resume takes up what an earlier run has received.
func (r *Receiver) resume(has Progress) error {
	if has == Nothing {
		return nil
	}
	if has == Downloaded {
		s, err := OpenSnapshot(r.cfg.SnapshotPath)
		if err != nil {
			return err
		}
		r.snapshot = s
	}
	r.begun = true
	r.ready()
	return nil
}

// lasting returns the error of a session as the end of the run; nil if another session may help.
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

// patience is how long a source is tried again.
type patience struct {
	until time.Time
	pause time.Duration
}

func newPatience(most time.Duration) *patience {
	return &patience{until: time.Now().Add(most), pause: 100 * time.Millisecond}
}

func (p *patience) over() bool { return time.Now().After(p.until) }

func (p *patience) wait(ctx context.Context, log *slog.Logger, why error) {
	log.Warn("the source is lost; trying again", "error", why, "in", p.pause)
	_ = retry.Pause(ctx, p.pause) // the next session sees that it is over
	p.pause = min(p.pause*2, 5*time.Second)
}
