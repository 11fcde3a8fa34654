package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/keylist"
)

// HeldState says whether keys of the target are without the expiry that the source gave them. It is written to the state on disk.
type HeldState string

// A link begins with NeverHeld, and holds expiries while it lags. It releases them once it has nearly caught up, and holds expiries again
// after the source was lost.
const (
	NeverHeld   HeldState = ""         // no expiry was ever held
	HeldFirst   HeldState = "held"     // near expiries are held; no key of the target has had a near expiry yet
	AllReleased HeldState = "released" // every key has its true expiry
	HeldAgain   HeldState = "again"    // expiries are held or being released; keys that had an expiry before may have expired on the target
)

// Valid says whether a run can have written the value.
func (h HeldState) Valid() bool {
	return h == NeverHeld || h == HeldFirst || h == AllReleased || h == HeldAgain
}

// lasts says whether there may be keys without their expiry.
func (h HeldState) lasts() bool { return h == HeldFirst || h == HeldAgain }

// begun returns the state that follows h if expiries are held from now on.
func (h HeldState) begun() HeldState {
	switch h {
	case NeverHeld:
		return HeldFirst
	case AllReleased:
		return HeldAgain
	}
	return h
}

// Expiries knows the keys that the target holds without their expiry until the link has caught up: the stream may renew an expiry that
// would pass before that. The list of the keys is a file. Changes of the field state are durable once the state of the migration is saved.
type Expiries struct {
	list *keylist.List
	dir  string

	mu        sync.Mutex
	state     HeldState
	releasing *keylist.Cursor // the next key to release; nil: the release has not begun
	anew      bool            // the source was lost during the release, which therefore begins anew
	releases  int             // how often all keys were released
}

// NewExpiries returns the expiries of a link, which an earlier run has left in a state.
func NewExpiries(state HeldState) *Expiries { return &Expiries{state: state} }

// Open opens the list in the link's directory.
func (e *Expiries) Open(dir string) (err error) {
	e.dir = dir
	e.list, err = keylist.Open(filepath.Join(dir, "held"))
	return err
}

// Save makes the list durable.
func (e *Expiries) Save() error { return e.list.Save() }

// Close closes the list.
func (e *Expiries) Close() error { return e.list.Close() }

// Empty says whether the list holds no key.
func (e *Expiries) Empty() bool { return e.list.Empty() }

// All returns a cursor over the keys of the list.
func (e *Expiries) All() *keylist.Cursor { return e.list.Cursor() }

// Swap has the keys of two databases change places.
func (e *Expiries) Swap(first, second int) error {
	if err := e.list.Swap(first, second); err != nil {
		return fmt.Errorf("swap databases in the list of held keys: %w", err)
	}
	return nil
}

// Stored returns what the state on disk has to hold.
func (e *Expiries) Stored() HeldState {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// Releases returns how often this run has released all keys.
func (e *Expiries) Releases() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.releases
}

// Holding says whether there may be keys without their expiry.
func (e *Expiries) Holding() bool { return e.Stored().lasts() }

// Holds says whether expiries that come now are held. While the list is being released they are not, unless the source was lost meanwhile:
// commands from that time arrive late, so that their expiries are near or, if relative, dated too late.
func (e *Expiries) Holds() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state.lasts() && (e.releasing == nil || e.anew)
}

// Distrusts says whether the target may have let keys expire that the source still had when it ran the commands that come now.
func (e *Expiries) Distrusts() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state == HeldAgain && (e.releasing == nil || e.anew)
}

// Begin begins to hold expiries.
func (e *Expiries) Begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state = e.state.begun()
}

// BeginAgain begins to hold expiries after the source was lost, if wanted. A release that is under way then begins anew.
func (e *Expiries) BeginAgain(wanted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.anew = wanted; wanted {
		e.state = e.state.begun()
	}
}

// Hold puts a key on the list of those that the target has without their expiry.
func (e *Expiries) Hold(k keyspace.Key) error {
	if err := e.list.Add(k); err != nil {
		return fmt.Errorf("write the list of held keys: %w", err)
	}
	return nil
}

// RewindRelease has the release begin anew if the source was lost since it began, and says whether there may be keys to release.
func (e *Expiries) RewindRelease() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.anew {
		e.anew, e.releasing = false, nil
	}
	return e.state.lasts()
}

// Restart has the release begin anew.
func (e *Expiries) Restart() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.anew, e.releasing = false, nil
}

// BeginRelease notes that held keys get their expiry from now on, so that the target may let them expire, and says whether that is new.
func (e *Expiries) BeginRelease() (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	first = e.state == HeldFirst
	if first {
		e.state = HeldAgain
	}
	return first
}

// Next returns the next keys to be released, at most most of them, and none at the end of the list.
func (e *Expiries) Next(most int) (keys []keyspace.Key, err error) {
	e.mu.Lock()
	if e.releasing == nil {
		e.releasing = e.list.Cursor()
	}
	from := e.releasing
	e.mu.Unlock()
	for len(keys) < most {
		k, ok, err := from.Next()
		if err != nil || !ok {
			return keys, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// End clears the list, since every key has its true expiry by now. It keeps the keys in another list, for a target that goes back to an
// earlier state.
func (e *Expiries) End() error {
	if err := e.keepReleased(); err != nil {
		return fmt.Errorf("clear the list of held keys: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.releasing = nil
	e.releases++
	if !e.anew {
		e.state = AllReleased
	}
	return nil
}

func (e *Expiries) releasedPath() string { return filepath.Join(e.dir, "released") }

func (e *Expiries) keepReleased() error {
	if e.list.Empty() {
		return nil
	}
	if err := e.forgetReleased(); err != nil {
		return err
	}
	kept, err := keylist.Open(e.releasedPath())
	if err != nil {
		return err
	}
	if err := errors.Join(e.list.Each(kept.Add), kept.Close()); err != nil {
		return err
	}
	return e.list.Clear()
}

func (e *Expiries) forgetReleased() error {
	if err := os.Remove(e.releasedPath()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// TakeBack puts the keys that were released last on the list again, for a target that has gone back to an earlier state, in which they have
// no expiry.
func (e *Expiries) TakeBack() error {
	kept, err := keylist.Open(e.releasedPath())
	if err != nil {
		return fmt.Errorf("restore the list of held keys: %w", err)
	}
	if err := errors.Join(kept.Each(e.list.Add), kept.Close(), e.list.Save()); err != nil {
		return fmt.Errorf("restore the list of held keys: %w", err)
	}
	if !e.list.Empty() {
		e.Begin()
	}
	return nil
}

// Clear removes all keys from both lists, since a new snapshot is about to replace the keys.
func (e *Expiries) Clear() error { return errors.Join(e.list.Clear(), e.forgetReleased()) }

// Forget goes back to NeverHeld.
func (e *Expiries) Forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state, e.releasing = NeverHeld, nil
}
