package endpoint_test

import (
	"fmt"
	"strings"
	"testing"

	"surecut/internal/endpoint/endpointtest"
)

// TestPrimaryThatIsCutOff: a primary that is cut off from its cluster still names itself as the primary of its slots. The nodes that see a
// working cluster, and of these the one that knows of the latest promotion, are believed.
func TestPrimaryThatIsCutOff(t *testing.T) {
	for _, c := range []struct {
		name, why string
		states    [4]string // what each node says of the cluster; "": it may not be asked
		promoted  [4]bool   // the node knows that node 3 was promoted in the place of node 0
		hangUp    []int     // nodes that do not answer
		want      int       // the primary of slot 0
	}{
		{name: "nothing has happened", states: [4]string{"ok", "ok", "ok", "ok"}, want: 0},
		{name: "cut off, and it has noticed", states: [4]string{"fail", "ok", "ok", "ok"}, promoted: [4]bool{false, true, true, true}, want: 3},
		{name: "cut off, and it has not noticed", states: [4]string{"ok", "ok", "ok", "ok"}, promoted: [4]bool{false, true, true, true}, want: 3},
		{name: "cut off, and states may not be asked", promoted: [4]bool{false, true, true, true}, want: 3},
		{name: "two are cut off", states: [4]string{"fail", "fail", "ok", "ok"}, promoted: [4]bool{false, false, true, true}, want: 3},
		{name: "the others do not answer", why: "its view is the only one", states: [4]string{"fail", "ok", "ok", "ok"}, promoted: [4]bool{false, true, true, true}, hangUp: []int{1, 2, 3}, want: 0},
		{name: "the cluster is down", why: "the newest view counts", states: [4]string{"fail", "fail", "fail", "fail"}, promoted: [4]bool{false, false, false, true}, want: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			var nodes [4]*endpointtest.Server
			for i := range nodes {
				nodes[i] = endpointtest.Serve(t, "7.0.15")
				nodes[i].Tell("cluster_enabled", "1", "redis_mode", "cluster")
			}
			tell := func(promoted [4]bool) {
				for i, n := range nodes {
					n.Always("CLUSTER SLOTS", "*0\r\n")
					n.Always("CLUSTER NODES", endpointtest.Bulk(cutOffView(nodes, i, promoted[i])))
				}
			}
			tell([4]bool{})
			d := endpointtest.Open(t, "redis+cluster://"+nodes[0].Addr)
			tell(c.promoted)
			for i, n := range nodes {
				if n.Always("CLUSTER INFO", "-NOPERM no\r\n"); c.states[i] != "" {
					n.Always("CLUSTER INFO", endpointtest.Bulk("cluster_state:"+c.states[i]+"\r\n"))
				}
			}
			for _, i := range c.hangUp {
				nodes[i].Always("", endpointtest.HangUp)
			}
			if err := d.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if p, ok := d.PrimaryOf(0); !ok || p.Addr != nodes[c.want].Addr {
				t.Errorf("the primary of slot 0 is %s, want node %d, %s (%s)", p.Addr, c.want, nodes[c.want].Addr, c.why)
			}
		})
	}
}

// cutOffView is CLUSTER NODES as a node answers it, with node 3 as the replica of node 0, or promoted in its place.
func cutOffView(nodes [4]*endpointtest.Server, asked int, promoted bool) (text string) {
	slots := []string{"0-5000", "5001-10000", "10001-16383", ""}
	roles := []string{"master -", "master -", "master -", fmt.Sprintf("slave %040d", 0)}
	epochs := []int{1, 2, 3, 1}
	if promoted {
		slots[0], slots[3], roles[0], roles[3], epochs[3] = "", "0-5000", "master,fail -", "master -", 4
	}
	for i, n := range nodes {
		role := roles[i]
		if i == asked {
			role = "myself," + role
		}
		text += strings.TrimSpace(fmt.Sprintf("%040d %s@1 %s 0 0 %d connected %s", i, n.Addr, role, epochs[i], slots[i])) + "\n"
	}
	return text
}

// TestTwoNodesAreAsked: as long as nodes see a working cluster, no more than two are asked, and one that did not answer is not waited for
// again at once.
func TestTwoNodesAreAsked(t *testing.T) {
	var nodes [4]*endpointtest.Server
	for i := range nodes {
		nodes[i] = endpointtest.Serve(t, "7.0.15")
		nodes[i].Tell("cluster_enabled", "1", "redis_mode", "cluster")
	}
	for i, n := range nodes {
		n.Always("CLUSTER SLOTS", "*0\r\n")
		n.Always("CLUSTER NODES", endpointtest.Bulk(cutOffView(nodes, i, false)))
		n.Always("CLUSTER INFO", endpointtest.Bulk("cluster_state:ok\r\n"))
	}
	d := endpointtest.Open(t, "redis+cluster://"+nodes[0].Addr)
	asked := func() (calls [4]int) {
		for i, n := range nodes {
			calls[i] = len(n.Calls("CLUSTER NODES"))
		}
		return calls
	}
	if got := asked(); got != [4]int{1, 1} {
		t.Errorf("asked %v", got)
	}
	nodes[1].Always("", endpointtest.HangUp)
	for range 3 {
		if err := d.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := asked(); got[0] != 4 || got[2] != 3 || got[3] != 0 || len(nodes[1].Calls("INFO")) > 2 {
		t.Errorf("asked %v, and node 1 for %v", got, nodes[1].Calls("INFO"))
	}
}
