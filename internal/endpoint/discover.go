package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
)

// Refresh discovers the topology again. It asks nodes of a cluster one by one, first those last known, then the seeds, until two have
// answered that see a working cluster. It asks all sentinels. On an error the topology stays as it was.
func (d *Deployment) Refresh(ctx context.Context) error {
	d.mu.Lock()
	clear(d.servers)
	d.mu.Unlock()
	switch d.spec.Kind {
	case Sentinel:
		return d.refreshSentinel(ctx)
	case Cluster:
		if d.spec.Proxy != "" {
			return d.refreshFronted(ctx)
		}
		return d.refreshCluster(ctx)
	case Twemproxy:
		return d.refreshTwemproxy()
	case Codis:
		return d.refreshCodis(ctx)
	}
	return d.refreshStandalone(ctx)
}

// view is the cluster as one of its nodes sees it.
type view struct {
	id     string // of the node, as several addresses may lead to one
	shards []Shard
	failed []string // see Deployment.Failed
	fails  bool     // by the node's own account, the cluster is down: it may be the node that is cut off from the others
	epoch  int64    // the highest configuration epoch of a node that owns slots
}

// enoughViews is how many nodes that see a working cluster are asked. One alone may be cut off without having noticed it.
const enoughViews = 2

// refreshCluster asks nodes for their view of the cluster until enough of them see a working one, and takes the newest view. A node that
// sees a cluster that is down counts only if no node sees a working one: a primary that is cut off from the cluster still names itself.
func (d *Deployment) refreshCluster(ctx context.Context) error {
	var best *view
	var errs []error
	seen := map[string]bool{}
	queue := d.candidates()
	for i, working := 0, 0; i < len(queue) && working < enoughViews; i++ {
		if best != nil && d.isDeaf(queue[i]) {
			continue
		}
		v, err := d.askView(ctx, queue[i])
		if err != nil {
			if errs = append(errs, err); ctx.Err() != nil || best == nil && errors.Is(err, errKind) {
				break
			}
			continue
		}
		if !v.fails && !seen[v.id] {
			working++
		}
		seen[v.id] = true
		if best == nil || best.fails && !v.fails || best.fails == v.fails && v.epoch > best.epoch {
			best = v
		}
		queue = appendNew(queue, addrsOf(v.shards)...)
	}
	if best == nil || ctx.Err() != nil {
		return errors.Join(append(errs, ctx.Err())...)
	}
	d.findListed(ctx, best.shards)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shards, d.owners, d.failed = best.shards, slotOwners(best.shards), best.failed
	return nil
}

// askView asks one node. One that hangs must not prevent the others from being asked.
func (d *Deployment) askView(ctx context.Context, addr string) (*view, error) {
	one, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	v, err := d.discoverCluster(one, addr)
	d.mu.Lock()
	defer d.mu.Unlock()
	if delete(d.deaf, addr); err != nil && Code(err) == "" {
		d.deaf[addr] = time.Now()
	}
	return v, err
}

// isDeaf says whether a node did not answer a moment ago, so that it is not waited for again as long as others answer.
func (d *Deployment) isDeaf(addr string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.deaf[addr]
	return ok && time.Since(at) < time.Minute
}

// refreshFronted uses the first proxy that answers as the only node of the cluster, whatever it says about other nodes.
func (d *Deployment) refreshFronted(ctx context.Context) error {
	var errs []error
	for _, addr := range d.candidates() {
		conn, err := d.DialReplica(ctx, addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := conn.Close(); err != nil {
			return err
		}
		shards := []Shard{{Primary: Node{Addr: addr}, Slots: keyspace.SlotRanges{{First: 0, Last: keyspace.Slots - 1}}}}
		d.mu.Lock()
		d.shards, d.owners = shards, slotOwners(shards)
		d.mu.Unlock()
		return nil
	}
	return errors.Join(errs...)
}

// candidates returns the nodes to ask for the topology: first those last known, then the seeds.
func (d *Deployment) candidates() []string {
	return appendNew(addrsOf(d.Shards()), d.spec.Addrs...)
}

// addrsOf returns the addresses of all nodes of shards, the primaries first, so that those that come one after the other are seldom cut off
// together.
func addrsOf(shards []Shard) (addrs []string) {
	for _, s := range shards {
		addrs = append(addrs, s.Primary.Addr)
	}
	for _, s := range shards {
		for _, r := range s.Replicas {
			addrs = append(addrs, r.Addr)
		}
	}
	return addrs
}

func appendNew(addrs []string, more ...string) []string {
	for _, a := range more {
		if !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// errKind says that the server is not of the kind that the URL names, so that asking another node would not help.
var errKind = errors.New("the URL is for another kind of server")

func (d *Deployment) refreshStandalone(ctx context.Context) error {
	addr := d.spec.Addrs[0]
	cluster, err := d.clusterEnabled(ctx, addr)
	if err != nil {
		return err
	}
	if cluster {
		return fmt.Errorf("%s is a node of a cluster; name it as redis+cluster://%s (%w)", addr, addr, errKind)
	}
	if d.spec.DB > 0 {
		if _, err := d.Client(ctx, addr, d.spec.DB); err != nil { // the error tells that the database does not exist
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shards, d.owners = []Shard{{Primary: Node{Addr: addr}}}, nil
	return nil
}

// clusterEnabled asks INFO or, where that is forbidden, judges by the reply to CLUSTER INFO.
func (d *Deployment) clusterEnabled(ctx context.Context, addr string) (bool, error) {
	c, err := d.Client(ctx, addr, 0)
	if err != nil {
		return false, err
	}
	info, err := Info(ctx, c)
	switch {
	case err == nil:
		return info["cluster_enabled"] == "1" || info["redis_mode"] == "cluster", nil
	case Code(err) == "NOPERM":
		if err := c.Do(ctx, c.B().Arbitrary("CLUSTER", "INFO").Build()).Error(); Code(err) == "NOPERM" {
			return d.spec.Kind == Cluster, nil // nothing is known, so the URL decides
		} else if err != nil && Code(err) == "" {
			return false, fmt.Errorf("CLUSTER INFO of %s: %w", addr, err)
		} else {
			return err == nil, nil
		}
	}
	return false, fmt.Errorf("ask %s for its kind: %w", addr, err)
}

// discoverCluster asks one node for its view of the cluster.
func (d *Deployment) discoverCluster(ctx context.Context, addr string) (*view, error) {
	cluster, err := d.clusterEnabled(ctx, addr)
	if err != nil {
		return nil, err
	}
	if !cluster {
		return nil, fmt.Errorf("%s is not a cluster node; name it as redis://%s (%w)", addr, addr, errKind)
	}
	c, err := d.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	text, err := c.Do(ctx, c.B().Arbitrary("CLUSTER", "NODES").Build()).ToString()
	if err != nil {
		return nil, fmt.Errorf("CLUSTER NODES of %s: %w", addr, err)
	}
	nodes, err := ParseClusterNodes(text, addr)
	if err != nil {
		return nil, err
	}
	endpoints := preferredEndpoints(ctx, c, addr)
	shards, err := shardsOf(nodes, endpoints)
	if err != nil {
		return nil, fmt.Errorf("the cluster at %s: %w", addr, err)
	}
	if len(shards) == 0 {
		return nil, fmt.Errorf("the cluster at %s serves no slots; assign them first (redis-cli --cluster create, or fix)", addr)
	}
	v := &view{shards: shards, failed: failedNodes(nodes, endpoints)}
	for _, n := range nodes {
		if n.Has("myself") {
			v.id = n.ID
		}
		if n.PrimaryID == "" && len(n.Slots) > 0 {
			v.epoch = max(v.epoch, n.Epoch)
		}
	}
	// A node whose user may not ask for it counts as one that sees a working cluster.
	if text, err := c.Do(ctx, c.B().Arbitrary("CLUSTER", "INFO").Build()).ToString(); err == nil {
		v.fails = ParseInfo(text)["cluster_state"] == "fail"
	} else if Code(err) == "" {
		return nil, fmt.Errorf("CLUSTER INFO of %s: %w", addr, err)
	}
	return v, nil
}

// preferredEndpoints returns, by node ID, the addresses that the cluster wants its clients to use (since 7.0 they may be host
// names). CLUSTER NODES always has IP addresses, so this is only a refinement, and entries that cannot be read are left out.
func preferredEndpoints(ctx context.Context, c rueidis.Client, asked string) map[string]string {
	ranges, err := c.Do(ctx, c.B().Arbitrary("CLUSTER", "SLOTS").Build()).ToArray()
	if err != nil {
		return nil
	}
	endpoints := map[string]string{}
	for _, r := range ranges {
		parts, err := r.ToArray()
		if err != nil || len(parts) < 3 {
			continue
		}
		for _, part := range parts[2:] {
			if id, addr, ok := slotsEndpoint(part, asked); ok {
				endpoints[id] = addr
			}
		}
	}
	return endpoints
}

// slotsEndpoint reads one node of CLUSTER SLOTS: its endpoint, port, ID (since 4.0) and further facts (since 7.0).
func slotsEndpoint(m rueidis.RedisMessage, asked string) (id, addr string, ok bool) {
	node, err := m.ToArray()
	if err != nil || len(node) < 3 {
		return "", "", false
	}
	host, err := node[0].ToString()
	if IsNil(err) || err == nil && host == "" {
		host = hostOf(asked) // nil: the node has the host of the node that was asked
	} else if err != nil || host == "?" {
		return "", "", false
	}
	port, errPort := node[1].AsInt64()
	id, errID := node[2].ToString()
	if errPort != nil || errID != nil || port <= 0 || port > 65535 {
		return "", "", false
	}
	return id, net.JoinHostPort(host, strconv.FormatInt(port, 10)), true
}
