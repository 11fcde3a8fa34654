package waiting

import (
	"testing"
	"time"
)

func TestBook(t *testing.T) {
	var b Book
	at := func(second int) time.Time { return time.Date(2026, 1, 2, 3, 4, second, 0, time.Local) }
	first, second, third := b.New("link 0", "source"), b.New("the migration", "target"), b.New("the migration", "target")
	if len(b.Waits()) != 0 {
		t.Error("nobody waits yet")
	}
	second.Failed("refused", at(9))
	third.Failed("no answer", at(7))
	first.Beside().Failed("no answer", at(8))
	second.Failed("again", at(20))
	if got := b.Waits(); len(got) != 3 {
		t.Errorf("a wait hides another of the same pair, which may be at work: %v", got)
	}
	got := Longest(b.Waits())
	if len(got) != 2 || got[0].String() != "the migration waits for target since 03:04:07 (no answer)" || !got[1].Aside || got[0].Aside {
		t.Errorf("%v", got)
	}
	third.Over()
	if got = Longest(b.Waits()); len(got) != 2 || got[1].String() != "the migration waits for target since 03:04:09 (again)" {
		t.Errorf("after one is over: %v", got)
	}
	second.Over()
	second.Failed("anew", at(30))
	first.Over()
	if got = Longest(b.Waits()); len(got) != 1 || got[0].Since != at(30) {
		t.Errorf("another wait of the same: %v", got)
	}
	first.Asked("a:1")
	if got = Longest(b.Waits()); len(got) != 2 || got[1].Node != "a:1" {
		t.Errorf("asked: %v", got)
	}
	first.Failed("no answer", at(31))
	first.Asked("a:1")
	if got = Longest(b.Waits()); len(got) != 2 || got[1].Node != "" || got[1].Since != at(31) {
		t.Errorf("failed, and asked again: %v", got)
	}
	var none *Book
	none.New("a", "b").Failed("c", at(1))
	none.New("a", "b").Over()
	if none.Waits() != nil {
		t.Error("a nil book holds waits")
	}
}
