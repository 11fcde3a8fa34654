package servers

import (
	"fmt"
	"strconv"
	"testing"
)

const slots = 16384

// Cluster starts a cluster and waits until every node says cluster_state:ok, covers all slots and
// every replica is synchronized. The primaries come first, in slot order, then the replicas: node i of them follows
// primary i % primaries.
func Cluster(t testing.TB, image string, primaries, replicasEach int, args ...string) []*Server {
	t.Helper()
	perNode := make([][]string, primaries*(1+replicasEach))
	// Since 7.0 a replica whose offset is 0 is not announced, and in an empty shard the first PING moves the offset.
	ping := "--repl-ping-replica-period"
	if number(image) < 500 {
		ping = "--repl-ping-slave-period"
	}
	for i := range perNode {
		perNode[i] = append([]string{
			"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "5000", ping, "1",
		}, args...)
	}
	nodes := start(t, image, perNode)
	ids := make([]string, len(nodes))
	for i, n := range nodes {
		ids[i] = n.Must("CLUSTER", "MYID").(string)
		n.Must("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		if i < primaries {
			n.Must(addSlots(i, primaries)...)
		}
	}
	// Everyone meets everyone: gossip alone would take seconds more.
	for i, n := range nodes {
		for _, other := range nodes[:i] {
			n.Must("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(other.Port))
		}
	}
	for _, n := range nodes {
		n.waitFor("all nodes", func() error { return n.clusterState("cluster_known_nodes", len(nodes)) })
	}
	for i, n := range nodes[primaries:] {
		n.waitFor("primary", func() error { return n.Do("CLUSTER", "REPLICATE", ids[i%primaries]).Error() })
	}
	for i, n := range nodes {
		n.waitFor("whole cluster", func() error { return n.clusterState("cluster_size", primaries) })
		if i >= primaries {
			n.waitFor("synchronized replica", n.synchronized)
		}
	}
	for _, n := range nodes { // whichever is asked
		for i := range primaries {
			n.waitFor("replicas", func() error { return n.hasReplicas(i, primaries, replicasEach) })
		}
	}
	return nodes
}

// addSlots is the command that gives primary i its even share.
func addSlots(i, primaries int) []string {
	cmd := []string{"CLUSTER", "ADDSLOTS"}
	for slot := i * slots / primaries; slot < (i+1)*slots/primaries; slot++ {
		cmd = append(cmd, strconv.Itoa(slot))
	}
	return cmd
}

// clusterState checks one number of CLUSTER INFO, and the state where it is the size that is asked for.
func (s *Server) clusterState(field string, want int) error {
	text, err := s.Do("CLUSTER", "INFO").ToString()
	if err != nil {
		return err
	}
	info := parseInfo(text)
	if info[field] != strconv.Itoa(want) {
		return fmt.Errorf("%s is %s, not %d", field, info[field], want)
	}
	if field == "cluster_size" && (info["cluster_state"] != "ok" || info["cluster_slots_ok"] != strconv.Itoa(slots)) {
		return fmt.Errorf("state %s, %s slots", info["cluster_state"], info["cluster_slots_ok"])
	}
	return nil
}

// hasReplicas checks that CLUSTER SLOTS of the node shows primary i and its replicas, which is what clients discover.
func (s *Server) hasReplicas(i, primaries, want int) error {
	rows, err := s.Do("CLUSTER", "SLOTS").ToArray()
	if err != nil {
		return err
	}
	for _, row := range rows {
		fields, err := row.ToArray()
		if err != nil {
			return err
		}
		first, err := fields[0].AsInt64()
		if err != nil {
			return err
		}
		if first == int64(i*slots/primaries) {
			if len(fields)-3 != want {
				return fmt.Errorf("%d replicas, not %d", len(fields)-3, want)
			}
			return nil
		}
	}
	return fmt.Errorf("its slots are not announced")
}
