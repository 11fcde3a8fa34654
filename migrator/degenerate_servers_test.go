//go:build servers

package migrator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/dataset"
	"surecut/e2e/servers"
	"surecut/internal/command"
	"surecut/internal/endpoint"
)

// noDegenerateForm says of writing commands why there are no forms of them in dataset.Degenerate.
var noDegenerateForm = map[string]string{
	"FUNCTION DELETE": "libraries", "FUNCTION FLUSH": "libraries", "FUNCTION LOAD": "libraries", "FUNCTION RESTORE": "libraries",
	"MIGRATE": "it writes to another server", "PFDEBUG": "nobody may call it", "RESTORE-ASKING": "of moves of slots", "SFLUSH": "of clusters of a service",
	"VADD": "its graph differs on each replica", "VREM": "the same", "VSETATTR": "the same",
}

// TestEveryWriteHasADegenerateForm: whoever adds a writing command to the table adds its forms as well.
func TestEveryWriteHasADegenerateForm(t *testing.T) {
	names := dataset.DegenerateNames()
	for _, s := range command.All() {
		module := strings.Contains(s.Name, ".")
		if has := slices.Contains(names, s.Name); s.Write && !module && has == (noDegenerateForm[s.Name] != "") {
			t.Errorf("%s: it has a form: %v", s.Name, has)
		}
	}
}

// TestDegenerateCommands: what the source does with odd arguments arrives as it does at a replica of the target's version. Where that one
// differs from the source (servers do not replicate everything), either is right.
func TestDegenerateCommands(t *testing.T) {
	t.Parallel()
	seed := fromEnvironment(t, "SURECUT_DEGENERATE_SEED", rand.Uint64(), func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) })
	commands := fromEnvironment(t, "SURECUT_DEGENERATE_COMMANDS", 6000, strconv.Atoi)
	t.Logf("SURECUT_DEGENERATE_SEED=%d", seed)
	for _, c := range []struct {
		source, target string
		cluster        bool
	}{
		{"redis:6.0", "redis:6.0", false}, {"redis:6.0", "redis:7.0", false}, {"redis:7.0", "redis:7.0", true}, {"redis:7.0", "redis:8.0", false},
		{"redis:8.0", "redis:8.0", true}, {"redis:7.0", "valkey/valkey:8.1", false}, {"valkey/valkey:8.1", "valkey/valkey:8.1", true},
	} {
		name := c.source + " to " + c.target
		if c.cluster {
			name += " cluster"
		}
		t.Run(name, func(t *testing.T) {
			newDegenerateTest(t, c.source, c.target, c.cluster).run(seed, commands)
		})
	}
}

// degenerateTest is a migration of a source that has a native replica of the target's version.
type degenerateTest struct {
	t                       *testing.T
	source, replica, target *servers.Server
	dbs                     int
}

func newDegenerateTest(t *testing.T, source, target string, cluster bool) *degenerateTest {
	x := &degenerateTest{t: t, source: servers.Standalone(t, source), replica: servers.Standalone(t, target), dbs: 16}
	if cluster {
		x.target, x.dbs = servers.Cluster(t, target, 3, 0)[0], 1
	} else {
		x.target = servers.Standalone(t, target)
	}
	x.replica.Must("REPLICAOF", "127.0.0.1", strconv.Itoa(x.source.Port))
	poll(t, "replica", x.replicated)
	return x
}

// replicated says whether the replica has all that the source has sent.
func (x *degenerateTest) replicated() bool {
	of, at := x.replica.Info("replication"), x.source.Info("replication")
	return of["master_link_status"] == "up" && of["slave_repl_offset"] == at["master_repl_offset"]
}

func (x *degenerateTest) run(seed uint64, commands int) {
	x.source.Must("SET", "p", "payload")
	x.source.Must("ZADD", "q", "1", "a", "2", "b")
	payloads := []string{x.source.Must("DUMP", "p").(string), x.source.Must("DUMP", "q").(string), "", "x"}
	g := dataset.NewDegenerate(seed, payloads, x.dbs == 1, x.dbs)
	r := begin(x.t, urls{x.source.URL(), x.target.URL()}, x.t.TempDir(), nil)
	r.caughtUp()
	accepted := 0
	for range commands / 50 {
		accepted += x.send(g, 50)
	}
	time.Sleep(1100 * time.Millisecond) // the shortest expiries that the forms hold end
	poll(x.t, "expiries", func() bool {
		return x.source.Must("DBSIZE") != nil && x.replicated() // the source deletes what has expired
	})
	r.caughtUp()
	report := r.stop()
	addsUp(x.t, report)
	x.t.Logf("%d of %d commands were accepted; %+v", accepted, commands, report.Counters)
	for _, p := range report.Problems[:min(len(report.Problems), 10)] {
		x.t.Logf("problem: %+v", p)
	}
	x.judge(report)
}

// send sends commands in one pipeline, and returns how many were accepted.
func (x *degenerateTest) send(g *dataset.Degenerate, n int) (accepted int) {
	client := x.source.Client(0)
	dc, release := client.Dedicate()
	defer release()
	var sent [][]string
	for range n {
		db, args, waits := g.Next()
		sent = append(sent, []string{"SELECT", strconv.Itoa(db)})
		if waits { // in a transaction nothing waits
			sent = append(sent, []string{"MULTI"}, args, []string{"EXEC"})
			continue
		}
		sent = append(sent, args)
	}
	cmds := make([]rueidis.Completed, len(sent))
	for i, args := range sent {
		cmds[i] = endpoint.Arbitrary(dc, args...)
	}
	for i, r := range dc.DoMulti(x.t.Context(), cmds...) {
		if err := r.NonRedisError(); err != nil && !rueidis.IsRedisNil(err) {
			x.t.Fatalf("%q: %v: %q", sent[i], err, sent)
		}
		if r.Error() == nil && sent[i][0] != "SELECT" {
			accepted++
		}
	}
	return accepted
}

// judge compares the target with the replica, and what differs there with the source.
func (x *degenerateTest) judge(report Report) {
	source, replica, target := x.side(x.source), x.side(x.replica), x.side(x.target)
	defer source.Close()
	defer replica.Close()
	defer target.Close()
	compare := func(with *dataset.Side) *dataset.Result {
		r, err := dataset.Compare(x.t.Context(), dataset.Pair{Source: with, Target: target}, dataset.CompareOptions{Unsigned: true})
		if err != nil {
			x.t.Fatal(err)
		}
		return r
	}
	like, same := compare(replica), compare(source)
	named := map[string]bool{}
	for _, p := range report.Problems {
		named[fmt.Sprint(p.DB, " ", p.Key)] = true
	}
	wrong := 0
	for place := range like.Differ {
		if same.Differ[place] && !named[fmt.Sprint(place.DB, " ", place.Name)] {
			wrong++
			x.t.Errorf("database %d, key %q is neither as on the replica nor as on the source", place.DB, place.Name)
		}
	}
	if wrong > 0 {
		x.t.Errorf("with the replica: %v\nwith the source: %v", like, same)
	}
	x.t.Logf("%d keys; %d are not as on the replica, %d not as on the source", like.Keys, like.Count, same.Count)
}

func (x *degenerateTest) side(s *servers.Server) *dataset.Side {
	side, err := dataset.Open(x.t.Context(), []string{s.Addr}, "")
	if err != nil {
		x.t.Fatal(err)
	}
	return side
}
