package receive

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"surecut/internal/endpoint"
)

// Primaries remembers which node was the primary of the shard when it was last received.
type Primaries interface {
	LastPrimary() (addr, replID string) // addr "": not known
	RememberPrimary(addr string) error  // returns once that is durable
}

// ShardConfig configures a Shard.
type ShardConfig struct {
	Source      *endpoint.Deployment
	Follows     bool // the source has failovers that can be followed
	FromReplica bool // the shard is received from a replica if there is one
	NoSnapshot  bool // a lost stream cannot be replaced by a snapshot
	Primaries   Primaries
	Refresh     func(ctx context.Context) error // discovers the topology of the source again
	RefreshNow  func(ctx context.Context) error // does so even if that was done a moment ago
	// Find returns the shard in the topology as last discovered. proven says that its primary was known as one of the shard's nodes.
	Find  func() (shard endpoint.Shard, proven, ok bool)
	Moved func(ctx context.Context) error // called when the shard is received from another node than before
	Log   *slog.Logger
}

// Shard knows the nodes of a shard and chooses the one to receive from. It follows a failover without a restart: after a loss it asks for
// the topology, and chooses a node that belongs to the shard then. It is safe for concurrent use, except that Next, Settle and Refuse must
// be called by one Receiver.
type Shard struct {
	cfg ShardConfig

	mu    sync.Mutex
	nodes endpoint.Shard // its slots are not used
	node  string

	seeks   bool // Next asks for the topology
	insists bool // Next chooses the primary
	// stranger says that the primary of the shard was never seen among its nodes, so that it proves that it belongs to the shard only by
	// continuing the stream.
	stranger bool
}

// NewShard returns a Shard whose first node to receive from is node.
func NewShard(nodes endpoint.Shard, node string, cfg ShardConfig) *Shard {
	return &Shard{cfg: cfg, nodes: nodes, node: node}
}

// Node returns the address of the node that the shard is received from, and whose offsets count.
func (s *Shard) Node() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node
}

// Primary returns the address of the primary, as last known.
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

// Take sets the nodes of the shard, as they were discovered.
func (s *Shard) Take(nodes endpoint.Shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = nodes
}

// Follows says whether the source has failovers that can be followed.
func (s *Shard) Follows() bool { return s.cfg.Follows }

// Seeks says whether Next asks for the topology before it chooses a node.
func (s *Shard) Seeks() bool { return s.seeks }

// Reset has Next ask for the topology and choose a node anew.
func (s *Shard) Reset() { s.seeks, s.insists = true, false }

// Next returns the node to receive from. The first call returns the node given to NewShard. Later calls ask for the topology if the source
// has failovers that can be followed. They stay with a replica that is in sync, and with the primary unless a replica is wanted.
func (s *Shard) Next(ctx context.Context) (string, error) {
	at := s.Node()
	if !s.Follows() || !s.seeks {
		s.seeks = true
		return at, nil
	}
	if err := s.cfg.Refresh(ctx); err != nil {
		s.cfg.Log.Warn("the topology of the source could not be read", "error", err)
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

// Refuse returns an error for a node that offers a snapshot instead of continuing the stream of a replication ID ("": it was not asked to):
// errElsewhere if the primary is to be asked, or the reason why nobody can continue it.
func (s *Shard) Refuse(ctx context.Context, at, replID string) error {
	last, _ := s.cfg.Primaries.LastPrimary()
	switch primary := s.Primary(); {
	case !s.Follows() || s.cfg.NoSnapshot:
		return ErrNotContinued
	case s.stranger: // this also holds for a replica of such a primary
		return fmt.Errorf("%s: %w", primary, ErrStranger)
	case at != primary: // the backlog of a replica may begin later than that of the primary
		s.insists = true
		return errElsewhere
	case last == "" || last == primary: // no failover that the topology knows of
		switch info, err := replication(ctx, s.cfg.Source, at); {
		case err != nil && endpoint.Code(err) == "": // it does not answer
			return err
		case info["role"] == "slave":
			return errStale
		case replID != "" && wasReplica(info, replID):
			return ErrFailedOver // and back: what it holds comes from the primary between
		}
		return ErrNotContinued // the primary has lost its data, or its backlog is too short
	}
	return ErrFailedOver
}

// Settle notes the node of a session that has begun, and saves the primary if it is another one than before.
func (s *Shard) Settle(ctx context.Context, at string) error {
	s.mu.Lock()
	moved := s.node != at
	s.node = at
	primary := s.nodes.Primary.Addr
	s.mu.Unlock()
	s.insists = false
	if moved {
		s.cfg.Log.Warn("the source is now received from another node", "node", at, "primary", primary)
		if err := s.cfg.Moved(ctx); err != nil {
			return err
		}
	}
	if last, _ := s.cfg.Primaries.LastPrimary(); last == primary {
		return nil
	}
	return s.cfg.Primaries.RememberPrimary(primary)
}

// Watch returns an error when a node does not belong to the shard any more, according to the topology: a primary that was cut off and
// replaced does not notice itself. It also returns one when a replica has lost its primary, or has become writable. It returns nil when ctx
// ends.
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
		info, err := replication(ctx, s.cfg.Source, at)
		replaced := err == nil && info["role"] == "master"
		if isReplica(nodes, at) && !replaced {
			missing = 0
			if why := unfit(info); err == nil && why != "" {
				return fmt.Errorf("%w: %s", errUnfit, why)
			}
			if err := s.promoted(ctx, nodes.Primary.Addr); err != nil {
				return err
			}
			continue
		}
		if missing++; replaced || missing > 2 { // a replica may be missing in the topology for a moment
			return errLeft
		}
	}
}

// promoted saves the primary of a shard that is received from a replica, if a failover has changed the primary during the session and the
// stream goes on. The proof is that the new primary has the stream's replication ID. Before 4.0 each node has a stream of its own and
// nothing proves it; then the next session decides.
func (s *Shard) promoted(ctx context.Context, primary string) error {
	last, replID := s.cfg.Primaries.LastPrimary()
	if last == primary {
		return nil
	}
	info, err := replication(ctx, s.cfg.Source, primary)
	if proven := err == nil && info["role"] == "master" && info["master_replid"] == replID; !proven {
		return nil
	}
	s.cfg.Log.Warn("the shard of the source has a new primary, and its stream continues", "node", s.Node(), "primary", primary)
	return onDisk("save which node is the primary", s.cfg.Primaries.RememberPrimary(primary))
}

// ChooseReplica returns a replica from which the shard can be received; if there is none, its primary.
func ChooseReplica(ctx context.Context, source *endpoint.Deployment, nodes endpoint.Shard) (string, error) {
	for _, r := range nodes.Replicas {
		if inSync(ctx, source, nodes, r.Addr) {
			return r.Addr, nil
		}
	}
	return nodes.Primary.Addr, ctx.Err()
}

// inSync says whether a node is a replica that is in sync with its primary and takes no writes of its own, and from which keys can be read
// at a known offset.
func inSync(ctx context.Context, source *endpoint.Deployment, nodes endpoint.Shard, addr string) bool {
	info, err := replication(ctx, source, addr)
	if err != nil || info["role"] != "slave" || unfit(info) != "" {
		return false
	}
	if source.Kind() != endpoint.Cluster {
		return true
	}
	reads, err := source.ReadsAtOffset(ctx, nodes, addr)
	return err == nil && reads
}

// unfit says by a replica's INFO replication why it cannot be received from; "": it can. What clients write to a writable replica is in its
// snapshot and not on its primary.
func unfit(info map[string]string) string {
	switch {
	case info["master_link_status"] != "up":
		return "its link to its primary is " + cmp.Or(info["master_link_status"], "not known")
	case info["master_sync_in_progress"] == "1":
		return "it is being synchronized with its primary"
	case info["slave_read_only"] == "0":
		return "it takes writes of its own (replica-read-only no)"
	}
	return ""
}

// replication returns a node's INFO replication.
func replication(ctx context.Context, source *endpoint.Deployment, addr string) (map[string]string, error) {
	c, err := source.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	return endpoint.Info(ctx, c, "replication")
}

// wasReplica says whether a primary was a replica of another one since it had a replication ID: it still knows the ID of that one (since 4.0).
// A primary that was restarted remembers its own last ID instead (since 7.0).
func wasReplica(info map[string]string, since string) bool {
	followed := info["master_replid2"]
	return strings.Trim(followed, "0") != "" && followed != since && info["master_replid"] != since
}

func isReplica(s endpoint.Shard, addr string) bool {
	return slices.ContainsFunc(s.Replicas, func(n endpoint.Node) bool { return n.Addr == addr })
}
