package endpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// ListedNode is one line of a node list.
type ListedNode struct {
	Addr        string // host:port
	Password    string
	HasPassword bool // the node has a password of its own, which may be empty; otherwise it has the endpoint's
}

// String returns the node's address, without the password.
func (n ListedNode) String() string { return n.Addr }

// ParseNodes reads a node list: host:port:password or host:port on each line, IPv6 hosts in brackets. A password may contain
// colons. Empty lines and those that begin with # are ignored. Errors name the line and show nothing of it but its host and port.
func ParseNodes(text string) ([]ListedNode, error) {
	var nodes []ListedNode
	lines := map[string]int{}
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		n, err := parseListed(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if first, ok := lines[n.Addr]; ok {
			return nil, fmt.Errorf("line %d: names %s again, which is already on line %d", number, n.Addr, first)
		}
		lines[n.Addr] = number
		nodes = append(nodes, n)
	}
	if len(nodes) == 0 {
		return nil, errors.New("contains no node; write host:port or host:port:password on each line")
	}
	return nodes, nil
}

func parseListed(line string) (ListedNode, error) {
	const usage = "write host:port or host:port:password, with an IPv6 address in brackets"
	host, rest, ok := strings.Cut(line, ":")
	if line[0] == '[' {
		host, rest, ok = strings.Cut(line, "]:")
		host += "]"
	}
	port, password, own := strings.Cut(rest, ":")
	if !ok || port == "" || strings.ContainsAny(host, "/@") { // any part might be the password, so nothing is shown
		return ListedNode{}, errors.New("is not a node; " + usage)
	}
	addr, err := parseAddr(host+":"+port, "")
	if err != nil {
		return ListedNode{}, errors.New("its host or port is malformed; " + usage)
	}
	return ListedNode{addr, password, own}, nil
}

// addNodes adds the nodes of a list to the Spec.
func (s *Spec) addNodes(nodes []ListedNode) {
	addrs := &s.Addrs
	switch s.Kind {
	case Sentinel:
		addrs = new([]string)
	case Codis, Twemproxy:
		if addrs = &s.Backends; s.Config+s.Dashboard != "" {
			addrs = new([]string) // the configuration or the dashboard names the servers, and the list only adds their passwords
		}
	}
	for _, n := range nodes {
		if !slices.ContainsFunc(*addrs, func(a string) bool { return a == n.Addr || strings.HasPrefix(a, n.Addr+":") }) { // ":weight name"
			*addrs = append(*addrs, n.Addr)
		}
		s.Listed = append(s.Listed, n.Addr)
		if !n.HasPassword {
			continue
		}
		if s.Passwords == nil {
			s.Passwords = map[string]string{}
		}
		s.Passwords[n.Addr] = n.Password
	}
}

// findListed finds out which listed nodes are nodes of the shards that announce other addresses: those are dialed, and logged in
// to, by their listed addresses. If a listed node does not answer, its announced address is used.
func (d *Deployment) findListed(ctx context.Context, shards []Shard) {
	byID := map[string]string{}
	for _, s := range shards {
		for _, n := range append([]Node{s.Primary}, s.Replicas...) {
			if !slices.Contains(d.spec.Listed, n.Addr) && d.spec.NAT.Reach(n.Addr) == n.Addr {
				byID[n.ID] = n.Addr
			}
		}
	}
	if len(byID) == 0 {
		return
	}
	var wg sync.WaitGroup
	for _, addr := range d.spec.Listed {
		wg.Go(func() {
			id := d.nodeID(ctx, addr)
			d.mu.Lock()
			defer d.mu.Unlock()
			if announced := byID[id]; announced != "" {
				d.listed[announced] = addr
			}
		})
	}
	wg.Wait()
}

// nodeID returns the cluster's ID of a listed node, and "" where the node does not answer. It asks each node once.
func (d *Deployment) nodeID(ctx context.Context, addr string) string {
	d.mu.Lock()
	id := d.ids[addr]
	d.mu.Unlock()
	if id != "" {
		return id
	}
	c, err := d.Client(ctx, addr, 0)
	if err != nil {
		return ""
	}
	text, err := c.Do(ctx, c.B().Arbitrary("CLUSTER", "NODES").Build()).ToString()
	if err != nil {
		return ""
	}
	nodes, err := ParseClusterNodes(text, addr)
	if err != nil {
		return ""
	}
	if i := slices.IndexFunc(nodes, func(n ClusterNode) bool { return n.Has("myself") }); i >= 0 {
		id = nodes[i].ID
	}
	d.mu.Lock()
	d.ids[addr] = id
	d.mu.Unlock()
	return id
}
