package endpoint

import "testing"

func TestRecognize(t *testing.T) {
	for _, tt := range []struct {
		name, why  string
		now, then  Identity
		same, sure bool
	}{
		{name: "the same process", why: "its run ID", now: Identity{{Addr: "localhost:1", RunID: "r"}}, then: Identity{{Addr: "127.0.0.1:1", RunID: "r"}}, same: true, sure: true},
		{name: "a cluster after a restart", why: "node IDs stay", now: Identity{{Addr: "h:1", RunID: "r2", NodeID: "n"}}, then: Identity{{Addr: "h:2", RunID: "r1", NodeID: "n"}}, same: true, sure: true},
		{name: "after a failover", why: "the new primary knows the replication ID of before", now: Identity{{Addr: "h:2", RunID: "b", ReplicationIDs: []string{"y", "x"}}},
			then: Identity{{Addr: "h:1", RunID: "a", ReplicationIDs: []string{"x"}}}, same: true, sure: true},
		{name: "restarted", why: "nothing but the address is left", now: Identity{{Addr: "h:1", RunID: "b"}}, then: Identity{{Addr: "h:1", RunID: "a"}}, same: true},
		{name: "another server", why: "nothing in common", now: Identity{{Addr: "h:2", RunID: "b"}}, then: Identity{{Addr: "h:1", RunID: "a"}}, sure: true},
		{name: "nothing was written down", why: "it proves nothing", now: Identity{{Addr: "h:2", RunID: "b"}}},
	} {
		got := tt.now.Recognize(tt.then)
		if got.Same != tt.same || got.Sure != tt.sure || got.By == "" {
			t.Errorf("%s: %+v, want same %v, sure %v: %s", tt.name, got, tt.same, tt.sure, tt.why)
		}
	}
}

func TestReplicates(t *testing.T) {
	primary := Identity{{Addr: "h:1", Role: RolePrimary, ReplicationIDs: []string{"x"}}}
	for _, tt := range []struct {
		name  string
		other Identity
		want  bool
	}{
		{"a replica of it", Identity{{Addr: "h:2", Role: RoleReplica, ReplicationIDs: []string{"x"}}}, true},
		{"a replica that was promoted", Identity{{Addr: "h:2", Role: RolePrimary, ReplicationIDs: []string{"y", "x"}}}, false},
		{"a replica of another", Identity{{Addr: "h:2", Role: RoleReplica, ReplicationIDs: []string{"z"}}}, false},
		{"before 4.0", Identity{{Addr: "h:2", Role: RoleReplica}}, false},
	} {
		if got, evidence := primary.Replicates(tt.other); got != tt.want || got != (evidence != "") {
			t.Errorf("%s: %v, %q", tt.name, got, evidence)
		}
	}
}
