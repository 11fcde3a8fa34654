package migrator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/keylist"
)

// heldState says whether keys of the target are without the expiry that the source gave them. It is written to the state on disk.
type heldState string

// A link begins with neverHeld, and holds expiries while it lags. It releases them once it has nearly caught up, and holds expiries again
// after the source was lost.
const (
	neverHeld   heldState = ""         // no expiry was ever held
	heldFirst   heldState = "held"     // near expiries are held; no key of the target has had a near expiry yet
	allReleased heldState = "released" // every key has its true expiry
	heldAgain   heldState = "again"    // expiries are held or being released; keys that had an expiry before may have expired on the target
)

// valid says whether a run can have written the value.
func (h heldState) valid() bool {
	return h == neverHeld || h == heldFirst || h == allReleased || h == heldAgain
}

// lasts says whether there may be keys without their expiry.
func (h heldState) lasts() bool { return h == heldFirst || h == heldAgain }

// begun returns the state that follows h if expiries are held from now on.
func (h heldState) begun() heldState {
	switch h {
	case neverHeld:
		return heldFirst
	case allReleased:
		return heldAgain
	}
	return h
}

// expiries knows the keys that the target holds without their expiry until the link has caught up: the stream may renew an expiry that
// would pass before that. The list of the keys is a file. Changes of the field state are durable once the state of the migration is saved.
type expiries struct {
	list *keylist.List
	dir  string

	mu        sync.Mutex
	state     heldState
	releasing *keylist.Cursor // the next key to release; nil: the release has not begun
	anew      bool            // the source was lost during the release, which therefore begins anew
}

// newExpiries returns the expiries of a link, which an earlier run has left in a state.
func newExpiries(state heldState) *expiries { return &expiries{state: state} }

// open opens the list in the link's directory.
func (e *expiries) open(dir string) (err error) {
	e.dir = dir
	e.list, err = keylist.Open(filepath.Join(dir, "held"))
	return err
}

// save makes the list durable.
func (e *expiries) save() error { return e.list.Save() }

func (e *expiries) close() error { return e.list.Close() }

// empty says whether the list holds no key.
func (e *expiries) empty() bool { return e.list.Empty() }

// all returns a cursor over the keys of the list.
func (e *expiries) all() *keylist.Cursor { return e.list.Cursor() }

// swap has the keys of two databases change places.
func (e *expiries) swap(first, second int) error {
	if err := e.list.Swap(first, second); err != nil {
		return fmt.Errorf("swap held keys: %w", err)
	}
	return nil
}

// stored returns what the state on disk has to hold.
func (e *expiries) stored() heldState {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// holding says whether there may be keys without their expiry.
func (e *expiries) holding() bool { return e.stored().lasts() }

// holds says whether expiries that come now are held. While the list is being released they are not, unless the source was lost meanwhile:
// commands from that time arrive late, so that their expiries are near or, if relative, dated too late.
func (e *expiries) holds() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state.lasts() && (e.releasing == nil || e.anew)
}

// distrusts says whether the target may have let keys expire that the source still had when it ran the commands that come now.
func (e *expiries) distrusts() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state == heldAgain && (e.releasing == nil || e.anew)
}

// begin begins to hold expiries.
func (e *expiries) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state = e.state.begun()
}

// beginAgain begins to hold expiries after the source was lost, if wanted. A release that is under way then begins anew.
func (e *expiries) beginAgain(wanted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.anew = wanted; wanted {
		e.state = e.state.begun()
	}
}

// hold puts a key on the list of those that the target has without their expiry.
func (e *expiries) hold(k keyspace.Key) error {
	if err := e.list.Add(k); err != nil {
		return fmt.Errorf("write the list of held keys: %w", err)
	}
	return nil
}

// rewindRelease has the release begin anew if the source was lost since it began, and says whether there may be keys to release.
func (e *expiries) rewindRelease() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.anew {
		e.anew, e.releasing = false, nil
	}
	return e.state.lasts()
}

// restart has the release begin anew.
func (e *expiries) restart() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.anew, e.releasing = false, nil
}

// beginRelease notes that held keys get their expiry from now on, so that the target may let them expire, and says whether that is new.
func (e *expiries) beginRelease() (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	first = e.state == heldFirst
	if first {
		e.state = heldAgain
	}
	return first
}

// next returns the next keys to be released, at most most of them, and none at the end of the list.
func (e *expiries) next(most int) (keys []keyspace.Key, err error) {
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

// end clears the list, since every key has its true expiry by now. It keeps the keys in another list, for a target that goes back to an
// earlier state.
func (e *expiries) end() error {
	if err := e.keepReleased(); err != nil {
		return fmt.Errorf("clear the list of held keys: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.releasing = nil
	if !e.anew {
		e.state = allReleased
	}
	return nil
}

func (e *expiries) releasedPath() string { return filepath.Join(e.dir, "released") }

func (e *expiries) keepReleased() error {
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

func (e *expiries) forgetReleased() error {
	if err := os.Remove(e.releasedPath()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// takeBack puts the keys that were released last on the list again, for a target that has gone back to an earlier state, in which they have
// no expiry.
func (e *expiries) takeBack() error {
	kept, err := keylist.Open(e.releasedPath())
	if err != nil {
		return fmt.Errorf("hold keys again: %w", err)
	}
	if err := errors.Join(kept.Each(e.list.Add), kept.Close(), e.list.Save()); err != nil {
		return fmt.Errorf("hold keys again: %w", err)
	}
	if !e.list.Empty() {
		e.begin()
	}
	return nil
}

// clear removes all keys from both lists, since a new snapshot is about to replace the keys.
func (e *expiries) clear() error { return errors.Join(e.list.Clear(), e.forgetReleased()) }

// forget goes back to neverHeld.
func (e *expiries) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state, e.releasing = neverHeld, nil
}
