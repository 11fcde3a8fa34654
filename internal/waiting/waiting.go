// Package waiting knows what is waited for at present: who waits for whom, since when, and why.
//
// Its invariant: a wait is in the Book from its first failure until it is over, however often it is tried again meanwhile.
//
// The package neither waits nor ends a wait: whoever reads the Book decides what is told, and what takes too long.
package waiting

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Told is one wait.
type Told struct {
	Who, Whom string // "link 0", "source"
	Why       string // the last failure, or what does not come
	Since     time.Time
	Aside     bool // the rest goes on meanwhile, and whoever waits ends by itself

	// Node is asked now, and has not failed yet: it may be at work, so that this is a wait only if the node sends nothing. "": it has failed.
	Node string
}

func (t Told) String() string {
	return fmt.Sprintf("%s waits for %s since %s (%s)", t.Who, t.Whom, t.Since.Format(time.TimeOnly), t.Why)
}

// Book holds the waits of a run. It is safe for concurrent use; a nil Book holds none.
type Book struct {
	mu   sync.Mutex
	open map[*Wait]Told // guarded by mu
}

// Wait is what one goroutine waits for, now and then. It is safe for concurrent use.
type Wait struct {
	book *Book
	told Told
}

// New returns a Wait of who for whom, who does not wait yet.
func (b *Book) New(who, whom string) *Wait { return &Wait{book: b, told: Told{Who: who, Whom: whom}} }

// Beside says that others go on while this is waited for, and that it ends by itself.
func (w *Wait) Beside() *Wait {
	w.told.Aside = true
	return w
}

// Failed notes why it has to be waited; since says when that began, unless it had failed before.
func (w *Wait) Failed(why string, since time.Time) {
	w.note(func(t Told, goesOn bool) Told {
		if !goesOn || t.Node != "" {
			t.Since, t.Node = since, ""
		}
		t.Why = why
		return t
	})
}

// Asked notes that a node is asked from now on, unless it has failed before.
func (w *Wait) Asked(node string) {
	w.note(func(t Told, goesOn bool) Told {
		if !goesOn {
			t.Since, t.Node, t.Why = time.Now(), node, "it has not answered"
		}
		return t
	})
}

func (w *Wait) note(change func(t Told, goesOn bool) Told) {
	if w.book == nil {
		return
	}
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	if w.book.open == nil {
		w.book.open = map[*Wait]Told{}
	}
	t, goesOn := w.book.open[w]
	if !goesOn {
		t = w.told
	}
	w.book.open[w] = change(t, goesOn)
}

// Over notes that it need not be waited any more.
func (w *Wait) Over() {
	if w.book == nil {
		return
	}
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	delete(w.book.open, w)
}

// Waits returns all waits, in no order.
func (b *Book) Waits() []Told {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.open))
}

// Longest sorts waits, the longest first, and keeps only the longest where several wait for the same.
func Longest(all []Told) []Told {
	slices.SortFunc(all, func(a, b Told) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Whom, b.Whom), cmp.Compare(a.Who, b.Who))
	})
	type pair struct{ who, whom string }
	seen := map[pair]bool{}
	return slices.DeleteFunc(all, func(t Told) bool {
		p := pair{t.Who, t.Whom}
		defer func() { seen[p] = true }()
		return seen[p]
	})
}
