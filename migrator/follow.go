package migrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/psync"
)

// A failover is followed without a restart. On the source, the link asks for the topology again and continues where it
// stands with the node of its shard that the failover has left; where the new primary lacks what the link has received,
// a new snapshot replaces what is in the target. On the target, the checkpoints say what the new primary holds, and the
// stream is applied again from there.

// errFailedOver says that a failover of the source has lost the stream where the link stands: a new snapshot is needed.
var errFailedOver = errors.New("the source has failed over to a primary that does not hold the stream from where this link stands")

// errElsewhere says that another node of the shard is to be asked.
var errElsewhere = errors.New("this node cannot continue the stream; the primary of its shard is asked")

// errLeft says that the topology has moved away from the node that was read.
var errLeft = errors.New("the node no longer belongs to its shard")

// mostCuts is how often in a row a snapshot may be cut off before the run gives up.
const mostCuts = 3

// node is the address of the node that the link receives from, and whose offsets it counts.
func (l *link) node() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

// primary is the address of the shard's primary, as last known.
func (l *link) primary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shard.Primary.Addr
}

// follows says whether the kind of the source has failovers that can be followed.
func (l *link) follows() bool {
	kind := l.source.d.Kind()
	return kind == endpoint.Sentinel || kind == endpoint.Cluster
}

// refreshSource discovers the source again, at most once a second for all links.
func (m *Migration) refreshSource(ctx context.Context) error {
	m.refresh.Lock()
	defer m.refresh.Unlock()
	if time.Since(m.refreshed) < time.Second {
		return nil
	}
	m.refreshed = time.Now()
	return m.cfg.Sides.Source.Refresh(ctx)
}

// shardNow finds the link's shard in the topology as last discovered. In a cluster that is the one of the link's nodes, if it holds
// the slots that it held before: of a shard whose slots move, watchSlots tells. proven says that its primary was known as one of the
// shard's nodes.
func (l *link) shardNow() (shard endpoint.Shard, proven, ok bool) {
	shards := l.source.d.Shards()
	if !l.m.slotted {
		i := slices.IndexFunc(shards, func(s endpoint.Shard) bool {
			primary, ok := l.source.d.PrimaryOf(l.firstSlot())
			return ok && s.Primary.Addr == primary.Addr
		})
		if i < 0 {
			return shard, false, false
		}
		return shards[i], true, true
	}
	known, err := l.m.holdings()
	if err != nil {
		return shard, false, false
	}
	homes, moves := compareSlots(known, shards)
	for i := range homes {
		if known := &l.m.state.Links[i]; known != l.st {
			continue
		}
		if len(moves) > 0 || homes[i].shard < 0 {
			return shard, false, false
		}
		return shards[homes[i].shard], homes[i].proven, true
	}
	return shard, false, false
}

// firstSlot is a slot of the link's shard; without slots any will do.
func (l *link) firstSlot() uint16 {
	if len(l.scope.slots) == 0 {
		return 0
	}
	return l.scope.slots[0].First
}

// seek returns the node to receive from. In the first session it is the one that New has chosen; afterwards the same as
// long as it belongs to the shard and is at work.
func (l *link) seek(ctx context.Context) (string, error) {
	at := l.node()
	if !l.follows() || !l.seeking {
		l.seeking = true
		return at, nil
	}
	if err := l.m.refreshSource(ctx); err != nil {
		l.log.Warn("the topology of the source cannot be asked for", "error", err)
	}
	shard, proven, ok := l.shardNow()
	if !ok {
		return at, nil
	}
	l.stranger = !proven
	l.takeNodes(shard)
	switch {
	case l.insist:
		return shard.Primary.Addr, nil
	case at == shard.Primary.Addr && l.m.cfg.ReadFrom != "replica", isReplica(shard, at) && l.m.inSync(ctx, shard, at):
		return at, nil
	}
	return l.m.chooseNode(ctx, shard)
}

// takeNodes takes over the nodes of the link's shard as they were discovered.
func (l *link) takeNodes(shard endpoint.Shard) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shard.Primary, l.shard.Replicas = shard.Primary, shard.Replicas
}

// claimsPrimary says whether a node, which the topology does not name as the primary, takes itself for one.
func (m *Migration) claimsPrimary(ctx context.Context, addr string) bool {
	c, err := m.cfg.Sides.Source.Client(ctx, addr, 0)
	if err != nil {
		return false
	}
	info, err := endpoint.Info(ctx, c, "replication")
	return err == nil && info["role"] == "master"
}

func isReplica(s endpoint.Shard, addr string) bool {
	return slices.ContainsFunc(s.Replicas, func(n endpoint.Node) bool { return n.Addr == addr })
}

// resynced decides on a node that offers a snapshot where the stream was to be continued.
func (l *link) resynced(at string) error {
	switch primary := l.primary(); {
	case !l.follows() || l.m.cfg.Mode == ModeIncremental:
		return errResync
	case l.stranger: // a replica of a primary that nobody knows is no better
		return fmt.Errorf("%s: %w", primary, errStranger)
	case at != primary: // its backlog may be young
		l.insist = true
		return errElsewhere
	case l.st.Primary == "" || l.st.Primary == primary: // it has lost its data, or its backlog was too short: nothing was promoted
		return errResync
	}
	return errFailedOver
}

// settled notes the node of a session that has begun.
func (l *link) settled(ctx context.Context, at string) error {
	l.mu.Lock()
	moved := l.reads != at
	l.reads = at
	primary := l.shard.Primary.Addr
	l.mu.Unlock()
	l.insist = false
	if moved {
		l.log.Warn("the source is received from another node now", "node", at, "primary", primary)
		if err := l.measureSkew(ctx); err != nil {
			return err
		}
	}
	if l.st.Primary == primary {
		return nil
	}
	l.m.update(func() { l.st.Primary = primary })
	return l.m.saveState()
}

// promoted notes a primary under which the stream goes on that the link receives from a replica: a failover may end while the link is
// connected, and without it. The proof is that both have the same replication ID; before 4.0, where each node has a stream of its own,
// nothing proves it and the next session decides.
func (l *link) promoted(ctx context.Context, primary string) {
	l.m.stateMu.Lock()
	known, replID := l.st.Primary, l.st.ReplID
	l.m.stateMu.Unlock()
	if known == primary {
		return
	}
	c, err := l.source.d.Client(ctx, primary, 0)
	if err != nil {
		return
	}
	info, err := endpoint.Info(ctx, c, "replication")
	if err != nil || info["role"] != "master" || info["master_replid"] != replID {
		return
	}
	l.log.Warn("the shard of the source has another primary now, and the stream goes on", "node", l.node(), "primary", primary)
	l.m.update(func() { l.st.Primary = primary })
	if err := l.m.saveState(); err != nil {
		l.fail(err)
	}
}

// watch ends a session whose node the topology has left behind: a primary that was cut off and replaced does not know.
func (l *link) watch(ctx context.Context, at string, s *psync.Session) (left bool) {
	if !l.follows() {
		return false
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for missing := 0; ; {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		if err := l.m.refreshSource(ctx); err != nil {
			continue
		}
		shard, _, ok := l.shardNow()
		if !ok {
			continue
		}
		l.takeNodes(shard)
		if at == shard.Primary.Addr {
			continue
		}
		replaced := l.m.claimsPrimary(ctx, at)
		if isReplica(shard, at) && !replaced {
			missing = 0
			l.promoted(ctx, shard.Primary.Addr)
			continue
		}
		if missing++; replaced || missing > 2 { // a replica may be out of sight for a moment
			s.Close()
			return true
		}
	}
}

// again says whether a run of the link that ended with err is to be followed by another one, which begins where the
// target stands now. What it returns ends the link.
func (l *link) again(ctx context.Context, err error) (bool, error) {
	if err == nil || ctx.Err() != nil || l.m.stopping.Err() != nil {
		return false, err
	}
	if errors.Is(err, errRegressed) {
		if err := l.m.mend(ctx); err != nil { // other links may have lost keys as well
			return false, err
		}
	}
	var begun error
	switch {
	case errors.Is(err, errCut) && l.follows() && l.cuts < mostCuts:
		l.cuts++
		l.log.Warn("the source was lost before its snapshot was whole; it is asked for another one", "error", err)
	case errors.Is(err, errFailedOver), errors.Is(err, errSyncLost):
		l.log.Warn("a new snapshot replaces what the target has", "reason", err)
		begun = l.startOver(err)
	case errors.Is(err, errRegressed) && l.lost():
		l.log.Warn("a new snapshot replaces what the target has", "reason", err)
		begun = l.startOver(err)
	case errors.Is(err, errRegressed) && l.m.target.d.Kind() == endpoint.Cluster: // which of its shards has lost what, the checkpoints do not tell
		l.log.Warn("a new snapshot replaces what the target has", "reason", err)
		begun = l.startOver(err)
	case errors.Is(err, errRegressed) && !l.m.target.cluster:
		l.log.Warn("the stream is applied again from where the target stands", "reason", err)
		begun = l.rewind(ctx, err)
	default:
		return false, err
	}
	if begun != nil {
		return false, begun
	}
	return true, l.reset()
}

// reset forgets what the last run of the link had in memory.
func (l *link) reset() error {
	l.dispatcher.Store(nil)
	l.positions.reset()
	l.doubts.reset()
	l.releasing, l.resumed, l.seeking, l.insist = nil, true, true, false
	l.online.Store(offline)
	if !l.noOffsets.Load() { // its stream does not go on
		l.m.expiring.forget() // what the target may have expired is noted for a stream that goes on
	}
	l.ledger.forgetUnsettled()
	select {
	case err := <-l.failed: // said by what has ended
		l.log.Debug("left behind", "error", err)
	default:
	}
	l.aside.close()
	l.aside = l.m.target.newWriter()
	l.advance(handshake)
	if l.snap == nil {
		return nil
	}
	snap := l.snap
	l.snap = nil
	return snap.close()
}

// startOver prepares the link for a snapshot that replaces the earlier one. It is for targets whose keys all come from
// this migration: nobody could tell otherwise which of them the source does not have any more.
func (l *link) startOver(why error) error {
	switch {
	case l.m.cfg.Mode == ModeIncremental:
		return fmt.Errorf("%w: a snapshot is needed, which Config.Mode incremental does not take", why)
	case !l.m.target.can.nodes:
		return fmt.Errorf("%w; through a proxy nothing tells which keys of the target are to go: start again with a new Config.StateDir and an empty target", why)
	case !l.m.state.TargetWasEmpty:
		return fmt.Errorf("%w; the target held keys before this migration began, so that it cannot be told which of its keys are to go: run verify and repair, or start again with a new Config.StateDir and Config.OnExisting replace", why)
	case len(l.m.links) > 1 && l.scope.slots == nil:
		return fmt.Errorf("%w; which keys of the target come from this shard cannot be told: start again with a new Config.StateDir", why)
	}
	if err := errors.Join(l.held.Clear(), l.doubts.clear(), l.forgetReleased()); err != nil {
		return err
	}
	l.m.update(func() {
		l.st.Again, l.st.Snapshot, l.st.Holding, l.st.Released, l.st.Lost = true, "", false, false, false
	})
	l.ledger.forgetSnapshot()
	return l.m.saveState()
}

// forgetCheckpoints deletes what the target remembers of the link: the offsets of a new snapshot are other ones.
func (l *link) forgetCheckpoints(ctx context.Context) error {
	t := l.m.target
	keys := []ownKey{t.ownKey(t.linkKey(l.name))}
	for u := range unit(l.m.unitCount()) {
		keys = append(keys, t.ownUnit(l.name, u))
	}
	return t.retry(ctx, func() (again, err error) { return t.forgetOwn(ctx, keys), ctx.Err() })
}

// rewind prepares the link for a target that has gone back to an earlier state, all of it at once: then the checkpoints
// say what that is. Keys that were settled aside of the stream since are settled once more.
func (l *link) rewind(ctx context.Context, why error) error {
	record, err := l.m.target.ownHash(ctx, l.m.target.linkKey(l.name))
	if err != nil {
		return err
	}
	switch lost := record["offset"] == "" || !l.doubts.knowsCopies(); {
	case !l.m.target.can.transactions: // one server of several has gone back, and its keys have no checkpoints
		return why
	case lost && l.m.target.d.Kind() == endpoint.Standalone: // it came up without its data, and nothing took its place
		return why
	case lost:
		return l.startOver(why)
	}
	if err := l.doubts.rewind(); err != nil {
		return err
	}
	return l.holdReleased()
}

// moved tells the dispatcher that the stream goes on under another replication ID behind an offset: what was read from
// the source at later ones is void.
type moved struct{ behind int64 }

// dropVoid forgets what the source said of held keys at offsets that it has not any more. They are held again, and asked for anew.
func (d *dispatcher) dropVoid(m *moved) {
	if m != nil {
		d.injections = slices.DeleteFunc(d.injections, func(in injection) bool { return in.at > m.behind })
	}
}

// revise copies again what was copied as of an offset that the source has not any more.
func (d *dispatcher) revise(ctx context.Context) error {
	m := d.l.moved.Swap(nil)
	if m == nil {
		return nil
	}
	d.dropVoid(m)
	var keys []keyspace.Key
	for k, offset := range d.fences {
		if offset > m.behind {
			keys = append(keys, k)
		}
	}
	_, err := d.copyKeys(ctx, keys, d.l.positions.dispatchedTo().offset)
	return err
}
