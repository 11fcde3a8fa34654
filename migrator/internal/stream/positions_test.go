package stream

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"surecut/migrator/internal/target"
)

// TestPositions: what is applied never passes what a lane still holds, and a checkpoint never goes back.
func TestPositions(t *testing.T) {
	p := NewPositions()
	p.Begin(Mark{Offset: 100, DB: 1}, map[target.Unit]int64{0: 100, 1: 250})
	lanes := []*lane{newTestLane(newTestStream(t), 0), newTestLane(newTestStream(t), 1)}
	p.follow(lanes)
	var wrote []int64
	write := func(saved int64) error { wrote = append(wrote, saved); return nil }
	if err := p.Save(Mark{Offset: 100}, write); err != nil || wrote != nil {
		t.Errorf("what the target remembers was written again: %v, %v", wrote, err)
	}

	lanes[1].queued(&item{start: 120, startDB: 2})
	lanes[0].queued(&item{start: 140, startDB: 3})
	p.SetDispatched(Mark{Offset: 200, DB: 3})
	if got, want := p.Applied(), (Mark{Offset: 120, DB: 2}); got != want {
		t.Errorf("applied %+v, want %+v: a lane holds what begins there", got, want)
	}
	failed := errors.New("lost")
	if err := p.Save(p.Applied(), func(int64) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("a checkpoint that could not be written: %v", err)
	}
	if err := p.Save(p.Applied(), write); err != nil || !slices.Equal(wrote, []int64{100}) {
		t.Errorf("after it had failed, the checkpoint was written over %v: %v", wrote, err)
	}
	lanes[1].take()
	if got := p.Applied().Offset; got != 120 {
		t.Errorf("applied %d: a lane is still applying what begins at 120", got)
	}

	p.acknowledge([]target.Unit{0, 1}, 120)
	if p.Acknowledged(0) != 120 || p.Acknowledged(1) != 250 || p.Acknowledged(7) != 0 {
		t.Errorf("acknowledged %v: a later checkpoint stays", p.AcknowledgedUnits())
	}
	p.acknowledge([]target.Unit{2}, 60)
	if got := p.ForgetSettled(map[target.Unit]bool{2: true}); !slices.Equal(got, []target.Unit{0}) {
		t.Errorf("forgot %v: unit 1 is ahead of the link, unit 2 was to be kept", got)
	}
	if got := p.AcknowledgedUnits(); !maps.Equal(got, map[target.Unit]int64{1: 250, 2: 60}) {
		t.Errorf("left are %v", got)
	}

	p.Reset()
	if p.Applied() != (Mark{}) || len(p.AcknowledgedUnits()) > 0 {
		t.Errorf("after a reset: %+v, %v", p.Applied(), p.AcknowledgedUnits())
	}
	wrote = nil
	if err := p.Save(Mark{Offset: 50}, write); err != nil || !slices.Equal(wrote, []int64{-1}) {
		t.Errorf("the target need not remember anything, and was asked for %v: %v", wrote, err)
	}
}
