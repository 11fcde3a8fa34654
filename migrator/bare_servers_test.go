//go:build servers

package migrator

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/endpoint"
)

// calls counts how often a server has run a command.
func calls(t *testing.T, s *servers.Server, command string) int {
	t.Helper()
	line := s.Info("commandstats")["cmdstat_"+command]
	text, _, _ := strings.Cut(strings.TrimPrefix(line, "calls="), ",")
	n, _ := strconv.Atoi(text)
	return n
}

// TestAbsoluteCommandsGoBare: they cost the target no transaction, and no checkpoint each. Where the old connection of a run cannot be
// ended, they do.
func TestAbsoluteCommandsGoBare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, why string
		cluster   bool
		user      []string
		bare      bool
	}{
		{name: "server", bare: true},
		{name: "cluster", cluster: true, bare: true},
		{name: "no CLIENT KILL", why: "what it was sent may arrive late", user: []string{"-client|kill"}},
		{name: "no CLIENT LIST", why: "the next run could not find the connections", user: []string{"-client|list"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := servers.Standalone(t, "redis:7.0")
			nodes := []*servers.Server{}
			if c.cluster {
				nodes = servers.Cluster(t, "redis:7.0", 3, 0)
			} else {
				nodes = append(nodes, servers.Standalone(t, "redis:7.0"))
			}
			url := nodes[0].URL()
			if c.user != nil {
				nodes[0].Must(append([]string{"ACL", "SETUSER", "mover", "on", ">secret", "~*", "&*", "+@all"}, c.user...)...)
				url = "redis://mover:secret@" + nodes[0].Addr
			}
			u := urls{source.URL(), url}
			r := begin(t, u, t.TempDir(), nil)
			r.caughtUp()
			r.poll("end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
			sum := func(command string) (n int) {
				for _, s := range nodes {
					n += calls(t, s, command)
				}
				return n
			}
			before := sum("exec")
			const rounds = 20 // a lane that is slow applies all of a round at once
			for i := range 15 * rounds {
				source.Must("SET", "k:"+strconv.Itoa(i), "v")
				source.Must("HSET", "h:"+strconv.Itoa(i), "f", "v")
				if i%15 == 14 {
					r.caughtUp()
				}
			}
			if n := sum("exec") - before; (n < rounds) != c.bare {
				t.Errorf("%d transactions for 600 commands that may be applied again: %s", n, c.why)
			}
			before = sum("exec")
			for i := range 100 {
				source.Must("INCR", "n:"+strconv.Itoa(i))
			}
			r.caughtUp()
			if n := sum("exec") - before; n < 3 {
				t.Errorf("%d transactions for 100 commands that may not", n)
			}
			addsUp(t, r.stop())
			equal(t, urls{u.source, nodes[0].URL()}, dataset.CompareOptions{})
		})
	}
}

// TestNodeGoesBack: a node that comes back with older data lacks commands of which no checkpoint tells. They are applied again, without a
// new snapshot.
func TestNodeGoesBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		cluster, killed bool
	}{{"server", false, false}, {"server while nobody runs", false, true}, {"node of a cluster", true, false}, {"node of a cluster while nobody runs", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			source := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb")
			var nodes []*servers.Server
			if c.cluster {
				nodes = servers.Cluster(t, "redis:7.0", 3, 0)
			} else {
				nodes = append(nodes, servers.Standalone(t, "redis:7.0"))
			}
			u, dir := urls{source.URL(), nodes[0].URL()}, t.TempDir()
			fill(t, source, 3000)
			r := begin(t, u, dir, nil)
			r.caughtUp()
			keys := r.m.Report().Counters.SnapshotKeys
			write := func(name string) {
				for i := range 300 {
					source.Must("SET", name+strconv.Itoa(i), name)
					source.Must("HSET", "both:"+strconv.Itoa(i), name, "v")
				}
				r.caughtUp()
			}
			write("kept:")
			back, to := nodes[0], r.m.target
			if main, _ := to.PrimaryOf(to.Slot(to.NewCheckpoints("0").RecordName())); c.cluster && main.Addr == back.Addr { // not the one with the link's own record
				back = nodes[1]
			}
			back.Must("SAVE")
			write("lost:")
			if c.killed {
				l := r.m.links[0]
				r.poll("record of all that is applied", func() bool { return l.positions.SavedTo().Offset >= l.positions.Applied().Offset })
				r.abort()
			}
			back.Kill()
			back.Restart()
			if c.killed { // a run that goes on may have mended it by now
				if n := back.Must("KEYS", "lost:*"); len(n.([]any)) > 0 {
					t.Fatal("nothing was lost")
				}
			}
			if c.killed {
				r = begin(t, u, dir, nil)
			}
			write("later:")
			r.poll("end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
			report := r.stop()
			addsUp(t, report)
			if n := report.Counters.SnapshotKeys; !c.killed && n != keys || c.killed && n > 0 {
				t.Errorf("%d keys of a snapshot, %d before", n, keys)
			}
			equal(t, u, dataset.CompareOptions{})
		})
	}
}

// TestNodeWithoutRecordGoesBack: the record of a node moves away with the slot of its witness. If the node goes back before it has another
// one, nothing tells how far, and its keys are copied anew.
func TestNodeWithoutRecordGoesBack(t *testing.T) {
	t.Parallel()
	source, nodes := servers.Standalone(t, "redis:7.0", "--repl-backlog-size", "64mb"), servers.Cluster(t, "redis:7.0", 3, 0)
	u := urls{source.URL(), nodes[0].URL()}
	fill(t, source, 300)
	r := begin(t, u, t.TempDir(), nil)
	r.caughtUp()
	to := r.m.target
	main, _ := to.PrimaryOf(to.Slot(to.NewCheckpoints("0").RecordName()))
	back, other := nodes[0], nodes[1]
	if main.Addr == back.Addr {
		back, other = other, back
	}
	slot := -1
	for _, w := range r.m.witnesses() {
		if n, _ := to.PrimaryOf(w.Slot); n.Addr == back.Addr {
			slot = int(w.Slot)
		}
	}
	if slot < 0 {
		t.Fatal("the node has no witness")
	}
	back.Must("SAVE")
	for i := range 300 {
		source.Must("SET", "lost:"+strconv.Itoa(i), "v")
	}
	r.caughtUp()
	moveSlot(t, back, other, nodes, slot)
	back.Kill()
	back.Restart()
	for i := range 300 { // to every node: whoever writes to the one that came back notices it, before the migration is stopped
		source.Must("SET", "later:"+strconv.Itoa(i), "v")
	}
	r.caughtUp()
	r.poll("end of holding", func() bool { return !r.m.links[0].expiries.Holding() })
	addsUp(t, r.stop())
	equal(t, u, dataset.CompareOptions{})
}

// TestRecordsStay: while one node catches up, the others' records must not fall back to where it is, since their checkpoints may be gone.
func TestRecordsStay(t *testing.T) {
	source, nodes := servers.Standalone(t, "redis:7.0"), servers.Cluster(t, "redis:7.0", 3, 0)
	u, dir := urls{source.URL(), nodes[0].URL()}, t.TempDir()
	fill(t, source, 100)
	r := begin(t, u, dir, nil)
	r.caughtUp()
	nodes[0].Must("SAVE")
	c := source.Client(0)
	var cmds []rueidis.Completed
	for i := range 6000 { // several batches of each lane
		cmds = append(cmds, endpoint.Arbitrary(c, "INCR", "n:"+strconv.Itoa(i)))
	}
	for _, res := range c.DoMulti(t.Context(), cmds...) {
		if err := res.Error(); err != nil {
			t.Fatal(err)
		}
	}
	r.caughtUp()
	r.stop() // in good order, so that the checkpoints of the slots are removed
	end := r.m.links[0].positions.SavedTo().Offset
	nodes[0].Kill()
	nodes[0].Restart()
	r = begin(t, u, dir, func(c *Config) { c.RateOps = 1000 })
	l := r.m.links[0]
	first := int64(0)
	r.poll("record on the way", func() bool {
		at := l.positions.SavedTo().Offset
		if first == 0 {
			first = at
		}
		return at > first
	})
	if at := l.positions.SavedTo().Offset; at >= end {
		t.Fatalf("the link stands at %d, behind which it was to be killed (%d)", at, end)
	}
	r.abort()
	r = begin(t, u, dir, nil)
	r.caughtUp()
	addsUp(t, r.stop())
	equal(t, u, dataset.CompareOptions{})
}

// TestRecordsWrittenInPart: a run that is killed while it writes its records leaves some of them behind the others. That is no loss of the
// target's, whichever it is, and costs no new snapshot.
func TestRecordsWrittenInPart(t *testing.T) {
	t.Parallel()
	source, nodes := servers.Standalone(t, "redis:7.0"), servers.Cluster(t, "redis:7.0", 3, 0)
	u, dir := urls{source.URL(), nodes[0].URL()}, t.TempDir()
	fill(t, source, 100)
	r := begin(t, u, dir, nil)
	r.caughtUp()
	for i := range r.m.links[0].records.keys() {
		source.Must("SET", "k:"+strconv.Itoa(i), "v")
		r.caughtUp()
		l, to := r.m.links[0], r.m.target
		r.poll("record of all that is applied", func() bool { return l.positions.SavedTo().Offset >= l.positions.Applied().Offset })
		r.abort()
		key := l.records.keys()[i].Name
		owner, _ := to.PrimaryOf(to.Slot(key))
		n := slices.IndexFunc(nodes, func(s *servers.Server) bool { return s.Addr == owner.Addr })
		if nodes[n].Must("HINCRBY", key, "offset", "-1").(int64) <= 0 {
			t.Fatalf("no record at %s", key)
		}
		r = begin(t, u, dir, nil)
		source.Must("SET", "later:"+strconv.Itoa(i), "v")
		r.caughtUp()
		report := r.stop()
		if n := report.Counters.SnapshotKeys; n > 0 {
			t.Errorf("%s: %d keys of a new snapshot", key, n)
		}
		r = begin(t, u, dir, nil)
		r.caughtUp()
	}
	r.stop()
	equal(t, u, dataset.CompareOptions{})
}
