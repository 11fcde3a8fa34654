package slots

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
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

	settled atomic.Pointer[[]holder] // by slot, for Applies
	anyMove atomic.Bool              // some slot moves
}

type slot struct {
	owner          int
	moving, marked bool
}

type place struct {
	link int
	slot uint16
}

// holder is the link that applies the commands of a slot, and the point behind which it does.
type holder struct {
	link  int32 // None while the slot moves
	point int64
}

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

// Applies says whether a link applies a command for a key of a slot, which ends at an offset of the link's stream. It takes no lock, and no
// sign from the question.
func (t *Table) Applies(link int, s uint16, end int64) bool {
	at := (*t.settled.Load())[s]
	return int(at.link) == link && end > at.point
}

// Owns says whether a link owns a slot, which does not move.
func (t *Table) Owns(link int, s uint16) bool { return int((*t.settled.Load())[s].link) == link }

// Judge returns what a link does with a command for a key of a slot, which ends at an offset of the link's stream. If the command is a sign
// that the slot moves, that is durable when Judge returns.
func (t *Table) Judge(link int, s uint16, end int64) (Verdict, error) {
	if t.Applies(link, s, end) {
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

// Begin notes that slots move, or may move, and breaks attempts to settle them. marked says that the notes of the links may lack keys of
// them that were deleted.
func (t *Table) Begin(slots []uint16, marked bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.begin(slots, marked)
}

// Mark marks every slot that moves, and breaks all attempts.
func (t *Table) Mark() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mark()
}

// Break breaks all attempts.
func (t *Table) Break() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.attempts {
		a.broken = true
	}
}

func (t *Table) mark() error {
	var moving []uint16
	for s, at := range t.slots {
		if at.moving {
			moving = append(moving, uint16(s))
		}
	}
	return t.begin(moving, true)
}

// BeginAnew notes that a link begins a new stream with a snapshot: its points are void. If that replaces an earlier stream, the notes of
// the link have a gap, so that every slot that moves is marked.
func (t *Table) BeginAnew(link int, gap bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.points {
		if p.link == link {
			delete(t.points, p)
		}
	}
	if gap {
		if err := t.mark(); err != nil {
			return err
		}
	}
	for _, a := range t.attempts {
		a.broken = true
	}
	t.publish()
	return t.write()
}

// BeginAgain notes that the target may have lost copies of slots that were read again: these slots move once more. They are marked, and so
// is what moves already, since the target may have lost deletions as well.
func (t *Table) BeginAgain() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	again := map[uint16]bool{}
	for p := range t.points {
		again[p.slot] = true
	}
	for s, at := range t.slots {
		if at.moving {
			again[uint16(s)] = true
		}
	}
	for _, a := range t.attempts {
		a.broken = true
	}
	return t.begin(slices.Sorted(maps.Keys(again)), true)
}

// Resume notes that a link goes on behind an offset, which the target holds as the last that was applied. If that lies before a point of a
// slot that the link owns, the target may have lost the copies of the slot: it moves once more. So it is at the point itself, where the
// offset may be older than the copies. marked says that the target may be asked which keys it has besides.
func (t *Table) Resume(link int, offset int64, marked bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var again []uint16
	for p, point := range t.points {
		if p.link == link && t.slots[p.slot].owner == link && point >= offset {
			again = append(again, p.slot)
		}
	}
	return t.begin(again, marked)
}

// Contains says whether the copies of a slot contain the commands of a link up to an offset.
func (t *Table) Contains(link int, s uint16, end int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return end <= t.points[place{link, s}]
}

// See compares slots with what the cluster shows of them: which link's shard has each (None: none has), and whether its keys are being
// moved.
func (t *Table) See(owners map[uint16]int, underWay map[uint16]bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var begun []uint16
	for s, owner := range owners {
		moves := underWay[s]
		if a := t.attempts[s]; a != nil && (moves || owner != a.owner) {
			a.broken = true
		}
		if at := t.slots[s]; !at.moving && (moves || at.owner != owner) {
			begun = append(begun, s)
		}
	}
	return t.begin(begun, false)
}

// begin changes nothing if what it changes cannot be made durable.
func (t *Table) begin(slots []uint16, marked bool) error {
	changed := false
	before := map[uint16]slot{}
	for _, s := range slots {
		at := &t.slots[s]
		if !at.moving || marked && !at.marked {
			before[s], changed = *at, true
		}
		at.moving, at.marked = true, at.marked || marked
		if a := t.attempts[s]; a != nil {
			a.broken = true
		}
	}
	if !changed {
		return nil
	}
	if err := t.write(); err != nil {
		for s, at := range before {
			t.slots[s] = at
		}
		return err
	}
	t.publish()
	return nil
}

// Moving returns the slots that move, and says of each whether it is marked.
func (t *Table) Moving() (moving map[uint16]bool) {
	moving = map[uint16]bool{}
	if t.Settled() {
		return moving
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for s, at := range t.slots {
		if at.moving {
			moving[uint16(s)] = at.marked
		}
	}
	return moving
}

func (t *Table) moves(s uint16) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.slots[s].moving
}

// Settled says whether no slot moves.
func (t *Table) Settled() bool { return !t.anyMove.Load() }

// Owned returns the slots that a link owns, or owned before they began to move.
func (t *Table) Owned(link int) (owned keyspace.SlotRanges) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s, at := range t.slots {
		if at.owner == link {
			owned = appendSlot(owned, uint16(s))
		}
	}
	return owned
}

// Links returns the number of links.
func (t *Table) Links() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.links
}

// Join adds a link, which owns no slot, and returns its index.
func (t *Table) Join() (link int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.links++
	return t.links - 1, t.write()
}

// Attempt is the reading again of slots for one owner. A sign that comes in between breaks it. It begins before the cluster is asked
// whether it has settled, so that no sign after that is missed.
type Attempt struct {
	table  *Table
	slots  []uint16
	owner  int
	broken bool          // guarded by table.mu
	last   map[int]int64 // by link: end of the last command that was noted; guarded by table.mu
}

func (a *Attempt) noted(link int, end int64) { a.last[link] = max(a.last[link], end) }

// Broken says whether there was a sign since the attempt began, so that it cannot settle its slots any more.
func (a *Attempt) Broken() bool {
	a.table.mu.Lock()
	defer a.table.mu.Unlock()
	return a.broken
}

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
	if err := t.write(); err != nil {
		return err
	}
	t.publish()
	return nil
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

// publish brings up to date what is read without a lock.
func (t *Table) publish() {
	settled, move := make([]holder, len(t.slots)), false
	for s, at := range t.slots {
		settled[s] = holder{link: None}
		if move = move || at.moving; !at.moving && at.owner != None {
			settled[s] = holder{int32(at.owner), t.points[place{at.owner, uint16(s)}]}
		}
	}
	t.settled.Store(&settled)
	t.anyMove.Store(move)
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
