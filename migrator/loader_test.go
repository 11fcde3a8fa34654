package migrator

import (
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sync/semaphore"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/resp"
)

// snapshotOf is a snapshot of short strings: names, each with its text behind it.
type snapshotOf []string

func (s *snapshotOf) Next() (*rdb.Entry, error) {
	if len(*s) == 0 {
		return nil, io.EOF
	}
	name, text := (*s)[0], (*s)[1]
	*s = (*s)[2:]
	return &rdb.Entry{Kind: rdb.KindKey, Key: []byte(name), Type: rdb.TypeString, Raw: append([]byte{byte(len(text))}, text...), Idle: -1, Freq: -1}, nil
}

func (*snapshotOf) Walk(keyspace.Visitor) error { return errors.New("no value is that large") }

func (*snapshotOf) Consumed() int64 { return 0 }

// TestLoaderMeetsKeys: what becomes of keys that the target has already, and how that is counted.
func TestLoaderMeetsKeys(t *testing.T) {
	for _, c := range []struct {
		name, why     string
		on            string
		again         bool // an earlier run may have loaded some of the snapshot
		empty         bool // the target was, when the migration began
		old           string
		applied, kept int64
		fails         string
	}{
		{name: "replace", on: ExistingReplace, old: "new", applied: 2},
		{name: "keep", on: ExistingKeep, old: "old", applied: 1, kept: 1},
		{name: "fail", why: "a key of somebody else's is not touched", on: ExistingFail, old: "old", fails: "exists already"},
		{name: "load again", why: "no key can be anybody else's", on: ExistingFail, again: true, empty: true, old: "new", applied: 2},
		{name: "load again among others", why: "nobody knows whose key it is", on: ExistingFail, again: true, old: "old", fails: "exists already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestLink(t)
			m := inMemory(l.m.target)
			m.keys[keyspace.Key{Name: "a"}] = memoryValue{text: "old"}
			l.m.cfg.OnExisting, l.m.state.TargetWasEmpty = c.on, c.empty
			err := (&loader{l: l, replace: c.again}).load(t.Context(), &snapshotOf{"a", "new", "b", "new"})
			if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: %v", c.why, err)
			}
			if got := m.text("a"); got != c.old {
				t.Errorf("%s: the key holds %q, want %q", c.why, got, c.old)
			}
			if applied, kept := l.ledger.SnapshotApplied.Load(), l.ledger.SnapshotKept.Load(); err == nil && (applied != c.applied || kept != c.kept) {
				t.Errorf("%d applied and %d kept, want %d and %d", applied, kept, c.applied, c.kept)
			}
		})
	}
}

// TestLoaderBuildsWhatIsRefused: a payload that the target does not take is built by commands; what cannot be built is reported.
func TestLoaderBuildsWhatIsRefused(t *testing.T) {
	l := newTestLink(t)
	m := inMemory(l.m.target)
	m.noPayloads = resp.Error("ERR Bad data format")
	if err := (&loader{l: l}).load(t.Context(), &snapshotOf{"a", "text"}); err != nil {
		t.Fatal(err)
	}
	if got := m.text("a"); got != "text" || l.ledger.SnapshotApplied.Load() != 1 {
		t.Errorf("the key holds %q, %d applied", got, l.ledger.SnapshotApplied.Load())
	}
	m.noCommands = resp.Error("ERR unknown command")
	if err := (&loader{l: l}).load(t.Context(), &snapshotOf{"b", "text"}); err != nil {
		t.Fatal(err)
	}
	if n := len(l.m.problems.All()); n != 1 || l.m.problems.All()[0].Key != "b" || l.ledger.SnapshotReported.Load() != 1 {
		t.Errorf("%d problems: %+v", n, l.m.problems.All())
	}
}

// TestLoaderLetsGoOfLargeValues: the room of a large value is not kept for the small ones behind it.
func TestLoaderLetsGoOfLargeValues(t *testing.T) {
	l := newTestLink(t)
	ld := &loader{l: l, work: make(chan *batch, 2), spare: make(chan *batch, 2), held: semaphore.NewWeighted(1)}
	ld.work <- &batch{payload: make([]byte, 0, 8<<20)}
	ld.work <- &batch{payload: make([]byte, 0, loadBatchBytes)}
	close(ld.work)
	inMemory(l.m.target)
	if err := ld.worker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b := <-ld.spare; len(ld.spare) > 0 || cap(b.payload) > loadBatchBytes {
		t.Errorf("a batch of %d bytes is kept", cap(b.payload))
	}
}
