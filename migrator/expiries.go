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

// heldState says what the target knows of the expiries that the source gives keys. It is written to the state.
type heldState string

// A link begins with neverHeld, and holds expiries while it lags. It releases them once it has nearly caught up, and holds again
// when the source was lost for a while.
const (
	neverHeld   heldState = ""         // no expiry was ever held
	heldFirst   heldState = "held"     // near expiries are held; the target expires no key that was not far from it
	allReleased heldState = "released" // every key has its true expiry
	heldAgain   heldState = "again"    // expiries are held, or are being released; the target may have expired keys that had got theirs before
)

// valid says whether a run can have written the value.
func (h heldState) valid() bool {
	return h == neverHeld || h == heldFirst || h == allReleased || h == heldAgain
}

// lasts says whether there are keys without their expiry.
func (h heldState) lasts() bool { return h == heldFirst || h == heldAgain }

// begun is what follows when expiries are held from now on.
func (h heldState) begun() heldState {
	switch h {
	case neverHeld:
		return heldFirst
	case allReleased:
		return heldAgain
	}
	return h
}

// expiries knows the keys that a link's target holds without their expiry until the link has caught up: the stream may renew an expiry
// that would pass before that. The list of the keys lies on disk. What is changed of the state is durable once the state is saved.
type expiries struct {
	list *keylist.List
	dir  string

	mu        sync.Mutex
	state     heldState
	releasing *keylist.Cursor // behind what has been released; nil: the release has not begun
	anew      bool            // the source was lost meanwhile: the release begins anew
}

// open opens the list in the link's directory.
func (e *expiries) open(dir string) (err error) {
	e.dir = dir
	e.list, err = keylist.Open(filepath.Join(dir, "held"))
	return err
}

// stored returns what the state has to remember.
func (e *expiries) stored() heldState {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// holding says whether keys are held without their expiry.
func (e *expiries) holding() bool { return e.stored().lasts() }

// holds says whether expiries that come now are held. While the list is being released they are not, unless the source was lost
// meanwhile: what it kept back arrives late, and is dated too late where it is relative.
func (e *expiries) holds() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state.lasts() && (e.releasing == nil || e.anew)
}

// distrusts says whether the target may have expired keys that the source had when it ran the commands that come now.
func (e *expiries) distrusts() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state == heldAgain && (e.releasing == nil || e.anew)
}

// begin has expiries be held from now on.
func (e *expiries) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state = e.state.begun()
}

// beginAgain has expiries be held after the source was lost for a while, if they are held at all. A release begins anew.
func (e *expiries) beginAgain(wanted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.anew = wanted; wanted {
		e.state = e.state.begun()
	}
}

// hold puts a key on the list: the target has it without its expiry.
func (e *expiries) hold(k keyspace.Key) error {
	if err := e.list.Add(k); err != nil {
		return fmt.Errorf("write the list of held keys: %w", err)
	}
	return nil
}

// rewindRelease forgets how far a release has come if the source was lost since, and says whether there is anything to release.
func (e *expiries) rewindRelease() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.anew {
		e.anew, e.releasing = false, nil
	}
	return e.state.lasts()
}

// restart forgets how far a release has come.
func (e *expiries) restart() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.anew, e.releasing = false, nil
}

// beginRelease notes that from now on the target has expiries of its own, and says whether that is new.
func (e *expiries) beginRelease() (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	first = e.state == heldFirst
	if first {
		e.state = heldAgain
	}
	return first
}

// next returns the next keys to be released; none at the end of the list.
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

// end clears the list, every key of which has its true expiry, and keeps what it held for a target that goes back.
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

// takeBack puts the keys that were released last on the list again, for a target that has gone back to where they were held.
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

// clear removes all keys from the lists: they are about to be replaced.
func (e *expiries) clear() error { return errors.Join(e.list.Clear(), e.forgetReleased()) }

// forget has nothing be held any more.
func (e *expiries) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state, e.releasing = neverHeld, nil
}
