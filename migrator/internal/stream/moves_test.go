package stream

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/slots"
)

// follow gives the stream one of two links, which have the two halves of the slots. It returns what it has noted so far.
func (s *testStream) follow(t *testing.T, index int) *slots.Table {
	t.Helper()
	table := slots.New(slots.State{Owned: []keyspace.SlotRanges{{{First: 0, Last: 8191}}, {{First: 8192, Last: 16383}}}}, func(slots.State) error { return nil })
	notes := slots.NewNotes(table)
	if err := notes.Open(filepath.Join(t.TempDir(), "moving")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { notes.Close() })
	s.Scope.Moving = &slots.Link{Table: table, Notes: notes, Index: index}
	return table
}

func (s *testStream) noted(t *testing.T) string {
	t.Helper()
	keys, _, err := s.Scope.Moving.Notes.Cursor().Next(100, func(keyspace.Key) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	return fmt.Sprint(names)
}

// TestMoves: what becomes of a command while slots move. The keys {a}... are in a slot of the link, {x}... in one of the other link, and {b}...
// in a slot of the link that was read again up to offset 1000.
func TestMoves(t *testing.T) {
	const here, there, read = "{b}", "{x}", "{c}"
	for _, c := range []struct {
		name, why, command string
		end                int64
		moving             bool   // the slot of {b} moves already
		settled            bool   // the command is done with
		noted              string // names
		begun              string // slots that move afterwards besides
		reported           bool
	}{
		{name: "of the link", command: "SET " + here + "k v", end: 500},
		{name: "of the other link", why: "it is a sign", command: "SET " + there + "k v", end: 500, settled: true, noted: there + "k", begun: there},
		{name: "of a slot that moves", command: "SET " + here + "k v", end: 500, moving: true, settled: true, noted: here + "k"},
		{name: "of a slot that was read again", why: "the copy contains it", command: "SET " + read + "k v", end: 1000, settled: true},
		{name: "behind that point", command: "SET " + read + "k v", end: 1001},
		{name: "several keys of a slot that moves", command: "RENAME " + here + "k " + here + "l", end: 500, moving: true, settled: true, noted: here + "k " + here + "l"},
		{name: "a script over two slots, one of which moves", why: "it cannot be taken apart", command: "EVAL x 2 " + here + "k " + there + "l", end: 500, settled: true,
			noted: there + "l " + here + "k", begun: here + there},
		{name: "of a link that owns the slot, brought by a move", command: "RESTORE-ASKING " + here + "k 0 x", end: 500, settled: true, noted: here + "k", begun: here},
		{name: "a whole move", command: "TRIMSLOTS RANGES 1 3 5", end: 500, settled: true, begun: "3-5"},
		{name: "a whole move that names no slots", why: "all of the link's are read again, but for what the copies contain", command: "CLUSTER SYNCSLOTS ESTABLISH", end: 500, settled: true, begun: "all"},
		{name: "without keys", command: "PUBLISH c v", end: 500, moving: true},
		{name: "a script without keys, and nothing moves", command: "EVAL x 0", end: 500},
		{name: "a script without keys", why: "it may have written keys of the slot that moves", command: "EVAL x 0", end: 500, moving: true, settled: true, reported: true},
		{name: "an unknown command", command: "NEVERHEARD k", end: 500, moving: true, settled: true, reported: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestStream(t)
			table := l.follow(t, 0)
			l.Scope.Moving.Index = 0
			slotOf := func(tag string) uint16 { return l.Scope.SourceSlot(keyspace.Key{Name: tag}) }
			for _, owned := range []struct {
				tag  string
				link int
			}{{here, 0}, {there, 1}, {read, 0}} {
				s := slotOf(owned.tag)
				if err := table.Begin([]uint16{s}, false); err != nil {
					t.Fatal(err)
				}
				at := int64(0)
				if owned.tag == read {
					at = 1000
				}
				if err := table.Attempt([]uint16{s}, owned.link).Settle(at, []int64{at, at}); err != nil {
					t.Fatal(err)
				}
			}
			if c.moving {
				if err := table.Begin([]uint16{slotOf(here)}, false); err != nil {
					t.Fatal(err)
				}
			}
			before := len(table.Moving())
			d := newTestDispatcher(l, nil)
			cmd := sourceCommand{end: c.end, args: bytes.Fields([]byte(c.command))}
			settled, err := d.planner.moves(&cmd)
			if err != nil || settled != c.settled {
				t.Fatalf("settled %v, %v, want %v (%s)", settled, err, c.settled, c.why)
			}
			if got := l.noted(t); got != "["+c.noted+"]" {
				t.Errorf("noted %s, want %s (%s)", got, c.noted, c.why)
			}
			want := map[string]int{"": 0, here: 1, there: 1, here + there: 2, "3-5": 3, "all": len(slotsOf(table, 0)) - 1}[c.begun]
			if got := len(table.Moving()) - before; got != want {
				t.Errorf("%d slots have begun to move, want %d (%s)", got, want, c.why)
			}
			if got := l.Ledger.Reported.Load() > 0; got != c.reported {
				t.Errorf("reported %v, want %v (%s)", got, c.reported, c.why)
			}
		})
	}
}

func slotsOf(table *slots.Table, link int) (of []uint16) {
	for s := range table.Owned(link).All() {
		of = append(of, s)
	}
	return of
}

// TestPlainOfASlotThatMoves: a command in a series is judged as any other, and at no cost.
func TestPlainOfASlotThatMoves(t *testing.T) {
	l := newTestStream(t)
	table := l.follow(t, 0)
	d := newTestDispatcher(l, nil)
	c := sourceOf(t, 0, "SET", "k", "v")
	slot := l.Scope.SourceSlot(keyspace.Key{Name: "k"})
	l.Scope.Moving.Index = int(slot / 8192)
	if _, ok := d.planner.plain(&c); !ok {
		t.Fatal("a command for a slot of the link is not plain")
	}
	if n := testing.AllocsPerRun(100, func() { d.planner.plain(&c) }); n > 0 {
		t.Errorf("%v allocations for each command", n)
	}
	if err := table.Begin([]uint16{slot}, false); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.planner.plain(&c); ok {
		t.Error("a command for a slot that moves is plain")
	}
	c = sourceOf(t, 0, "RESTORE-ASKING", "other", "0", "x")
	if _, ok := d.planner.plain(&c); ok {
		t.Error("a command that brings a key into a slot that moves is plain")
	}
}

// TestCopiesOfASlotThatMoves: a key in doubt is not read from the link's shard while its slot moves, nor once another link has read it.
func TestCopiesOfASlotThatMoves(t *testing.T) {
	l := newTestStream(t)
	table := l.follow(t, 0)
	d := newTestDispatcher(l, nil)
	k := keyspace.Key{Name: "k"}
	slot := l.Scope.SourceSlot(k)
	if err := table.Begin([]uint16{slot}, false); err != nil {
		t.Fatal(err)
	}
	l.Doubts.tainted[k] = true
	if lost, err := d.copies.copyKeys(t.Context(), []keyspace.Key{k}, 10); err != nil || len(lost) > 0 {
		t.Fatal(lost, err)
	}
	if got := l.noted(t); got != "[k]" || len(l.Doubts.tainted) > 0 {
		t.Errorf("noted %s, in doubt %v", got, l.Doubts.tainted)
	}
	if err := table.Attempt([]uint16{slot}, 1).Settle(10, []int64{10, 10}); err != nil {
		t.Fatal(err)
	}
	if ours, err := d.copies.ours([]keyspace.Key{k}); err != nil || len(ours) > 0 {
		t.Errorf("%v is read from a shard that does not have it, %v", ours, err)
	}
	if got, err := d.releases.readOwn(t.Context(), []keyspace.Key{k}); err != nil || len(got) > 0 {
		t.Errorf("the expiry of %v is read from a shard that does not have it, %v", got, err)
	}
}

// TestErrands: what is done between two commands sees a stream that stands still, and ends with it.
func TestErrands(t *testing.T) {
	l := newTestStream(t)
	d := newTestDispatcher(l, nil)
	s := &Stream{Config: l.Config, dispatcher: d}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for _, want := range []error{nil, slots.ErrMovesAgain} {
			if err := d.attend(ctx, <-d.errands); err != nil {
				t.Errorf("an errand that ends with %v ends the stream: %v", want, err)
			}
		}
		close(d.over)
	}()
	done := false
	if err := s.dispatcher.between(ctx, func(context.Context) error { done = true; return nil }); err != nil || !done {
		t.Errorf("done %v, %v", done, err)
	}
	if err := s.Adopt(ctx, func() ([]keyspace.Key, error) { return nil, nil }, func(int64) error { return slots.ErrMovesAgain }); err == nil {
		t.Error("a slot that moves again is adopted")
	}
	if err := s.Copy(ctx, nil); err == nil {
		t.Error("a stream that is over copies")
	}
	cancel()
}
