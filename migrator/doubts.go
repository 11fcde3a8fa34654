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

// doubts are the keys of a link whose values on the target may differ from the source's, because the target refused a command, or because
// its reply was lost or showed a difference. They are copied from the source: those in now between two commands, those in later once the
// link has caught up. Both lists are on disk, so that a crash does not forget them.
type doubts struct {
	now   *keylist.List // the keys of waiting, and of calls that were taken and are not settled
	later *keylist.List // keys that are copied once the link has caught up
	wake  chan struct{} // says that there are calls in waiting

	mu      sync.Mutex
	waiting []failure             // calls whose keys the dispatcher has still to copy
	tainted map[keyspace.Key]bool // keys in doubt that are not copied yet

	copied []keyspace.Key // the last keys that were copied in this run: a target that goes back to an earlier state has lost the copies
	first  int            // how many keys were copied before those in copied
	done   int            // how many keys were copied, and are on the target
	behind int            // the value of done before the link's last record was written
}

// mostCopied bounds the length of doubts.copied.
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
	return &doubts{now: now, later: later, wake: make(chan struct{}, 1), tainted: map[keyspace.Key]bool{}}, nil
}

// save makes the keys durable that are copied once the link has caught up.
func (d *doubts) save() error { return d.later.Save() }

// swap has the keys of two databases change places among those that are copied once the link has caught up.
func (d *doubts) swap(first, second int) error {
	if err := d.later.Swap(first, second); err != nil {
		return fmt.Errorf("swap keys to be copied: %w", err)
	}
	return nil
}

func (d *doubts) close() error { return errors.Join(d.now.Close(), d.later.Close()) }

// clear empties both lists, and copied, since a new snapshot is about to replace the keys.
func (d *doubts) clear() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.copied, d.first, d.done, d.behind = nil, 0, 0, 0
	return errors.Join(d.now.Clear(), d.later.Clear())
}

// reset forgets the doubts in memory. The lists on disk stay, and resume reads them.
func (d *doubts) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting, d.tainted = nil, map[keyspace.Key]bool{}
}

// add notes the keys of failed calls, and wakes the dispatcher to copy those that cannot wait.
func (d *doubts) add(failed []failure) error {
	now, err := d.postpone(failed)
	if err == nil && len(now) > 0 {
		err = d.note(now)
	}
	if err != nil {
		return fmt.Errorf("note keys to be copied: %w", err)
	}
	if len(now) > 0 {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// note adds failed calls to waiting, and makes their keys durable.
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
		_, err = d.later.Flush() // so that the keys survive if the run is killed
	}
	return now, err
}

// errSpread is the failure of a call that was applied while one of its keys was in doubt.
var errSpread = fmt.Errorf("one of its keys is in doubt: %w", errExpired)

// spread adds calls to the failures of their transactions if they have a key in doubt that is not copied yet: a union with a set that the
// target failed to write is as wrong as the set. Lanes call it with the transactions that they have applied, before they take others.
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
				c.commands, more = 0, true // the call was applied, so its commands stay counted as applied
				x.failed = append(x.failed, failure{call: c, reply: errSpread})
			}
		}
	}
}

// clean takes keys out of doubt, since they were copied.
func (d *doubts) clean(keys []keyspace.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range keys {
		delete(d.tainted, k)
	}
}

// errInterrupted is the failure of a call whose key an earlier run had still to copy when it ended.
var errInterrupted = errors.New("an earlier run ended before it could copy the key")

// addInterrupted notes keys of commands that an earlier run may have applied.
func (d *doubts) addInterrupted(keys []keyspace.Key) error {
	failed := make([]failure, len(keys))
	for i, k := range keys {
		failed[i] = failure{call: call{key: k}, reply: errInterrupted}
	}
	return d.note(failed)
}

// resume adds the keys that an earlier run has left in now to waiting.
func (d *doubts) resume() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now.Each(func(k keyspace.Key) error {
		d.waiting = append(d.waiting, failure{call: call{key: k}, reply: errInterrupted})
		return nil
	})
}

// take returns the calls whose keys are to be copied, and empties waiting.
func (d *doubts) take() []failure {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.waiting
	d.waiting = nil
	return taken
}

// settled clears now once all that take returned is copied, unless there are new doubts.
func (d *doubts) settled() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = d.first + len(d.copied)
	if len(d.waiting) > 0 || d.now.Empty() {
		return nil
	}
	return d.now.Clear()
}

// remember adds keys that are about to be copied to copied.
func (d *doubts) remember(keys []keyspace.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.copied)+len(keys) > mostCopied {
		d.first += len(d.copied) + len(keys)
		d.copied = nil
		return
	}
	for _, k := range keys {
		d.copied = append(d.copied, keyspace.Key{DB: k.DB, Name: strings.Clone(k.Name)})
	}
}

// copies returns how many keys were copied.
func (d *doubts) copies() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}

// saved notes that a record of the link was written after so many keys had been copied.
func (d *doubts) saved(copies int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behind = copies
}

// since returns how many keys were copied before those that a target has lost: one that is older than the last record, or any other.
func (d *doubts) since(older bool) int {
	if older {
		return 0
	}
	return d.behind
}

// knowsCopies says whether copied has all keys that rewind needs.
func (d *doubts) knowsCopies(older bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first <= d.since(older)
}

// rewind puts copied keys in doubt once more, for a target that has gone back to an earlier state: one that is older than the last record,
// or any other.
func (d *doubts) rewind(older bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := max(d.since(older)-d.first, 0)
	for _, k := range d.copied[kept:] {
		if err := d.now.Add(k); err != nil {
			return err
		}
	}
	d.copied = d.copied[:kept] // the others are added again when they are copied
	if d.done = d.first + kept; older {
		d.first, d.done, d.behind = 0, 0, 0
	}
	return d.now.Save()
}
