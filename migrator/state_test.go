package migrator

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/stream"
)

// TestStages: every step that a link can take stands in the table, and no other can be taken.
func TestStages(t *testing.T) {
	all := []stage{fresh, receiving, received, loaded, following}
	steps := map[stage]string{fresh: "fresh receiving received", receiving: "receiving received loaded fresh", received: "loaded fresh",
		loaded: "following fresh", following: "following fresh"}
	for _, from := range all {
		want := strings.Fields(steps[from])
		for _, to := range all {
			name := string(to)
			if to == fresh {
				name = "fresh"
			}
			st := &linkState{Name: "0", Stage: from}
			if got := enters(st, to); got != slices.Contains(want, name) {
				t.Errorf("from %q to %q: %v", from, to, got)
			}
		}
	}
}

// enters says whether a step is taken. One that is not must leave the stage as it is.
func enters(st *linkState, to stage) (ok bool) {
	from := st.Stage
	defer func() {
		if recover() != nil {
			ok = st.Stage != from
		}
	}()
	st.enter(to)
	return st.Stage == to
}

// TestPhase: what a report says follows from where the link stands and what it does.
func TestPhase(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*link)
		want   string
	}{
		{"nothing is done yet", func(l *link) { l.do(preparing) }, "handshake"},
		{"while the snapshot is loaded", func(l *link) { l.st.Stage = received }, "snapshot"},
		{"snapshot is in", func(l *link) { l.st.Stage = loaded }, "streaming"},
		{"behind", func(l *link) { l.applying.Store(&stream.Stream{}) }, "streaming"},
		{"level", func(l *link) { l.applying.Store(&stream.Stream{}); l.positions.SetDispatched(stream.Mark{Offset: 100}) }, "caught_up"},
		{"level, and keys are held", func(l *link) {
			l.applying.Store(&stream.Stream{})
			l.positions.SetDispatched(stream.Mark{Offset: 100})
			l.expiries.Begin()
		}, "streaming"},
		{"told to stop", func(l *link) { l.do(draining) }, "draining"},
		{"over", func(l *link) { l.do(ended) }, "done"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestLink(t)
			l.replica.spool, l.st.Stage = emptySpool(t), following
			l.do(working)
			if c.change(l); l.phase() != c.want {
				t.Errorf("%s, want %s", l.phase(), c.want)
			}
		})
	}
}

// TestFormat2 reads a state as an older surecut has written it.
func TestFormat2(t *testing.T) {
	dir := t.TempDir()
	data := `{"format":2,"id":"abc","source":"redis://a","target":"redis://b","lanes":4,"links":[
		{"name":"0","snapshot":"","holding":false,"released":false},
		{"name":"1","snapshot":"receiving","holding":true,"released":false},
		{"name":"2","snapshot":"received","holding":true,"released":true},
		{"name":"3","snapshot":"loaded","holding":false,"released":true}]}`
	if err := os.WriteFile(filepath.Join(dir, "migration.json"), []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	s, resumed, err := openState(dir)
	if err != nil || !resumed {
		t.Fatal(resumed, err)
	}
	defer s.close()
	for i, want := range []ledger.HeldState{ledger.NeverHeld, ledger.HeldFirst, ledger.HeldAgain, ledger.AllReleased} {
		stage := []stage{fresh, receiving, received, loaded}[i]
		if got := s.Links[i]; got.Expiries != want || got.Stage != stage {
			t.Errorf("link %d: %q with expiries %q, want %q with %q", i, got.Stage, got.Expiries, stage, want)
		}
	}
	if s.Format != stateFormat {
		t.Errorf("it would be written as format %d", s.Format)
	}
}

// TestStateGone: lists of keys that another migration has left are not taken for one's own.
func TestStateGone(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "link-0"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, _, err := openState(dir)
	saysSo(t, err, "migration.json is missing", "the lists in link-0 belong to a migration that is not known")
	saysSo(t, err, "name another directory", "a remedy")
	saysSo(t, CheckState(t.Context(), dir, Sides{}), "migration.json is missing", "it is said before the target is looked at")
	if err := os.Remove(filepath.Join(dir, "link-0")); err != nil {
		t.Fatal(err)
	}
	s, resumed, err := openState(dir)
	if err != nil || resumed {
		t.Fatal(resumed, err)
	}
	s.close()
}

func TestStateDamage(t *testing.T) {
	good := `{"format":4,"id":"abc","source":"redis://a","target":"redis://b","lanes":4,"links":[{"name":"0","start":5,"stage":"loaded"}]}`
	for _, c := range []struct{ name, why, data, want string }{
		{"good", "what a run wrote", good, ""},
		{"empty", "a crash of the file system", "", "migration.json"},
		{"cut off", "half a file", good[:len(good)/2], "migration.json"},
		{"no object", "", "[]", "migration.json"},
		{"other format", "a newer surecut", strings.Replace(good, `"format":4`, `"format":5`, 1), "format 5"},
		{"format 3", "it has no table of slots", strings.Replace(good, `"format":4`, `"format":3`, 1), ""},
		{"more slots than links", "", strings.Replace(good, `"lanes":4`, `"lanes":4,"slots":{"owned":[[],[]]}`, 1), "damaged"},
		{"older format", "its lists of keys are others", strings.Replace(good, `"format":4`, `"format":1`, 1), "format 1"},
		{"nothing in it", "valid JSON is not enough", `{"format":4}`, "damaged"},
		{"unknown expiries", "", strings.Replace(good, `"start":5`, `"start":5,"expiries":"lost"`, 1), "damaged"},
		{"no lanes", "a division by them", strings.Replace(good, `"lanes":4`, `"lanes":0`, 1), "damaged"},
		{"unknown stage", "", strings.Replace(good, "loaded", "lost", 1), "damaged"},
		{"name of a link", "it is a path", strings.Replace(good, `"name":"0"`, `"name":"../x"`, 1), "damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "migration.json"), []byte(c.data), 0o600); err != nil {
				t.Fatal(err)
			}
			s, resumed, err := openState(dir)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "new Config.StateDir") {
					t.Fatalf("%s: %v", c.why, err)
				}
				if checked := CheckState(t.Context(), dir, Sides{}); checked == nil || checked.Error() != err.Error() {
					t.Errorf("before the target is looked at: %v", checked)
				}
				return
			}
			if err != nil || !resumed {
				t.Fatal(resumed, err)
			}
			if _, _, err := openState(dir); err == nil {
				t.Error("a directory in use was opened again")
			}
			if err := errors.Join(s.save(), s.close()); err != nil {
				t.Fatal(err)
			}
			again, _, err := openState(dir)
			if err != nil || !reflect.DeepEqual(again.Links, s.Links) || again.ID != s.ID {
				t.Errorf("written and read: %+v, %v", again, err)
			}
			again.close()
		})
	}
}
