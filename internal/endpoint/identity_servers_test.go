//go:build servers

package endpoint

import (
	"fmt"
	"strings"
	"testing"

	"surecut/e2e/servers"
)

// TestIdentityOfReplication: a server that is named alone tells its replicas, a replica its primary, and both have one history.
func TestIdentityOfReplication(t *testing.T) {
	primary := servers.Standalone(t, "redis:7.0")
	replica := servers.Replica(t, primary)
	of := func(url string) Identity {
		t.Helper()
		id, err := open(t, url).Identity(t.Context())
		if err != nil || len(id) != 2 {
			t.Fatalf("%s: %+v, %v, want both servers", url, id, err)
		}
		return id
	}
	p, r := of(primary.URL()), of(replica.URL())
	if p[0].Role != RolePrimary || p[0].RunID == "" || p[1].Role != RoleReplica || p[1].Link != LinkUp || p[1].Addr != replica.Addr {
		t.Errorf("by the primary: %+v", p)
	}
	if r[0].Role != RoleReplica || r[0].Link != LinkUp || r[1].Addr != primary.Addr || r[1].Role != RolePrimary {
		t.Errorf("by the replica: %+v", r)
	}
	if p[0].ReplicationIDs[0] != r[0].ReplicationIDs[0] {
		t.Errorf("the histories differ: %v, %v", p[0].ReplicationIDs, r[0].ReplicationIDs)
	}
	if same, evidence := p.SameAs(of(strings.Replace(primary.URL(), "127.0.0.1", "localhost", 1))); !same || !strings.Contains(evidence, "localhost") {
		t.Errorf("a server and itself by another name: %v, %q", same, evidence)
	}
	if same, evidence := p.SameAs(r); same {
		t.Errorf("a replica is another server: %q", evidence)
	}
}

func TestIdentityOfCluster(t *testing.T) {
	nodes := servers.Cluster(t, "redis:7.0", 3, 1)
	var ids []Identity
	for _, n := range []*servers.Server{nodes[0], nodes[2]} {
		id, err := open(t, "redis+cluster://"+n.Addr).Identity(t.Context())
		if err != nil || len(id) != 6 {
			t.Fatalf("%+v, %v, want six nodes", id, err)
		}
		ids = append(ids, id)
	}
	for _, m := range ids[0] {
		if m.NodeID == "" || m.RunID == "" || m.Role == RoleReplica && (m.Link != LinkUp || m.Primary == "") {
			t.Errorf("%+v", m)
		}
	}
	if same, evidence := ids[0].SameAs(ids[1]); !same {
		t.Errorf("the cluster by two of its nodes: %q", evidence)
	}
}

func TestIdentityOfSentinelGroup(t *testing.T) {
	primary := servers.Standalone(t, "redis:7.0")
	sentinels := servers.Sentinels(t, primary, 0, 1)
	id, err := open(t, servers.SentinelURL(sentinels)).Identity(t.Context())
	if err != nil || len(id) != 1 || id[0].RunID != fmt.Sprint(primary.Info("server")["run_id"]) {
		t.Errorf("%+v, %v", id, err)
	}
}
