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

// TestHeldOnDisk: what a run has held and released is found by the next one, with the databases that the keys are in by now.
func TestHeldOnDisk(t *testing.T) {
	dir := t.TempDir()
	e := NewExpiries(HeldFirst)
	if err := e.Open(dir); err != nil {
		t.Fatal(err)
	}
	keys := []keyspace.Key{{DB: 0, Name: "a"}, {DB: 1, Name: "b"}, {DB: 2, Name: "c"}}
	if !e.Empty() {
		t.Error("a new list holds keys")
	}
	for _, k := range keys {
		if err := e.Hold(k); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(e.Swap(0, 1), e.Save(), e.Close()); err != nil {
		t.Fatal(err)
	}
	want := "[{0 a} {1 b} {2 c} {1 a} {0 b}]" // a key also stays under its old database, since a crash may come before the target has swapped
	e = openExpiries(t, dir, HeldFirst)
	if got, err := e.Next(9); err != nil || fmt.Sprint(got) != want || e.Empty() {
		t.Errorf("%v, %v; want %s", got, err, want)
	}
	var seen []keyspace.Key
	for all := e.All(); ; {
		k, ok, err := all.Next()
		if err != nil || !ok {
			break
		}
		seen = append(seen, k)
	}
	if fmt.Sprint(seen) != want {
		t.Errorf("all are %v, want %s", seen, want)
	}
	e.Restart()
	if got, err := e.Next(9); err != nil || len(got) != 5 {
		t.Errorf("a release that begins anew has %v, %v", got, err)
	}
	if err := e.End(); err != nil || e.Releases() != 1 || !e.Empty() || e.Holding() {
		t.Errorf("after %d releases: %v, %q", e.Releases(), err, e.Stored())
	}
	if err := e.End(); err != nil || e.Releases() != 2 { // nothing was held meanwhile
		t.Fatal(err)
	}
	again := openExpiries(t, dir, e.Stored())
	if err := again.TakeBack(); err != nil || again.Stored() != HeldAgain {
		t.Fatalf("%v, %q", err, again.Stored())
	}
	if got, err := again.Next(9); err != nil || fmt.Sprint(got) != want {
		t.Errorf("taken back are %v, %v; want %s", got, err, want)
	}
}

// TestHeldStates: a state on disk that no run has written is refused.
func TestHeldStates(t *testing.T) {
	for state, valid := range map[HeldState]bool{NeverHeld: true, HeldFirst: true, AllReleased: true, HeldAgain: true, "lost": false, "Held": false} {
		if state.Valid() != valid {
			t.Errorf("%q: valid %v", state, !valid)
		}
	}
}
