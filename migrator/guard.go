package migrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/retry"
	"surecut/internal/waiting"
)

// The guard watches a run from outside: it tells of every wait, and ends the run where a wait takes too long, or the state directory is
// gone. So these bounds hold whatever the run is doing, and nobody who waits needs to know them.
//
//	what is waited for                          ends the run
//	a server that does not answer               after Config.RetryFor, or 13 seconds if that is longer
//	a server that refuses, or cannot be reached after Config.RetryFor, by whoever waits (nodes.Retry and the like), or 4 seconds later
//	the target, or a key of the source          5 seconds after Finish, if it has not answered for 5 seconds

const (
	guardEvery = 250 * time.Millisecond
	toldAfter  = 3 * time.Second  // how long a wait is not worth a word
	toldAgain  = 30 * time.Second // how often the log tells of a wait that goes on
	mostFrozen = 13 * time.Second // how long a frozen connection may take to be noticed and replaced (endpoint/frozen.go)
	overtime   = 4 * time.Second  // how much longer than Config.RetryFor a try may take that was begun in time
	lastWait   = 5 * time.Second  // how long a server is waited for once the run was told to end
	longBreak  = 2 * time.Second  // in which the guard should have looked several times
)

// errUnfinished says that a run was told to end, and that the target could not take what was received.
var errUnfinished = errors.New("the migration was told to end while it waited")

// guarded runs f, and ends its context if it cannot go on; the reason is then the error.
func (m *Migration) guarded(ctx context.Context, f func(context.Context) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var beside sync.WaitGroup
	var why error // by which the guard has ended f
	beside.Go(func() {
		if why = m.guard(ctx); why != nil {
			end(why)
		}
	})
	err := m.ending(ctx, f)
	end(nil)
	beside.Wait()
	if err != nil && why != nil {
		return why
	}
	return err
}

// ending runs f. If it goes on once ctx has ended, what it waits for is broken off, since not every wait looks at the context.
func (m *Migration) ending(ctx context.Context, f func(context.Context) error) error {
	over := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() {
		select {
		case <-ctx.Done():
		case <-over:
			return
		}
		tick := time.NewTicker(guardEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.cfg.Sides.Source.BreakOff(context.Cause(ctx), guardEvery)
				m.cfg.Sides.Target.BreakOff(context.Cause(ctx), guardEvery)
			case <-over:
				return
			}
		}
	})
	defer beside.Wait()
	defer close(over)
	return f(ctx)
}

// guard returns why the run cannot go on; nil once ctx has ended.
func (m *Migration) guard(ctx context.Context) error {
	told := tellers{log: m.cfg.Log, last: map[string]time.Time{}}
	var awake time.Time // since when this process has run without a break (SIGSTOP): what came before is no wait for a server
	last := time.Now()
	for n := 0; retry.Pause(ctx, guardEvery) == nil; n++ {
		if n%4 == 0 {
			if err := m.intact(m.live()); err != nil {
				return err
			}
		}
		now := time.Now()
		if now.Sub(last) > longBreak {
			awake = now
		}
		last = now
		waits := m.waitsOf(m.live())
		told.tell(waits, now)
		if err := m.tooLong(waits, now, awake); err != nil {
			return err
		}
	}
	told.tell(nil, time.Now())
	return nil
}

// waitsOf returns what is waited for, the longest wait first.
func (m *Migration) waitsOf(links []*link) []waiting.Told {
	source, target := m.cfg.Sides.Source, m.cfg.Sides.Target
	reads := slices.Concat(primariesOf(source), nodesOf(links))
	var waits []waiting.Told
	silent := map[string]time.Time{} // nodes of the source
	for _, s := range source.Silences() {
		if silent[s.Addr] = s.Since; slices.Contains(reads, s.Addr) {
			waits = append(waits, waiting.Told{Who: "the migration", Whom: "source " + s.Addr, Why: noAnswer, Since: s.Since, Aside: true})
		}
	}
	writes := primariesOf(target)
	for _, s := range target.Silences() {
		if slices.Contains(writes, s.Addr) {
			waits = append(waits, waiting.Told{Who: "the migration", Whom: "target " + s.Addr, Why: noAnswer, Since: s.Since})
		}
	}
	for _, w := range m.waits.Waits() {
		if w.Node != "" {
			since, owes := silent[w.Node]
			if !owes {
				continue // it is at work
			}
			if since.After(w.Since) {
				w.Since = since
			}
		}
		waits = append(waits, w)
	}
	return waiting.Longest(waits)
}

const noAnswer = "it has not answered"

// primariesOf returns the addresses that a side is asked at.
func primariesOf(d *endpoint.Deployment) []string {
	if d == nil {
		return nil
	}
	addrs := d.Proxies()
	for _, s := range d.Shards() {
		addrs = append(addrs, s.Primary.Addr)
	}
	return addrs
}

func nodesOf(links []*link) (addrs []string) {
	for _, l := range links {
		addrs = append(addrs, l.shard.Node(), l.shard.Primary())
	}
	return addrs
}

// tooLong returns the error of a run that has waited for too long since this process is awake.
func (m *Migration) tooLong(waits []waiting.Told, now, awake time.Time) error {
	most := max(m.cfg.RetryFor, mostFrozen)
	told := m.toldAt.Load()
	for _, w := range waits {
		limit := most
		if w.Why != noAnswer && !w.Aside {
			limit = m.cfg.RetryFor + overtime
		}
		waited := min(now.Sub(w.Since), now.Sub(awake))
		switch {
		case w.Aside && w.Who == "the migration": // a question beside the stream, which ends by itself
		case waited > limit:
			return fmt.Errorf("%s, which is longer than Config.RetryFor %v: bring it back, or raise the limit, and run the same command again to resume", w, m.cfg.RetryFor)
		case told != nil && now.Sub(*told) > lastWait && waited > lastWait && !w.Aside:
			m.unfinished.Store(&w)
			return fmt.Errorf("%w: %s", errUnfinished, w)
		}
	}
	return nil
}

// tellers tells of waits in the log: of each when it is worth a word, from time to time while it goes on, and at its end.
type tellers struct {
	log   *slog.Logger
	last  map[string]time.Time // by whom is waited for: when it was told last
	since map[string]time.Time // when each of them began
}

func (t *tellers) tell(waits []waiting.Told, now time.Time) {
	since := map[string]time.Time{}
	for _, w := range waits {
		key := w.Who + " " + w.Whom
		if now.Sub(w.Since) < toldAfter {
			continue
		}
		since[key] = w.Since
		if last, told := t.last[key]; !told || now.Sub(last) >= toldAgain {
			t.last[key] = now
			t.log.Warn("waiting", "who", w.Who, "for", w.Whom, "since", w.Since.Format(time.TimeOnly), "seconds", int(now.Sub(w.Since).Seconds()), "why", w.Why)
		}
	}
	for key, began := range t.since {
		if _, goesOn := since[key]; !goesOn {
			delete(t.last, key)
			t.log.Info("no longer waiting", "for", key, "seconds", int(now.Sub(began).Seconds()))
		}
	}
	t.since = since
}

// waitings returns the waits that are worth a word, as a Report has them.
func waitings(waits []waiting.Told, now time.Time) (out []Waiting) {
	for _, w := range waits {
		if waited := now.Sub(w.Since); waited >= toldAfter {
			out = append(out, Waiting{Who: w.Who, For: w.Whom, SinceMs: w.Since.UnixMilli(), Seconds: waited.Seconds(), Why: w.Why})
		}
	}
	return out
}

// intact returns an error if the files of the migration are not at their place any more.
func (m *Migration) intact(links []*link) error {
	if err := m.state.intact(); err != nil {
		return err
	}
	for _, l := range links {
		if err := l.intact(); err != nil {
			return err
		}
	}
	return nil
}
