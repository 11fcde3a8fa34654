package migrator

import (
	"errors"
	"fmt"
	"slices"

	"surecut/internal/keyspace"
)

// doubt asks the dispatcher to copy the keys of calls that the target refused.
func (l *link) doubt(failed []failure) error {
	if len(failed) == 0 {
		return nil
	}
	if err := l.noteDoubts(failed); err != nil {
		return fmt.Errorf("note keys to be copied: %w", err)
	}
	if d := l.dispatcher.Load(); d != nil {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

func (l *link) noteDoubts(failed []failure) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubts = append(l.doubts, failed...)
	for _, f := range failed {
		for _, k := range f.call.keys() {
			if err := l.doubtful.Add(k); err != nil {
				return err
			}
		}
	}
	return l.doubtful.Save()
}

// errSpread is the failure of a call that was made with a key in doubt.
var errSpread = fmt.Errorf("one of its keys is in doubt: %w", errExpired)

// spread doubts what was made of keys in doubt before they could be copied: a union with a key that has failed to be made is
// no better than that. Lanes call it with what they have applied, before they take up anything else.
func (l *link) spread(txs []*transaction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range txs {
		for _, f := range x.failed {
			if f.call.later || f.call.message {
				continue
			}
			for _, k := range f.call.keys() {
				l.tainted[k] = true
			}
		}
	}
	if len(l.tainted) == 0 {
		return
	}
	clean := func(k keyspace.Key) bool { return !l.tainted[k] }
	for more := true; more; {
		more = false
		for _, x := range txs {
			for _, c := range x.calls {
				keys := c.keys()
				if !slices.ContainsFunc(keys, clean) || !slices.ContainsFunc(keys, func(k keyspace.Key) bool { return l.tainted[k] }) {
					continue
				}
				for _, k := range keys {
					l.tainted[k] = true
				}
				c.commands, more = 0, true // it was applied
				x.failed = append(x.failed, failure{c, errSpread})
			}
		}
	}
}

// clean says that keys were copied.
func (l *link) clean(keys []keyspace.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		delete(l.tainted, k)
	}
}

// errInterrupted stands for the reply of a refusal that an earlier run could not settle any more.
var errInterrupted = errors.New("an earlier run ended before it could copy the key")

// resumeDoubts takes up what an earlier run has left unsettled.
func (l *link) resumeDoubts() error {
	return l.doubtful.Each(func(k keyspace.Key) error {
		l.doubts = append(l.doubts, failure{call{key: k}, errInterrupted})
		return nil
	})
}

// settledDoubts forgets what is settled.
func (l *link) settledDoubts() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.doubts) > 0 || l.doubtful.Empty() {
		return nil
	}
	return l.doubtful.Clear()
}

func (l *link) takeDoubts() []failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	doubts := l.doubts
	l.doubts = nil
	return doubts
}
