package endpoint

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"surecut/internal/keyspace"
)

// Node is one server process. ID is the cluster's node ID, and empty outside of a cluster.
type Node struct{ ID, Addr string }

// Shard is one primary with its replicas. Slots is nil outside of a cluster.
type Shard struct {
	Primary  Node
	Replicas []Node
	Slots    keyspace.SlotRanges
}

// ClusterNode is one line of CLUSTER NODES.
type ClusterNode struct {
	Node
	Host      string // announced host name (since 7.0), or ""
	Flags     []string
	PrimaryID string // ID of a replica's primary; "" for a primary
	Linked    bool   // link-state is connected
	Epoch     int64  // configuration epoch: a promotion gives the new primary a higher one than any before
	Slots     keyspace.SlotRanges
	Migrating map[uint16]string // slot to the ID of the node it moves to; only on the line of the node that was asked
	Importing map[uint16]string // slot to the ID of the node it comes from; only on the line of the node that was asked
}

// Has says whether the node has a flag: "master", "slave", "myself", "fail", "fail?", "noaddr", "handshake".
func (n ClusterNode) Has(flag string) bool { return slices.Contains(n.Flags, flag) }

// ParseClusterNodes reads the reply of CLUSTER NODES. A node that announces no host gets the host of asked, the address that sent
// the reply. A node without any address has an empty Addr.
func ParseClusterNodes(text, asked string) ([]ClusterNode, error) {
	var nodes []ClusterNode
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		n, err := parseNodeLine(line, asked)
		if err != nil {
			return nil, fmt.Errorf("read CLUSTER NODES of %s: %w", asked, err)
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// parseNodeLine reads "id ip:port@cport[,hostname[,aux=value]*] flags primary ping pong epoch link slot...".
func parseNodeLine(line, asked string) (ClusterNode, error) {
	f := strings.Fields(line)
	if len(f) < 8 {
		return ClusterNode{}, fmt.Errorf("line %q has %d fields instead of 8 or more", line, len(f))
	}
	n := ClusterNode{Flags: strings.Split(f[2], ","), Linked: f[7] == "connected"}
	n.ID = f[0]
	if f[3] != "-" {
		n.PrimaryID = f[3]
	}
	n.Epoch, _ = strconv.ParseInt(f[6], 10, 64) // stays 0 where it is no number
	var err error
	if n.Addr, n.Host, err = parseNodeAddr(f[1], asked); err != nil {
		return n, fmt.Errorf("line %q: %w", line, err)
	}
	if n.Has("noaddr") {
		n.Addr = ""
	}
	for _, text := range f[8:] {
		if err := n.addSlots(text); err != nil {
			return n, fmt.Errorf("line %q: %w", line, err)
		}
	}
	return n, nil
}

func parseNodeAddr(text, asked string) (addr, hostname string, err error) {
	text, aux, _ := strings.Cut(text, ",")
	hostname, _, _ = strings.Cut(aux, ",")
	if strings.Contains(hostname, "=") { // an auxiliary field: the node announces no host name
		hostname = ""
	}
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		text = text[:at]
	}
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return "", "", fmt.Errorf("address %q has no port", text)
	}
	host := strings.Trim(text[:colon], "[]")
	port, err := strconv.ParseUint(text[colon+1:], 10, 16)
	if err != nil {
		return "", "", fmt.Errorf("address %q has no valid port", text)
	}
	if port == 0 {
		return "", hostname, nil
	}
	if host == "" {
		host = hostOf(asked)
	}
	return net.JoinHostPort(host, strconv.FormatUint(port, 10)), hostname, nil
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// addSlots reads "7", "0-5460", "[7->-id]" (migrating) or "[7-<-id]" (importing).
func (n *ClusterNode) addSlots(text string) error {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		inner = strings.TrimSuffix(inner, "]")
		moves, sep := &n.Migrating, "->-"
		if strings.Contains(inner, "-<-") {
			moves, sep = &n.Importing, "-<-"
		}
		slot, id, found := strings.Cut(inner, sep)
		s, err := parseSlot(slot)
		if err != nil || !found {
			return fmt.Errorf("slot in migration %q is malformed", text)
		}
		if *moves == nil {
			*moves = map[uint16]string{}
		}
		(*moves)[s] = id
		return nil
	}
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	a, errA := parseSlot(first)
	b, errB := parseSlot(last)
	if errA != nil || errB != nil || a > b {
		return fmt.Errorf("slots %q are malformed", text)
	}
	n.Slots = append(n.Slots, keyspace.SlotRange{First: a, Last: b})
	return nil
}

func parseSlot(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n >= keyspace.Slots {
		return 0, fmt.Errorf("slot %q is not a number below %d", text, keyspace.Slots)
	}
	return uint16(n), nil
}

// shardsOf builds the shards from one node's view. It leaves out primaries without slots, which hold no data, and replicas that the
// node considers failed or has no address of. The map endpoints holds the preferred addresses by node ID, where the cluster
// announces any.
func shardsOf(nodes []ClusterNode, endpoints map[string]string) ([]Shard, error) {
	index := map[string]int{}
	var shards []Shard
	node := func(n ClusterNode) Node {
		if addr := endpoints[n.ID]; addr != "" {
			n.Addr = addr
		}
		return n.Node
	}
	for _, n := range nodes {
		if n.PrimaryID != "" || len(n.Slots) == 0 {
			continue
		}
		primary := node(n)
		if primary.Addr == "" {
			return nil, fmt.Errorf("the primary %s owns slots but has no address (flags %s)", n.ID, strings.Join(n.Flags, ","))
		}
		index[n.ID] = len(shards)
		slots := slices.Clone(n.Slots)
		slices.SortFunc(slots, func(a, b keyspace.SlotRange) int { return cmp.Compare(a.First, b.First) })
		shards = append(shards, Shard{Primary: primary, Slots: slots})
	}
	for _, n := range nodes {
		i, ok := index[n.PrimaryID]
		if !ok || n.Has("fail") || n.Has("fail?") || n.Has("handshake") {
			continue
		}
		if replica := node(n); replica.Addr != "" {
			shards[i].Replicas = append(shards[i].Replicas, replica)
		}
	}
	for _, s := range shards {
		slices.SortFunc(s.Replicas, func(a, b Node) int { return cmp.Compare(a.Addr, b.Addr) })
	}
	slices.SortFunc(shards, func(a, b Shard) int {
		return cmp.Or(cmp.Compare(a.Slots[0].First, b.Slots[0].First), cmp.Compare(a.Primary.Addr, b.Primary.Addr))
	})
	return shards, nil
}

// failedNodes returns the addresses of the nodes that shardsOf leaves out because they are down. A primary that is down and owns
// slots is not among them, because it is part of a shard.
func failedNodes(nodes []ClusterNode, endpoints map[string]string) (failed []string) {
	for _, n := range nodes {
		down := n.Has("fail") || n.Has("fail?")
		if owns := n.PrimaryID == "" && len(n.Slots) > 0; !down || owns {
			continue
		}
		addr := n.Addr
		if preferred := endpoints[n.ID]; preferred != "" {
			addr = preferred
		}
		if addr != "" {
			failed = append(failed, addr)
		}
	}
	slices.Sort(failed)
	return failed
}

// cloneShards returns a copy that shares no slices with the original.
func cloneShards(shards []Shard) []Shard {
	out := slices.Clone(shards)
	for i := range out {
		out[i].Replicas = slices.Clone(out[i].Replicas)
		out[i].Slots = slices.Clone(out[i].Slots)
	}
	return out
}

// slotOwners returns for each slot the index of the shard that owns it, or -1 where none does.
func slotOwners(shards []Shard) *[keyspace.Slots]int32 {
	owners := new([keyspace.Slots]int32)
	for i := range owners {
		owners[i] = -1
	}
	for i, s := range shards {
		for slot := range s.Slots.All() {
			owners[slot] = int32(i)
		}
	}
	return owners
}
