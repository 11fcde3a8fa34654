//go:build servers

package verifier

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/keyspace"
)

func sendTo(t *testing.T, s *servers.Server, db int, args ...string) {
	t.Helper()
	c := s.Client(db)
	if err := c.Do(context.Background(), c.B().Arbitrary(args...).Build()).Error(); err != nil {
		t.Fatalf("%s, database %d: %q: %v", s.Addr, db, args, err)
	}
}

// Databases pair as a migration maps them: by what the URLs name, too.
func TestDatabasesOfURLs(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	cluster := servers.Cluster(t, "redis:7.0", 1, 0)[0]
	for i := range 50 {
		key := "k" + strconv.Itoa(i)
		sendTo(t, source, 3, "SET", key, "v")
		sendTo(t, source, 0, "SET", "zero:"+key, "v")
		sendTo(t, cluster, 0, "SET", key, "v")
		sendTo(t, target, 5, "SET", key, "v")
		sendTo(t, target, 5, "SET", "zero:"+key, "v")
		sendTo(t, target, 1, "SET", "other:"+key, "nobody asked for this database")
	}
	for _, tt := range []struct {
		name, source, target string
		dbs                  []int
		same                 int64
	}{
		{name: "a database to a cluster", source: source.URL() + "/3", target: cluster.URL(), same: 50},
		{name: "the only one that is asked for, to a cluster", source: source.URL(), dbs: []int{3}, target: cluster.URL(), same: 50},
		{name: "all to the one that is named", source: source.URL(), target: target.URL() + "/5", same: 100},
		{name: "several to the one that is named", source: source.URL(), dbs: []int{0, 3}, target: target.URL() + "/5", same: 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Run(context.Background(), configFor(t, tt.source, tt.target, func(o *Config) { o.Rounds, o.Filter.DBs = 1, tt.dbs }))
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != Same || r.Totals.Same != tt.same {
				t.Errorf("%s: %+v, %q", r.Verdict, r.Totals, r.Reasons)
			}
		})
	}
}

// What one side cannot have is looked at on the other: a cluster has one database, and what the target holds in others is extra. What
// was not asked for is named.
func TestDatabasesThatOneSideLacks(t *testing.T) {
	t.Parallel()
	cluster, alone := servers.Cluster(t, "redis:7.0", 1, 0)[0], servers.Standalone(t, "redis:7.0")
	cluster.Must("SET", "k", "v")
	sendTo(t, alone, 0, "SET", "k", "v")
	sendTo(t, alone, 5, "SET", "left", "behind")
	cluster.Must("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@all", "-config")
	restricted := strings.Replace(cluster.URL(), "://", "://reader:pw@", 1)
	for _, tt := range []struct {
		name, source, target string
		dbs                  []int
		want                 Totals
		leftOut              string
	}{
		{name: "of a cluster to several databases", source: cluster.URL(), target: alone.URL(), want: Totals{Same: 1, Extra: 1}},
		{name: "the only one is asked for, which selects nothing", source: cluster.URL(), target: alone.URL(), dbs: []int{0}, want: Totals{Same: 1, Extra: 1}},
		{name: "of several databases to a cluster", source: alone.URL(), target: cluster.URL(), want: Totals{Same: 1, Missing: 1}},
		{name: "a cluster that does not tell how many it has", source: alone.URL(), target: restricted, want: Totals{Same: 1, Missing: 1}},
		{name: "one database is asked for", source: alone.URL(), target: cluster.URL(), dbs: []int{0}, want: Totals{Same: 1},
			leftOut: "These databases of the source hold keys and were not compared: 5 (1 keys in total)."},
		{name: "the target's URL names one", source: cluster.URL(), target: alone.URL() + "/0", want: Totals{Same: 1},
			leftOut: "These databases of the target hold keys and were not compared: 5 (1 keys in total)."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Run(context.Background(), configFor(t, tt.source, tt.target, func(o *Config) { o.Rounds, o.Interval, o.Filter.DBs = 1, 0, tt.dbs }))
			if err != nil {
				t.Fatal(err)
			}
			if n := r.Totals; n.Same != tt.want.Same || n.Extra != tt.want.Extra || n.Missing != tt.want.Missing || n.Unchecked != 0 {
				t.Errorf("%+v, want %+v; %q", n, tt.want, r.Reasons)
			}
			if len(r.Incomplete) > 0 || tt.leftOut != "" && !slices.Contains(r.LeftOut, tt.leftOut) {
				t.Errorf("incomplete %q, left out %q, want %q", r.Incomplete, r.LeftOut, tt.leftOut)
			}
			if part := r.Selection.Part() != ""; part != (tt.leftOut != "") {
				t.Errorf("selection %+v", r.Selection)
			}
		})
	}
}

// TestSlotsServedByNobody: what was kept in a slot that no node serves cannot be listed.
func TestSlotsServedByNobody(t *testing.T) {
	t.Parallel()
	nodes, target := servers.Cluster(t, "redis:7.0", 3, 0), servers.Standalone(t, "redis:7.0")
	for _, n := range nodes {
		n.Must("CONFIG", "SET", "cluster-require-full-coverage", "no")
	}
	target.Must("SET", "k", "v")
	cfg := configFor(t, nodes[0].URL(), target.URL(), func(o *Config) { o.Rounds, o.Interval = 1, 0 })
	slot := keyspace.Slot("k")
	for _, n := range nodes {
		n.Do("CLUSTER", "DELSLOTS", strconv.Itoa(int(slot)))
	}
	r, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(r.Incomplete, " "); r.Verdict == Same || !strings.Contains(text, "of the slots (the first one is "+strconv.Itoa(int(slot))) {
		t.Errorf("%s, %+v, incomplete %q", r.Verdict, r.Totals, text)
	}
}

// A key that was made behind the scan of the source is in the target's list alone, and may come from any database that is mapped there.
func TestNewKeysOfSeveralDatabases(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	fill(target, 60_000)
	fill(source, 60_000)
	source.Must("SWAPDB", "0", "3") // scanned last
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	from, to := source.Client(1), target.Client(0)
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			key := "new:" + strconv.Itoa(i)
			from.Do(ctx, from.B().Arbitrary("SET", key, "v").Build())
			to.Do(ctx, to.B().Arbitrary("SET", key, "v").Build())
		}
	})
	r := verify(t, source, target, func(o *Config) {
		o.Interval = 50 * time.Millisecond
		o.Filter.DBMap = map[int]int{1: 0, 3: 0}
	})
	cancel()
	wg.Wait()
	if r.Verdict != Same || r.Totals.Same < 60_000 {
		t.Errorf("%s: %+v, %q", r.Verdict, r.Totals, r.Reasons)
	}
}

// Repair writes to the database that the report names, whatever the source's number is.
func TestRepairMappedFromFile(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	sendTo(t, source, 3, "SET", "k", "right")
	source.Must("SAVE")
	dir := t.TempDir()
	source.CopyData(dir)
	sendTo(t, target, 3, "SET", "k", "of somebody else")
	options := configFor(t, "rdb:"+filepath.Join(dir, "dump.rdb"), target.URL(), func(o *Config) {
		o.Rounds, o.Interval, o.Filter = 1, 0, keyspace.Filter{DBs: []int{3}, DBMap: map[int]int{3: 0}}
	})
	r, err := Run(context.Background(), options)
	if err != nil {
		t.Fatal(err)
	}
	if r.Totals.Missing != 1 {
		t.Fatalf("%+v, %q", r.Totals, r.Reasons)
	}
	options.Filter = keyspace.Filter{} // repair goes by the report
	_, again, err := Repair(context.Background(), RepairConfig{Config: options, Findings: r.Findings, Apply: true})
	if err != nil {
		t.Fatal(err)
	}
	if again.Verdict != Same {
		t.Errorf("%s: %+v, %+v", again.Verdict, again.Totals, again.Findings)
	}
	for db, want := range map[int]string{0: "right", 3: "of somebody else"} {
		c := target.Client(db)
		if got, _ := c.Do(context.Background(), c.B().Arbitrary("GET", "k").Build()).ToString(); got != want {
			t.Errorf("database %d of the target holds %q, want %q", db, got, want)
		}
	}
}

// What only the target has, in a database that nothing is mapped to, is not what the source has under the same number.
func TestRepairUnmappedDatabase(t *testing.T) {
	t.Parallel()
	source, target := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	sendTo(t, source, 3, "SET", "k", "v")
	sendTo(t, target, 0, "SET", "k", "v")
	sendTo(t, target, 3, "SET", "k", "v") // what an earlier copy has left behind
	options := configFor(t, source.URL(), target.URL(), func(o *Config) {
		o.Rounds, o.Interval, o.Filter.DBMap = 1, 0, map[int]int{3: 0}
	})
	r, err := Run(context.Background(), options)
	if err != nil {
		t.Fatal(err)
	}
	if r.Totals.Extra != 1 || r.Totals.Same != 1 || r.Findings[0].Code != DatabaseUnmapped {
		t.Fatalf("%+v, %q, %+v", r.Totals, r.Reasons, r.Findings)
	}
	options.Filter = keyspace.Filter{}
	for _, tt := range []struct {
		delete bool
		want   Verdict
	}{{false, Different}, {true, Same}} {
		_, again, err := Repair(context.Background(), RepairConfig{Config: options, Findings: r.Findings, Apply: true, DeleteExtra: tt.delete})
		if err != nil {
			t.Fatal(err)
		}
		if again.Verdict != tt.want {
			t.Errorf("delete extra = %v: %s: %+v, %q", tt.delete, again.Verdict, again.Totals, again.Reasons)
		}
	}
}
