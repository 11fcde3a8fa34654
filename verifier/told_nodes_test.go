package verifier

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// nodeLines answers CLUSTER NODES of all nodes by lines of the form "slots flags", one for each node.
func nodeLines(nodes []*endpointtest.Server, lines ...string) {
	text := ""
	for i, line := range lines {
		text += fmt.Sprintf("%040d %s@1 master - 0 0 1 connected %s\n", i, nodes[i].Addr, line)
	}
	for _, n := range nodes {
		n.Always("CLUSTER NODES", endpointtest.Bulk(text))
	}
}

// toldCluster is a cluster of two nodes, and a server that holds the same keys.
type toldCluster struct {
	nodes  []*endpointtest.Server
	single *endpointtest.Server
}

func newToldCluster(t *testing.T) *toldCluster {
	c := &toldCluster{single: endpointtest.Serve(t, "7.0.15")}
	for range 2 {
		s := endpointtest.Serve(t, "7.0.15")
		s.Tell("cluster_enabled", "1", "redis_mode", "cluster")
		c.nodes = append(c.nodes, s)
	}
	nodeLines(c.nodes, "0-8191", "8192-16383")
	for slot := range uint16(4) {
		for i := range c.nodes {
			name := "{" + keyspace.SlotTag(slot+uint16(i)*8192) + "}"
			c.nodes[i].Put(name, stringOf(name))
			c.single.Put(name, stringOf(name))
		}
	}
	return c
}

// key returns the name of a key of a slot.
func keyOfSlot(slot uint16) string { return "{" + keyspace.SlotTag(slot) + "}" }

// TestSlotsThatMove: a key that changes its node while keys are listed is neither lost nor found twice, or the report says that it may
// be. The cluster is the source, and then the target.
func TestSlotsThatMove(t *testing.T) {
	moved := keyOfSlot(1)
	for _, tt := range []struct {
		name, why string
		tell      func(c *toldCluster)
		want      Verdict
		says      string
	}{
		{"at rest", "", func(*toldCluster) {}, Same, "All 8 keys"},
		{"a slot has moved", "its keys may have been listed by no node", func(c *toldCluster) {
			c.nodes[0].Before("SCAN", func() { nodeLines(c.nodes, "0 2-8191", "1 8192-16383") })
		}, Unchecked, "1 slots are served by another node than when the listing of keys began (slot 1 by"},
		{"a slot is on the move", "", func(c *toldCluster) {
			nodeLines(c.nodes, "0-8191 [1->-"+fmt.Sprintf("%040d", 1)+"]", "8192-16383")
		}, Unchecked, "1 slots of "},
		{"slots that nobody serves", "", func(c *toldCluster) { c.nodes[0].Before("SCAN", func() { nodeLines(c.nodes, "0-8190", "8192-16383") }) }, Unchecked, "(slot 8191 by "},
		{"the topology cannot be asked", "", func(c *toldCluster) {
			c.nodes[0].Before("SCAN", func() {
				for _, n := range c.nodes {
					n.Always("CLUSTER NODES", "-CLUSTERDOWN x\r\n")
				}
			})
		}, Unchecked, "CLUSTERDOWN x"},
		{"moved with its key", "the node says so, and the new one is asked", func(c *toldCluster) {
			c.nodes[0].Always("TYPE "+moved, "-MOVED 1 "+c.nodes[1].Addr+"\r\n")
			c.nodes[0].Before("TYPE "+moved, func() {
				c.nodes[0].Put(moved, nil)
				c.nodes[1].Put(moved, stringOf(moved))
				nodeLines(c.nodes, "0 2-8191", "1 8192-16383")
			})
		}, Unchecked, "1 slots are served by another node"},
		{"asked elsewhere", "the key may be on either node", func(c *toldCluster) { c.nodes[0].Always("TYPE "+moved, "-ASK 1 "+c.nodes[1].Addr+"\r\n") }, Unchecked, "1 key could not be compared"},
		{"asked elsewhere once", "", func(c *toldCluster) { c.nodes[0].Once("TYPE "+moved, "-ASK 1 "+c.nodes[1].Addr+"\r\n") }, Same, "All 8 keys"},
		{"down for a moment", "", func(c *toldCluster) { c.nodes[1].Once("TYPE", "-CLUSTERDOWN The cluster is down\r\n") }, Same, "All 8 keys"},
		{"a key where it does not belong", "no client finds it there", func(c *toldCluster) { c.nodes[1].Put(keyOfSlot(100), stringOf("x")) }, Same, "1 keys are on nodes that do not own their slots. No client finds them there, and they were not compared: " + keyOfSlot(100) + " (slot 100) on"},
		{"a copy where it does not belong", "it counts once", func(c *toldCluster) { c.nodes[1].Put(moved, stringOf("old")) }, Same, "1 keys are on nodes that do not own their slots"},
		{"a key that has gone ahead", "its slot is being imported", func(c *toldCluster) {
			c.nodes[0].Put(moved, nil)
			c.nodes[1].Put(moved, stringOf(moved))
			nodeLines(c.nodes, "0-8191 [1->-"+fmt.Sprintf("%040d", 1)+"]", "8192-16383 [1-<-"+fmt.Sprintf("%040d", 0)+"]")
		}, Different, "slots of"},
	} {
		for _, asSource := range []bool{true, false} {
			c := newToldCluster(t)
			cluster, single := endpointtest.Open(t, "redis+cluster://"+c.nodes[0].Addr+","+c.nodes[1].Addr), endpointtest.Open(t, c.single.URL())
			tt.tell(c)
			source, target := cluster, single
			if !asSource {
				source, target = single, cluster
			}
			r, err := verifyDeployments(t, source, target, nil)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			if text := strings.Join(r.Reasons, " "); r.Verdict != tt.want || !strings.Contains(text, tt.says) {
				t.Errorf("%s, source %v: %s: %s\nwant %s, %q (%s)", tt.name, asSource, r.Verdict, text, tt.want, tt.says, tt.why)
			}
		}
	}
}

// follows makes a server a replica of another one that holds all.
func follows(replica, primary *endpointtest.Server) {
	host, port, _ := net.SplitHostPort(primary.Addr)
	replica.Tell("role", "slave", "master_host", host, "master_port", port, "master_link_status", "up", "master_sync_in_progress", "0",
		"master_last_io_seconds_ago", "0", "slave_read_only", "1", "master_replid", primary.ReplID(), "slave_repl_offset", "1000")
	host, port, _ = net.SplitHostPort(replica.Addr)
	primary.Tell("slave0", fmt.Sprintf("ip=%s,port=%s,state=online,offset=1000,lag=0", host, port))
}

// TestWhichNodeIsRead: a replica is read where it was asked for and holds all, and whatever is read instead, the report says so.
func TestWhichNodeIsRead(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		named     string // which of the servers the URL names: p or r
		from      ReadFrom
		tell      func(p, r *endpointtest.Server)
		change    func(p, r *endpointtest.Server, c *Config)
		reads     string // p or r
		says      string // part of the notes and of why the enumeration may not be complete
	}{
		{name: "primary", named: "p", from: FromPrimary, reads: "p"},
		{name: "replica", named: "p", from: FromReplica, reads: "r"},
		{name: "no replica", named: "p", from: FromReplica, tell: func(p, _ *endpointtest.Server) { p.Tell("slave0", "") }, reads: "p", says: "has no replica that can be read"},
		{name: "link down", named: "p", from: FromReplica, tell: func(_, r *endpointtest.Server) { r.Tell("master_link_status", "down") }, reads: "p", says: "to the primary is down"},
		{name: "catches up", why: "it is waited for", named: "p", from: FromReplica, tell: func(_, r *endpointtest.Server) {
			r.Tell("slave_repl_offset", "900")
			r.On("INFO replication", func([]string) string {
				if len(r.Calls("INFO replication")) > 2 {
					r.Tell("slave_repl_offset", "1000")
				}
				return endpointtest.Usual
			})
		}, reads: "r"},
		{name: "takes writes", why: "it may hold what its primary does not", named: "p", from: FromReplica, tell: func(_, r *endpointtest.Server) { r.Tell("slave_read_only", "0") }, reads: "p", says: "(replica-read-only is no)"},
		{name: "cannot be asked", named: "p", from: FromReplica, tell: func(_, r *endpointtest.Server) { r.Always("INFO", "-NOPERM no\r\n") }, reads: "p", says: "INFO replication: NOPERM no"},
		{name: "primary cannot be asked", named: "p", from: FromReplica, tell: func(p, _ *endpointtest.Server) { p.Always("INFO replication", "-NOPERM no\r\n") }, reads: "p", says: "INFO replication: NOPERM no"},
		{name: "named by mistake", why: "a replica may be behind", named: "r", from: FromPrimary, reads: "p", says: "is a replica; its primary"},
		{name: "named on purpose", named: "r", from: FromReplica, reads: "r"},
		{name: "its primary is not there", why: "whether the replica holds all is not known", named: "r", from: FromPrimary, tell: func(_, r *endpointtest.Server) { r.Tell("master_port", "1") }, reads: "r", says: "connection refused"},
		{name: "follows itself", named: "r", from: FromPrimary, tell: func(_, r *endpointtest.Server) {
			_, port, _ := net.SplitHostPort(r.Addr)
			r.Tell("master_port", port)
		}, says: "does not lead to a primary"},
		{name: "link reads the replica", why: "its offsets are those of the link", named: "p", from: FromPrimary, change: func(p, r *endpointtest.Server, c *Config) {
			c.Applier = &toldApplier{links: []AppliedLink{{Shard: p.Addr, Reads: r.Addr}}}
		}, reads: "r"},
		{name: "link reads a replica that takes writes", named: "p", from: FromPrimary, tell: func(_, r *endpointtest.Server) { r.Tell("slave_read_only", "0") }, change: func(p, r *endpointtest.Server, c *Config) {
			c.Applier = &toldApplier{links: []AppliedLink{{Shard: p.Addr, Reads: r.Addr}}}
		}, reads: "r", says: "(replica-read-only is no)"},
	} {
		p, r := endpointtest.Serve(t, "7.0.15"), endpointtest.Serve(t, "7.0.15")
		follows(r, p)
		c := toldConfig(t)
		if c.ReadFrom = tt.from; tt.change != nil {
			tt.change(p, r, &c)
		}
		servers := map[string]*endpointtest.Server{"p": p, "r": r}
		dep := endpointtest.Open(t, servers[tt.named].URL())
		if tt.tell != nil {
			tt.tell(p, r)
		}
		s, err := newSide(t.Context(), endpoint.Source, dep, &c)
		if err != nil || tt.reads == "" {
			if err == nil || tt.reads != "" || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %v (%s)", tt.name, err, tt.why)
			}
			continue
		}
		text := strings.Join(slices.Concat(s.notes, s.short.reasons()), " ")
		if got := s.nodes[0].addr(); got != servers[tt.reads].Addr || !strings.Contains(text, tt.says) || tt.says == "" && text != "" {
			t.Errorf("%s: read %s of %s and %s: %s\nwant %s, %q (%s)", tt.name, got, p.Addr, r.Addr, text, tt.reads, tt.says, tt.why)
		}
		read := slices.DeleteFunc(s.servers(), func(m endpoint.Member) bool { return !m.Read })
		if len(read) != 1 || read[0].Addr != servers[tt.reads].Addr {
			t.Errorf("%s: marked as read: %+v", tt.name, read)
		}
		if mayWrite := s.isPrimary() == nil; mayWrite != (tt.reads == "p" && tt.named == "p") {
			t.Errorf("%s: may be written to: %v", tt.name, mayWrite)
		}
		// At the end, a replica that has lost its primary has not got what was written since.
		if s.stillCurrent(t.Context()); len(s.short.reasons()) > 0 && tt.says == "" {
			t.Errorf("%s: at the end %q", tt.name, s.short.reasons())
		}
		r.Tell("master_link_status", "down")
		s.stillCurrent(t.Context())
		if lost := strings.Contains(strings.Join(s.short.reasons(), " "), "was read as a replica of"); lost != (tt.reads == "r" && s.nodes[0].follows != "") {
			t.Errorf("%s: at the end, without its primary: %q", tt.name, s.short.reasons())
		}
	}
}

// TestLinkReadsReplicaThatLags: what the primary holds when the run begins is compared, also where the replica that is read has not got it
// yet.
func TestLinkReadsReplicaThatLags(t *testing.T) {
	p, replica := newToldPair(t, "7.0.15"), endpointtest.Serve(t, "7.0.15")
	for _, name := range p.source.Names() {
		replica.Put(name, p.source.Get(name))
	}
	follows(replica, p.source)
	replica.Tell("slave_repl_offset", "900")
	asked, early := 0, 0
	replica.On("INFO replication", func([]string) string {
		if asked++; asked > 2 {
			replica.Tell("slave_repl_offset", "1000")
		}
		return endpointtest.Usual
	})
	replica.On("SCAN", func([]string) string {
		if asked <= 2 {
			early++
		}
		return endpointtest.Usual
	})
	applier := &toldApplier{links: []AppliedLink{{Shard: p.source.Addr, Reads: replica.Addr}}, at: Position{p.source.ReplID(), p.source.Offset()}}
	r, err := verifyTold(t, p.source, p.target, func(c *Config) { c.Applier = applier })
	if err != nil {
		t.Fatal(err)
	}
	if early > 0 || len(replica.Calls("SCAN")) == 0 || len(r.Incomplete) > 0 {
		t.Errorf("%d pages were listed before the replica had caught up; incomplete %q", early, r.Incomplete)
	}
	replica.Tell("master_link_status", "down")
	if r, err = verifyTold(t, p.source, p.target, func(c *Config) { c.Applier = applier }); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(r.Incomplete, " "); !strings.Contains(text, "from which the migration replicates, is a replica of "+p.source.Addr+", but its connection to the primary is down") {
		t.Errorf("without its primary: incomplete %q", text)
	}
}

// toldApplier is a migration that has applied everything.
type toldApplier struct {
	Applier
	links []AppliedLink
	at    Position
}

func (a *toldApplier) Links() []AppliedLink { return a.links }

func (a *toldApplier) Applied(context.Context, int) (Position, error) { return a.at, nil }

func (a *toldApplier) Freeze(context.Context, int) (Frame, error) { return nil, ErrLags }
