package stream

import (
	"math"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
)

// ahead knows what the target has already of that which is still to be dispatched: commands that an earlier run has applied, and keys that
// were copied as of a later offset.
type ahead struct {
	target     *target.Target
	resumed    map[target.Unit]int64  // offsets of the units that were ahead of the link's checkpoint when the run began
	resumedEnd int64                  // the highest offset in resumed; 0: every unit has been passed
	witnessed  map[target.Unit]int64  // offset of each unit before the last transaction of an earlier run
	fences     map[keyspace.Key]int64 // keys, as scope names them, that were copied as of an offset ahead of what is dispatched
	fenceEnd   int64                  // no fence is below this offset
}

func newAhead(t *target.Target, cp *target.Checkpoint) *ahead {
	a := &ahead{target: t, resumed: map[target.Unit]int64{}, witnessed: cp.Witnessed, fences: map[keyspace.Key]int64{}}
	for _, offsets := range []map[target.Unit]int64{cp.Units, cp.Recorded} {
		for u, offset := range offsets {
			if offset > cp.Offset {
				a.resumed[u] = max(a.resumed[u], offset)
				a.resumedEnd = max(a.resumedEnd, offset)
			}
		}
	}
	for k, offset := range cp.Fences {
		if offset > cp.Offset {
			a.fences[k] = offset
		}
	}
	return a
}

// nothing says that the target has nothing of what is still to be dispatched.
func (a *ahead) nothing() bool { return a.resumedEnd == 0 && len(a.fences) == 0 }

// applied says whether an earlier run has already applied the command that ends at an offset to a slot.
func (a *ahead) applied(slot uint16, end int64) bool {
	return a.resumedEnd > 0 && end <= a.resumed[a.target.UnitOf(slot)]
}

// unwitnessed says whether an earlier run has applied a command in the last transaction of its unit, whose replies it may not have seen.
func (a *ahead) unwitnessed(slot uint16, end int64) bool {
	return a.applied(slot, end) && end > a.witnessed[a.target.UnitOf(slot)]
}

// wanted says whether a command is still to be applied to a key. It is not where an earlier run has applied it, or where a copy of the key
// already has its effect.
func (a *ahead) wanted(c *sourceCommand, name string, slot uint16) bool {
	if a.applied(slot, c.end) {
		return false
	}
	return len(a.fences) == 0 || a.fences[keyspace.Key{DB: c.db, Name: name}] < c.end
}

// fence notes that a key was copied as of an offset.
func (a *ahead) fence(k keyspace.Key, offset int64) {
	a.fences[k] = offset
	a.fenceEnd = min(a.fenceEnd, offset)
}

// lastFence returns the furthest offset as of which a key was copied; 0: no copy is ahead of what is dispatched.
func (a *ahead) lastFence() int64 {
	last := int64(0)
	for _, offset := range a.fences {
		last = max(last, offset)
	}
	return last
}

// fenced returns the units that hold fences.
func (a *ahead) fenced() map[target.Unit]bool {
	units := map[target.Unit]bool{}
	for k := range a.fences {
		units[a.target.UnitOf(a.target.Slot(k.Name))] = true
	}
	return units
}

// aheadOf returns the keys that were copied as of a later offset than this one.
func (a *ahead) aheadOf(offset int64) (keys []keyspace.Key) {
	for k, at := range a.fences {
		if at > offset {
			keys = append(keys, k)
		}
	}
	return keys
}

// prune forgets the resumed units, and the fences, that the stream has passed at an offset. It returns these fences.
func (a *ahead) prune(offset int64) (passed map[keyspace.Key]int64) {
	if a.resumedEnd > 0 && offset >= a.resumedEnd {
		clear(a.resumed)
		a.resumedEnd = 0
	}
	if offset < a.fenceEnd {
		return nil
	}
	passed = map[keyspace.Key]int64{}
	a.fenceEnd = math.MaxInt64
	for k, end := range a.fences {
		if end > offset {
			a.fenceEnd = min(a.fenceEnd, end)
			continue
		}
		delete(a.fences, k)
		passed[k] = end
	}
	return passed
}
