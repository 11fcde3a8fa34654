package receive

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"surecut/internal/endpoint"
)

// Primaries remembers under which primary a shard was received last.
type Primaries interface {
	LastPrimary() (addr, replID string) // "" for an address that is not known
	RememberPrimary(addr string) error  // durably
}

// ShardConfig is what a Shard works with.
type ShardConfig struct {
	Source      *endpoint.Deployment
	Follows     bool // the source has failovers that can be followed
	FromReplica bool // a replica is received from where there is one
	NoSnapshot  bool // a lost stream cannot be replaced by a snapshot
	Primaries   Primaries
	Refresh     func(ctx context.Context) error // discovers the source again
	// Find returns the shard in the topology as last discovered. proven says that its primary was known as one of the shard's nodes.
	Find  func() (shard endpoint.Shard, proven, ok bool)
	Moved func(ctx context.Context) error // another node than before is received from
	Log   *slog.Logger
}

// Shard knows the nodes of a shard and chooses the one to receive from. A failover is followed in this way without a restart: after a
// loss the topology is asked for, and the stream goes on with the node that the failover has left. It is safe for concurrent use, except
// that Next, Settle and Refuse belong to one Receiver.
type Shard struct {
	cfg ShardConfig

	mu    sync.Mutex
	nodes endpoint.Shard // the slots in it do not count
	node  string

	seeks   bool // the node may have changed since it was chosen
	insists bool // only the primary is asked
	// stranger says that the primary of the shard was never seen among its nodes, so that only a stream which goes on proves that it
	// belongs there.
	stranger bool
}

// NewShard returns a shard that is received from a node which has been chosen already.
func NewShard(nodes endpoint.Shard, node string, cfg ShardConfig) *Shard {
	return &Shard{cfg: cfg, nodes: nodes, node: node}
}

// Node is the address of the node that is received from, and whose offsets count.
func (s *Shard) Node() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node
}

// Primary is the address of the primary, as last known.
func (s *Shard) Primary() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes.Primary.Addr
}

// Nodes returns the nodes as last known.
func (s *Shard) Nodes() endpoint.Shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes
}

// Take takes over the nodes of the shard as they were discovered.
func (s *Shard) Take(nodes endpoint.Shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = nodes
}

// Follows says whether the source has failovers that can be followed.
func (s *Shard) Follows() bool { return s.cfg.Follows }

// Seeks says whether Next chooses the node anew.
func (s *Shard) Seeks() bool { return s.seeks }

// Reset has the node be chosen anew.
func (s *Shard) Reset() { s.seeks, s.insists = true, false }

// Next returns the node to receive from. At first it is the one that was chosen before; afterwards the same as long as it belongs to the
// shard and is at work.
func (s *Shard) Next(ctx context.Context) (string, error) {
	at := s.Node()
	if !s.Follows() || !s.seeks {
		s.seeks = true
		return at, nil
	}
	if err := s.cfg.Refresh(ctx); err != nil {
		s.cfg.Log.Warn("the topology of the source cannot be asked for", "error", err)
	}
	nodes, proven, ok := s.cfg.Find()
	if !ok {
		return at, nil
	}
	s.stranger = !proven
	s.Take(nodes)
	switch {
	case s.insists:
		return nodes.Primary.Addr, nil
	case at == nodes.Primary.Addr && !s.cfg.FromReplica, isReplica(nodes, at) && inSync(ctx, s.cfg.Source, nodes, at):
		return at, nil
	case !s.cfg.FromReplica:
		return nodes.Primary.Addr, nil
	}
	return ChooseReplica(ctx, s.cfg.Source, nodes)
}

// Refuse decides on a node that offers a snapshot where the stream was to be continued.
func (s *Shard) Refuse(at string) error {
	last, _ := s.cfg.Primaries.LastPrimary()
	switch primary := s.Primary(); {
	case !s.Follows() || s.cfg.NoSnapshot:
		return ErrNotContinued
	case s.stranger: // a replica of a primary that nobody knows is no better
		return fmt.Errorf("%s: %w", primary, ErrStranger)
	case at != primary: // its backlog may be young
		s.insists = true
		return errElsewhere
	case last == "" || last == primary: // it has lost its data, or its backlog was too short: nothing was promoted
		return ErrNotContinued
	}
	return ErrFailedOver
}

// Settle notes the node of a session that has begun.
func (s *Shard) Settle(ctx context.Context, at string) error {
	s.mu.Lock()
	moved := s.node != at
	s.node = at
	primary := s.nodes.Primary.Addr
	s.mu.Unlock()
	s.insists = false
	if moved {
		s.cfg.Log.Warn("the source is received from another node now", "node", at, "primary", primary)
		if err := s.cfg.Moved(ctx); err != nil {
			return err
		}
	}
	if last, _ := s.cfg.Primaries.LastPrimary(); last == primary {
		return nil
	}
	return s.cfg.Primaries.RememberPrimary(primary)
}

// Watch returns why a node is to be left: the topology has left it behind, and a primary that was cut off and replaced does not know.
func (s *Shard) Watch(ctx context.Context, at string) error {
	if !s.Follows() {
		return nil
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for missing := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.cfg.Refresh(ctx); err != nil {
			continue
		}
		nodes, _, ok := s.cfg.Find()
		if !ok {
			continue
		}
		s.Take(nodes)
		if at == nodes.Primary.Addr {
			continue
		}
		replaced := claimsPrimary(ctx, s.cfg.Source, at)
		if isReplica(nodes, at) && !replaced {
			missing = 0
			if err := s.promoted(ctx, nodes.Primary.Addr); err != nil {
				return err
			}
			continue
		}
		if missing++; replaced || missing > 2 { // a replica may be out of sight for a moment
			return errLeft
		}
	}
}

// promoted notes a primary under which the stream goes on that is received from a replica: a failover may end during a session, and
// without it. The proof is that both have the same replication ID; before 4.0, where each node has a stream of its own, nothing proves
// it and the next session decides.
func (s *Shard) promoted(ctx context.Context, primary string) error {
	last, replID := s.cfg.Primaries.LastPrimary()
	if last == primary {
		return nil
	}
	info, err := replication(ctx, s.cfg.Source, primary)
	if proven := err == nil && info["role"] == "master" && info["master_replid"] == replID; !proven {
		return nil
	}
	s.cfg.Log.Warn("the shard of the source has another primary now, and the stream goes on", "node", s.Node(), "primary", primary)
	return onDisk("remember the primary", s.cfg.Primaries.RememberPrimary(primary))
}

// ChooseReplica returns a replica of a shard that can be received from; its primary where there is none.
func ChooseReplica(ctx context.Context, source *endpoint.Deployment, nodes endpoint.Shard) (string, error) {
	for _, r := range nodes.Replicas {
		if inSync(ctx, source, nodes, r.Addr) {
			return r.Addr, nil
		}
	}
	return nodes.Primary.Addr, ctx.Err()
}

// inSync says whether a node is a replica that holds what its primary holds, and that can be read at an offset.
func inSync(ctx context.Context, source *endpoint.Deployment, nodes endpoint.Shard, addr string) bool {
	info, err := replication(ctx, source, addr)
	if err != nil || info["role"] != "slave" || info["master_link_status"] != "up" || info["master_sync_in_progress"] == "1" {
		return false
	}
	if source.Kind() != endpoint.Cluster {
		return true
	}
	reads, err := source.ReadsAtOffset(ctx, nodes, addr)
	return err == nil && reads
}

// claimsPrimary says whether a node, which the topology does not name as the primary, takes itself for one.
func claimsPrimary(ctx context.Context, source *endpoint.Deployment, addr string) bool {
	info, err := replication(ctx, source, addr)
	return err == nil && info["role"] == "master"
}

// replication asks a node for its part in the replication.
func replication(ctx context.Context, source *endpoint.Deployment, addr string) (map[string]string, error) {
	c, err := source.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	return endpoint.Info(ctx, c, "replication")
}

func isReplica(s endpoint.Shard, addr string) bool {
	return slices.ContainsFunc(s.Replicas, func(n endpoint.Node) bool { return n.Addr == addr })
}
