package stream

import (
	"maps"
	"sync"

	"surecut/migrator/internal/target"
)

// Mark is a point of the stream.
type Mark struct {
	Offset   int64
	DB       int   // database that is selected in the stream there
	Received int64 // when the command there was received, Unix ms
}

// Positions say how far a link has come in the stream: what was handed to the lanes, what they have applied, and which checkpoints the
// target holds.
type Positions struct {
	saving sync.Mutex // held while a checkpoint is saved, so that an older one cannot overtake a newer one

	mu         sync.Mutex
	dispatched Mark
	saved      Mark                  // the checkpoint of the link that the target holds; the zero mark: none is known
	units      map[target.Unit]int64 // the furthest checkpoint of each unit that the target has acknowledged
	lanes      []*lane
}

// NewPositions returns positions that begin at the zero mark.
func NewPositions() *Positions { return &Positions{units: map[target.Unit]int64{}} }

// Begin sets the positions from which the stream goes on: the link's checkpoint, and those of its units.
func (p *Positions) Begin(at Mark, units map[target.Unit]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.units, units)
	p.dispatched, p.saved = at, at
}

// follow sets the lanes, whose items count as not applied.
func (p *Positions) follow(lanes []*lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lanes = lanes
}

// Reset forgets all positions.
func (p *Positions) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lanes, p.dispatched, p.saved, p.units = nil, Mark{}, Mark{}, map[target.Unit]int64{}
}

// dispatchedTo returns the point up to which everything was handed to the lanes.
func (p *Positions) dispatchedTo() Mark {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dispatched
}

// SetDispatched notes that everything up to a point was handed to the lanes.
func (p *Positions) SetDispatched(at Mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dispatched = at
}

// Applied returns the point up to which everything has been applied.
func (p *Positions) Applied() Mark {
	p.mu.Lock()
	at, lanes := p.dispatched, p.lanes // read before the lanes are asked: items that they get meanwhile begin at this point or later
	p.mu.Unlock()
	for _, n := range lanes {
		if before, there := n.oldest(); there && before.Offset < at.Offset {
			at = before
		}
	}
	return at
}

// Save calls write to save a checkpoint of the link, unless the one that the target holds is as far. write is given the offset of the
// checkpoint that the target must hold now; -1: it need not hold one.
func (p *Positions) Save(at Mark, write func(saved int64) error) error {
	p.saving.Lock()
	defer p.saving.Unlock()
	p.mu.Lock()
	saved, known := p.saved.Offset, p.saved != Mark{}
	p.mu.Unlock()
	switch {
	case known && saved >= at.Offset:
		return nil
	case !known:
		saved = -1
	}
	if err := write(saved); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.saved.Offset < at.Offset || p.saved == (Mark{}) {
		p.saved = at
	}
	return nil
}

// acknowledge notes checkpoints of units that the target has acknowledged.
func (p *Positions) acknowledge(units []target.Unit, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range units {
		p.units[u] = max(p.units[u], end)
	}
}

// Acknowledged returns the furthest checkpoint of a unit that the target has acknowledged; 0: none.
func (p *Positions) Acknowledged(u target.Unit) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.units[u]
}

// SavedTo returns the checkpoint of the link that the target holds; the zero mark: none is known.
func (p *Positions) SavedTo() Mark {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saved
}

// AcknowledgedUnits returns the furthest checkpoint of every unit that the target has acknowledged.
func (p *Positions) AcknowledgedUnits() map[target.Unit]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.units)
}

// ForgetSettled forgets and returns the units whose checkpoints are not ahead of the link's own, except those in keep.
func (p *Positions) ForgetSettled(keep map[target.Unit]bool) (units []target.Unit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for u, offset := range p.units {
		if offset <= p.saved.Offset && !keep[u] {
			units = append(units, u)
			delete(p.units, u)
		}
	}
	return units
}
