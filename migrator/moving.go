package migrator

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"surecut/migrator/internal/slots"
)

// A migration follows slots that move between the shards of a source cluster; docs/moving-slots.md has the rule. A full copy and a source
// that is scanned have no stream by which they could: they stop, see reshard.go.

// follows says whether slots that move are followed.
func (m *Migration) follows() bool {
	return m.slotted && !m.scans() && m.cfg.Mode != ModeFull
}

// newTable returns the table of a state, which is saved with the rest of the state.
func (m *Migration) newTable(from slots.State) *slots.Table {
	m.state.Slots = &from
	return slots.New(from, func(st slots.State) error {
		m.update(func() { m.state.Slots = &st })
		if !m.running.Load() { // a migration that has not begun writes nothing
			return nil
		}
		return m.saveState()
	})
}

func (m *Migration) openNotes() error {
	if err := m.notes.Open(m.notesPath()); err != nil {
		return fmt.Errorf("Config.StateDir: %w", err)
	}
	return nil
}

func (m *Migration) notesPath() string { return filepath.Join(m.cfg.StateDir, "moving") }

// saveNotes makes durable which keys were noted because their slots move.
func (m *Migration) saveNotes() error {
	if m.table == nil {
		return nil
	}
	return m.notes.Save()
}

// movingSlots returns the number of slots of the source that move, or may move because a shard has them that has no link yet.
func (m *Migration) movingSlots() int {
	if m.table == nil {
		return 0
	}
	n := len(m.table.Moving())
	if m.unsure.Load() {
		n = max(n, 1)
	}
	return n
}

// needless returns the indexes of links on which no key depends, since no slot is theirs and none moves.
func (m *Migration) needless() map[int]bool {
	found := map[int]bool{}
	if m.table == nil || m.movingSlots() > 0 {
		return found
	}
	for i := range m.table.Links() {
		found[i] = len(m.table.Owned(i)) == 0
	}
	return found
}

// loadsNothing says whether no slot is the link's, so that nothing of its snapshot is loaded: its shard has joined the source, or has no
// slots.
func (l *link) loadsNothing() bool {
	return l.scope.Moving != nil && len(l.scope.Moving.Table.Owned(l.scope.Moving.Index)) == 0
}

func (m *Migration) slotsThatMove() []uint16 { return slices.Sorted(maps.Keys(m.table.Moving())) }

// stopOnceSettled stops the migration once no slot of the source moves, or when Config.RetryFor has passed.
func (m *Migration) stopOnceSettled() {
	defer m.stopNow()
	ctx, cancel := context.WithTimeout(context.Background(), mostLast)
	defer cancel()
	if err := m.lookTwice(ctx); err != nil { // the source does not answer, which the links tell
		m.cfg.Log.Debug("the slots of the source could not be read before the end", "error", err)
	}
	if m.movingSlots() == 0 || !m.Snapshotted() { // no slot settles before all snapshots are loaded
		return
	}
	m.cfg.Log.Info("the migration ends once the slots that move on the source have settled", "slots", slotList(m.slotsThatMove()), "for_at_most", m.cfg.RetryFor)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(m.cfg.RetryFor); time.Now().Before(until) && m.movingSlots() > 0 && !m.over(); {
		<-tick.C
	}
}

// mostLast is how long the source may take to show its slots before the migration ends.
const mostLast = 5 * time.Second

// over says whether Run has returned.
func (m *Migration) over() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ended
}
