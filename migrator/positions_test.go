package migrator

import (
	"errors"
	"maps"
	"slices"
	"testing"
)

// TestPositions: what is applied never passes what a lane still holds, and a checkpoint never goes back.
func TestPositions(t *testing.T) {
	p := newPositions()
	p.begin(mark{offset: 100, db: 1}, map[unit]int64{0: 100, 1: 250})
	lanes := []*lane{newTestLane(newTestStream(t), 0), newTestLane(newTestStream(t), 1)}
	p.follow(lanes)
	var wrote []int64
	write := func(saved int64) error { wrote = append(wrote, saved); return nil }
	if err := p.save(mark{offset: 100}, write); err != nil || wrote != nil {
		t.Errorf("what the target remembers was written again: %v, %v", wrote, err)
	}

	lanes[1].queued(&item{start: 120, startDB: 2})
	lanes[0].queued(&item{start: 140, startDB: 3})
	p.setDispatched(mark{offset: 200, db: 3})
	if got, want := p.applied(), (mark{offset: 120, db: 2}); got != want {
		t.Errorf("applied %+v, want %+v: a lane holds what begins there", got, want)
	}
	failed := errors.New("lost")
	if err := p.save(p.applied(), func(int64) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("a checkpoint that could not be written: %v", err)
	}
	if err := p.save(p.applied(), write); err != nil || !slices.Equal(wrote, []int64{100}) {
		t.Errorf("after it had failed, the checkpoint was written over %v: %v", wrote, err)
	}
	lanes[1].take()
	if got := p.applied().offset; got != 120 {
		t.Errorf("applied %d: a lane is still applying what begins at 120", got)
	}

	p.acknowledge([]unit{0, 1}, 120)
	if p.acknowledged(0) != 120 || p.acknowledged(1) != 250 || p.acknowledged(7) != 0 {
		t.Errorf("acknowledged %v: a later checkpoint stays", p.acknowledgedUnits())
	}
	p.acknowledge([]unit{2}, 60)
	if got := p.forgetSettled(map[unit]bool{2: true}); !slices.Equal(got, []unit{0}) {
		t.Errorf("forgot %v: unit 1 is ahead of the link, unit 2 was to be kept", got)
	}
	if got := p.acknowledgedUnits(); !maps.Equal(got, map[unit]int64{1: 250, 2: 60}) {
		t.Errorf("left are %v", got)
	}

	p.reset()
	if p.applied() != (mark{}) || len(p.acknowledgedUnits()) > 0 {
		t.Errorf("after a reset: %+v, %v", p.applied(), p.acknowledgedUnits())
	}
	wrote = nil
	if err := p.save(mark{offset: 50}, write); err != nil || !slices.Equal(wrote, []int64{-1}) {
		t.Errorf("the target need not remember anything, and was asked for %v: %v", wrote, err)
	}
}
