//go:build servers

package migrator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/endpoint"
	"surecut/migrator/internal/receive"
)

// sentinelGroup is a primary with two replicas under three sentinels.
type sentinelGroup struct{ nodes, sentinels []*servers.Server }

func newGroup(t *testing.T, image string) sentinelGroup {
	t.Helper()
	primary := servers.Standalone(t, image, "--repl-backlog-size", "64mb")
	nodes := []*servers.Server{primary}
	for range 2 {
		nodes = append(nodes, servers.Replica(t, primary, "--repl-backlog-size", "64mb"))
	}
	return sentinelGroup{nodes, servers.Sentinels(t, primary, 2, 3)}
}

func (g sentinelGroup) url() string { return servers.SentinelURL(g.sentinels) }

// primary is where the sentinels say it is.
func (g sentinelGroup) primary(t *testing.T) *servers.Server {
	t.Helper()
	port := g.sentinels[0].PrimaryPort()
	for _, n := range g.nodes {
		if n.Port == port {
			return n
		}
	}
	t.Fatalf("no node at port %d", port)
	return nil
}

// writes counts up keys on whatever is the primary, through failovers, until the function that it returns is called.
func writes(t *testing.T, primary func() *servers.Server) (stop func()) {
	t.Helper()
	var over atomic.Bool
	var written atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		var client rueidis.Client
		addr := ""
		for n := 0; !over.Load(); n++ {
			if client == nil || n%100 == 0 && primary().Addr != addr {
				addr = primary().Addr
				c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true, AlwaysRESP2: true, DisableRetry: true})
				if err != nil {
					time.Sleep(20 * time.Millisecond)
					continue
				}
				client = c
			}
			var cmds []rueidis.Completed
			for i := range 16 {
				k := strconv.Itoa((n*7 + i) % 97)
				cmds = append(cmds, endpoint.Arbitrary(client, "INCR", "n:"+k), endpoint.Arbitrary(client, "RPUSH", "l:"+k, strconv.Itoa(n)),
					endpoint.Arbitrary(client, "SET", "e:"+k, strconv.Itoa(n), "EX", "1000"))
			}
			cmds = append(cmds, endpoint.Arbitrary(client, "DEL", "l:"+strconv.Itoa(n%97)))
			for _, r := range client.DoMulti(context.Background(), cmds...) {
				if r.Error() != nil {
					client.Close()
					client = nil
					break
				}
				written.Add(1)
			}
			time.Sleep(time.Millisecond)
		}
		if client != nil {
			client.Close()
		}
	}()
	poll(t, "traffic", func() bool { return written.Load() > 100 })
	return func() {
		over.Store(true)
		<-done
		t.Logf("%d commands of traffic", written.Load())
	}
}

// replicasHave waits until the replicas hold what the primary holds; nothing is being written but what sentinels publish, which moves
// the offsets on.
func replicasHave(t *testing.T, g sentinelGroup) {
	t.Helper()
	offset := func(info map[string]string, name string) int64 {
		n, err := strconv.ParseInt(cmp.Or(info[name], "0"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, n := range g.nodes {
		at := offset(g.primary(t).Info("replication"), "master_repl_offset")
		poll(t, "offset of the primary", func() bool {
			text, err := n.Do("INFO", "replication").ToString()
			info := endpoint.ParseInfo(text)
			return err == nil && max(offset(info, "master_repl_offset"), offset(info, "slave_repl_offset")) >= at // before 4.0 a replica has offsets of its own
		})
	}
}

// writeAlone writes 600 large values to the first node while the others stand still, so that the last of these reach the target only:
// sockets hold a few MiB. It returns when the target has them. beside runs with each.
func (g sentinelGroup) writeAlone(r *run, beside func(i int)) {
	r.t.Helper()
	for _, n := range g.nodes[1:] {
		n.Pause()
	}
	big := strings.Repeat("v", 80<<10)
	for i := range 600 {
		g.nodes[0].Must("SET", "lost:"+strconv.Itoa(i), big)
		beside(i)
	}
	r.caughtUp()
}

// failOverAlone kills the first node, which alone has what writeAlone wrote, and returns its successor, when the target has a key "after"
// that was set there.
func (g sentinelGroup) failOverAlone(r *run, arrived func() bool) *servers.Server {
	r.t.Helper()
	g.nodes[0].Kill()
	for _, n := range g.nodes[1:] {
		n.Resume()
	}
	now := g.sentinels[0].NewPrimary(g.nodes[0].Port, g.nodes...)
	now.Must("SET", "after", "v")
	r.poll("snapshot of the new primary", arrived)
	if now.Must("EXISTS", "lost:599") != int64(0) {
		r.t.Fatal("the failover has lost nothing")
	}
	return now
}

// knownReplicas are the addresses that a sentinel has in its list.
func knownReplicas(t *testing.T, sentinel *servers.Server) []string {
	t.Helper()
	rows, err := sentinel.Do("SENTINEL", "replicas", servers.SentinelGroup).ToArray()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, row := range rows {
		m, err := row.AsStrMap()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m["ip"]+":"+m["port"])
	}
	return out
}

// poll is that of the package for what only a run that goes on can bring about.
func (r *run) poll(what string, ok func() bool) {
	r.t.Helper()
	poll(r.t, what, func() bool {
		select {
		case <-r.ended:
			r.t.Fatalf("the migration has ended: %v", r.err)
		default:
		}
		return ok()
	})
}

// under says whether the stream of a link goes on under a primary: that the link knows of it is not enough, since it may still be
// receiving what the one before it takes.
func (r *run) under(link int, primary *servers.Server) (yes bool) {
	l := r.m.links[link]
	r.m.update(func() { yes = l.st.Primary == primary.Addr })
	return yes && l.shard.Primary() == primary.Addr
}

// has says whether a link has applied all that a primary holds. An offset alone does not tell: after a failover the link may still be in
// the stream of the primary before, which can be further than the new one.
func (r *run) has(link int, primary *servers.Server) bool {
	text, err := primary.Do("INFO", "replication").ToString()
	if err != nil {
		return false // a failover ends connections
	}
	info := endpoint.ParseInfo(text)
	at, err := strconv.ParseInt(info["master_repl_offset"], 10, 64)
	l := r.m.Report().Links[link]
	return err == nil && l.ReplID == info["master_replid"] && l.AppliedOffset >= at
}

// matches compares both sides once all that the source has is applied.
func (r *run) matches(source *servers.Server, u urls) {
	r.t.Helper()
	r.poll("the source's last write", func() bool { return r.has(0, source) })
	r.caughtUp()
	r.poll("end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
	addsUp(r.t, r.stop())
	equal(r.t, u, dataset.CompareOptions{})
}

// TestSourceFailsOver: the stream goes on at the promoted replica, whichever node it was read from, and nobody promotes surecut.
func TestSourceFailsOver(t *testing.T) {
	t.Parallel() // these tests wait more than they work
	for _, from := range []string{"replica", "primary"} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			g, target := newGroup(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
			stop := writes(t, func() *servers.Server { return g.primary(t) })
			r := begin(t, urls{g.url(), target.URL()}, t.TempDir(), func(c *Config) { c.ReadFrom = from })
			r.caughtUp()
			if from == "primary" { // the sentinels see it among the replicas: it must never look like one that serves
				r.poll("surecut among the replicas", func() bool {
					return strings.Contains(fmt.Sprint(knownReplicas(t, g.sentinels[0])), ":0")
				})
			}
			stop()
			replicasHave(t, g)
			before := g.primary(t)
			var was linkState
			r.m.update(func() { was = *r.m.links[0].st })
			before.Kill()
			r.poll("loss of the primary", func() bool { return from == "replica" || r.m.links[0].sourceStood() == receive.Offline })
			received := r.m.Report().Links[0].Offset
			now := g.sentinels[0].NewPrimary(before.Port, g.nodes...)
			r.poll("link under the new primary", func() bool { now = g.primary(t); return r.under(0, now) })
			promoted := now.Info("replication")
			stop = writes(t, func() *servers.Server { return g.primary(t) })
			r.caughtUp()
			// A server continues the stream of the ID that it had before, up to where it was promoted. What a sentinel has published at the last
			// moment may have reached the link only, and on a busy machine a second failover may follow the first.
			continues, err := strconv.ParseInt(promoted["second_repl_offset"], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case promoted["master_replid2"] != was.ReplID || received >= continues:
				t.Logf("the link had received %d bytes of %s: %v", received, was.ReplID, promoted)
			default:
				r.m.update(func() {
					if at := r.m.links[0].st.Start; at != was.Start {
						t.Errorf("nothing was lost, and a snapshot was taken at %d: received up to %d of %s, %v", at, received, was.ReplID, promoted)
					}
				})
			}
			// A failover by order loses what the old primary takes until it is told.
			g.sentinels[0].Failover(g.nodes...)
			stop()
			r.poll("link at the end of the new primary's stream", func() bool {
				now = g.primary(t)
				agreed := !slices.ContainsFunc(g.sentinels, func(s *servers.Server) bool { return s.PrimaryPort() != now.Port })
				return agreed && r.under(0, now) && r.has(0, now)
			})
			r.matches(now, urls{now.URL(), target.URL()})
		})
	}
}

// TestPromotionIsTakenOver: the link is connected again before anybody is promoted, to a replica that stays one. What the sentinels say
// afterwards is taken over without a new session.
func TestPromotionIsTakenOver(t *testing.T) {
	t.Parallel()
	g, target := newGroup(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	r := begin(t, urls{g.url(), target.URL()}, t.TempDir(), nil)
	r.caughtUp()
	l := r.m.links[0]
	before := g.primary(t)
	r.poll("replica that is read", func() bool { return l.shard.Node() != before.Addr })
	// As if the last session had begun before the promotion: the link knows of a primary that is no more.
	const gone = "127.0.0.1:1"
	nodes := l.shard.Nodes()
	nodes.Primary.Addr = gone
	l.shard.Take(nodes)
	r.m.update(func() { l.st.Primary = gone })
	node := l.shard.Node()
	r.poll("what the sentinels say", func() bool {
		var known string
		r.m.update(func() { known = l.st.Primary })
		return l.shard.Primary() == before.Addr && known == before.Addr
	})
	if l.shard.Node() != node {
		t.Errorf("the link left %s for %s", node, l.shard.Node())
	}
	r.stop()
}

// TestSourceLosesWrites: the promoted replica has not what the link has received; a new snapshot takes its place.
func TestSourceLosesWrites(t *testing.T) {
	t.Parallel()
	g, target := newGroup(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	fill(t, g.nodes[0], 2000)
	r := begin(t, urls{g.url(), target.URL()}, t.TempDir(), func(c *Config) { c.ReadFrom = "primary" })
	r.caughtUp()
	g.writeAlone(r, func(i int) { g.nodes[0].Must("DEL", "fill:"+strconv.Itoa(i)) })
	now := g.failOverAlone(r, func() bool { return target.Do("GET", "after").Error() == nil })
	r.caughtUp()
	if target.Must("EXISTS", "lost:599") != int64(0) || target.Must("EXISTS", "fill:599") != int64(1) {
		t.Error("the target holds a key that the source has lost, or lacks one whose deletion was lost")
	}
	stop := writes(t, func() *servers.Server { return now })
	r.caughtUp()
	stop()
	r.matches(now, urls{now.URL(), target.URL()})
}

// TestTargetFailsOver: with no write lost, and with some lost that had been acknowledged.
func TestTargetFailsOver(t *testing.T) {
	t.Parallel()
	source, g := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb"), newGroup(t, "redis:7.0")
	stop := writes(t, func() *servers.Server { return source })
	r := begin(t, urls{source.URL(), g.url()}, t.TempDir(), nil)
	r.caughtUp()
	g.sentinels[0].Failover(g.nodes...)
	r.caughtUp()
	before := g.primary(t)
	for _, n := range g.nodes {
		if n != before {
			poll(t, "replica", func() bool {
				m, _ := n.Do("INFO", "replication").ToString()
				return strings.Contains(m, "master_link_status:up")
			})
			n.Pause()
		}
	}
	at := r.m.Report().Links[0].AppliedOffset
	r.poll("writes that the replicas do not have", func() bool { return r.m.Report().Links[0].AppliedOffset > at+20000 })
	before.Kill()
	for _, n := range g.nodes {
		if n != before {
			n.Resume()
		}
	}
	now := g.sentinels[0].NewPrimary(before.Port, g.nodes...)
	r.caughtUp()
	stop()
	r.matches(source, urls{source.URL(), now.URL()})
}

// TestClusterFailsOver: by agreement, and by a takeover that asks nobody, on either side.
func TestClusterFailsOver(t *testing.T) {
	failover := func(how ...string) func(replica *servers.Server) {
		return func(replica *servers.Server) {
			poll(t, "failover", func() bool {
				return replica.Do(append([]string{"CLUSTER", "FAILOVER"}, how...)...).Error() == nil
			})
			poll(t, "promotion", func() bool {
				info, err := replica.Do("INFO", "replication").ToString()
				return err == nil && strings.Contains(info, "role:master")
			})
		}
	}
	t.Run("source", func(t *testing.T) {
		nodes, target := servers.Cluster(t, "redis:7.0", 3, 1, "--repl-backlog-size", "64mb"), servers.Standalone(t, "redis:7.0")
		var stops []func()
		for _, n := range nodes { // who is no primary redirects, which the traffic does not follow
			stops = append(stops, writeTo(t, n, true))
		}
		u := urls{nodes[0].URL(), target.URL()}
		r := begin(t, u, t.TempDir(), nil)
		r.caughtUp()
		failover()(nodes[3])
		failover("TAKEOVER")(nodes[4])
		r.poll("links under the new primaries", func() bool {
			return r.under(0, nodes[3]) && r.under(1, nodes[4])
		})
		for _, stop := range stops {
			stop()
		}
		for i, n := range []*servers.Server{nodes[3], nodes[4], nodes[2]} {
			r.poll("the shard's last write", func() bool { return r.has(i, n) })
		}
		r.caughtUp()
		addsUp(t, r.stop())
		equal(t, u, dataset.CompareOptions{})
	})
	t.Run("target", func(t *testing.T) {
		source, nodes := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb"), servers.Cluster(t, "redis:7.0", 3, 1)
		stop := writes(t, func() *servers.Server { return source })
		u := urls{source.URL(), nodes[0].URL()}
		r := begin(t, u, t.TempDir(), nil)
		r.caughtUp()
		failover()(nodes[3])
		r.caughtUp()
		failover("TAKEOVER")(nodes[4])
		r.caughtUp()
		stop()
		poll(t, "agreement of the cluster", func() bool {
			text, err := nodes[0].Do("CLUSTER", "NODES").ToString()
			return err == nil && strings.Count(text, "master") == 3
		})
		r.matches(source, u)
	})
}

// TestPausedReplicaIsNoMeasure: a replica that stands still sends nothing, and its primary is written. The link that is received from it has
// not caught up, and a run that is stopped then is not done.
func TestPausedReplicaIsNoMeasure(t *testing.T) {
	t.Parallel()
	g, target := newGroup(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	r := begin(t, urls{g.url(), target.URL()}, t.TempDir(), nil)
	r.caughtUp()
	reads := r.m.Report().Links[0].Reads
	i := slices.IndexFunc(g.nodes, func(n *servers.Server) bool { return n.Addr == reads })
	primary := g.primary(t)
	if i < 0 || primary.Addr == reads {
		t.Fatalf("the link reads from %s, and the primary is %s", reads, primary.Addr)
	}
	g.nodes[i].Pause()
	defer g.nodes[i].Resume()
	for n := range 1000 {
		primary.Must("SET", "late:"+strconv.Itoa(n), "1")
	}
	r.poll("lag behind the primary", func() bool {
		report := r.m.Report()
		li := report.Links[0]
		return report.State == "running" && li.SourceOffset > li.Offset && li.LagBytes > 0
	})
	r.m.Finish()
	select {
	case <-r.ended:
	case <-time.After(2 * time.Minute):
		t.Fatal("the run does not end")
	}
	has := target.Must("EXISTS", "late:999") == int64(1)
	if report := r.m.Report(); !has && (r.m.Settled() || report.State == "done") {
		t.Errorf("the run is %s, settled %v, and the last write is missing: %+v", report.State, r.m.Settled(), report.Links[0])
	}
}
