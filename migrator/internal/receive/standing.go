package receive

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/retry"
)

// errOtherStream says that the primary of the shard sends another stream than the one that is received, as after a failover: its offset
// says nothing of what is missing.
var errOtherStream = errors.New("the primary of the shard sends another stream than the one that is received")

// Standing returns the offset up to which the primary of the shard has written the stream whose ID is replID, by its own account.
// What is received from a replica cannot tell: the replica may be behind, or cut off.
func (s *Shard) Standing(ctx context.Context, replID string) (int64, error) {
	node, primary := s.Node(), s.Primary()
	info, err := streamInfo(ctx, s.cfg.Source, primary)
	if err != nil {
		return 0, fmt.Errorf("source %s: ask for its offset: %w", primary, err)
	}
	if s.Follows() && info["role"] != "master" {
		return 0, fmt.Errorf("source %s: %w", primary, errStale)
	}
	id, offset, err := endpoint.StreamPosition(info)
	switch {
	case err != nil:
		return 0, fmt.Errorf("source %s: %w", primary, err)
	case node != primary && info["master_replid"] == "":
		return s.standingOfReplica(ctx, node, replID, offset)
	case id != replID:
		return 0, fmt.Errorf("source %s: %w", primary, errOtherStream)
	}
	return offset, nil
}

// standingOfReplica returns the offset at which a replica before 4.0 stands, once it has processed all that its primary had written.
// Such a replica sends a stream of its own, with an ID and offsets of its own.
func (s *Shard) standingOfReplica(ctx context.Context, node, replID string, primary int64) (int64, error) {
	for {
		info, err := streamInfo(ctx, s.cfg.Source, node)
		if err != nil {
			return 0, fmt.Errorf("source %s: ask for its offset: %w", node, err)
		}
		id, offset, err := endpoint.StreamPosition(info)
		var processed int64
		if _, scanned := fmt.Sscan(info["slave_repl_offset"], &processed); err == nil {
			err = scanned
		}
		switch {
		case err != nil:
			return 0, fmt.Errorf("source %s: %w", node, err)
		case id != replID:
			return 0, fmt.Errorf("source %s: %w", node, errOtherStream)
		case processed >= primary:
			return offset, nil
		}
		if err := retry.Pause(ctx, 50*time.Millisecond); err != nil {
			return 0, fmt.Errorf("source %s stands at offset %d of its primary, which is at offset %d: %w", node, processed, primary, err)
		}
	}
}

// streamInfo returns the fields of INFO that endpoint.StreamPosition reads. Before 4.0 the ID of a stream is not in the section on
// replication.
func streamInfo(ctx context.Context, source *endpoint.Deployment, addr string) (map[string]string, error) {
	info, err := replication(ctx, source, addr)
	if err != nil || info["master_replid"] != "" {
		return info, err
	}
	c, err := source.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	return endpoint.Info(ctx, c)
}

// FinalStanding is Standing for the end of a migration: it asks for the topology before, since a primary that was replaced a moment ago
// may not know it.
func (s *Shard) FinalStanding(ctx context.Context, replID string) (int64, error) {
	if s.Follows() {
		if err := s.cfg.RefreshNow(ctx); err != nil {
			return 0, fmt.Errorf("ask for the topology of the source: %w", err)
		}
		nodes, _, ok := s.cfg.Find()
		if !ok {
			return 0, errors.New("the topology of the source does not show the shard")
		}
		s.Take(nodes)
	}
	return s.Standing(ctx, replID)
}

// standing is how far the source has come, as it was last asked. It is safe for concurrent use; its zero value is that of a source that
// is connected and stands at offset 0.
type standing struct {
	mu     sync.Mutex // guards all fields
	first  int64      // what it said first in this session; Offline: nothing yet
	offset int64      // the highest that it has said of this stream
	since  time.Time  // since when it is known to be beyond what was received, if offset is
	asked  time.Time  // when it answered last
	final  bool       // offset is where it stood when the migration was told to end
}

// Offline is an offset that no target ever reaches.
const Offline = math.MaxInt64

const (
	askEvery   = time.Second
	mostAsking = 5 * time.Second // how long the source may take to say how far it has come
	mostSilent = 10 * time.Second
	mostRest   = 10 * time.Second // how long the rest of the stream is received once the migration was told to end
)

// disconnect notes that the session has ended.
func (s *standing) disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = Offline
}

// forget forgets what the source has said.
func (s *standing) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first, s.offset, s.since, s.asked, s.final = Offline, 0, time.Time{}, time.Time{}, false
}

// note notes what the source has said of the stream with an ID. After its final answer, others are not noted.
func (r *Receiver) note(replID string, offset int64, final bool) {
	s := &r.source
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.final || replID != r.cfg.Spool.ReplID() { // after a failover, the answer may be about the stream before it
		return
	}
	s.asked, s.final = time.Now(), final
	if s.first == Offline {
		s.first = offset
	}
	if s.offset <= r.cfg.Spool.End() { // what it has said before has come
		s.since = s.asked
	}
	s.offset = max(s.offset, offset)
}

// Online returns the offset at which the source stood when it was connected; Offline if it is not connected, or has not answered for a
// while. Until the target has reached this offset, its lag behind what was received says nothing about its lag behind the source.
func (r *Receiver) Online() int64 {
	s := &r.source
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.asked.IsZero() && time.Since(s.asked) > mostSilent && !r.legacy.Load() {
		return Offline
	}
	return s.first
}

// SourceOffset returns the highest offset at which the source is known to have stood, and since when that is known, if it is beyond what
// was received. 0: the source has not been asked, or tells no offset.
func (r *Receiver) SourceOffset() (offset int64, since time.Time) {
	s := &r.source
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offset, s.since
}

// FinalOffset returns the offset at which the source stood after the receiver was told to stop. known is false if it was not asked, or has
// not answered.
func (r *Receiver) FinalOffset() (offset int64, known bool) {
	s := &r.source
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offset, s.final
}

// followSource asks the source every second how far it has come, until ctx ends. It returns an error if the connection of the stream has
// frozen.
func (r *Receiver) followSource(ctx context.Context) error {
	if r.legacy.Load() {
		r.note(r.cfg.Spool.ReplID(), 0, false)
		r.cfg.Log.Warn("the source has no PSYNC (added in Redis 2.8): if its connection is lost, everything is copied again, and keys cannot be compared at one offset")
		return nil
	}
	told := false
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, mostAsking)
		replID := r.cfg.Spool.ReplID()
		offset, err := r.cfg.Nodes.Standing(asking, replID)
		cancel()
		switch {
		case err == nil:
			r.note(replID, offset, false)
			r.hear(false)
			told = false
			if err := r.frozen(); err != nil {
				return err
			}
		case ctx.Err() == nil && !told:
			r.cfg.Log.Warn("the source does not say how far it has come, so it is not known how far the target is behind; it is asked again", "error", err)
			told = true
		}
		if err != nil && ctx.Err() == nil {
			r.failed(err)
		}
		_ = retry.Pause(ctx, askEvery) // the loop looks at ctx
	}
	return nil
}

// receiveRest asks the source how far it has come, and waits until the stream is received up to there, or for a bounded time. What the
// source writes after that is not waited for. A source without PSYNC tells no offset; there, what comes within a second is the rest.
func (r *Receiver) receiveRest(ctx context.Context) {
	if r.cfg.SnapshotOnly {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, mostRest)
	defer cancel()
	if r.legacy.Load() {
		if retry.Pause(ctx, time.Second) == nil {
			r.note(r.cfg.Spool.ReplID(), 0, true)
		}
		return
	}
	offset, err := r.askFinal(ctx)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			r.cfg.Log.Warn("the source does not say how far it has come, so it is not known whether everything was received", "error", err)
		}
		return
	}
	for r.cfg.Spool.End() < offset && retry.Pause(ctx, 5*time.Millisecond) == nil {
	}
}

// askFinal asks the source how far it has come, after the migration was told to end. The answer is final.
func (r *Receiver) askFinal(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, mostAsking)
	defer cancel()
	for {
		replID := r.cfg.Spool.ReplID()
		offset, err := r.cfg.Nodes.FinalStanding(ctx, replID)
		if err == nil {
			r.note(replID, offset, true)
			return offset, nil
		}
		if retry.Pause(ctx, 100*time.Millisecond) != nil {
			return 0, err
		}
	}
}
