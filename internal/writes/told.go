package writes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// told is what the connection to one server has told so far. A goroutine that reads the connection fills it in, and callers wait
// for it.
type told struct {
	what string // name of the connection in errors
	done chan struct{}

	mu   sync.Mutex // guards all fields below
	set  *Set
	upTo int64         // everything up to this point has been told: an offset of the stream, or the number of an echo
	lost error         // why the connection has ended; nil: it has not
	news chan struct{} // closed and replaced whenever a field above changes
}

func newTold(what string, set *Set, upTo int64) told {
	return told{what: what, done: make(chan struct{}), set: set, upTo: upTo, news: make(chan struct{})}
}

// Exchange puts another set in place, to which all later names go.
func (t *told) Exchange(set *Set) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set = set
}

// Lost returns why the connection has ended, or nil where it has not.
func (t *told) Lost() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// await returns once everything up to a point is in the set. If it returns an error, that will not happen.
func (t *told) await(ctx context.Context, point int64) error {
	for {
		t.mu.Lock()
		upTo, lost, news := t.upTo, t.lost, t.news
		t.mu.Unlock()
		switch {
		case upTo >= point:
			return nil
		case lost != nil:
			return fmt.Errorf("%s was lost: %w", t.what, lost)
		}
		select {
		case <-news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lose notes that the connection has ended: from then on, nothing is known about the server's writes. The caller holds mu.
func (t *told) lose(why error) {
	if errors.Is(why, io.EOF) {
		why = errors.New("the server closed the connection")
	}
	t.lost = why
	t.set.AddAll(t.what + " was lost: " + why.Error())
}

// announce wakes up the callers that wait. The caller holds mu.
func (t *told) announce() {
	close(t.news)
	t.news = make(chan struct{})
}
