package migrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// A target can lose keys without notice: by FLUSHALL on one node, a node that comes back empty, a replica that was promoted without data.
// Checkpoints alone do not show that: those of slots to which nobody writes are not read, and a checkpoint that is written again looks as
// if nothing had happened. So every node holds a witness, a key of surecut's own that is written once. If the witness is gone, the node has
// lost keys. In a cluster the witness is in one of the node's slots and moves with that slot; a node that is left without a witness gets
// another one. A server with several databases has a witness in each database that was written to. A proxy does not show its servers, so
// there the names of many witnesses are spread over them.
//
// The witnesses are checked every two seconds, at the end of a run, and before a run that is resumed writes anything.

const keyWitness = keyspace.Prefix + ":witness:"

// witness is the place of a witness. migration.json lists all.
type witness struct {
	DB   int    `json:"db"`
	Slot uint16 `json:"slot"` // slot of a cluster; through a proxy, a number in the name of the key
}

const (
	witnessPoll   = 2 * time.Second
	witnessSpread = 64 // number of witnesses through a proxy: enough for each server to have one
)

// errLost says that a node of the target has lost its keys. It wraps errRegressed.
var errLost error = lossError{}

type lossError struct{}

func (lossError) Error() string {
	return "one of surecut's own keys is gone there, so it was flushed, came back without its data, or evicts keys; what else is gone nobody can tell: start again with a new Config.StateDir and an empty target (or Config.OnExisting replace)"
}

func (lossError) Unwrap() error { return errRegressed }

func (t *target) witnessKey(w witness) string {
	switch {
	case t.d.Kind() == endpoint.Cluster:
		return keyWitness + t.id + ":{" + keyspace.SlotTag(w.Slot) + "}"
	case t.cluster:
		return keyWitness + t.id + ":" + strconv.Itoa(int(w.Slot))
	}
	return keyWitness + t.id
}

// value returns the value of the key: the number of its database, which shows if somebody else has swapped databases.
func (w witness) value() string { return strconv.Itoa(w.DB) }

// wroteTo notes that a database of the target is written to.
func (t *target) wroteTo(db int) {
	t.written.Lock()
	defer t.written.Unlock()
	if t.writtenDBs == nil {
		t.writtenDBs = map[int]bool{}
	}
	t.writtenDBs[db] = true
}

// missingWitnesses returns the witnesses that are needed in addition to those in have.
func (m *Migration) missingWitnesses(have []witness) (more []witness) {
	t := m.target
	add := func(w witness) {
		if !slices.Contains(have, w) {
			more = append(more, w)
		}
	}
	switch {
	case !t.can.placement:
		for i := range witnessSpread {
			add(witness{t.ownDB(), uint16(i * keyspace.Slots / witnessSpread)})
		}
	case t.cluster:
		seen := map[string]bool{}
		for _, w := range have {
			n, _ := t.primaryOf(w.Slot)
			seen[n.Addr] = true
		}
		for slot := range t.d.Slots() {
			if n, ok := t.primaryOf(uint16(slot)); ok && !seen[n.Addr] {
				seen[n.Addr] = true
				add(witness{t.ownDB(), uint16(slot)})
			}
		}
	default:
		add(witness{DB: t.ownDB()})
		t.written.Lock()
		defer t.written.Unlock()
		for db := range t.writtenDBs {
			if db != t.ownDB() {
				add(witness{DB: db})
			}
		}
	}
	return more
}

// witnesses returns the witnesses that were placed.
func (m *Migration) witnesses() []witness {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	return slices.Clone(m.state.Witnesses)
}

// placeWitnesses writes witnesses to the target, and then saves their places in the state.
func (m *Migration) placeWitnesses(ctx context.Context, ws []witness) error {
	if len(ws) == 0 {
		return nil
	}
	for _, w := range ws {
		err := m.target.atWitness(ctx, w, func(c rueidis.Client, key string) error {
			return c.Do(ctx, arbitrary(c, "SET", key, w.value())).Error()
		})
		if err != nil {
			return err
		}
	}
	m.rememberWitnesses(ws)
	return m.saveState()
}

func (m *Migration) rememberWitnesses(ws []witness) {
	m.update(func() {
		for _, w := range ws {
			if !slices.Contains(m.state.Witnesses, w) {
				m.state.Witnesses = append(m.state.Witnesses, w)
			}
		}
	})
}

// atWitness runs f on the node of a witness, and repeats it where the target may recover or the node has changed.
func (t *target) atWitness(ctx context.Context, w witness, f func(c rueidis.Client, key string) error) error {
	return t.retry(ctx, func() (again, err error) {
		n, ok := t.primaryOf(w.Slot)
		if !ok {
			return fmt.Errorf("target: no node holds slot %d", w.Slot), nil
		}
		c, err := t.d.Client(ctx, n.Addr, w.DB)
		if err == nil {
			err = f(c, t.witnessKey(w))
		}
		return classify(n.Addr, err)
	})
}

// lostWitnesses looks for all witnesses once, and returns those that are gone.
func (m *Migration) lostWitnesses(ctx context.Context) (lost []witness, err error) {
	t := m.target
	type place struct {
		addr string
		db   int
	}
	groups := map[place][]witness{}
	for _, w := range m.witnesses() {
		n, ok := t.primaryOf(w.Slot)
		if !ok {
			return nil, fmt.Errorf("target: no node holds slot %d", w.Slot)
		}
		at := place{n.Addr, w.DB}
		groups[at] = append(groups[at], w)
	}
	for at, ws := range groups {
		c, err := t.d.Client(ctx, at.addr, at.db)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", at.addr, err)
		}
		cmds := make([]rueidis.Completed, len(ws))
		for i, w := range ws {
			cmds[i] = arbitrary(c, t.reading("GET", t.witnessKey(w))...)
		}
		for i, r := range c.DoMulti(ctx, cmds...) {
			value, err := r.ToString()
			if err != nil && !rueidis.IsRedisNil(err) {
				return nil, fmt.Errorf("target %s: look for key %s: %w", at.addr, t.witnessKey(ws[i]), err)
			}
			if err != nil || value != ws[i].value() {
				lost = append(lost, ws[i])
			}
		}
	}
	return lost, nil
}

// findLost does what lostWitnesses does, and waits for a target that does not answer.
func (m *Migration) findLost(ctx context.Context) (lost []witness, err error) {
	err = m.target.retry(ctx, func() (again, err error) {
		lost, again = m.lostWitnesses(ctx)
		return again, ctx.Err()
	})
	return lost, err
}

// lossOf returns an errLost that names the nodes of lost witnesses.
func (m *Migration) lossOf(lost []witness) error {
	var nodes []string
	for _, w := range lost {
		n, _ := m.target.primaryOf(w.Slot)
		name := n.Addr
		if !m.target.cluster && w.DB != m.target.ownDB() {
			name += " (database " + strconv.Itoa(w.DB) + ")"
		}
		if !slices.Contains(nodes, name) {
			nodes = append(nodes, name)
		}
	}
	slices.Sort(nodes)
	return fmt.Errorf("the target has lost keys at %s: %w", strings.Join(nodes, ", "), errLost)
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
		lost, err := m.lostWitnesses(ctx)
		if err == nil && len(lost) > 0 {
			err = m.mend(ctx)
		} else if err == nil {
			err = m.placeWitnesses(ctx, m.missingWitnesses(m.witnesses()))
		} else if err := m.target.refreshTopology(ctx); err != nil {
			m.cfg.Log.Debug("the target cannot be asked for its topology", "error", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errLost) {
			return err
		}
	}
}

// mend has the links take a new snapshot, or load the present one again, if witnesses are lost; it returns an error if that is not allowed.
// It saves the loss to disk before it writes the witnesses again, so that after a crash in between the next run does not take the target
// for whole.
func (m *Migration) mend(ctx context.Context) error {
	m.mending.Lock()
	defer m.mending.Unlock()
	lost, err := m.lostWitnesses(ctx)
	if err != nil || len(lost) == 0 { // a target that does not answer is asked again later; another caller may have mended the loss
		return nil
	}
	why := m.lossOf(lost)
	mendable := m.mendable()
	if err := m.noteLoss(); err != nil {
		return err
	}
	if !mendable {
		return why
	}
	m.cfg.Log.Warn("the target has lost keys; they are copied again", "reason", why)
	if err := m.claim.renew(ctx, "running"); err != nil { // the record of the claim may be lost too
		return err
	}
	if err := m.placeWitnesses(ctx, lost); err != nil {
		return err
	}
	for _, l := range m.links {
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
			if st := &m.state.Links[i]; st.Stage != fresh {
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
	loading := !slices.ContainsFunc(m.state.Links, func(st linkState) bool { return st.Stage.inTarget() })
	empty := m.state.TargetWasEmpty
	m.stateMu.Unlock()
	if loading {
		return true
	}
	kind := m.target.d.Kind()
	live := !m.scans() && !m.cfg.Sides.Source.Spec().IsFile() && m.cfg.Mode != ModeIncremental
	return live && empty && (kind == endpoint.Cluster || kind == endpoint.Sentinel)
}

// lookBack looks for the witnesses that an earlier run has left, before anything is written. If some are lost, all links begin with a new
// snapshot, or lookBack returns an error if that is not allowed.
func (m *Migration) lookBack(ctx context.Context) (lost []witness, err error) {
	if !m.resumed || len(m.witnesses()) == 0 {
		return nil, nil
	}
	if lost, err = m.findLost(ctx); err != nil {
		return nil, err
	}
	switch mendable := m.mendable(); {
	case len(lost) > 0:
		if err := m.noteLoss(); err != nil {
			return nil, err
		}
		if !mendable {
			return nil, m.lossOf(lost)
		}
		switch where, err := m.refilled(ctx, lost); {
		case err != nil:
			return nil, err
		case where != "":
			return nil, fmt.Errorf("%w; %s holds keys again, which nobody knows the origin of, so nothing is copied there", m.lossOf(lost), where)
		}
		m.cfg.Log.Warn("the target has lost keys; they are copied again", "reason", m.lossOf(lost))
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
	lost, err := m.findLost(ctx)
	if err != nil {
		return fmt.Errorf("see whether the target still holds what it was given: %w", err)
	}
	if len(lost) == 0 {
		return nil
	}
	return errors.Join(m.lossOf(lost), m.noteLoss())
}

// forgetWitnesses deletes all witnesses from the target and from the state.
func (m *Migration) forgetWitnesses(ctx context.Context) error {
	for _, w := range m.witnesses() {
		err := m.target.atWitness(ctx, w, func(c rueidis.Client, key string) error { return c.Do(ctx, arbitrary(c, "DEL", key)).Error() })
		if err != nil {
			return err
		}
	}
	m.update(func() { m.state.Witnesses = nil })
	return nil
}
