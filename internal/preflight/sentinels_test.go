package preflight

import (
	"errors"
	"strings"
	"testing"

	"surecut/internal/endpoint"
)

func TestJudgeSentinels(t *testing.T) {
	view := func(change func(*endpoint.SentinelView)) endpoint.SentinelView {
		v := endpoint.SentinelView{Addr: "s:1", Primary: "p:1", Flags: "master", Quorum: 2, Peers: []string{"s:2", "s:3"},
			Replicas: []endpoint.SentinelReplica{{Addr: "r:1", Flags: "slave", Role: "slave", Priority: 100}}}
		if change != nil {
			change(&v)
		}
		return v
	}
	good := view(nil)
	tests := []struct {
		name, why string
		views     []endpoint.SentinelView
		want      Result // of the first row
		says      string
	}{
		{"all agree", "", []endpoint.SentinelView{good, good, good}, Pass, "quorum 2 of 3"},
		{"one is gone", "a majority is left", []endpoint.SentinelView{good, good, {Addr: "s:3", Err: errors.New("refused")}}, Pass, "1 replicas"},
		{"the first is gone", "it is named in the URL", []endpoint.SentinelView{{Addr: "s:3", Err: errors.New("refused")}, good, good}, Alarm, "refused"},
		{"two are gone", "no majority", []endpoint.SentinelView{good}, Alarm, "1 answer"},
		{"another primary", "it was cut off", []endpoint.SentinelView{view(func(v *endpoint.SentinelView) { v.Primary = "old:1" }), good, good}, Alarm, "old:1"},
		{"in a failover", "the topology is about to change", []endpoint.SentinelView{view(func(v *endpoint.SentinelView) { v.Flags = "master,o_down,failover_in_progress" }), good, good}, Alarm, "o_down"},
		{"priority 0", "it is never promoted", []endpoint.SentinelView{view(func(v *endpoint.SentinelView) { v.Replicas[0].Priority = 0 }), good, good}, Alarm, "0 replicas"},
		{"no server", "what replicates on port 0 is surecut", []endpoint.SentinelView{view(func(v *endpoint.SentinelView) { v.Replicas[0].Addr = "r:0" }), good, good}, Alarm, "0 replicas"},
		{"replaced", "a replica that takes itself for the primary has been replaced", []endpoint.SentinelView{view(func(v *endpoint.SentinelView) { v.Replicas[0].Role = "master" }), good, good}, Alarm, "0 replicas"},
		{"replica down", "", []endpoint.SentinelView{view(func(v *endpoint.SentinelView) { v.Replicas[0].Flags = "slave,s_down" }), good, good}, Alarm, "0 replicas"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checks := judgeSentinels(tt.views, "p:1")
			if c := checks[0]; len(checks) != len(tt.views) || c.Result != tt.want || !strings.Contains(c.Found, tt.says) || !strings.HasPrefix(c.Subject, "sentinel s:") || (c.Remedy == "") != (c.Result == Pass) {
				t.Errorf("%+v, want %s that says %q (%s)", c, tt.want, tt.says, tt.why)
			}
		})
	}
}
