package migrator

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/sync/errgroup"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/retry"
)

// Bounds of a Watch.
const (
	mostNotices    = 200_000 // keys that wait to be copied; further ones are left to the next comparison
	noticesAtOnce  = 2000
	noticeInterval = 200 * time.Millisecond
)

// Watch copies keys again when the source's keyspace notifications say that they were written. Notifications are not a log: those of writes
// while the connection is lost never come. So a Watch leaves less for the comparisons to find, but proves nothing.
type Watch struct {
	m    *Migration
	stop context.CancelFunc
	over chan struct{}

	mu     sync.Mutex
	keys   map[keyspace.Key]struct{} // guarded by mu
	seen   int64                     // guarded by mu: number of writes that were notified, and of losses of the connection
	copied int64                     // guarded by mu
	err    error                     // guarded by mu: why the watch has ended
}

// Watch begins to follow the notifications of a source that is scanned. It returns an error if the source does not notify of every write.
func (m *Migration) Watch(ctx context.Context) (*Watch, error) {
	patterns := make([]string, len(m.live()))
	for i, l := range m.live() {
		var err error
		if patterns[i], err = l.notices(ctx); err != nil {
			return nil, err
		}
	}
	ctx, stop := context.WithCancel(ctx)
	w := &Watch{m: m, stop: stop, over: make(chan struct{}), keys: map[keyspace.Key]struct{}{}}
	g, ctx := errgroup.WithContext(ctx)
	for i, l := range m.live() {
		g.Go(func() error {
			w.listen(ctx, l, patterns[i])
			return nil
		})
	}
	g.Go(func() error { return w.copy(ctx) })
	go func() {
		defer close(w.over)
		err := g.Wait()
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}()
	return w, nil
}

// notices returns the pattern of the channels on which the link's node notifies of every write, or an error if it does not.
func (l *link) notices(ctx context.Context) (pattern string, err error) {
	client, err := l.m.cfg.Sides.Source.Client(ctx, l.shard.Node(), 0)
	if err != nil {
		return "", fmt.Errorf("source %s: %w", l.shard.Node(), err)
	}
	config, err := client.Do(ctx, endpoint.Arbitrary(client, "CONFIG", "GET", "notify-keyspace-events")).AsStrMap()
	if err != nil {
		return "", fmt.Errorf("source %s: CONFIG GET notify-keyspace-events: %w", l.shard.Node(), err)
	}
	flags := config["notify-keyspace-events"]
	switch {
	case strings.Contains(flags, "A") && strings.Contains(flags, "E"):
		return "__keyevent@*__:*", nil
	case strings.Contains(flags, "A") && strings.Contains(flags, "K"):
		return "__keyspace@*__:*", nil
	}
	return "", fmt.Errorf("source %s: notify-keyspace-events is %q, which does not notify of every write; AE does", l.shard.Node(), flags)
}

// listen receives notifications until ctx ends.
func (w *Watch) listen(ctx context.Context, l *link, pattern string) {
	for ctx.Err() == nil {
		if err := w.receive(ctx, l, pattern); ctx.Err() == nil {
			w.lost(ctx, l, err)
		}
	}
}

func (w *Watch) receive(ctx context.Context, l *link, pattern string) error {
	client, err := l.m.cfg.Sides.Source.Client(ctx, l.shard.Node(), 0)
	if err != nil {
		return err
	}
	return client.Receive(ctx, client.B().Psubscribe().Pattern(pattern).Build(), func(m rueidis.PubSubMessage) { w.take(m.Channel, m.Message) })
}

// lost waits before the next try. It counts a lost connection as a write, since keys may be written meanwhile.
func (w *Watch) lost(ctx context.Context, l *link, why error) {
	l.log.Warn("the connection for the source's notifications was lost; connecting again", "error", why)
	w.mu.Lock()
	w.seen++
	w.mu.Unlock()
	_ = retry.Pause(ctx, time.Second) // the caller looks at ctx
}

// parseNotice reads "__keyevent@3__:set" with a key, or "__keyspace@3__:key" with an event.
func parseNotice(channel, message string) (k keyspace.Key, event string, ok bool) {
	head, tail, ok := strings.Cut(channel, "__:")
	number, isEvent := strings.CutPrefix(head, "__keyevent@")
	if !isEvent {
		number, ok = strings.CutPrefix(head, "__keyspace@")
	}
	db, err := strconv.Atoi(number)
	if !ok || err != nil || db < 0 || len(tail) == 0 {
		return k, "", false
	}
	if isEvent {
		return keyspace.Key{DB: db, Name: message}, tail, true
	}
	return keyspace.Key{DB: db, Name: tail}, message, true
}

func (w *Watch) take(channel, message string) {
	k, event, ok := parseNotice(channel, message)
	if !ok || strings.HasPrefix(k.Name, keyspace.Prefix) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if event != "expired" { // an expiry is no write of a client, and the target lets keys expire by itself
		w.seen++
	}
	if len(w.keys) < mostNotices {
		w.keys[k] = struct{}{}
	}
}

// next removes up to noticesAtOnce keys from those that wait, and returns them.
func (w *Watch) next() []Outdated {
	w.mu.Lock()
	defer w.mu.Unlock()
	var keys []Outdated
	for k := range w.keys {
		if len(keys) == noticesAtOnce {
			break
		}
		keys = append(keys, Outdated{Key: k})
		delete(w.keys, k)
	}
	return keys
}

// copy copies the keys that were notified, until ctx ends.
func (w *Watch) copy(ctx context.Context) error {
	tick := time.NewTicker(noticeInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		keys := w.next()
		if len(keys) == 0 {
			continue
		}
		r, err := w.m.CopyAgain(ctx, keys)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("copy the keys that the source's notifications name: %w", err)
		}
		w.mu.Lock()
		w.copied += r.Copied + r.Deleted
		w.mu.Unlock()
	}
}

// Seen returns how many writes the source has notified of. If two calls return the same number, it has notified of no write in between, and
// no connection was lost.
func (w *Watch) Seen() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// Copied returns how many keys were copied to the target or deleted from it.
func (w *Watch) Copied() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.copied
}

// Close ends the watch and waits for its end. It returns the error by which the watch had ended before, if any.
func (w *Watch) Close() error {
	w.stop()
	<-w.over
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
