package slots

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"surecut/internal/keyspace"
)

// None is the owner of a slot that belongs to no link.
const None = -1

// Verdict says what a link does with a command for a key of a slot.
type Verdict uint8

const (
	Apply Verdict = iota // the link owns the slot
	Note                 // the slot moves: the keys of the command are noted, and nothing is applied
	Skip                 // the copies of the slot contain the command
)

// State is what a Table keeps on disk.
type State struct {
	Owned  []keyspace.SlotRanges `json:"owned"`            // by link
	Moving keyspace.SlotRanges   `json:"moving,omitempty"` // slots that move
	Marked keyspace.SlotRanges   `json:"marked,omitempty"` // those of them whose notes may lack keys
	Points []Point               `json:"points,omitempty"`
}

// Point says that the copies of some slots contain the commands of a link's stream up to an offset.
type Point struct {
	Link  int                 `json:"link"`
	Slots keyspace.SlotRanges `json:"slots"`
	At    int64               `json:"at"`
}

// Table says for each slot of a source cluster which link applies its commands. It is safe for concurrent use.
type Table struct {
	save func(State) error // returns once the state is durable

	mu       sync.Mutex
	links    int
	slots    []slot
	points   map[place]int64
	attempts map[uint16]*Attempt

	settled atomic.Pointer[[]uint8] // for Judge: the owner of each slot that has no point and does not move, else unsettled
}

type slot struct {
	owner          int
	moving, marked bool
}

type place struct {
	link int
	slot uint16
}

// unsettled stands in Table.settled for a slot of which only the table itself tells.
const unsettled = 255

// New returns the table of a state. save must return only once the state that it is given is durable.
func New(from State, save func(State) error) *Table { return newTable(from, save, keyspace.Slots) }

func newTable(from State, save func(State) error, slots int) *Table {
	t := &Table{save: save, links: len(from.Owned), slots: make([]slot, slots), points: map[place]int64{}, attempts: map[uint16]*Attempt{}}
	for s := range t.slots {
		t.slots[s].owner = None
	}
	for i, ranges := range from.Owned {
		for s := range ranges.All() {
			t.slots[s].owner = i
		}
	}
	for s := range from.Moving.All() {
		t.slots[s].moving = true
	}
	for s := range from.Marked.All() {
		t.slots[s].marked = true
	}
	for _, p := range from.Points {
		for s := range p.Slots.All() {
			t.points[place{p.Link, s}] = p.At
		}
	}
	t.publish()
	return t
}

// Judge returns what a link does with a command for a key of a slot, which ends at an offset of the link's stream. If the command is a sign
// that the slot moves, that is durable when Judge returns.
func (t *Table) Judge(link int, s uint16, end int64) (Verdict, error) {
	if owner := (*t.settled.Load())[s]; int(owner) == link && owner != unsettled {
		return Apply, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch at := &t.slots[s]; {
	case at.moving:
		if a := t.attempts[s]; a != nil {
			a.noted(link, end)
		}
		return Note, nil
	case end <= t.points[place{link, s}]:
		return Skip, nil
	case at.owner == link:
		return Apply, nil
	}
	return Note, t.begin([]uint16{s}, false)
}

// Begin notes that slots move, or may move, and breaks attempts to settle them. marked says that the notes of the links may lack keys of them
// that were deleted.
func (t *Table) Begin(slots []uint16, marked bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.begin(slots, marked)
}

func (t *Table) begin(slots []uint16, marked bool) error {
	changed := false
	for _, s := range slots {
		at := &t.slots[s]
		changed = changed || !at.moving || marked && !at.marked
		at.moving, at.marked = true, at.marked || marked
		if a := t.attempts[s]; a != nil {
			a.broken = true
		}
	}
	if !changed {
		return nil
	}
	t.publish()
	return t.write()
}

// See compares a slot with what the cluster shows: which link's shard has it (None: none has), and whether its keys are being moved.
func (t *Table) See(s uint16, owner int, underWay bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.attempts[s]; a != nil && (underWay || owner != a.owner) {
		a.broken = true
	}
	if at := t.slots[s]; at.moving || !underWay && at.owner == owner {
		return nil
	}
	return t.begin([]uint16{s}, false)
}

// Moving returns the slots that move, and says of each whether it is marked.
func (t *Table) Moving() (moving map[uint16]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	moving = map[uint16]bool{}
	for s, at := range t.slots {
		if at.moving {
			moving[uint16(s)] = at.marked
		}
	}
	return moving
}

// Settled says whether no slot moves.
func (t *Table) Settled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !slices.ContainsFunc(t.slots, func(at slot) bool { return at.moving })
}

// Owner returns the link that owns a slot; None: no link does, or the slot moves.
func (t *Table) Owner(s uint16) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slots[s].moving {
		return None
	}
	return t.slots[s].owner
}

// Join adds a link, which owns no slot, and returns its index.
func (t *Table) Join() (link int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.links++
	return t.links - 1, t.write()
}

// Attempt is the reading again of slots for one owner. A sign that comes in between breaks it. It begins before the cluster is asked whether
// it has settled, so that no sign after that is missed.
type Attempt struct {
	table  *Table
	slots  []uint16
	owner  int
	broken bool          // guarded by table.mu
	last   map[int]int64 // by link: end of the last command that was noted; guarded by table.mu
}

func (a *Attempt) noted(link int, end int64) { a.last[link] = max(a.last[link], end) }

// Attempt begins to read slots again, which all move, for an owner.
func (t *Table) Attempt(slots []uint16, owner int) *Attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := &Attempt{table: t, slots: slots, owner: owner, last: map[int]int64{}}
	for _, s := range slots {
		t.attempts[s] = a
	}
	return a
}

// ErrMovesAgain says that a slot has begun to move once more while it was read again.
var ErrMovesAgain = errors.New("a slot moves again")

// Settle gives the slots to their owner, whose stream stands at an offset: all of their keys were read again. stood holds for each link the
// offset at which its primary stood after the cluster had settled; each link has come that far. From here on the owner's link applies what
// comes behind its offset. Settle fails with ErrMovesAgain if there was a sign since the attempt began.
func (a *Attempt) Settle(at int64, stood []int64) error {
	t := a.table
	t.mu.Lock()
	defer t.mu.Unlock()
	defer a.end()
	if a.broken || len(stood) < t.links {
		return ErrMovesAgain
	}
	for _, s := range a.slots {
		if t.attempts[s] != a {
			return ErrMovesAgain
		}
	}
	for link, end := range a.last {
		if link != a.owner && end > stood[link] {
			return ErrMovesAgain
		}
	}
	for _, s := range a.slots {
		t.slots[s] = slot{owner: a.owner}
		for link := range t.links {
			p := place{link, s}
			t.points[p] = max(t.points[p], stood[link])
			if link == a.owner {
				t.points[p] = max(t.points[p], at)
			}
		}
	}
	t.publish()
	return t.write()
}

// GiveUp ends an attempt without a result.
func (a *Attempt) GiveUp() {
	a.table.mu.Lock()
	defer a.table.mu.Unlock()
	a.end()
}

func (a *Attempt) end() {
	for _, s := range a.slots {
		if a.table.attempts[s] == a {
			delete(a.table.attempts, s)
		}
	}
}

// publish brings settled up to date.
func (t *Table) publish() {
	settled := make([]uint8, len(t.slots))
	for s, at := range t.slots {
		settled[s] = unsettled
		if !at.moving && at.owner >= 0 && at.owner < unsettled {
			settled[s] = uint8(at.owner)
		}
	}
	for p := range t.points {
		if t.slots[p.slot].owner == p.link {
			settled[p.slot] = unsettled
		}
	}
	t.settled.Store(&settled)
}

func (t *Table) write() error {
	if err := t.save(t.state()); err != nil {
		return fmt.Errorf("save which slots move: %w", err)
	}
	return nil
}

func (t *Table) state() State {
	st := State{Owned: make([]keyspace.SlotRanges, t.links)}
	for s, at := range t.slots {
		if at.owner >= 0 {
			st.Owned[at.owner] = appendSlot(st.Owned[at.owner], uint16(s))
		}
		if at.moving {
			st.Moving = appendSlot(st.Moving, uint16(s))
		}
		if at.marked {
			st.Marked = appendSlot(st.Marked, uint16(s))
		}
	}
	for link := range t.links {
		byOffset := map[int64]keyspace.SlotRanges{}
		for s := range t.slots {
			if at, known := t.points[place{link, uint16(s)}]; known {
				byOffset[at] = appendSlot(byOffset[at], uint16(s))
			}
		}
		for at, ranges := range byOffset {
			st.Points = append(st.Points, Point{link, ranges, at})
		}
	}
	slices.SortFunc(st.Points, func(a, b Point) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), cmp.Compare(a.At, b.At))
	})
	return st
}

// appendSlot adds a slot behind those of ranges.
func appendSlot(ranges keyspace.SlotRanges, s uint16) keyspace.SlotRanges {
	if last := len(ranges) - 1; last >= 0 && int(ranges[last].Last)+1 == int(s) {
		ranges[last].Last = s
		return ranges
	}
	return append(ranges, keyspace.SlotRange{First: s, Last: s})
}
