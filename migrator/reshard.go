package migrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/retry"
	"surecut/migrator/internal/slots"
)

// A migration compares the slots of a source cluster with those that it knows: when it begins or is resumed, every second while it runs,
// before it deletes keys on behalf of a snapshot, and at its end. slots.go says what counts as a move.

// movableSlots says whether a source is a cluster whose slots may be seen to move. A cluster behind one address shows no nodes.
func movableSlots(source *endpoint.Deployment) bool {
	if source.Kind() != endpoint.Cluster {
		return false
	}
	return !slices.ContainsFunc(source.Shards(), func(s endpoint.Shard) bool { return s.Primary.ID == "" })
}

// holdings returns what the links know of their shards.
func (m *Migration) holdings() ([]holding, error) {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	known := make([]holding, len(m.state.Links))
	for i, st := range m.state.Links {
		held, err := keyspace.ParseSlots(st.Slots)
		if err != nil {
			return nil, fmt.Errorf("Config.StateDir: link %d: %w", i, err)
		}
		if m.state.Slots != nil && i < len(m.state.Slots.Owned) {
			held = m.state.Slots.Owned[i]
		}
		primary := st.Primary
		if primary == "" {
			primary = st.Shard
		}
		known[i] = holding{primary: primary, nodes: slices.Clone(st.Nodes), slots: held, gone: st.Gone}
	}
	return known, nil
}

// bindShards returns the shard of each link, in the order of the links. A migration that begins takes the source as it is; one that is
// resumed finds its shards again. Where slots that move are not followed, it refuses a source whose slots have moved since.
func (m *Migration) bindShards(ctx context.Context) ([]endpoint.Shard, error) {
	shards := m.cfg.Sides.Source.Shards()
	if m.follows() {
		return m.followedShards(ctx)
	}
	if m.slotted && m.resumed && m.state.Links[0].Slots != "" {
		if err := m.confirmSlots(ctx); err != nil {
			return nil, err
		}
		return m.shardsInOrder()
	}
	if err := m.takeShards(shards); err != nil || !m.slotted {
		return shards, err
	}
	return shards, m.confirmSlots(ctx)
}

// takeShards gives each link the shard at its place, when a migration begins.
func (m *Migration) takeShards(shards []endpoint.Shard) error {
	if len(shards) != len(m.state.Links) {
		return fmt.Errorf("the source has %d shards now, and had %d when this migration began: start again with a new Config.StateDir", len(shards), len(m.state.Links))
	}
	for i := 0; m.slotted && i < len(shards); i++ {
		m.state.Links[i].Slots, m.state.Links[i].Nodes = shards[i].Slots.String(), slices.Sorted(slices.Values(nodeIDs(shards[i])))
	}
	return nil
}

// followedShards returns the shard of each link where slots that move are followed, and makes the table of slots. What has moved since an earlier run is seen
// once the links run. A shard that is not found has no slots, or has gone; its link keeps the address that it had.
func (m *Migration) followedShards(ctx context.Context) ([]endpoint.Shard, error) {
	now := m.cfg.Sides.Source.Shards()
	if !m.resumed || m.state.Links[0].Slots == "" && m.state.Slots == nil {
		if err := m.takeShards(now); err != nil {
			return nil, err
		}
	}
	if m.state.Slots == nil {
		from := slots.State{Owned: make([]keyspace.SlotRanges, len(m.state.Links))}
		for i, st := range m.state.Links {
			var err error
			if from.Owned[i], err = keyspace.ParseSlots(st.Slots); err != nil {
				return nil, fmt.Errorf("Config.StateDir: link %d: %w", i, err)
			}
		}
		m.state.Slots = &from
	}
	for len(m.state.Slots.Owned) < len(m.state.Links) { // a run was killed before it had saved that a shard has joined
		m.state.Slots.Owned = append(m.state.Slots.Owned, nil)
	}
	m.table = m.newTable(*m.state.Slots)
	m.notes = slots.NewNotes(m.table)
	known, err := m.holdings()
	if err != nil {
		return nil, err
	}
	homes := m.homes(known, now)
	shards := make([]endpoint.Shard, len(homes))
	for i, h := range homes {
		if h.shard >= 0 {
			shards[i] = now[h.shard]
			continue
		}
		shards[i] = endpoint.Shard{Primary: endpoint.Node{Addr: known[i].primary}, Slots: keyspace.SlotRanges{}}
	}
	return shards, nil
}

func (m *Migration) shardsInOrder() ([]endpoint.Shard, error) {
	known, err := m.holdings()
	if err != nil {
		return nil, err
	}
	now := m.cfg.Sides.Source.Shards()
	homes, moves := compareSlots(known, now)
	if len(moves) > 0 {
		return nil, &reshardError{moves}
	}
	shards := make([]endpoint.Shard, len(homes))
	for i, h := range homes {
		shards[i] = now[h.shard] // since no slot has moved, every link has a home
	}
	return shards, nil
}

func nodeIDs(s endpoint.Shard) []string {
	ids := []string{s.Primary.ID}
	for _, r := range s.Replicas {
		ids = append(ids, r.ID)
	}
	return ids
}

// lookAtSlots compares the slots of the source, as the cluster shows them now, with what the links know. It returns a reshardError if slots
// have moved or are moving, and another error if the source could not be asked.
func (m *Migration) lookAtSlots(ctx context.Context) error {
	if err := m.refreshSource(ctx); err != nil {
		return err
	}
	known, err := m.holdings()
	if err != nil {
		return err
	}
	now := m.cfg.Sides.Source.Shards()
	homes, moves := compareSlots(known, now)
	if len(moves) == 0 {
		moves = m.beginnings(ctx, now)
	}
	if len(moves) > 0 {
		return &reshardError{moves}
	}
	return m.learnNodes(homes, now)
}

// beginnings returns the slots whose keys are being moved. Only the two nodes concerned show that, so each primary is asked; one that does
// not answer is asked again at the next look.
func (m *Migration) beginnings(ctx context.Context, shards []endpoint.Shard) (moves []slotMove) {
	for _, s := range shards {
		nodes, err := m.askNodes(ctx, s.Primary.Addr)
		if err != nil {
			continue
		}
		addrs := map[string]string{}
		for _, n := range nodes {
			addrs[n.ID] = n.Addr
		}
		for _, n := range nodes {
			for slot, to := range n.Migrating {
				moves = append(moves, slotMove{slot, s.Primary.Addr, addrs[to], true})
			}
			for slot, from := range n.Importing {
				moves = append(moves, slotMove{slot, addrs[from], s.Primary.Addr, true})
			}
		}
	}
	slices.SortFunc(moves, func(a, b slotMove) int { return int(a.slot) - int(b.slot) })
	return slices.Compact(moves) // both nodes may show the same move
}

func (m *Migration) askNodes(ctx context.Context, addr string) ([]endpoint.ClusterNode, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := m.cfg.Sides.Source.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	text, err := c.Do(ctx, endpoint.Arbitrary(c, "CLUSTER", "NODES")).ToString()
	if err != nil {
		return nil, err
	}
	return endpoint.ParseClusterNodes(text, addr)
}

// learnNodes adds the nodes that the shards have now to those that the links know. A node that is not seen any more stays known, since it
// may come back and be promoted, unless it has joined another shard: a primary that has lost its last slot does so by itself (since Redis 7.0).
func (m *Migration) learnNodes(homes []home, now []endpoint.Shard) error {
	changed := false
	m.update(func() {
		for i, h := range homes {
			st := m.state.Links[i]
			if h.shard >= 0 && !h.proven && st.Primary != now[h.shard].Primary.Addr { // once it is received from, it has continued the stream
				continue
			}
			nodes := slices.DeleteFunc(slices.Clone(st.Nodes), func(id string) bool {
				j := slices.IndexFunc(now, func(s endpoint.Shard) bool { return slices.Contains(nodeIDs(s), id) })
				return j >= 0 && j != h.shard
			})
			if h.shard >= 0 {
				nodes = append(nodes, nodeIDs(now[h.shard])...)
			}
			slices.Sort(nodes)
			if nodes = slices.Compact(nodes); !slices.Equal(nodes, st.Nodes) {
				st.Nodes, changed = nodes, true
			}
		}
	})
	if !changed || !m.running.Load() { // a migration that has not begun writes nothing
		return nil
	}
	return m.saveState()
}

// slotPoll is how often the source is asked for its slots.
const slotPoll = time.Second

// watchSlots returns an error when slots of the source move. A node that has just restarted may show slots as they were long ago, so slots
// that have changed hands must be seen twice. Slots that are moving are shown by the nodes concerned, so that once is enough.
func (m *Migration) watchSlots(ctx context.Context) error {
	if !m.slotted {
		return nil
	}
	tick := time.NewTicker(slotPoll)
	defer tick.Stop()
	seen := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		err := m.lookAtSlots(ctx)
		var moved *reshardError
		if ctx.Err() != nil {
			return nil
		}
		if errors.As(err, &moved) && (seen || moved.began()) {
			return err
		}
		seen = moved != nil
	}
}

// confirmSlots does what lookAtSlots does, and looks once more if that shows that slots have changed hands.
func (m *Migration) confirmSlots(ctx context.Context) error {
	m.refresh.Lock()
	m.refreshed = time.Time{} // refreshSource must not be satisfied with a topology that is up to a second old
	m.refresh.Unlock()
	err := m.lookAtSlots(ctx)
	var moved *reshardError
	if !errors.As(err, &moved) || moved.began() {
		return err
	}
	if err := retry.Pause(ctx, slotPoll); err != nil {
		return err
	}
	return m.lookAtSlots(ctx)
}

// proveSlots returns nil once the source has shown that every slot is where the links know it to be. While the source does not answer, it
// waits: without that proof nothing may be deleted.
func (m *Migration) proveSlots(ctx context.Context) error {
	if !m.slotted || m.table != nil {
		return nil
	}
	for begun := time.Now(); ; {
		err := m.confirmSlots(ctx)
		if err == nil || errors.Is(err, errResharded) || ctx.Err() != nil || time.Since(begun) > m.cfg.RetryFor {
			return err
		}
		if err := retry.Pause(ctx, slotPoll); err != nil {
			return err
		}
	}
}

// mostDisagreement is how long the nodes of a cluster may take to agree on a slot that has moved.
const mostDisagreement = 5 * time.Second

// lastLook looks at the slots once more at the end of a run, however it ended, so that a move in its last second is not missed, and a link
// that failed because of a move says so.
func (m *Migration) lastLook(ctx context.Context, ended error) error {
	if m.table != nil {
		if ended == nil && ctx.Err() == nil {
			if err := m.lookTwice(ctx); err != nil { // the source does not answer, which the links have told
				m.cfg.Log.Debug("the slots of the source could not be read at the end", "error", err)
			}
		}
		return ended
	}
	var told *reshardError
	if !m.slotted || errors.As(ended, &told) || ctx.Err() != nil {
		return ended
	}
	err := m.confirmSlots(ctx)
	moved := errors.Is(ended, errResharded) // the stream has shown a move, but only the cluster says from where, once its nodes agree
	for until := time.Now().Add(mostDisagreement); moved && !errors.Is(err, errResharded) && time.Now().Before(until) && retry.Pause(ctx, slotPoll) == nil; {
		err = m.confirmSlots(ctx)
	}
	switch {
	case !errors.Is(err, errResharded):
		return ended
	case ended == nil, moved:
		return err
	}
	return fmt.Errorf("%w (the link ended with this error: %w)", err, ended)
}
