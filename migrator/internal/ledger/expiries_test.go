package ledger

import (
	"errors"
	"fmt"
	"testing"

	"surecut/internal/keyspace"
)

func openExpiries(t *testing.T, dir string, state HeldState) *Expiries {
	t.Helper()
	e := &Expiries{state: state}
	if err := e.Open(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.list.Close() })
	return e
}

// TestHolding walks through the life of a link, step by step.
func TestHolding(t *testing.T) {
	e := openExpiries(t, t.TempDir(), NeverHeld)
	a, b := keyspace.Key{Name: "a"}, keyspace.Key{DB: 2, Name: "b"}
	release := func() error {
		first := e.BeginRelease()
		keys, err := e.Next(1)
		if !first || err != nil || len(keys) != 1 || keys[0] != a {
			err = fmt.Errorf("first %v: %v, %w", first, keys, err)
		}
		return err
	}
	for _, step := range []struct {
		name, why         string
		do                func() error
		state             HeldState
		holds, distrusted bool
	}{
		{name: "fresh", do: func() error { return nil }, state: NeverHeld},
		{name: "the snapshot is loaded", why: "nothing has expired on the target yet",
			do: func() error { e.Begin(); return errors.Join(e.Hold(a), e.Hold(b)) }, state: HeldFirst, holds: true},
		{name: "the source was lost", do: func() error { e.BeginAgain(true); e.RewindRelease(); return nil }, state: HeldFirst, holds: true},
		{name: "half is released", why: "what comes now is later than the list", do: release, state: HeldAgain},
		{name: "the source is lost in between", why: "the target has expiries now", do: func() error { e.BeginAgain(true); return nil },
			state: HeldAgain, holds: true, distrusted: true},
		{name: "it ends in spite of that", why: "what came since is still held", do: func() error { return errors.Join(e.End(), e.Hold(a)) },
			state: HeldAgain, holds: true, distrusted: true},
		{name: "from the beginning", do: func() error {
			lasts := e.RewindRelease()
			keys, err := e.Next(10)
			if !lasts || err != nil || len(keys) != 1 {
				return fmt.Errorf("%v: %v, %w", lasts, keys, err)
			}
			return nil
		}, state: HeldAgain},
		{name: "all is released", do: e.End, state: AllReleased},
		{name: "the target goes back", why: "the key is held there", do: e.TakeBack, state: HeldAgain, holds: true, distrusted: true},
		{name: "a new snapshot", do: func() error { e.Forget(); return e.Clear() }, state: NeverHeld},
		{name: "a source that does not hold", do: func() error { e.BeginAgain(false); return nil }, state: NeverHeld},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if e.Stored() != step.state || e.Holds() != step.holds || e.Distrusts() != step.distrusted || e.Holding() != step.state.lasts() {
			t.Fatalf("%s: %q, holds %v, distrusts %v; want %q, %v, %v (%s)", step.name, e.Stored(), e.Holds(), e.Distrusts(), step.state, step.holds, step.distrusted, step.why)
		}
	}
	if !e.list.Empty() {
		t.Error("keys are left on the list")
	}
	if err := e.TakeBack(); err != nil || e.Holding() {
		t.Errorf("what a new snapshot has replaced is held again: %v", err)
	}
}

// TestHoldingOutlives: a run that resumes holds what the earlier one held.
func TestHoldingOutlives(t *testing.T) {
	dir := t.TempDir()
	e := openExpiries(t, dir, HeldFirst)
	k := keyspace.Key{DB: 2, Name: "k"}
	if err := errors.Join(e.Hold(k), e.list.Save()); err != nil {
		t.Fatal(err)
	}
	again := openExpiries(t, dir, e.Stored())
	if keys, err := again.Next(10); err != nil || len(keys) != 1 || keys[0] != k {
		t.Errorf("%v, %v", keys, err)
	}
}
