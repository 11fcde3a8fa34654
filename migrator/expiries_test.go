package migrator

import (
	"errors"
	"fmt"
	"testing"

	"surecut/internal/keyspace"
)

func openExpiries(t *testing.T, dir string, state heldState) *expiries {
	t.Helper()
	e := &expiries{state: state}
	if err := e.open(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.list.Close() })
	return e
}

// TestHolding walks through the life of a link, step by step.
func TestHolding(t *testing.T) {
	e := openExpiries(t, t.TempDir(), neverHeld)
	a, b := keyspace.Key{Name: "a"}, keyspace.Key{DB: 2, Name: "b"}
	release := func() error {
		first := e.beginRelease()
		keys, err := e.next(1)
		if !first || err != nil || len(keys) != 1 || keys[0] != a {
			err = fmt.Errorf("first %v: %v, %w", first, keys, err)
		}
		return err
	}
	for _, step := range []struct {
		name, why         string
		do                func() error
		state             heldState
		holds, distrusted bool
	}{
		{name: "fresh", do: func() error { return nil }, state: neverHeld},
		{name: "the snapshot is loaded", why: "nothing has expired on the target yet",
			do: func() error { e.begin(); return errors.Join(e.hold(a), e.hold(b)) }, state: heldFirst, holds: true},
		{name: "the source was lost", do: func() error { e.beginAgain(true); e.rewindRelease(); return nil }, state: heldFirst, holds: true},
		{name: "half is released", why: "what comes now is later than the list", do: release, state: heldAgain},
		{name: "the source is lost in between", why: "the target has expiries now", do: func() error { e.beginAgain(true); return nil },
			state: heldAgain, holds: true, distrusted: true},
		{name: "it ends in spite of that", why: "what came since is still held", do: func() error { return errors.Join(e.end(), e.hold(a)) },
			state: heldAgain, holds: true, distrusted: true},
		{name: "from the beginning", do: func() error {
			lasts := e.rewindRelease()
			keys, err := e.next(10)
			if !lasts || err != nil || len(keys) != 1 {
				return fmt.Errorf("%v: %v, %w", lasts, keys, err)
			}
			return nil
		}, state: heldAgain},
		{name: "all is released", do: e.end, state: allReleased},
		{name: "the target goes back", why: "the key is held there", do: e.takeBack, state: heldAgain, holds: true, distrusted: true},
		{name: "a new snapshot", do: func() error { e.forget(); return e.clear() }, state: neverHeld},
		{name: "a source that does not hold", do: func() error { e.beginAgain(false); return nil }, state: neverHeld},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if e.stored() != step.state || e.holds() != step.holds || e.distrusts() != step.distrusted || e.holding() != step.state.lasts() {
			t.Fatalf("%s: %q, holds %v, distrusts %v; want %q, %v, %v (%s)", step.name, e.stored(), e.holds(), e.distrusts(), step.state, step.holds, step.distrusted, step.why)
		}
	}
	if !e.list.Empty() {
		t.Error("keys are left on the list")
	}
	if err := e.takeBack(); err != nil || e.holding() {
		t.Errorf("what a new snapshot has replaced is held again: %v", err)
	}
}

// TestHoldingOutlives: a run that resumes holds what the earlier one held.
func TestHoldingOutlives(t *testing.T) {
	dir := t.TempDir()
	e := openExpiries(t, dir, heldFirst)
	k := keyspace.Key{DB: 2, Name: "k"}
	if err := errors.Join(e.hold(k), e.list.Save()); err != nil {
		t.Fatal(err)
	}
	again := openExpiries(t, dir, e.stored())
	if keys, err := again.next(10); err != nil || len(keys) != 1 || keys[0] != k {
		t.Errorf("%v, %v", keys, err)
	}
}
