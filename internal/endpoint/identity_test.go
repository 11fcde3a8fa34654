package endpoint

import (
	"slices"
	"strings"
	"testing"
)

func TestMemberLearns(t *testing.T) {
	zeros := strings.Repeat("0", 40)
	for _, tt := range []struct {
		name, why string
		info      map[string]string
		alone     bool
		want      Member
		named     []string
	}{
		{name: "primary", why: "the second replication ID is zeros until a failover", info: map[string]string{"role": "master", "run_id": "r1", "master_replid": "a1", "master_replid2": zeros},
			want: Member{Addr: "h:1", RunID: "r1", Role: RolePrimary, ReplicationIDs: []string{"a1"}}},
		{name: "promoted", why: "both histories identify the data", info: map[string]string{"role": "master", "run_id": "r1", "master_replid": "a2", "master_replid2": "a1"},
			want: Member{Addr: "h:1", RunID: "r1", Role: RolePrimary, ReplicationIDs: []string{"a2", "a1"}}},
		{name: "replica", why: "the primary is a server that no topology names", alone: true,
			info: map[string]string{"role": "slave", "run_id": "r2", "master_host": "p", "master_port": "6379", "master_link_status": "up"},
			want: Member{Addr: "h:1", RunID: "r2", Role: RoleReplica, Link: LinkUp, Primary: "p:6379"}, named: []string{"p:6379 primary "}},
		{name: "replica, cut off", why: "a link that is not up is down", info: map[string]string{"role": "slave", "master_host": "::1", "master_port": "6379", "master_link_status": "down"},
			want: Member{Addr: "h:1", Role: RoleReplica, Link: LinkDown, Primary: "[::1]:6379"}},
		{name: "with replicas", why: "port 0 is a migration", alone: true,
			info: map[string]string{"role": "master", "slave0": "ip=b,port=2,state=online,offset=1,lag=0", "slave1": "ip=c,port=0,state=online", "slave2": "ip=a,port=2,state=wait_bgsave"},
			want: Member{Addr: "h:1", Role: RolePrimary}, named: []string{"a:2 replica down", "b:2 replica up"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Member{Addr: "h:1"}
			var named []string
			for _, n := range got.learn(tt.info, tt.alone) {
				named = append(named, n.Addr+" "+n.Role+" "+n.Link)
			}
			if !slices.Equal(got.ReplicationIDs, tt.want.ReplicationIDs) {
				t.Errorf("replication IDs %v, want %v: %s", got.ReplicationIDs, tt.want.ReplicationIDs, tt.why)
			}
			got.ReplicationIDs, tt.want.ReplicationIDs = nil, nil
			if got.Addr != tt.want.Addr || got.RunID != tt.want.RunID || got.Role != tt.want.Role || got.Link != tt.want.Link || got.Primary != tt.want.Primary {
				t.Errorf("%+v, want %+v: %s", got, tt.want, tt.why)
			}
			if !slices.Equal(named, tt.named) {
				t.Errorf("names %q, want %q: %s", named, tt.named, tt.why)
			}
		})
	}
}

// TestRestartedSince: one server that was restarted may have lost what was compared, whatever the others still hold.
func TestRestartedSince(t *testing.T) {
	primary, replica := Member{Addr: "h:1", RunID: "r", Role: RolePrimary}, Member{Addr: "h:2", RunID: "s", Role: RoleReplica}
	for _, tt := range []struct {
		name, why string
		change    func(*Member, *Member) // the primary and the replica, later
		want      bool
	}{
		{"nothing", "both are the same processes", func(*Member, *Member) {}, false},
		{"primary", "it may have come up with older data", func(p, _ *Member) { p.RunID = "t" }, true},
		{"primary of a node at another address", "the node ID names it", func(p, _ *Member) { p.Addr, p.RunID = "x:1", "t" }, true},
		{"primary of unknown run ID", "what is not known is no evidence", func(p, _ *Member) { p.RunID = "" }, false},
		{"replica", "nobody has read it", func(_, r *Member) { r.RunID = "t" }, false},
		{"replica that was read", "what was compared was its data", func(_, r *Member) { r.RunID, r.Read = "t", true }, true},
		{"failover", "both are the same processes", func(p, r *Member) { p.Role, r.Role = RoleReplica, RolePrimary }, false},
		{"restarted, then promoted", "it holds what it had after the restart", func(_, r *Member) { r.RunID, r.Role = "t", RolePrimary }, true},
	} {
		p, r := primary, replica
		p.NodeID = "n1"
		before := Identity{p, r}
		tt.change(&p, &r)
		if got, evidence := (Identity{p, r}).RestartedSince(before); got != tt.want || got != (evidence != "") {
			t.Errorf("%s: %v, %q: %s", tt.name, got, evidence, tt.why)
		}
	}
}

func TestSameAs(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		a, b      Identity
		want      bool
	}{
		{name: "two names of one server", why: "the run ID is the process", a: Identity{{Addr: "localhost:1", RunID: "r"}}, b: Identity{{Addr: "127.0.0.1:1", RunID: "r"}}, want: true},
		{name: "two servers", why: "run IDs differ", a: Identity{{Addr: "h:1", RunID: "r"}}, b: Identity{{Addr: "h:1", RunID: "s"}}},
		{name: "two nodes of one cluster", why: "both know all nodes", a: Identity{{Addr: "h:1", NodeID: "n1"}, {Addr: "h:2", NodeID: "n2"}}, b: Identity{{Addr: "x:2", NodeID: "n2"}}, want: true},
		{name: "nothing known", why: "empty IDs are no evidence", a: Identity{{Addr: "h:1"}}, b: Identity{{Addr: "h:1"}}},
	} {
		if same, evidence := tt.a.SameAs(tt.b); same != tt.want || same != (evidence != "") {
			t.Errorf("%s: %v, %q: %s", tt.name, same, evidence, tt.why)
		}
	}
}
