package migrator

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/keylist"
)

// doubts are the keys of a link that the target may not hold as the source does: because it refused a command, or because nobody saw its
// reply. They are copied from the source. What is in doubt now is copied between two commands; what can wait is copied when the link has
// caught up. Both are on disk, so that a crash does not forget them.
type doubts struct {
	now   *keylist.List // keys of waiting
	later *keylist.List // keys that are copied when the link has caught up

	mu      sync.Mutex
	waiting []failure             // calls whose keys the dispatcher has still to copy
	tainted map[keyspace.Key]bool // keys in doubt that are not copied yet

	copied     []keyspace.Key // keys that were copied since the checkpoints: a target that goes back forgets the copies
	manyCopied bool           // they were too many to remember
}

// mostCopied bounds the keys that are remembered for a target that goes back.
const mostCopied = 100_000

func openDoubts(dir string) (*doubts, error) {
	now, err := keylist.Open(filepath.Join(dir, "doubts"))
	if err != nil {
		return nil, err
	}
	later, err := keylist.Open(filepath.Join(dir, "suspects"))
	if err != nil {
		return nil, errors.Join(err, now.Close())
	}
	return &doubts{now: now, later: later, tainted: map[keyspace.Key]bool{}}, nil
}

func (d *doubts) close() error { return errors.Join(d.now.Close(), d.later.Close()) }

// clear forgets all doubts: the keys are about to be replaced.
func (d *doubts) clear() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.copied, d.manyCopied = nil, false
	return errors.Join(d.now.Clear(), d.later.Clear())
}

// reset forgets what is in memory only. The lists stay, and resume reads them.
func (d *doubts) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting, d.tainted = nil, map[keyspace.Key]bool{}
}

// note makes the keys of failed calls durable, for the dispatcher to copy.
func (d *doubts) note(failed []failure) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = append(d.waiting, failed...)
	for _, f := range failed {
		for _, k := range f.call.keys() {
			if err := d.now.Add(k); err != nil {
				return err
			}
		}
	}
	return d.now.Save()
}

// postpone notes the keys of those failed calls that can wait, and returns the others.
func (d *doubts) postpone(failed []failure) (now []failure, err error) {
	postponed := false
	for _, f := range failed {
		if !f.call.later {
			now = append(now, f)
			continue
		}
		postponed = true
		if err := d.later.Add(f.call.key); err != nil {
			return nil, err
		}
	}
	if postponed {
		_, err = d.later.Flush() // a run that is killed must not take it along
	}
	return now, err
}

// errSpread is the failure of a call that was made with a key in doubt.
var errSpread = fmt.Errorf("one of its keys is in doubt: %w", errExpired)

// spread doubts what was made of keys in doubt before they could be copied: a union with a key that has failed to be made is
// no better than that. Lanes call it with what they have applied, before they take up anything else.
func (d *doubts) spread(txs []*transaction) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range txs {
		for _, f := range x.failed {
			if f.call.later || f.call.message {
				continue
			}
			for _, k := range f.call.keys() {
				d.tainted[k] = true
			}
		}
	}
	if len(d.tainted) == 0 {
		return
	}
	clean := func(k keyspace.Key) bool { return !d.tainted[k] }
	for more := true; more; {
		more = false
		for _, x := range txs {
			for _, c := range x.calls {
				keys := c.keys()
				if !slices.ContainsFunc(keys, clean) || !slices.ContainsFunc(keys, func(k keyspace.Key) bool { return d.tainted[k] }) {
					continue
				}
				for _, k := range keys {
					d.tainted[k] = true
				}
				c.commands, more = 0, true // it was applied
				x.failed = append(x.failed, failure{c, errSpread})
			}
		}
	}
}

// clean says that keys were copied.
func (d *doubts) clean(keys []keyspace.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range keys {
		delete(d.tainted, k)
	}
}

// errInterrupted stands for the reply of a refusal that an earlier run could not settle any more.
var errInterrupted = errors.New("an earlier run ended before it could copy the key")

// resume takes up what an earlier run has left unsettled.
func (d *doubts) resume() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now.Each(func(k keyspace.Key) error {
		d.waiting = append(d.waiting, failure{call{key: k}, errInterrupted})
		return nil
	})
}

// take returns the calls whose keys are to be copied, and leaves none.
func (d *doubts) take() []failure {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.waiting
	d.waiting = nil
	return taken
}

// settled forgets on disk what was taken and copied, unless there are new doubts.
func (d *doubts) settled() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) > 0 || d.now.Empty() {
		return nil
	}
	return d.now.Clear()
}

// remember keeps the names of keys that are copied because the target had refused a command.
func (d *doubts) remember(keys []keyspace.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.copied)+len(keys) > mostCopied {
		d.copied, d.manyCopied = nil, true
		return
	}
	for _, k := range keys {
		d.copied = append(d.copied, keyspace.Key{DB: k.DB, Name: strings.Clone(k.Name)})
	}
}

// knowsCopies says whether all keys that were copied are remembered.
func (d *doubts) knowsCopies() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.manyCopied
}

// rewind doubts once more what was copied, for a target that has gone back.
func (d *doubts) rewind() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.copied {
		if err := d.now.Add(k); err != nil {
			return err
		}
	}
	d.copied = nil
	return d.now.Save()
}

// doubt asks the dispatcher to copy the keys of calls that the target refused.
func (l *link) doubt(failed []failure) error {
	failed, err := l.doubts.postpone(failed)
	if err == nil && len(failed) > 0 {
		err = l.doubts.note(failed)
	}
	if err != nil {
		return fmt.Errorf("note keys to be copied: %w", err)
	}
	if d := l.dispatcher.Load(); d != nil && len(failed) > 0 {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
	return nil
}
