package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
)

// Refresh discovers the topology again. It asks the nodes of a cluster one by one, first those last known, then the seeds, until
// one answers. It asks all sentinels. On an error the topology stays as it was.
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

func (d *Deployment) refreshCluster(ctx context.Context) error {
	var errs []error
	for _, addr := range d.candidates() {
		// A node that hangs must not prevent the others from being asked.
		one, cancel := context.WithTimeout(ctx, dialTimeout)
		shards, failed, err := d.discoverCluster(one, addr)
		cancel()
		if err == nil {
			d.findListed(ctx, shards)
			d.mu.Lock()
			d.shards, d.owners, d.failed = shards, slotOwners(shards), failed
			d.mu.Unlock()
			return nil
		}
		if errs = append(errs, err); ctx.Err() != nil || errors.Is(err, errKind) {
			break
		}
	}
	return errors.Join(errs...)
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

func (d *Deployment) candidates() []string {
	var addrs []string
	add := func(a string) {
		if !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	for _, s := range d.Shards() {
		add(s.Primary.Addr)
		for _, r := range s.Replicas {
			add(r.Addr)
		}
	}
	for _, a := range d.spec.Addrs {
		add(a)
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

// discoverCluster asks one node for the shards, and for the nodes that are in no shard because the cluster has marked them as
// failed.
func (d *Deployment) discoverCluster(ctx context.Context, addr string) (shards []Shard, failed []string, err error) {
	cluster, err := d.clusterEnabled(ctx, addr)
	if err != nil {
		return nil, nil, err
	}
	if !cluster {
		return nil, nil, fmt.Errorf("%s is not a cluster node; name it as redis://%s (%w)", addr, addr, errKind)
	}
	c, err := d.Client(ctx, addr, 0)
	if err != nil {
		return nil, nil, err
	}
	text, err := c.Do(ctx, c.B().Arbitrary("CLUSTER", "NODES").Build()).ToString()
	if err != nil {
		return nil, nil, fmt.Errorf("CLUSTER NODES of %s: %w", addr, err)
	}
	nodes, err := ParseClusterNodes(text, addr)
	if err != nil {
		return nil, nil, err
	}
	endpoints := preferredEndpoints(ctx, c, addr)
	if shards, err = shardsOf(nodes, endpoints); err != nil {
		return nil, nil, fmt.Errorf("the cluster at %s: %w", addr, err)
	}
	if len(shards) == 0 {
		return nil, nil, fmt.Errorf("the cluster at %s serves no slots; assign them first (redis-cli --cluster create, or fix)", addr)
	}
	return shards, failedNodes(nodes, endpoints), nil
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
