package migrator

import (
	"testing"

	"surecut/migrator/internal/target"
)

// TestOver: when a value of the snapshot takes the place of a key that the target has already.
func TestOver(t *testing.T) {
	for _, c := range []struct {
		name, why string
		on        string
		replace   bool // an earlier run may have loaded some of the snapshot
		empty     bool // the target was, when the migration began
		again     bool // the snapshot replaces an earlier one
		want      target.Overwrite
	}{
		{name: "replace", on: ExistingReplace, want: target.Overwrite{First: true}},
		{name: "keep", on: ExistingKeep},
		{name: "fail", why: "a key of somebody else's is not touched", on: ExistingFail},
		{name: "fail, empty target", why: "a later attempt meets the key of an earlier one", on: ExistingFail, empty: true, want: target.Overwrite{Later: true}},
		{name: "load again", why: "no key can be anybody else's", on: ExistingFail, replace: true, empty: true, want: target.Overwrite{First: true, Later: true}},
		{name: "load again among others", why: "nobody knows whose key it is", on: ExistingFail, replace: true},
		{name: "new snapshot", why: "the target holds the earlier one", on: ExistingKeep, again: true, want: target.Overwrite{First: true}},
	} {
		l := newTestLink(t)
		l.m.cfg.OnExisting, l.m.state.TargetWasEmpty, l.st.Again = c.on, c.empty, c.again
		if got := l.over(c.replace); got != c.want {
			t.Errorf("%s: %+v, want %+v (%s)", c.name, got, c.want, c.why)
		}
	}
}
