package slots

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
	"surecut/internal/resp"
)

// halves returns the links of two shards, which have the two halves of the slots, with their notes at a path.
func halves(t *testing.T, path string) [2]*Link {
	t.Helper()
	table := New(State{Owned: []keyspace.SlotRanges{{{First: 0, Last: 8191}}, {{First: 8192, Last: 16383}}}}, func(State) error { return nil })
	notes := NewNotes(table)
	if err := notes.Open(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { notes.Close() })
	return [2]*Link{{table, notes, 0}, {table, notes, 1}}
}

// left returns the keys that a cursor still has of one slot.
func left(t *testing.T, c *Cursor) (names []string) {
	t.Helper()
	for {
		keys, over, err := c.Next(2, func(k keyspace.Key) bool { return k.Name != "other" })
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			names = append(names, k.Name)
		}
		if over {
			return names
		}
	}
}

// TestNotes: a key is noted once until the notes are read, and once more when it is written afterwards. They last until every slot has settled.
func TestNotes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "moving")
	l := halves(t, path)
	write := func(link int, name string, end int64, want Verdict) {
		t.Helper()
		if v, err := l[link].Judge(keyspace.Key{Name: name}, 5, end); err != nil || v != want {
			t.Errorf("%s: verdict %v, %v, want %v", name, v, err, want)
		}
	}
	write(0, "a", 10, Apply)
	write(1, "b", 20, Note) // the sign
	write(0, "a", 11, Note)
	write(0, "a", 12, Note)
	write(0, "other", 13, Note)
	c := l[0].Notes.Cursor()
	if got := left(t, c); fmt.Sprint(got) != "[b a]" {
		t.Errorf("noted %v", got)
	}
	write(0, "a", 14, Note)
	if got := left(t, c); fmt.Sprint(got) != "[a]" {
		t.Errorf("noted since %v", got)
	}
	if err := errors.Join(l[0].Notes.Clear(), l[0].Notes.Save()); err != nil {
		t.Fatal(err)
	}
	again := halves(t, path)
	if got := left(t, again[0].Notes.Cursor()); fmt.Sprint(got) != "[b a a]" {
		t.Errorf("after a restart, noted %v", got)
	}
	a := l[0].Table.Attempt([]uint16{5}, 0)
	if err := a.Settle(14, []int64{14, 20}); err != nil {
		t.Fatal(err)
	}
	write(0, "a", 14, Skip)
	write(1, "b", 20, Skip)
	write(0, "a", 15, Apply)
	if err := l[0].Notes.Clear(); err != nil {
		t.Fatal(err)
	}
	if got := left(t, l[0].Notes.Cursor()); len(got) > 0 {
		t.Errorf("nothing moves, and %v are noted", got)
	}
}

// TestLink: what a link loads, reads and takes for a sign.
func TestLink(t *testing.T) {
	l := halves(t, filepath.Join(t.TempDir(), "moving"))
	key := keyspace.Key{Name: "k"}
	loads := func(link int, s uint16, want bool) {
		t.Helper()
		if got, err := l[link].Loads(s); err != nil || got != want {
			t.Errorf("link %d loads slot %d: %v, %v", link, s, got, err)
		}
	}
	doubt := func(link int, s uint16, want bool) {
		t.Helper()
		if got, err := l[link].Doubt(key, s); err != nil || got != want {
			t.Errorf("link %d is to read slot %d: %v, %v", link, s, got, err)
		}
	}
	loads(0, 3, true)
	doubt(0, 3, true)
	doubt(1, 3, false)
	if got := left(t, l[0].Notes.Cursor()); len(got) > 0 || !l[0].Table.Settled() {
		t.Errorf("a key that another link has read is noted: %v", got)
	}
	loads(1, 3, false) // a sign
	loads(0, 3, false)
	doubt(0, 3, false)
	if got := left(t, l[0].Notes.Cursor()); fmt.Sprint(got) != "[k]" {
		t.Errorf("noted %v", got)
	}
	for reply, want := range map[string]bool{"MOVED 7 10.0.0.1:6379": true, "ASK 8 10.0.0.1:6379": true, "CLUSTERDOWN Hash slot not served": false, "MOVED": false} {
		sign, err := l[0].Refused(fmt.Errorf("source x: read 2 keys: %w", resp.Error(reply)))
		if sign != want || err != nil {
			t.Errorf("%s is a sign: %v, %v", reply, sign, err)
		}
	}
	moving := l[0].Table.Moving()
	if _, seven := moving[7]; !seven || len(moving) != 3 {
		t.Errorf("slots that move: %v", moving)
	}
	for _, none := range []error{nil, rueidis.Nil, errors.New("MOVED 9 x")} {
		if sign, err := l[0].Refused(none); sign || err != nil {
			t.Errorf("%v is a sign", none)
		}
	}
	if sign, err := (*Link)(nil).Refused(resp.Error("MOVED 7 x")); sign || err != nil {
		t.Error("a source whose slots are not followed gives a sign")
	}
}

// TestNotSaved: what could not be made durable has not changed.
func TestNotSaved(t *testing.T) {
	full := errors.New("no space left on device")
	var fails error
	table := New(State{Owned: []keyspace.SlotRanges{{{First: 0, Last: 16383}}, nil}}, func(State) error { return fails })
	fails = full
	for name, err := range map[string]error{"Begin": table.Begin([]uint16{1}, true), "See": table.See(map[uint16]int{2: 1}, nil), "BeginAgain of nothing": nil} {
		if err != nil != (name != "BeginAgain of nothing") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := table.Judge(1, 3, 10); !errors.Is(err, full) {
		t.Errorf("Judge: %v", err)
	}
	if !table.Settled() || len(table.Moving()) > 0 {
		t.Errorf("slots move: %v", table.Moving())
	}
}

// TestPointsOfALostStream: the points of a link are void when it begins anew, and copies that the target may have lost are made once more.
func TestPointsOfALostStream(t *testing.T) {
	table := New(State{Owned: []keyspace.SlotRanges{{{First: 0, Last: 16383}}, nil}}, func(State) error { return nil })
	settle := func() {
		t.Helper()
		if err := errors.Join(table.Begin([]uint16{4}, false), table.Attempt([]uint16{4}, 1).Settle(500, []int64{700, 400})); err != nil {
			t.Fatal(err)
		}
	}
	settle()
	if table.Applies(1, 4, 500) || !table.Applies(1, 4, 501) || !table.Owns(1, 4) || table.Owns(0, 4) {
		t.Error("the slot is not the owner's from its point on")
	}
	if err := table.BeginAnew(1, true); err != nil {
		t.Fatal(err)
	}
	if !table.Applies(1, 4, 1) {
		t.Error("an offset of the old stream decides on the new one")
	}
	if v, err := table.Judge(0, 4, 700); v != Skip || err != nil {
		t.Errorf("the other link's point is void as well: %v, %v", v, err)
	}
	if err := table.BeginAgain(); err != nil {
		t.Fatal(err)
	}
	if marked, moves := table.Moving()[4]; !moves || !marked {
		t.Error("a slot whose copies may be lost does not move again")
	}
	for name, breaks := range map[string]func() error{
		"Break": func() error { table.Break(); return nil }, "Mark": table.Mark, "BeginAnew": func() error { return table.BeginAnew(0, false) },
		"See": func() error { return table.See(map[uint16]int{4: 0}, nil) }, "a sign": func() error { return table.Begin([]uint16{4}, false) },
	} {
		a := table.Attempt([]uint16{4}, 1)
		if err := breaks(); err != nil {
			t.Fatal(err)
		}
		if !a.Broken() || !errors.Is(a.Settle(900, []int64{900, 900}), ErrMovesAgain) {
			t.Errorf("%s does not break an attempt", name)
		}
	}
}

// TestKeyThatIsWrittenWhileTheNotesAreRead: it is noted once more, wherever in the list it was.
func TestKeyThatIsWrittenWhileTheNotesAreRead(t *testing.T) {
	l := halves(t, filepath.Join(t.TempDir(), "moving"))
	if err := l[0].Table.Begin([]uint16{5}, false); err != nil {
		t.Fatal(err)
	}
	write := func(i int) {
		t.Helper()
		if _, err := l[0].Judge(keyspace.Key{Name: fmt.Sprint(i)}, 5, 10); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		write(i)
	}
	c := l[0].Notes.Cursor()
	all := func(keyspace.Key) bool { return true }
	if keys, over, err := c.Next(200, all); len(keys) != 200 || over || err != nil {
		t.Fatal(len(keys), over, err)
	}
	write(0)
	write(299)
	keys, over, err := c.Next(1000, all)
	if len(keys) != 101 || !over || err != nil || keys[100].Name != "0" {
		t.Errorf("%d keys, the last of them %v, over %v, %v", len(keys), keys[len(keys)-1], over, err)
	}
}

// TestResume: a target that stands before the copies of a slot may have lost them.
func TestResume(t *testing.T) {
	for offset, again := range map[int64]bool{999: true, 1000: true, 1001: false} {
		table := New(State{Owned: []keyspace.SlotRanges{{{First: 0, Last: 16383}}, nil}}, func(State) error { return nil })
		if err := errors.Join(table.Begin([]uint16{4}, false), table.Attempt([]uint16{4}, 1).Settle(1000, []int64{2000, 900})); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(table.Resume(1, offset, true), table.Resume(0, 3000, true)); err != nil {
			t.Fatal(err)
		}
		if marked, moves := table.Moving()[4]; moves != again || marked != again {
			t.Errorf("at %d the slot moves again: %v, marked %v", offset, moves, marked)
		}
		if !table.Contains(0, 4, 2000) || table.Contains(0, 4, 2001) {
			t.Error("the other link's point is wrong")
		}
	}
}

// TestSee: what the cluster shows of many slots.
func TestSee(t *testing.T) {
	saves := 0
	table := New(State{Owned: []keyspace.SlotRanges{{{First: 0, Last: 8191}}, {{First: 8192, Last: 16383}}}}, func(State) error { saves++; return nil })
	if err := table.See(map[uint16]int{1: 0, 2: 1, 3: 0, 9000: 1}, map[uint16]bool{3: true}); err != nil {
		t.Fatal(err)
	}
	moving := table.Moving()
	if _, two := moving[2]; !two || len(moving) != 2 || saves != 1 {
		t.Errorf("slots that move: %v, saved %d times", moving, saves)
	}
	a := table.Attempt([]uint16{2}, 1)
	if err := table.See(map[uint16]int{2: 1}, nil); err != nil || a.Broken() {
		t.Errorf("a slot that is where it should be breaks the attempt: %v", err)
	}
	if err := table.See(map[uint16]int{2: 0}, nil); err != nil || !a.Broken() {
		t.Errorf("a slot that is elsewhere does not break the attempt: %v", err)
	}
}
