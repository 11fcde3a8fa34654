package migrator

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"surecut/internal/endpoint/endpointtest"
)

// prepared returns a full copy from a cluster of two shards, the first with a replica, which has not begun yet.
func prepared(t *testing.T) (*Migration, []*endpointtest.Server) {
	t.Helper()
	nodes := []*endpointtest.Server{serve(t, nil), serve(t, nil), serve(t, nil)}
	cluster(nodes, "0-8191", "8192-16383", "of 0")
	cfg := between(t, "redis+cluster://"+nodes[0].Addr, serve(t, nil).URL())
	cfg.ReadFrom, cfg.Mode = "primary", ModeFull
	m, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.state.close() })
	return m, nodes
}

// TestLookAtSlots: what the cluster shows decides whether slots move, and which nodes a link knows from then on.
func TestLookAtSlots(t *testing.T) {
	m, nodes := prepared(t)
	id := func(i int) string { return fmt.Sprintf("%040d", i) }
	at := func(text string) string {
		for i, n := range nodes {
			text = strings.ReplaceAll(text, fmt.Sprintf("#%d", i), n.Addr)
		}
		return text
	}
	for _, tt := range []struct {
		name, why string
		lines     []string
		says      string // "#0" stands for the address of the first node; "": nothing moves
		began     bool
		primary   int    // of the first link, as shardNow finds it; -1: it finds none
		known     string // nodes of the first link, by number
	}{
		{name: "at rest", lines: []string{"0-8191", "8192-16383", "of 0"}, known: "0 2"},
		{name: "failover", lines: []string{"of 2", "8192-16383", "0-8191"}, primary: 2, known: "0 2"},
		{name: "a replica has changed its shard", why: "it would be taken for the first shard's when it is promoted", lines: []string{"0-8191", "8192-16383", "of 1"}, known: "0"},
		{name: "and it comes back", lines: []string{"0-8191", "8192-16383", "of 0"}, known: "0 2"},
		{name: "a slot has moved", lines: []string{"0-8190", "8191-16383", "of 0"}, says: "slot 8191 of the source moved from #0 to #1", primary: -1, known: "0 2"},
		{name: "a slot is on the move", why: "the keys go before the slot does", lines: []string{"0-8191 [7->-" + id(1) + "]", "8192-16383", "of 0"},
			says: "slot 7 of the source began to move from #0 to #1", began: true, known: "0 2"},
		{name: "a slot is being taken", why: "the other node may not answer", lines: []string{"0-8191", "8192-16383 [7-<-" + id(0) + "]", "of 0"},
			says: "slot 7 of the source began to move from #0 to #1", began: true, known: "0 2"},
		{name: "a slot is dropped", lines: []string{"1-8191", "8192-16383", "of 0"}, says: "slot 0 of the source moved from #0 to no node", primary: -1, known: "0 2"},
	} {
		cluster(nodes, tt.lines...)
		m.refreshed = m.refreshed.AddDate(-1, 0, 0)
		err := m.lookAtSlots(t.Context())
		saysSo(t, err, at(tt.says), tt.name+": "+tt.why)
		var moved *reshardError
		if errors.As(err, &moved) != (tt.says != "") || moved != nil && moved.began() != tt.began {
			t.Errorf("%s: %v", tt.name, err)
		}
		shard, proven, ok := m.shardNow(m.links[0])
		if ok != (tt.primary >= 0) || ok && (!proven || shard.Primary.Addr != nodes[tt.primary].Addr) {
			t.Errorf("%s: the first shard is that of %s, %v, %v", tt.name, shard.Primary.Addr, proven, ok)
		}
		var known []string
		for i := range nodes {
			for _, n := range m.state.Links[0].Nodes {
				if n == id(i) {
					known = append(known, fmt.Sprint(i))
				}
			}
		}
		if got := strings.Join(known, " "); got != tt.known {
			t.Errorf("%s: the first link knows the nodes %s, want %s (%s)", tt.name, got, tt.known, tt.why)
		}
	}
}

// TestSlotsAreConfirmed: a node that has just restarted may show slots as they were long ago; slots on the move are shown by nobody else
// than the nodes concerned, once. Before anything is deleted, the source has to answer.
func TestSlotsAreConfirmed(t *testing.T) {
	moved := []string{"0-8190", "8191-16383", "of 0"}
	began := []string{"0-8191 [7->-" + fmt.Sprintf("%040d", 1) + "]", "8192-16383", "of 0"}
	for _, tt := range []struct {
		name string
		tell func([]*endpointtest.Server)
		is   error
		says string
	}{
		{name: "at rest", tell: func([]*endpointtest.Server) {}},
		{name: "shown once", tell: func(nodes []*endpointtest.Server) { nodes[0].Once("CLUSTER NODES", nodesReply(nodes, moved...)) }},
		{name: "shown twice", tell: func(nodes []*endpointtest.Server) { cluster(nodes, moved...) }, is: errResharded, says: "slot 8191"},
		{name: "began to move, shown once", tell: func(nodes []*endpointtest.Server) { // the topology is asked for first, and then each primary
			nodes[0].Once("CLUSTER NODES", nodesReply(nodes, began...), nodesReply(nodes, began...))
		}, is: errResharded, says: "slot 7"},
		{name: "nobody answers", tell: func(nodes []*endpointtest.Server) {
			for _, n := range nodes {
				n.Always("CLUSTER NODES", "-CLUSTERDOWN x\r\n")
			}
		}, says: "CLUSTERDOWN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, nodes := prepared(t)
			tt.tell(nodes)
			err := m.proveSlots(t.Context())
			saysSo(t, err, tt.says, "")
			if errors.Is(err, errResharded) != (tt.is != nil) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestLastLook: a move in the last second of a run is not missed, and a link that failed because of a move says so.
func TestLastLook(t *testing.T) {
	broken := errors.New("a key was not found")
	for _, tt := range []struct {
		name  string
		moved bool
		ended error
		says  string
	}{
		{name: "well"},
		{name: "well, but slots have moved", moved: true, says: "slot 8191"},
		{name: "failed", ended: broken, says: broken.Error()},
		{name: "failed by the move", moved: true, ended: broken, says: "(the link ended with this error: a key was not found)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, nodes := prepared(t)
			if tt.moved {
				cluster(nodes, "0-8190", "8191-16383", "of 0")
			}
			err := m.lastLook(t.Context(), tt.ended)
			saysSo(t, err, tt.says, "")
			if tt.ended != nil && !errors.Is(err, tt.ended) {
				t.Errorf("the first reason is lost: %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "the link ended with") != (tt.moved && tt.ended != nil) {
				t.Errorf("two reasons instead of one, or one instead of two: %v", err)
			}
		})
	}
}
