package ledger

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/keylist"
)

func openProblems(t *testing.T, dir string, fresh bool) *Problems {
	t.Helper()
	p := &Problems{}
	if err := p.Open(dir, fresh); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestProblemsSurvive: what is noted is on disk at once, as a run may be killed at any instant, and what the next run mends is not.
func TestProblemsSurvive(t *testing.T) {
	dir := t.TempDir()
	first := openProblems(t, dir, false)
	b := New(slog.New(slog.DiscardHandler), &keyspace.Filter{}, func() string { return "a:1" }, first, Counters{})
	b.ReportKey(keyspace.Key{DB: 3, Name: "k\n"}, "refused")
	b.NotePassing("the source could not be read at the end")
	b.ReportCommand(0, "", "EVAL", "no keys")
	if n := len(first.All()); n != 3 {
		t.Fatalf("%d problems", n)
	}
	want := []Problem{{Shard: "a:1", DB: 3, Key: `k\n`, Reason: "refused"}, {Shard: "a:1", Command: "EVAL", Reason: "no keys"}}
	second := openProblems(t, dir, false) // the first one was not closed
	if got := second.All(); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Open(dir, false); err != nil || len(second.All()) != 2 {
		t.Errorf("opened again: %v, %v", second.All(), err)
	}
	if err := second.Clear(); err != nil || len(openProblems(t, dir, false).All()) != 0 {
		t.Errorf("cleared: %v, %v", second.All(), err)
	}
	second.add(want[0], true)
	if got := openProblems(t, dir, true).All(); len(got) != 0 {
		t.Errorf("of a snapshot that is loaded again: %v", got)
	}
	if err := b.problems.Saved(); err != nil {
		t.Error(err)
	}
}

// TestProblemsDamaged: a tail that a crash has cut off is dropped, and anything else that was not written is an error.
func TestProblemsDamaged(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(whole []byte) []byte
		left   int // problems; -1: an error
	}{
		{"whole", func(b []byte) []byte { return b }, 2},
		{"no file", func([]byte) []byte { return nil }, 0},
		{"the last record is cut off", func(b []byte) []byte { return b[:len(b)-1] }, 1},
		{"zeros behind the last record", func(b []byte) []byte { return append(b, make([]byte, 100)...) }, 2},
		{"another byte", func(b []byte) []byte { b[20] ^= 1; return b }, -1},
		{"another magic", func(b []byte) []byte { b[0] ^= 1; return b }, -1},
		{"a name that is no problem", nil, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "problems")
			p := openProblems(t, dir, false)
			p.add(Problem{Key: "first"}, true)
			p.add(Problem{Key: "second"}, true)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if c.damage == nil {
				l, err := keylist.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(l.Add(keyspace.Key{Name: "no JSON"}), l.Close()); err != nil {
					t.Fatal(err)
				}
			} else if data, err := os.ReadFile(path); err != nil {
				t.Fatal(err)
			} else if err := os.WriteFile(path, c.damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			again := &Problems{}
			err := again.Open(dir, false)
			defer again.Close()
			if c.left < 0 {
				if !errors.Is(err, keylist.ErrDamaged) {
					t.Errorf("%v, %v", again.All(), err)
				}
				return
			}
			if got := again.All(); err != nil || len(got) != c.left {
				t.Errorf("%v, %v, want %d", got, err, c.left)
			}
		})
	}
}

// TestReportedIsMended: a new snapshot has the effect of commands that were not applied, in this run and before.
func TestReportedIsMended(t *testing.T) {
	b := New(slog.New(slog.DiscardHandler), &keyspace.Filter{}, func() string { return "" }, &Problems{}, Counters{Commands: 3, CommandsReported: 2, CommandsRepaired: 1})
	b.ReportCommand(0, "", "EVAL", "no keys")
	b.MendReported()
	if c := b.AllRuns(); c.CommandsReported != 0 || c.CommandsRepaired != 4 {
		t.Errorf("%+v", c)
	}
}
