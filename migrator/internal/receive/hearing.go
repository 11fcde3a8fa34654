package receive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/retry"
)

// lateAfter is how late the stream is when its connection counts as frozen: the source has sent more by its own account, and nothing comes.
const lateAfter = 10 * time.Second

// silentAfter is how long a snapshot, or the source's answer to PSYNC, may stand still before that is a wait. Meanwhile a source that is at
// work sends a newline every second.
const silentAfter = 3 * time.Second

// hearing is when the source was last heard. It is safe for concurrent use.
type hearing struct {
	mu      sync.Mutex
	at      time.Time // guarded by mu: bytes have come over a replication connection, or the source has said how far it has come
	stream  time.Time // guarded by mu: bytes have come over a replication connection
	expects bool      // guarded by mu: bytes are to come all the time
}

// hear notes that the source was heard. That ends the wait for it.
func (r *Receiver) hear(overStream bool) {
	h := &r.hearing
	h.mu.Lock()
	h.at = time.Now()
	if overStream {
		h.stream = h.at
	}
	h.mu.Unlock()
	r.wait.Over()
}

// failed notes that the source could not be reached, or did not answer. It has been waited for since it was last heard.
func (r *Receiver) failed(why error) {
	if endpoint.Code(why) != "" || errors.Is(why, errOtherStream) || errors.Is(why, errStale) { // it has answered
		r.hear(false)
		return
	}
	r.hearing.mu.Lock()
	since := r.hearing.at
	r.hearing.mu.Unlock()
	r.wait.Failed(why.Error(), since)
}

// expect says whether bytes are to come all the time from now on.
func (r *Receiver) expect(all bool) {
	r.hearing.mu.Lock()
	defer r.hearing.mu.Unlock()
	r.hearing.expects = all
}

// listen notices a source that falls silent while bytes are to come all the time, until ctx ends.
func (r *Receiver) listen(ctx context.Context) {
	for retry.Pause(ctx, silentAfter/6) == nil {
		r.hearing.mu.Lock()
		at, expects := r.hearing.at, r.hearing.expects
		r.hearing.mu.Unlock()
		if expects && time.Since(at) > silentAfter {
			r.wait.Failed("nothing comes of its answer or its snapshot", at)
		}
	}
}

// frozen returns an error if the connection of the stream has frozen: the source has said for a while that it has sent more, and nothing has
// come meanwhile. The stream then goes on over a new connection.
func (r *Receiver) frozen() error {
	r.hearing.mu.Lock()
	came := r.hearing.stream
	r.hearing.mu.Unlock()
	offset, since := r.SourceOffset()
	if end := r.cfg.Spool.End(); offset > end && time.Since(since) > r.late && time.Since(came) > r.late {
		return fmt.Errorf("the source has written its stream up to offset %d, and nothing has come since %s, after offset %d: the connection is frozen", offset, came.Format(time.TimeOnly), end)
	}
	return nil
}

// heard is a connection whose bytes are noted.
type heard struct {
	net.Conn
	r *Receiver
}

func (c heard) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.r.hear(true)
	}
	return n, err
}
