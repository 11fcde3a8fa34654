package migrator

import (
	"maps"
	"sync"
)

// mark is a point of the stream.
type mark struct {
	offset   int64
	db       int   // database that is selected in the stream there
	received int64 // when the command there was received, Unix ms
}

// positions say how far a link has come in the stream: what was handed to the lanes, what they have applied, and which checkpoints the
// target holds.
type positions struct {
	saving sync.Mutex // held while a checkpoint is saved, so that an older one cannot overtake a newer one

	mu         sync.Mutex
	dispatched mark
	saved      mark           // the checkpoint of the link that the target holds; the zero mark: none is known
	units      map[unit]int64 // the furthest checkpoint of each unit that the target has acknowledged
	lanes      []*lane
}

func newPositions() *positions { return &positions{units: map[unit]int64{}} }

// begin sets the positions from which the stream goes on: the link's checkpoint, and those of its units.
func (p *positions) begin(at mark, units map[unit]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.units, units)
	p.dispatched, p.saved = at, at
}

// follow sets the lanes, whose items count as not applied.
func (p *positions) follow(lanes []*lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lanes = lanes
}

// reset forgets all positions.
func (p *positions) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lanes, p.dispatched, p.saved, p.units = nil, mark{}, mark{}, map[unit]int64{}
}

// dispatchedTo returns the point up to which everything was handed to the lanes.
func (p *positions) dispatchedTo() mark {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dispatched
}

func (p *positions) setDispatched(at mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dispatched = at
}

// applied returns the point up to which everything has been applied.
func (p *positions) applied() mark {
	p.mu.Lock()
	at, lanes := p.dispatched, p.lanes // read before the lanes are asked: items that they get meanwhile begin at this point or later
	p.mu.Unlock()
	for _, n := range lanes {
		if it := n.oldest(); it != nil && it.start < at.offset {
			at = mark{offset: it.start, db: it.startDB, received: it.received}
		}
	}
	return at
}

// save calls write to save a checkpoint of the link, unless the one that the target holds is as far. write is given the offset of the
// checkpoint that the target must hold now; -1: it need not hold one.
func (p *positions) save(at mark, write func(saved int64) error) error {
	p.saving.Lock()
	defer p.saving.Unlock()
	p.mu.Lock()
	saved, known := p.saved.offset, p.saved != mark{}
	p.mu.Unlock()
	switch {
	case known && saved >= at.offset:
		return nil
	case !known:
		saved = -1
	}
	if err := write(saved); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.saved.offset < at.offset || p.saved == (mark{}) {
		p.saved = at
	}
	return nil
}

// acknowledge notes checkpoints of units that the target has acknowledged.
func (p *positions) acknowledge(units []unit, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range units {
		p.units[u] = max(p.units[u], end)
	}
}

// acknowledged returns the furthest checkpoint of a unit that the target has acknowledged; 0: none.
func (p *positions) acknowledged(u unit) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.units[u]
}

// savedTo returns the checkpoint of the link that the target holds; the zero mark: none is known.
func (p *positions) savedTo() mark {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saved
}

// acknowledgedUnits returns the furthest checkpoint of every unit that the target has acknowledged.
func (p *positions) acknowledgedUnits() map[unit]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.units)
}

// forgetSettled forgets and returns the units whose checkpoints are not ahead of the link's own, except those in keep.
func (p *positions) forgetSettled(keep map[unit]bool) (units []unit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for u, offset := range p.units {
		if offset <= p.saved.offset && !keep[u] {
			units = append(units, u)
			delete(p.units, u)
		}
	}
	return units
}
