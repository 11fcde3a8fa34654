package writes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// told is what the connection to one server has told so far: a goroutine that reads it fills it in, and callers wait for it.
type told struct {
	what string // the connection, as errors name it
	done chan struct{}

	mu   sync.Mutex // guards all below
	set  *Set
	upTo int64         // everything up to this point has been told: an offset of the stream, or the number of an echo
	lost error         // why the connection has ended; nil while it stands
	news chan struct{} // closed whenever something above changes, and made anew
}

func newTold(what string, set *Set, upTo int64) told {
	return told{what: what, done: make(chan struct{}), set: set, upTo: upTo, news: make(chan struct{})}
}

// Exchange puts another set in place: what is told from now on goes there.
func (t *told) Exchange(set *Set) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set = set
}

// Lost returns why the connection has ended, nil while it stands.
func (t *told) Lost() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// await returns once everything up to a point is in the set. Its error says that this will not happen.
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

// lose notes that the connection has ended: from then on nothing is known of the server's writes. It needs mu.
func (t *told) lose(why error) {
	if errors.Is(why, io.EOF) {
		why = errors.New("the server closed the connection")
	}
	t.lost = why
	t.set.AddAll(t.what + " was lost: " + why.Error())
}

// announce wakes those that wait. It needs mu.
func (t *told) announce() {
	close(t.news)
	t.news = make(chan struct{})
}
