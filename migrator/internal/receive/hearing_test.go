package receive

import (
	"context"
	"strings"
	"testing"
	"time"

	"surecut/internal/waiting"
)

// TestFrozenStream: a connection over which nothing comes, although the source says that it has sent more, is given up, and the stream goes
// on over another.
func TestFrozenStream(t *testing.T) {
	f := &fakeSource{t: t, offset: 110, answers: []string{full(100, "snapshot", "12345"), "+CONTINUE\r\n67890"}}
	r := newTestReceiver(t, f, nil)
	r.late = 100 * time.Millisecond
	if err := run(t, r, Nothing, 110); err != nil {
		t.Fatal(err)
	}
	if got := spooled(t, r, 100); got != "1234567890" {
		t.Errorf("spooled %q", got)
	}
}

// TestIdleStream: a source that has sent everything is not taken for frozen, however long nothing comes.
func TestIdleStream(t *testing.T) {
	f := &fakeSource{t: t, offset: 105, answers: []string{full(100, "snapshot", "12345")}}
	r := newTestReceiver(t, f, nil)
	r.late = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, t.Context(), Nothing, make(chan struct{})) }()
	wait(t, "the source has said twice how far it has come", func() bool {
		r.hearing.mu.Lock()
		defer r.hearing.mu.Unlock()
		return !r.hearing.stream.IsZero() && r.hearing.at.Sub(r.hearing.stream) > time.Second
	})
	cancel()
	if err := <-ended; err != nil || len(f.asked) != 1 {
		t.Errorf("%v, asked %v", err, f.asked)
	}
}

// TestSilentSource: a source that falls silent within its snapshot, or does not say how far it has come, is waited for, and that is told.
func TestSilentSource(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		offset       int64
		more         string
		says         string
	}{
		{name: "within the snapshot", answer: "+FULLRESYNC " + first + " 100\r\n$8\r\nsnap", offset: 105, more: "shot12345", says: "nothing comes"},
		{name: "in the stream", answer: full(100, "snapshot", ""), offset: -1, more: "12345", says: "does not answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeSource{t: t, offset: tt.offset, answers: []string{tt.answer}, more: make(chan string, 1)}
			book := &waiting.Book{}
			r := newTestReceiver(t, f, func(c *Config) { c.Waits, c.Name = book, "link 0" })
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			begun := time.Now()
			go func() { ended <- r.Run(ctx, t.Context(), Nothing, make(chan struct{})) }()
			wait(t, "the wait is told", func() bool { return len(book.Waits()) == 1 })
			w := book.Waits()[0]
			if w.Who != "link 0" || w.Whom != "source" || !w.Aside || w.Since.Before(begun) || !strings.Contains(w.Why, tt.says) {
				t.Errorf("%+v", w)
			}
			f.mu.Lock()
			f.offset = 105
			f.mu.Unlock()
			f.more <- tt.more
			wait(t, "the rest has come, and the wait is over", func() bool { return r.cfg.Spool.End() >= 105 && len(book.Waits()) == 0 })
			cancel()
			if err := <-ended; err != nil || len(f.asked) != 1 {
				t.Errorf("%v, asked %v", err, f.asked)
			}
		})
	}
}

// wait waits until something is so.
func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was waited in vain until " + what)
		}
	}
}
