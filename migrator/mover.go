package migrator

import (
	"context"
	"fmt"
	"slices"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/retry"
	"surecut/migrator/internal/slots"
)

// mover follows the slots of the source: it tells the table what the cluster shows, and has slots that have settled read again.
type mover struct {
	m     *Migration
	run   func(*link)    // runs a link beside the others
	last  *sight         // what was seen a second ago; nil: nothing, or not all of it
	left  map[*link]bool // links whose shards have gone, and of which nothing is left to be done
	count int            // slots that moved when that was last told
	turns int            // since slots have begun to move
	why   error          // why slots could not be read again in the last turn; nil: none could be tried
}

// sight is what the cluster shows of its slots.
type sight struct {
	homes    []home          // of the links
	owner    []int           // by slot: the index of the link whose shard has it; slots.None: no shard has it; stranger
	underWay map[uint16]bool // slots whose keys are being moved
	agreed   bool            // all primaries have answered, and agree on the owners
	alive    map[string]bool // IDs of the nodes that belong to the cluster and have not failed, and whether they are primaries
	new      []endpoint.Shard
}

// stranger stands in a sight for the owner of a slot whose shard has no link yet.
const stranger = -2

// followSlots follows the slots of the source until ctx ends. Shards that join the source get a link, which run runs; the link of a shard
// that has gone is ended.
func (m *Migration) followSlots(ctx context.Context, run func(*link)) error {
	v := &mover{m: m, run: run, left: map[*link]bool{}}
	tick := time.NewTicker(slotPoll)
	defer tick.Stop()
	for {
		if err := v.turn(ctx); ctx.Err() != nil {
			return nil
		} else if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// turn looks at the slots, and reads again those that have settled.
func (v *mover) turn(ctx context.Context) error {
	now, err := v.m.look(ctx, v.last)
	if err != nil { // the source does not answer; the links say so
		v.m.cfg.Log.Debug("the slots of the source could not be read", "error", err)
		v.last = nil
		return nil
	}
	last := v.last
	v.last = now
	v.turns++
	if last == nil || !now.agreed || !last.agreed {
		v.tell()
		return nil
	}
	if err := v.join(ctx, last, now); err != nil {
		return err
	}
	if err := v.part(ctx, last, now); err != nil {
		return err
	}
	v.tell()
	err = v.settle(ctx, last, now)
	v.tell()
	return err
}

// tell logs how many slots move, when that has changed.
func (v *mover) tell() {
	moving := v.m.slotsThatMove()
	switch n := len(moving); {
	case n > 0 && v.turns >= turnsUnsettled:
		v.turns = 0
		why := "the cluster shows them as being moved, or its primaries do not agree on their owners (redis-cli --cluster check shows that, and --cluster fix ends moves that were broken off)"
		if v.why != nil {
			why = v.why.Error()
		}
		v.m.cfg.Log.Warn("slots of the source have not settled yet", "slots", slotList(moving), "reason", why)
	case n == v.count:
	case n == 0:
		v.m.cfg.Log.Info("the slots of the source have settled, and their keys were read again")
	default:
		v.m.cfg.Log.Warn("slots of the source move between its shards; their keys are read again once they have settled", "slots", slotList(moving))
	}
	if v.count = len(moving); v.count == 0 {
		v.turns = 0
	}
}

// turnsUnsettled is after how many looks it is told that slots have not settled.
const turnsUnsettled = 30

// look asks the source for its slots, and tells the table what it shows. Another owner must have been seen in the last look as well: a node
// that has just restarted may show slots as they were long ago, and after a failover nobody may have them for a while. It costs much to
// read the slots of a shard again, and nothing to wait, since the streams show a move as well.
func (m *Migration) look(ctx context.Context, last *sight) (*sight, error) {
	if err := m.refreshSourceNow(ctx); err != nil {
		return nil, err
	}
	known, err := m.holdings()
	if err != nil {
		return nil, err
	}
	shards := m.cfg.Sides.Source.Shards()
	homes := m.homes(known, shards)
	s := m.sight(ctx, homes, shards)
	seen := map[uint16]int{} // of those slots that are not where the table has them
	for slot, owner := range s.owner {
		again := owner >= 0 && last != nil && last.owner[slot] == owner
		if s.underWay[uint16(slot)] || again && !m.table.Owns(owner, uint16(slot)) {
			seen[uint16(slot)] = owner
		}
	}
	if err := m.table.See(seen, s.underWay); err != nil {
		return nil, err
	}
	m.unsure.Store(slices.Contains(s.owner, stranger))
	if s.agreed {
		m.update(func() { m.primaries = s.alive })
	}
	return s, m.learnNodes(homes, shards)
}

// lookTwice looks at the slots, and once more if they are not where the table has them.
func (m *Migration) lookTwice(ctx context.Context) error {
	first, err := m.look(ctx, nil)
	if err != nil {
		return err
	}
	moved := false
	for slot, owner := range first.owner {
		moved = moved || owner >= 0 && !m.table.Owns(owner, uint16(slot))
	}
	if !moved {
		return nil
	}
	if err := retry.Pause(ctx, slotPoll); err != nil {
		return err
	}
	_, err = m.look(ctx, first)
	return err
}

// homes returns the shard of each link in a topology; none: the shard has no slots, or has gone. Since slots move, the IDs of its nodes
// prove it. Only where none of these is a primary any more, it may be a shard with the same slots whose primary no link knows: a replica
// that has joined and was promoted.
func (m *Migration) homes(known []holding, now []endpoint.Shard) []home {
	homes := findHomes(known, now, shardOwners(now))
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	for i, h := range homes {
		isPrimary := func(id string) bool { return m.primaries[id] }
		if known[i].gone || !h.proven && (m.primaries == nil || slices.ContainsFunc(known[i].nodes, isPrimary)) {
			homes[i] = home{shard: -1}
		}
	}
	return homes
}

// sight puts together what the topology shows, and what each primary says of itself.
func (m *Migration) sight(ctx context.Context, homes []home, shards []endpoint.Shard) *sight {
	s := &sight{owner: slices.Repeat([]int{slots.None}, keyspace.Slots), underWay: map[uint16]bool{}, alive: map[string]bool{}, homes: homes, agreed: true}
	owners := shardOwners(shards)
	link := slices.Repeat([]int{slots.None}, len(shards))
	for i, h := range homes {
		if h.shard >= 0 {
			link[h.shard] = i
		}
	}
	for slot, j := range owners {
		switch {
		case j < 0:
		case link[j] == slots.None:
			s.owner[slot] = stranger
		default:
			s.owner[slot] = link[j]
		}
	}
	for j, shard := range shards {
		if link[j] == slots.None {
			s.new = append(s.new, shard)
		}
		nodes, err := m.askNodes(ctx, shard.Primary.Addr)
		if err != nil {
			s.agreed = false
			continue
		}
		s.hear(nodes, shards, owners)
	}
	return s
}

// hear takes what one primary says of the nodes of its cluster.
func (s *sight) hear(nodes []endpoint.ClusterNode, shards []endpoint.Shard, owners []int) {
	of := make([]string, keyspace.Slots)
	for _, n := range nodes {
		if !n.Has("handshake") && !n.Has("fail") {
			s.alive[n.ID] = n.Has("master")
		}
		for slot := range n.Slots.All() {
			of[slot] = n.ID
		}
		for slot := range n.Migrating {
			s.underWay[slot] = true
		}
		for slot := range n.Importing {
			s.underWay[slot] = true
		}
	}
	for slot, id := range of {
		want := ""
		if j := owners[slot]; j >= 0 {
			want = shards[j].Primary.ID
		}
		s.agreed = s.agreed && id == want
	}
}

// join gives each shard that was seen twice, and that no link knows, a link. It begins with a snapshot, of which it loads nothing: each key
// is a sign that its slot moves.
func (v *mover) join(ctx context.Context, last, now *sight) error {
	for _, s := range now.new {
		if !slices.ContainsFunc(last.new, func(x endpoint.Shard) bool { return x.Primary.ID == s.Primary.ID }) {
			continue
		}
		l, err := v.m.joined(ctx, s)
		if err != nil {
			return err
		}
		v.m.cfg.Log.Warn("a shard has joined the source", "primary", s.Primary.Addr)
		if ending := v.m.stopping.Err() != nil; ending {
			continue
		}
		v.run(l)
		v.last = nil
	}
	return nil
}

// joined returns a link for a shard that has joined the source.
func (m *Migration) joined(ctx context.Context, s endpoint.Shard) (*link, error) {
	i := m.table.Links()
	reads, err := m.chooseNode(ctx, s)
	if err != nil {
		return nil, err
	}
	m.update(func() {
		m.state.Links = append(m.state.Links, &linkState{Name: fmt.Sprint(i), Shard: s.Primary.Addr, Nodes: slices.Sorted(slices.Values(nodeIDs(s)))})
	})
	if _, err := m.table.Join(); err != nil {
		return nil, err
	}
	l := newLink(m, i, s, reads)
	if err := l.chooseOrigin(reads); err != nil {
		return nil, err
	}
	m.add(l)
	return l, nil
}

// part ends the links of shards that have no slots, and of which no node belongs to the cluster any more, or all have failed.
func (v *mover) part(ctx context.Context, last, now *sight) error {
	for i, l := range v.m.all() {
		here := func(id string) bool { return isIn(last.alive, id) || isIn(now.alive, id) }
		if l.gone.Load() {
			if err := v.leave(ctx, l); err != nil {
				return err
			}
			continue
		}
		if i >= len(now.homes) || now.homes[i].shard >= 0 || slices.ContainsFunc(v.m.nodesOf(l), here) {
			continue
		}
		if err := l.depart(); err != nil {
			return err
		}
		l.leave()
		if err := v.leave(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// leave does, once, what is left to be done when a shard has gone and its link is about to end.
func (v *mover) leave(ctx context.Context, l *link) error {
	if v.left[l] {
		return nil
	}
	select {
	case <-l.ended:
	case <-ctx.Done():
		return nil
	}
	if err := v.m.target.EndLeftBehind(ctx); err != nil { // else its last commands may arrive after the copies
		return err
	}
	v.m.target.Expiring.Leave(l.name)
	v.left[l] = true
	return v.m.libraries.Leave(ctx, l.name)
}

// depart notes that the link's shard has left the source. What it had written and the link has not applied is lost, so that the slots that
// the link has, and all that move, are read again by what the target holds.
func (l *link) depart() error {
	moving := l.scope.Moving
	var had []uint16
	for s := range moving.Table.Owned(moving.Index).All() {
		had = append(had, s)
	}
	if err := moving.Table.Begin(had, true); err != nil {
		return err
	}
	if err := moving.Table.Mark(); err != nil {
		return err
	}
	l.m.update(func() { l.st.Gone = true })
	if err := l.m.saveState(); err != nil {
		return err
	}
	l.log.Warn("the shard has left the source", "primary", l.shard.Primary())
	l.gone.Store(true)
	return nil
}

func isIn(set map[string]bool, id string) bool {
	_, is := set[id]
	return is
}

// nodesOf returns the IDs of the nodes of a link's shard.
func (m *Migration) nodesOf(l *link) []string {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	return slices.Clone(l.st.Nodes)
}
