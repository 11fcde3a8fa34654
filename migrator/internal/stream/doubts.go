package stream

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/keylist"
	"surecut/migrator/internal/target"
)

// Doubts are the keys of a link whose values on the target may differ from the source's, because the target refused a command, or because
// its reply was lost or showed a difference. They are copied from the source: those in now between two commands, those in later once the
// link has caught up. Both lists are on disk, so that a crash does not forget them.
type Doubts struct {
	now   *keylist.List // the keys of waiting, and of calls that were taken and are not settled
	later *keylist.List // keys that are copied once the link has caught up
	wake  chan struct{} // says that there are calls in waiting

	mu      sync.Mutex
	waiting []target.Failure      // calls whose keys the dispatcher has still to copy
	tainted map[keyspace.Key]bool // keys in doubt that are not copied yet

	copied []keyspace.Key // the last keys that were copied in this run: a target that goes back to an earlier state has lost the copies
	first  int            // how many keys were copied before those in copied
	done   int            // how many keys were copied, and are on the target
	behind int            // the value of done before the link's last record was written
}

// mostCopied bounds the length of doubts.copied.
const mostCopied = 100_000

// OpenDoubts opens the lists in a link's directory.
func OpenDoubts(dir string) (*Doubts, error) {
	now, err := keylist.Open(filepath.Join(dir, "doubts"))
	if err != nil {
		return nil, err
	}
	later, err := keylist.Open(filepath.Join(dir, "suspects"))
	if err != nil {
		return nil, errors.Join(err, now.Close())
	}
	return &Doubts{now: now, later: later, wake: make(chan struct{}, 1), tainted: map[keyspace.Key]bool{}}, nil
}

// Save makes the keys durable that are copied once the link has caught up.
func (d *Doubts) Save() error { return d.later.Save() }

// swap has the keys of two databases change places among those that are copied once the link has caught up.
func (d *Doubts) swap(first, second int) error {
	if err := d.later.Swap(first, second); err != nil {
		return fmt.Errorf("swap databases in the list of keys to be copied: %w", err)
	}
	return nil
}

// errSwapped is the failure of a call whose key may have moved to another database before it could be copied.
var errSwapped = errors.New("SWAPDB came before the key could be copied")

// swapNow puts the keys of two databases that are in now in doubt in both, before these change places. A crash may come before they do so,
// and to copy a key of either is right at any time.
func (d *Doubts) swapNow(first, second int) error {
	var failed []target.Failure
	d.mu.Lock()
	err := d.now.Each(func(k keyspace.Key) error {
		if k.DB != first && k.DB != second {
			return nil
		}
		other := keyspace.Key{DB: first + second - k.DB, Name: k.Name}
		failed = append(failed, target.Failure{Call: target.Call{Key: other}, Reply: errSwapped})
		if d.tainted[k] {
			d.tainted[other] = true
		}
		return nil
	})
	d.mu.Unlock()
	if err == nil && len(failed) > 0 {
		err = d.note(failed)
	}
	if err != nil {
		return fmt.Errorf("swap databases in the list of keys to be copied: %w", err)
	}
	return nil
}

// Close closes the lists.
func (d *Doubts) Close() error { return errors.Join(d.now.Close(), d.later.Close()) }

// Clear empties both lists, and copied, since a new snapshot is about to replace the keys.
func (d *Doubts) Clear() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.copied, d.first, d.done, d.behind = nil, 0, 0, 0
	return errors.Join(d.now.Clear(), d.later.Clear())
}

// Reset forgets the doubts in memory. The lists on disk stay, and resume reads them.
func (d *Doubts) Reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting, d.tainted = nil, map[keyspace.Key]bool{}
}

// add notes the keys of failed calls, and wakes the dispatcher to copy those that cannot wait.
func (d *Doubts) add(failed []target.Failure) error {
	now, err := d.postpone(failed)
	if err == nil && len(now) > 0 {
		err = d.note(now)
	}
	if err != nil {
		return fmt.Errorf("write the list of keys to be copied: %w", err)
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
func (d *Doubts) note(failed []target.Failure) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = append(d.waiting, failed...)
	for _, f := range failed {
		for _, k := range f.Call.Keys() {
			if err := d.now.Add(k); err != nil {
				return err
			}
		}
	}
	return d.now.Save()
}

// postpone notes the keys of those failed calls that can wait, and returns the others.
func (d *Doubts) postpone(failed []target.Failure) (now []target.Failure, err error) {
	postponed := false
	for _, f := range failed {
		if !f.Call.Later {
			now = append(now, f)
			continue
		}
		postponed = true
		if err := d.later.Add(f.Call.Key); err != nil {
			return nil, err
		}
	}
	if postponed {
		_, err = d.later.Flush() // so that the keys survive if the run is killed
	}
	return now, err
}

// errSpread is the failure of a call that was applied while one of its keys was in doubt.
var errSpread = fmt.Errorf("one of its keys is in doubt: %w", target.ErrExpired)

// spread adds calls to the failures of their transactions if they have a key in doubt that is not copied yet: a union with a set that the
// target failed to write is as wrong as the set. Lanes call it with the transactions that they have applied, before they take others.
func (d *Doubts) spread(txs []*target.Transaction) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range txs {
		for _, f := range x.Failed {
			if f.Call.Later || f.Call.Message {
				continue
			}
			for _, k := range f.Call.Keys() {
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
			for _, c := range x.Calls {
				keys := c.Keys()
				if !slices.ContainsFunc(keys, clean) || !slices.ContainsFunc(keys, func(k keyspace.Key) bool { return d.tainted[k] }) {
					continue
				}
				for _, k := range keys {
					d.tainted[k] = true
				}
				c.Commands, more = 0, true // the call was applied, so its commands stay counted as applied
				x.Failed = append(x.Failed, target.Failure{Call: c, Reply: errSpread})
			}
		}
	}
}

// clean takes keys out of doubt, since they were copied.
func (d *Doubts) clean(keys []keyspace.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range keys {
		delete(d.tainted, k)
	}
}

// errInterrupted is the failure of a call whose key an earlier run had still to copy when it ended.
var errInterrupted = errors.New("an earlier run ended before it could copy the key")

// AddInterrupted notes keys of commands that an earlier run may have applied.
func (d *Doubts) AddInterrupted(keys []keyspace.Key) error {
	failed := make([]target.Failure, len(keys))
	for i, k := range keys {
		failed[i] = target.Failure{Call: target.Call{Key: k}, Reply: errInterrupted}
	}
	return d.note(failed)
}

// Resume adds the keys that an earlier run has left in now to waiting.
func (d *Doubts) Resume() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now.Each(func(k keyspace.Key) error {
		d.waiting = append(d.waiting, target.Failure{Call: target.Call{Key: k}, Reply: errInterrupted})
		return nil
	})
}

// take returns the calls whose keys are to be copied, and empties waiting.
func (d *Doubts) take() []target.Failure {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.waiting
	d.waiting = nil
	return taken
}

// open says whether there are keys that are still to be copied.
func (d *Doubts) open() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting) > 0 || !d.now.Empty() || !d.later.Empty()
}

// settled clears now once all that take returned is copied, unless there are new doubts.
func (d *Doubts) settled() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = d.first + len(d.copied)
	if len(d.waiting) > 0 || d.now.Empty() {
		return nil
	}
	return d.now.Clear()
}

// remember adds keys that are about to be copied to copied.
func (d *Doubts) remember(keys []keyspace.Key) {
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

// Copies returns how many keys were copied.
func (d *Doubts) Copies() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}

// Saved notes that a record of the link was written after so many keys had been copied.
func (d *Doubts) Saved(copies int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behind = copies
}

// since returns how many keys were copied before those that a target has lost: one that is older than the last record, or any other.
func (d *Doubts) since(older bool) int {
	if older {
		return 0
	}
	return d.behind
}

// KnowsCopies says whether copied has all keys that rewind needs.
func (d *Doubts) KnowsCopies(older bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first <= d.since(older)
}

// Rewind puts copied keys in doubt once more, for a target that has gone back to an earlier state: one that is older than the last record,
// or any other.
func (d *Doubts) Rewind(older bool) error {
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
