package verifier

import (
	"maps"
	"strings"
	"testing"
)

// TestReplicaStanding: a replica may be read where it is known to hold what its primary holds, and only there.
func TestReplicaStanding(t *testing.T) {
	good := map[string]string{"role": "slave", "master_link_status": "up", "master_sync_in_progress": "0", "master_last_io_seconds_ago": "1",
		"master_replid": "a", "slave_repl_offset": "100"}
	for _, tt := range []struct {
		name, why string
		change    map[string]string
		behind    int64
		want      string
	}{
		{name: "caught up", why: "it has all"},
		{name: "ahead", why: "the primary was asked before", change: map[string]string{"slave_repl_offset": "150"}, behind: -50},
		{name: "behind", why: "it is waited for", change: map[string]string{"slave_repl_offset": "40"}, behind: 60},
		{name: "link down", why: "nobody knows how far it is behind", change: map[string]string{"master_link_status": "down"}, want: "its connection to the primary is down"},
		{name: "link up, and silent", why: "a frozen path is up until its time is out", change: map[string]string{"master_last_io_seconds_ago": "31"}, want: "has received nothing from its primary"},
		{name: "link down, last heard -1", why: "what INFO says while it is not connected", change: map[string]string{"master_last_io_seconds_ago": "-1"}, want: "has received nothing"},
		{name: "being filled", why: "it holds what it held before, or a part", change: map[string]string{"master_sync_in_progress": "1"}, want: "being synchronised"},
		{name: "of another primary", why: "its offset counts another stream", change: map[string]string{"master_replid": "b"}, want: "another stream"},
		{name: "promoted", why: "it takes writes of its own", change: map[string]string{"role": "master"}, want: "no longer a replica"},
		{name: "no offset", why: "what is not known is not current", change: map[string]string{"slave_repl_offset": ""}, want: "offset is not known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			replica := maps.Clone(good)
			maps.Copy(replica, tt.change)
			behind, err := replicaStanding{Primary: map[string]string{"role": "master", "master_replid": "a", "master_repl_offset": "100"}, Replica: replica}.behind()
			if tt.want == "" && (err != nil || behind != tt.behind) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%d, %v, want %d, %q: %s", behind, err, tt.behind, tt.want, tt.why)
			}
		})
	}
}
