package endpoint

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// identityTimeout bounds how long one server may take to answer while the identity of its deployment is read.
const identityTimeout = 5 * time.Second

// These are the roles of a Member.
const (
	RolePrimary = "primary"
	RoleReplica = "replica"
	RoleProxy   = "proxy"
)

// These are the states of a replica's link to its primary.
const (
	LinkUp   = "up"
	LinkDown = "down"
)

// Member is one server of a deployment: which process it is, and what it is in its shard. Fields that the server did not tell are
// empty; of a replica that only its primary names, or of a server that does not answer, little more than the address is known.
type Member struct {
	Addr    string `json:"addr"`
	RunID   string `json:"run_id"`  // ID of the process: it changes with each restart
	NodeID  string `json:"node_id"` // ID in a cluster: it outlives restarts
	Role    string `json:"role"`    // primary, replica or proxy
	Link    string `json:"link"`    // state of a replica's link to its primary: up or down
	Primary string `json:"primary"` // address of the primary of a replica
	// ReplicationIDs identify the history of the data (since 4.0): the present ID, and the one before the last failover or restart.
	ReplicationIDs []string `json:"replication_ids"`
	Read           bool     `json:"read"` // its data were read for the report that lists it
}

// Identity lists the servers of one deployment, in the order of its shards, each primary before its replicas. It is empty for
// files.
type Identity []Member

// Identity asks every known server who it is. A server that does not answer is listed without its IDs; the only error is that of
// the context. The servers behind a proxy are listed where the topology names them. A cluster behind one address is listed as a
// proxy without a run ID, because each answer may come from another server.
func (d *Deployment) Identity(ctx context.Context) (Identity, error) {
	if d == nil || d.spec.IsFile() {
		return Identity{}, nil
	}
	var known Identity
	for _, s := range d.Shards() {
		known = append(known, Member{Addr: s.Primary.Addr, NodeID: s.Primary.ID, Role: RolePrimary})
		for _, r := range s.Replicas {
			known = append(known, Member{Addr: r.Addr, NodeID: r.ID, Role: RoleReplica, Primary: s.Primary.Addr})
		}
	}
	for _, addr := range d.Proxies() {
		known = append(known, Member{Addr: addr, Role: RoleProxy})
	}
	if d.spec.Proxy != "" {
		for i := range known {
			known[i].Role = RoleProxy
		}
	}
	named := make([]Identity, len(known))
	var wg sync.WaitGroup
	for i := range known {
		if known[i].Role != RoleProxy {
			wg.Go(func() { named[i] = d.introduce(ctx, &known[i]) })
		}
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("ask %s for the identity of its servers: %w", d.spec, context.Cause(ctx))
	}
	return withNamed(known, named), nil
}

// introduce asks one server who it is, and returns the other servers that its reply names.
func (d *Deployment) introduce(ctx context.Context, m *Member) Identity {
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	c, err := d.clientWithin(ctx, m.Addr)
	if err != nil {
		return nil
	}
	info, err := Info(ctx, c)
	if err != nil {
		return nil
	}
	return m.learn(info, d.spec.Kind == Standalone)
}

// learn takes in the fields of INFO. A standalone server tells who its primary and its replicas are, which no topology does.
func (m *Member) learn(info map[string]string, alone bool) (named Identity) {
	m.RunID = info["run_id"]
	for _, field := range []string{"master_replid", "master_replid2"} {
		if id := info[field]; strings.Trim(id, "0") != "" {
			m.ReplicationIDs = append(m.ReplicationIDs, id)
		}
	}
	if info["role"] == "slave" {
		m.Role, m.Link, m.Primary = RoleReplica, LinkDown, PrimaryNamedIn(info)
		if info["master_link_status"] == "up" {
			m.Link = LinkUp
		}
		if alone {
			named = append(named, Member{Addr: m.Primary, Role: RolePrimary})
		}
		return named
	}
	if info["role"] == "master" {
		m.Role, m.Primary = RolePrimary, ""
	}
	if alone {
		named = append(named, replicasNamedIn(info, m.Addr)...)
	}
	return named
}

// PrimaryNamedIn returns the address of the primary that a replica names in INFO.
func PrimaryNamedIn(info map[string]string) string {
	return net.JoinHostPort(info["master_host"], info["master_port"])
}

// TakesWrites says whether a server is a replica that accepts writes from clients (replica-read-only no, before 5.0 slave-read-only
// no). INFO has called the setting slave_read_only since 2.6.
func TakesWrites(info map[string]string) bool {
	return info["role"] == "slave" && info["slave_read_only"] == "0"
}

// replicasNamedIn reads the fields "slave0:ip=10.0.0.2,port=6379,state=online,offset=...,lag=0" of a primary. A replica on port 0
// is no server: it only receives the stream, as a migration does.
func replicasNamedIn(info map[string]string, primary string) (replicas Identity) {
	for i := 0; ; i++ {
		text, ok := info["slave"+strconv.Itoa(i)]
		if !ok {
			break
		}
		fields := map[string]string{}
		for field := range strings.SplitSeq(text, ",") {
			name, value, _ := strings.Cut(field, "=")
			fields[name] = value
		}
		if fields["ip"] == "" || fields["port"] == "" || fields["port"] == "0" {
			continue
		}
		r := Member{Addr: net.JoinHostPort(fields["ip"], fields["port"]), Role: RoleReplica, Link: LinkDown, Primary: primary}
		if fields["state"] == "online" {
			r.Link = LinkUp
		}
		replicas = append(replicas, r)
	}
	slices.SortFunc(replicas, func(a, b Member) int { return strings.Compare(a.Addr, b.Addr) })
	return replicas
}

// withNamed adds the servers that others name and that are not in the list yet.
func withNamed(known Identity, named []Identity) Identity {
	all := Identity{}
	for i, m := range known {
		all = append(all, m)
		for _, n := range named[i] {
			if !slices.ContainsFunc(append(known[:len(known):len(known)], all...), func(k Member) bool { return k.Addr == n.Addr }) {
				all = append(all, n)
			}
		}
	}
	return all
}

// SameAs says whether two identities share a server, judging by the run ID of a process or the node ID in a cluster. The evidence
// is part of a sentence, as in "10.0.0.1:6379 and localhost:6379 are one server (run ID 5f0c...)".
func (id Identity) SameAs(other Identity) (same bool, evidence string) {
	for _, a := range id {
		for _, b := range other {
			switch {
			case a.RunID != "" && a.RunID == b.RunID:
				return true, fmt.Sprintf("%s and %s are the same server (run ID %s)", a.Addr, b.Addr, a.RunID)
			case a.NodeID != "" && a.NodeID == b.NodeID:
				return true, fmt.Sprintf("%s and %s are the same node of a cluster (node ID %s)", a.Addr, b.Addr, a.NodeID)
			}
		}
	}
	return false, ""
}

// RestartedSince says whether a server of an earlier identity is another process now: the same node or address has another run ID. It may
// have lost data, whatever the other servers still hold. Replicas whose data were read neither time are left out. The evidence is
// part of a sentence.
func (id Identity) RestartedSince(before Identity) (restarted bool, evidence string) {
	for _, a := range before {
		for _, b := range id {
			bystanders := a.Role == RoleReplica && b.Role == RoleReplica && !a.Read && !b.Read
			one := a.NodeID != "" && a.NodeID == b.NodeID || a.Addr == b.Addr
			if one && a.RunID != "" && b.RunID != "" && a.RunID != b.RunID && !bystanders {
				return true, fmt.Sprintf("%s with run ID %s, %s with run ID %s", a.Addr, a.RunID, b.Addr, b.RunID)
			}
		}
	}
	return false, ""
}
