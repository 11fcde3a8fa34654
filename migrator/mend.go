package migrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"surecut/internal/endpoint"
	"surecut/migrator/internal/target"
)

// witnessPoll is the interval at which the witnesses are looked for.
const witnessPoll = 2 * time.Second

// witnesses returns the witnesses that were placed.
func (m *Migration) witnesses() []target.Witness {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	return slices.Clone(m.state.Witnesses)
}

// placeWitnesses writes witnesses to the target, and then saves their places in the state.
func (m *Migration) placeWitnesses(ctx context.Context, ws []target.Witness) error {
	if len(ws) == 0 {
		return nil
	}
	if err := m.target.Witnesses.Place(ctx, ws); err != nil {
		return err
	}
	m.rememberWitnesses(ws)
	return m.saveState()
}

func (m *Migration) rememberWitnesses(ws []target.Witness) {
	m.update(func() {
		for _, w := range ws {
			if !slices.Contains(m.state.Witnesses, w) {
				m.state.Witnesses = append(m.state.Witnesses, w)
			}
		}
	})
}

// watchWitnesses looks for the witnesses until ctx ends, and places new ones on nodes and in databases that have none. It has mend deal
// with a loss, and returns an error if new snapshots may not mend it.
func (m *Migration) watchWitnesses(ctx context.Context) error {
	tick := time.NewTicker(witnessPoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := m.target.WatchSlots(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Log.Debug("the topology of the target could not be read", "error", err)
		}
		lost, err := m.target.Witnesses.Lost(ctx, m.witnesses())
		if err == nil && len(lost) > 0 {
			err = m.mend(ctx)
		} else if err == nil {
			err = m.placeWitnesses(ctx, m.target.Witnesses.Missing(m.witnesses()))
		} else if err := m.target.RefreshTopology(ctx); err != nil {
			m.cfg.Log.Debug("the topology of the target could not be read", "error", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, target.ErrLost) {
			return err
		}
		if found, err := m.target.Evicted(ctx); err == nil {
			if err := m.noteEvictions(found); err != nil {
				return err
			}
		}
	}
}

// mend has the links take a new snapshot, or load the present one again, if witnesses are lost; it returns an error if that is not allowed.
// It saves the loss to disk before it writes the witnesses again, so that after a crash in between the next run does not take the target
// for whole.
func (m *Migration) mend(ctx context.Context) error {
	m.mending.Lock()
	defer m.mending.Unlock()
	lost, err := m.target.Witnesses.Lost(ctx, m.witnesses())
	if err != nil || len(lost) == 0 { // a target that does not answer is asked again later; another caller may have mended the loss
		return nil
	}
	why := m.target.Witnesses.LossOf(lost)
	mendable := m.mendable()
	if err := m.noteLoss(); err != nil {
		return err
	}
	if !mendable {
		return why
	}
	m.cfg.Log.Warn("the target has lost keys; they are copied again", "reason", why)
	if err := m.target.Claim.Renew(ctx, "running"); err != nil { // the record of the claim may be lost too
		return err
	}
	if err := m.placeWitnesses(ctx, lost); err != nil {
		return err
	}
	for _, l := range m.live() {
		if l.standing.stage().inTarget() {
			l.fail(why)
		}
	}
	return nil
}

// noteLoss saves that the target has lost keys that the links had written.
func (m *Migration) noteLoss() error {
	m.update(func() {
		for i := range m.state.Links {
			if st := m.state.Links[i]; st.Stage != fresh && !st.Gone {
				st.Lost = true
			}
		}
	})
	return m.saveState()
}

// mendable says whether new snapshots may put back what the target has lost. While all snapshots are still being loaded they may: they are
// loaded again. Afterwards they may only if all keys of the target come from this migration, and the target is a cluster or a group under
// sentinels, so that only a part is lost, or another node has taken the place of the lost one. A single server that has lost everything is
// not filled again without its owner's knowledge.
func (m *Migration) mendable() bool {
	m.stateMu.Lock()
	loading := !slices.ContainsFunc(m.state.Links, func(st *linkState) bool { return !st.Gone && st.Stage.inTarget() })
	empty := m.state.TargetWasEmpty
	m.stateMu.Unlock()
	if loading {
		return true
	}
	kind := m.cfg.Sides.Target.Kind()
	live := !m.scans() && !m.cfg.Sides.Source.Spec().IsFile() && m.cfg.Mode != ModeIncremental
	return live && empty && (kind == endpoint.Cluster || kind == endpoint.Sentinel)
}

// lookBack looks for the witnesses that an earlier run has left, before anything is written. If some are lost, all links begin with a new
// snapshot, or lookBack returns an error if that is not allowed.
func (m *Migration) lookBack(ctx context.Context) (lost []target.Witness, err error) {
	if !m.resumed || len(m.witnesses()) == 0 {
		return nil, nil
	}
	if lost, err = m.target.Witnesses.FindLost(ctx, m.witnesses()); err != nil {
		return nil, err
	}
	switch mendable := m.mendable(); {
	case len(lost) > 0:
		if err := m.noteLoss(); err != nil {
			return nil, err
		}
		if !mendable {
			return nil, m.target.Witnesses.LossOf(lost)
		}
		switch where, err := m.target.Refilled(ctx, lost); {
		case err != nil:
			return nil, err
		case where != "":
			return nil, fmt.Errorf("%w; %s holds keys again whose origin is not known, so nothing is copied there", m.target.Witnesses.LossOf(lost), where)
		}
		m.cfg.Log.Warn("the target has lost keys; they are copied again", "reason", m.target.Witnesses.LossOf(lost))
	case !mendable: // witnesses that an earlier run missed are there again: a server has come back with its data, and its checkpoints
		m.update(func() {
			for i := range m.state.Links {
				m.state.Links[i].Lost = false
			}
		})
	}
	return lost, nil
}

// lastWitness looks for the witnesses at the end of a run in good order, and returns an error if some are lost.
func (m *Migration) lastWitness(ctx context.Context, ended error) error {
	if ended != nil || ctx.Err() != nil {
		return ended
	}
	if err := m.target.WatchSlots(ctx); err != nil && ctx.Err() == nil { // FindLost asks again after an error
		m.cfg.Log.Debug("the topology of the target could not be read", "error", err)
	}
	lost, err := m.target.Witnesses.FindLost(ctx, m.witnesses())
	if err != nil {
		return fmt.Errorf("check whether the target still holds what was written to it: %w", err)
	}
	if len(lost) == 0 {
		return m.awaitEvictions(ctx)
	}
	return errors.Join(m.target.Witnesses.LossOf(lost), m.noteLoss())
}

// forgetWitnesses deletes all witnesses from the target and from the state.
func (m *Migration) forgetWitnesses(ctx context.Context) error {
	if err := m.target.Witnesses.Remove(ctx, m.witnesses()); err != nil {
		return err
	}
	m.update(func() { m.state.Witnesses = nil })
	return nil
}
