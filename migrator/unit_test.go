package migrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/files"
	"surecut/internal/keyspace"
	"surecut/internal/rdb/fixtures"
	"surecut/internal/resp"
	"surecut/internal/spool"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/receive"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/scope"
)

// stream begins a spool with bytes, in frames of at most size bytes.
func spoolOf(t *testing.T, data []byte, size int) *spool.Log {
	t.Helper()
	log, err := spool.Open(t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	if err := log.Start("id", 100); err != nil {
		t.Fatal(err)
	}
	for i := int64(1); len(data) > 0; i++ {
		n := min(size, len(data))
		if err := log.Append(i, data[:n]); err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	return log
}

// feedOf feeds what a spool holds to its end, as that of a link that ends does.
func feedOf(t *testing.T, log *spool.Log, filter *keyspace.Filter, db int) *spoolFeed {
	t.Helper()
	from, err := newSpoolFeed(log, filter, mark{offset: 100, db: db}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { from.close() })
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return from
}

func groupsOf(t *testing.T, log *spool.Log, db int) ([]group, error) {
	t.Helper()
	out := make(chan stretch, 100000)
	err := feedOf(t, log, &keyspace.Filter{}, db).run(t.Context(), out)
	var all []group
	for c := range out {
		all = append(all, c.groups...)
	}
	return all, err
}

func encode(lines ...string) []byte {
	var out []byte
	for _, line := range lines {
		var args [][]byte
		for _, w := range strings.Fields(line) {
			args = append(args, []byte(w))
		}
		out = resp.AppendCommand(out, args...)
	}
	return out
}

func TestParser(t *testing.T) {
	for _, c := range []struct {
		name, why string
		stream    []byte
		want      string // db:command of each group, [ ] around one, /n control commands, @db after it
	}{
		{"single", "every command is a group", encode("SET a 1", "DEL a"), "[3:SET]/0@3 [3:DEL]/0@3"},
		{"select", "the database lasts", encode("SELECT 5", "SET a 1", "PING"), "[]/1@5 [5:SET]/0@5 []/1@5"},
		{"group", "MULTI ... EXEC is one", encode("MULTI", "INCR a", "INCR b", "EXEC", "INCR c"), "[3:INCR 3:INCR]/2@3 [3:INCR]/0@3"},
		{"select inside", "7.0 selects inside of a group", encode("multi", "SELECT 1", "INCR a", "SELECT 2", "INCR b", "exec", "INCR c"), "[1:INCR 2:INCR]/4@2 [2:INCR]/0@2"},
		{"cut-off command", "its bytes come again", encode("SET a 1", "SET b 2")[:40], "[3:SET]/0@3"},
		{"cut-off group", "it is all or nothing", append(encode("SET a 1"), encode("MULTI", "INCR a")...), "[3:SET]/0@3"},
		{"keep-alive", "a bare newline counts as bytes", append([]byte("\n\n"), encode("SET a 1")...), "[3:SET]/0@3"},
		{"lone EXEC", "a checkpoint within a group leaves its end", encode("SET a 1", "EXEC", "SET b 1"), "[3:SET]/0@3 []/1@3 [3:SET]/0@3"},
		{"empty", "nothing is no error", nil, ""},
	} {
		for _, size := range []int{1, 7, 1 << 20} {
			t.Run(fmt.Sprintf("%s by %d", c.name, size), func(t *testing.T) {
				groups, err := groupsOf(t, spoolOf(t, c.stream, size), 3)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				at, db := int64(100), 3
				for _, g := range groups {
					if g.start != at || g.end <= g.start || g.startDB != db {
						t.Errorf("group from %d to %d of database %d behind %d of %d", g.start, g.end, g.startDB, at, db)
					}
					at, db = g.end, g.db
					var names []string
					for _, c := range g.commands {
						if c.end <= g.start || c.end > g.end {
							t.Errorf("a command ends at %d, its group lies from %d to %d", c.end, g.start, g.end)
						}
						names = append(names, fmt.Sprintf("%d:%s", c.db, c.args[0]))
					}
					got = append(got, fmt.Sprintf("[%s]/%d@%d", strings.Join(names, " "), g.control, g.db))
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("%s: got %s, want %s", c.why, strings.Join(got, " "), c.want)
				}
			})
		}
	}
	t.Run("damaged", func(t *testing.T) {
		if _, err := groupsOf(t, spoolOf(t, append(encode("SET a 1"), "*x\r\n"...), 9), 0); err == nil || !strings.Contains(err.Error(), "offset") {
			t.Errorf("a stream that is none gave %v", err)
		}
	})
}

// TestParserOnRecordings: every recorded stream parses to its last byte, wherever the reads end.
func TestParserOnRecordings(t *testing.T) {
	for _, f := range fixtures.All(t) {
		for _, size := range []int{13, 64 << 10} {
			groups, err := groupsOf(t, spoolOf(t, f.Stream(), size), 0)
			if err != nil {
				t.Fatal(err)
			}
			if end := groups[len(groups)-1].end; end != 100+int64(len(f.Stream())) {
				t.Errorf("%s by %d: ends at %d of %d", f.Version, size, end, 100+len(f.Stream()))
			}
		}
	}
}

func TestStateDamage(t *testing.T) {
	good := `{"format":3,"id":"abc","source":"redis://a","target":"redis://b","lanes":4,"links":[{"name":"0","start":5,"stage":"loaded"}]}`
	for _, c := range []struct{ name, why, data, want string }{
		{"good", "what a run wrote", good, ""},
		{"empty", "a crash of the file system", "", "migration.json"},
		{"cut off", "half a file", good[:len(good)/2], "migration.json"},
		{"no object", "", "[]", "migration.json"},
		{"other format", "a newer surecut", strings.Replace(good, `"format":3`, `"format":4`, 1), "format 4"},
		{"older format", "its lists of keys are others", strings.Replace(good, `"format":3`, `"format":1`, 1), "format 1"},
		{"nothing in it", "valid JSON is not enough", `{"format":3}`, "damaged"},
		{"unknown expiries", "", strings.Replace(good, `"start":5`, `"start":5,"expiries":"lost"`, 1), "damaged"},
		{"no lanes", "a division by them", strings.Replace(good, `"lanes":4`, `"lanes":0`, 1), "damaged"},
		{"unknown stage", "", strings.Replace(good, "loaded", "lost", 1), "damaged"},
		{"name of a link", "it is a path", strings.Replace(good, `"name":"0"`, `"name":"../x"`, 1), "damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "migration.json"), []byte(c.data), 0o600); err != nil {
				t.Fatal(err)
			}
			s, resumed, err := openState(dir)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("%s: %v", c.why, err)
				}
				return
			}
			if err != nil || !resumed {
				t.Fatal(resumed, err)
			}
			if _, _, err := openState(dir); err == nil {
				t.Error("a directory in use was opened again")
			}
			if err := errors.Join(s.save(), s.close()); err != nil {
				t.Fatal(err)
			}
			again, _, err := openState(dir)
			if err != nil || !reflect.DeepEqual(again.Links, s.Links) || again.ID != s.ID {
				t.Errorf("written and read: %+v, %v", again, err)
			}
			again.close()
		})
	}
}

// newTestLink is a link without servers.
func newTestLink(t *testing.T) *link {
	t.Helper()
	m := &Migration{cfg: DefaultConfig(), state: &state{Lanes: 3, Links: []linkState{{Name: "0"}}, TargetWasEmpty: true}}
	m.cfg.Sides.Source = &endpoint.Deployment{}
	m.target = &target{d: &endpoint.Deployment{}, dbs: keyspace.Databases{Home: -1}, number: 80000, dialect: command.DialectOf(80000, 0), held: command.DialectOf(60000, 0), id: "id", bytes: limiter(0), ops: limiter(0), retryFor: time.Second, can: abilities{transactions: true, processes: true, placement: true, nodes: true, messages: true, ends: true}, lanes: 3}
	m.target.way = nodeByNode{m.target}
	m.target.expiring = newExpiring()
	l := &link{m: m, scope: scope.New(keyspace.Filter{}.To(m.target.dbs), endpoint.Shard{}, &endpoint.Deployment{}), name: "0", st: &m.state.Links[0], log: slogDiscard(), positions: newPositions(), failed: make(chan error, 1), source: reread.NewReader(&endpoint.Deployment{}, func() string { return "" }, 0, nil),
		clock: reread.NewClock(nil, nil), shard: receive.NewShard(endpoint.Shard{}, "", receive.ShardConfig{}), receiver: &receive.Receiver{}}
	l.ledger = ledger.New(l.log, &l.scope.Filter, l.shard.Primary, &m.problems, ledger.Counters{})
	l.standing = standing{m, l.st}
	m.links = []*link{l}
	var err error
	dir := t.TempDir()
	hold(t, l, ledger.NeverHeld)
	if l.doubts, err = openDoubts(dir); err != nil {
		t.Fatal(err)
	}
	if l.scripts, err = openScripts(filepath.Join(dir, "scripts")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.doubts.close(); l.scripts.close() })
	return l
}

// hold gives a link expiries in a state, and with no key on the list.
func hold(t *testing.T, l *link, state ledger.HeldState) {
	t.Helper()
	l.expiries = ledger.NewExpiries(state)
	if err := l.expiries.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.expiries.Close() })
}

func newTestLane(l *link, id int) *lane { return newLane(l.streamConfig(), id, l.newWriter()) }

func newTestDispatcher(l *link, cp *checkpoint) *dispatcher {
	lanes := make([]*lane, 3)
	for i := range lanes {
		lanes[i] = newTestLane(l, i)
	}
	if cp == nil {
		cp = &checkpoint{}
	}
	return newDispatcher(l.streamConfig(), lanes, nil, cp)
}

func TestPlan(t *testing.T) {
	const end = 1000
	cluster := func(l *link) {
		l.m.target.cluster, l.m.target.dbs = true, keyspace.Databases{Only: true}
		l.scope.Target = l.m.target.dbs
	}
	exclude := func(l *link) { l.scope.Exclude = []string{"no:*"} }
	only2 := func(l *link) { l.scope.DBs, l.scope.DBMap = []int{2}, map[int]int{2: 7} }
	few := func(l *link) { l.scope.Target.Count = 16 }
	fromFile := func(l *link) { l.file = &files.Source{} }
	for _, c := range []struct {
		name, why, command string
		db                 int
		change             func(*link)
		fences             map[string]int64
		want               string // calls, "db:ARGS"; act where the dispatcher acts
		counted            string // one letter of what was counted at once: a f c r x (repaired: by act)
	}{
		{name: "plain", command: "INCR a", want: "0:INCR a"},
		{name: "database", command: "INCR a", db: 4, want: "4:INCR a"},
		{name: "mapped", command: "INCR a", db: 2, change: only2, want: "7:INCR a"},
		{name: "other database", command: "INCR a", db: 1, change: only2, counted: "f"},
		{name: "excluded", command: "INCR no:a", change: exclude, counted: "f"},
		{name: "own", why: "surecut's keys on a source are not data", command: "HSET __surecut:x a b", counted: "f"},
		{name: "split by filter", command: "DEL a no:b c", change: exclude, want: "0:DEL a|0:DEL c"},
		{name: "MSET by filter", command: "MSET a 1 no:b 2 c 3", change: exclude, want: "0:MSET a 1|0:MSET c 3"},
		{name: "split by slot", command: "UNLINK a b", change: cluster, want: "0:UNLINK a|0:UNLINK b"},
		{name: "one slot", command: "MSET {t}a 1 {t}b 2", change: cluster, want: "0:MSET {t}a 1 {t}b 2"},
		{name: "rename across slots", why: "copied", command: "RENAME a b", change: cluster, want: "act"},
		{name: "rename in one slot", command: "RENAME {t}a {t}b", change: cluster, want: "0:RENAME {t}a {t}b|0:PTTL {t}b"},
		{name: "rename out of the filter", command: "RENAME a no:a", change: exclude, want: "act"},
		{name: "fenced", why: "the copy holds it", command: "INCR a", fences: map[string]int64{"a": end}, counted: "a"},
		{name: "fence behind", command: "INCR a", fences: map[string]int64{"a": end - 1}, want: "0:INCR a"},
		{name: "half fenced", command: "RENAME a b", fences: map[string]int64{"a": end}, want: "act"},
		{name: "half fenced split", command: "DEL a b", fences: map[string]int64{"a": end}, want: "0:DEL b"},
		{name: "cluster has one database", command: "INCR a", db: 3, change: cluster, counted: "r"},
		{name: "FLUSHALL in another database", why: "it empties all", command: "FLUSHALL", db: 1, change: only2, want: "act"},
		{name: "FLUSHDB in another database", command: "FLUSHDB", db: 1, change: only2, counted: "f"},
		{name: "MOVE", command: "MOVE a 3", want: "0:MOVE a 3|3:PTTL a"},
		{name: "MOVE into the filter", command: "MOVE a 2", db: 1, change: only2, want: "act"},
		{name: "MOVE beside the filter", command: "MOVE a 3", db: 1, change: only2, counted: "f"},
		{name: "COPY to a key DB", why: "a key may have any name", command: "COPY DB db", want: "0:COPY DB db|0:PTTL db|"},
		{name: "COPY DB", command: "COPY a b DB 3 REPLACE", want: "0:COPY a b DB 3 REPLACE|3:PTTL b|"},
		{name: "last database", command: "INCR a", db: 15, change: few, want: "15:INCR a"},
		{name: "database that the target lacks", why: "a SELECT that fails in a transaction lets what follows run elsewhere", command: "INCR a", db: 16, change: few, counted: "r"},
		{name: "MOVE to a database that the target lacks", command: "MOVE a 16", change: few, want: "act"},
		{name: "sort", command: "SORT a BY nosort STORE b", want: "0:SORT a BY nosort STORE b|"},
		{name: "sort by other keys", why: "other lanes write them", command: "SORT a BY w_* STORE b", want: "act"},
		{name: "sort, and get other keys", command: "SORT a GET v_* STORE b", want: "act"},
		{name: "sort by other keys of a file", why: "nothing can be copied", command: "SORT a BY w_* STORE b", change: fromFile, want: "0:SORT a BY w_* STORE b|0:PTTL a|0:PTTL b"},
		{name: "publish", command: "PUBLISH ch m", want: "0:PUBLISH ch m"},
		{name: "sentinel", command: "PUBLISH __sentinel__:hello m", counted: "f"},
		{name: "unknown", command: "FROBNICATE a", want: "0:FROBNICATE a"},
		{name: "unknown in a cluster", command: "FROBNICATE a", change: cluster, counted: "r"},
		{name: "unknown with filter", command: "FROBNICATE a", change: exclude, counted: "r"},
		{name: "script", command: "EVAL s 1 a", want: "0:EVAL s 1 a|0:PTTL a"},
		{name: "script without keys, filtered", command: "EVAL s 0", change: exclude, counted: "r"},
		{name: "script across slots", command: "EVAL s 2 a b", change: cluster, want: "act"},
		{name: "expiry", command: "PEXPIREAT a 4000000000000", want: "0:PEXPIREAT a 4000000000000"},
		{name: "relative expiry", command: "EXPIRE a 100", want: "0:PEXPIREAT a 150000"},
		{name: "lower case", command: "set a v ex 100", want: "0:SET a v PXAT 150000"},
		{name: "held", why: "it may be renewed", command: "SET a v EX 100", change: func(l *link) { l.expiries.Begin() }, want: "0:SET a v|0:EXISTS a|0:PERSIST a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestLink(t)
			if c.change != nil {
				c.change(l)
			}
			d := newTestDispatcher(l, nil)
			for k, end := range c.fences {
				d.ahead.fences[keyspace.Key{DB: c.db, Name: k}] = end
			}
			var args [][]byte
			for _, w := range strings.Fields(c.command) {
				args = append(args, []byte(w))
			}
			p, err := d.planner.plan(&sourceCommand{end: end, db: c.db, args: args}, 50000)
			if err != nil {
				t.Fatal(err)
			}
			var calls []string
			commands := int64(0)
			for _, x := range p.pieces {
				commands += x.commands
				if x.call.args == nil {
					calls = append(calls, "")
					continue
				}
				calls = append(calls, fmt.Sprintf("%d:%s", x.call.db, strings.Join(x.call.args, " ")))
			}
			got := strings.Join(calls, "|")
			if p.act != nil {
				got += "act"
			}
			if strings.TrimRight(got, "|") != strings.TrimRight(c.want, "|") {
				t.Errorf("%s: got %s, want %s", c.why, got, c.want)
			}
			counted := strings.Repeat("a", int(l.ledger.Applied.Load())) + strings.Repeat("f", int(l.ledger.Filtered.Load())) + strings.Repeat("r", int(l.ledger.Reported.Load()))
			if counted != c.counted {
				t.Errorf("%s: counted %q, want %q", c.why, counted, c.counted)
			}
			if spec, _ := command.Lookup(args); len(p.pieces) > 0 && command.SortsByKeys(args) && spec.Name == "SORT" && !p.pieces[0].all {
				t.Errorf("%s: the lanes do not meet", c.why)
			}
			if ends := commands + int64(len(counted)); p.act == nil && ends != 1 {
				t.Errorf("the command has %d ends", ends)
			}
		})
	}
}

// TestScriptOfCopiedKeys: a copy of the keys that a script declares holds what it did to them, and nothing else that it did.
func TestScriptOfCopiedKeys(t *testing.T) {
	const end = 100
	for _, c := range []struct {
		name, script string
		fence        int64
		ahead        bool // an earlier run has applied it
		problems     int
	}{
		{"not copied", "return redis.call('GET', ARGV[1])", 0, false, 0},
		{"copied, may touch others", "return redis.call('GET', ARGV[1])", end, false, 1},
		{"copied, touches no others", "return redis.call('INCR', KEYS[1])", end, false, 0},
		{"applied before", "return redis.call('GET', ARGV[1])", 0, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestLink(t)
			d := newTestDispatcher(l, nil)
			if c.fence > 0 {
				d.ahead.fences[keyspace.Key{Name: "a"}] = c.fence
			}
			if c.ahead {
				d.ahead.resumed[d.lane(keyspace.Slot("a")).unitOf(keyspace.Slot("a"))], d.ahead.resumedEnd = end, end
			}
			p, err := d.planner.plan(&sourceCommand{end: end, args: [][]byte{[]byte("EVAL"), []byte(c.script), []byte("1"), []byte("a")}}, 50000)
			if err != nil {
				t.Fatal(err)
			}
			if unsent := c.fence > 0 || c.ahead; unsent == (len(p.pieces) > 0) {
				t.Errorf("%d pieces", len(p.pieces))
			}
			if n := len(l.m.Report().Problems); n != c.problems {
				t.Errorf("%d problems, want %d: %+v", n, c.problems, l.m.Report().Problems)
			}
		})
	}
}

// TestResumedUnits: what an earlier run has applied to a lane is not applied again, the rest is.
func TestResumedUnits(t *testing.T) {
	l := newTestLink(t)
	byLane := map[int]string{}
	for i := 0; len(byLane) < 3; i++ {
		k := "k" + strconv.Itoa(i)
		byLane[int(keyspace.Slot(k))%3] = k
	}
	d := newTestDispatcher(l, &checkpoint{offset: 100, units: map[unit]int64{0: 200, 1: 50}, fences: map[keyspace.Key]int64{{Name: "old"}: 90, {Name: "new"}: 300}})
	for lane, want := range map[int]bool{0: false, 1: true, 2: true} {
		if got := d.ahead.wanted(&sourceCommand{end: 150}, byLane[lane], keyspace.Slot(byLane[lane])); got != want {
			t.Errorf("lane %d: %v", lane, got)
		}
	}
	if len(d.ahead.fences) != 1 || d.ahead.fences[keyspace.Key{Name: "new"}] != 300 {
		t.Errorf("fences %v", d.ahead.fences)
	}
	d.prune(200)
	if d.ahead.resumedEnd != 0 || d.ahead.applied(0, 150) {
		t.Error("what lies behind is not forgotten")
	}
	d.prune(300)
	lane := d.lane(keyspace.Slot("new"))
	if got := lane.forget[unit(lane.id)]; len(d.ahead.fences) != 0 || len(got) != 1 || got[0] != (pastFence{"f:0:new", 300}) {
		t.Errorf("fences %v, to be forgotten %v", d.ahead.fences, got)
	}
	lane.keepFence(unit(lane.id), keyspace.Key{Name: "new"})
	if got := lane.forget[unit(lane.id)]; len(got) != 0 {
		t.Errorf("a fence that is set again would be forgotten: %v", got)
	}
}

// TestFenceForgotten: an item that was queued before a fence was passed must not take the fence away: after a crash, what
// lies between the two would be applied to a copy that holds it.
func TestFenceForgotten(t *testing.T) {
	l := newTestLink(t)
	d := newTestDispatcher(l, nil)
	k := keyspace.Key{Name: "k"}
	slot := keyspace.Slot(k.Name)
	n := d.lane(slot)
	d.ahead.fences[k] = 300
	d.prune(310) // dispatched, while the lane still has older items
	for _, c := range []struct {
		end  int64
		want string
	}{{299, "[]"}, {300, "[f:0:k]"}, {301, "[]"}} {
		if x := n.transaction(&item{slot: slot, end: c.end}); fmt.Sprint(x.forget) != c.want {
			t.Errorf("up to %d: fences %q are forgotten, want %s", c.end, x.forget, c.want)
		}
	}
}

// TestFailedLane: who waits for room in a lane that fails goes on, with the lane's reason.
func TestFailedLane(t *testing.T) {
	l := newTestLink(t)
	l.m.target.retryFor = time.Millisecond // there is no server
	l.m.target.last = time.Now().Add(time.Hour)
	n := newTestLane(l, 0)
	g, ctx := errgroup.WithContext(t.Context())
	g.Go(func() error {
		for {
			if err := n.push(ctx, &item{}); err != nil {
				return err
			}
		}
	})
	g.Go(func() error { return n.run(ctx) })
	over := make(chan error, 1)
	go func() { over <- g.Wait() }()
	select {
	case err := <-over:
		if err == nil || !strings.Contains(err.Error(), "the target did not recover") {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("whoever waits for room in a failed lane waits for ever")
	}
}

// TestFencesOfUnits: of a key that was copied twice, the later copy counts, whichever unit's record is read last.
func TestFencesOfUnits(t *testing.T) {
	cp := &checkpoint{units: map[unit]int64{}, fences: map[keyspace.Key]int64{}}
	for u, offset := range []string{"500", "300"} {
		if err := cp.add(unit(u), map[string]string{"f:0:k": offset}); err != nil {
			t.Fatal(err)
		}
	}
	if got := cp.fences[keyspace.Key{Name: "k"}]; got != 500 {
		t.Errorf("the fence stands at %d", got)
	}
}

// TestRelease: what the source said of a held key at an offset is not applied to a copy of later, also where the key
// was copied only after the source had been asked. A copy as of that very offset has no expiry yet.
func TestRelease(t *testing.T) {
	const asked = 500
	for _, c := range []struct {
		name   string
		held   reread.Copy
		copied int64 // offset of a copy that is made before the injection; 0: none
		want   string
	}{
		{"expires", reread.Copy{Present: true, ExpireAt: 9000}, 0, "PEXPIREAT k 9000"},
		{"persists", reread.Copy{Present: true}, 0, "EXISTS k, PERSIST k"},
		{"gone", reread.Copy{}, 0, "DEL k"},
		{"copied before", reread.Copy{Present: true, ExpireAt: 9000}, asked - 1, "PEXPIREAT k 9000"},
		{"copied as of the same offset", reread.Copy{Present: true, ExpireAt: 9000}, asked, "PEXPIREAT k 9000"},
		{"expires, copied later", reread.Copy{Present: true, ExpireAt: 9000}, asked + 1, ""},
		{"persists, copied later", reread.Copy{Present: true}, asked + 1, ""},
		{"gone, copied later", reread.Copy{}, asked + 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestLink(t)
			d := newTestDispatcher(l, nil)
			c.held.Key, c.held.Offset = keyspace.Key{Name: "k"}, asked
			d.releases.injections = []injection{{at: asked, keys: []reread.Copy{c.held}}}
			if c.copied > 0 {
				d.ahead.fences[c.held.Key] = c.copied
			}
			if err := d.releases.inject(t.Context(), group{start: asked - 1}); err != nil {
				t.Fatal(err)
			}
			if len(d.releases.injections) != 1 {
				t.Fatal("injected before its offset")
			}
			if err := d.releases.inject(t.Context(), group{start: asked}); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, n := range d.lanes {
				for _, it := range n.queue {
					for _, x := range it.calls {
						got = append(got, strings.Join(x.args, " "))
					}
				}
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("sent %q, want %q", s, c.want)
			}
		})
	}
}

// TestReleaseAfterFailover: what a source said that has failed over meanwhile is void behind the point where the new one goes on.
func TestReleaseAfterFailover(t *testing.T) {
	l := newTestLink(t)
	d := newTestDispatcher(l, nil)
	for _, at := range []int64{400, 600} {
		d.releases.injections = append(d.releases.injections, injection{at: at, keys: []reread.Copy{{Key: keyspace.Key{Name: "k" + strconv.Itoa(int(at))}, Offset: at}}})
	}
	l.moved.Store(&moved{behind: 500})
	if err := d.releases.inject(t.Context(), group{start: 700}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range d.lanes {
		for _, it := range n.queue {
			got = append(got, strings.Join(it.calls[0].args, " "))
		}
	}
	if s := strings.Join(got, ", "); s != "DEL k400" || len(d.releases.injections) != 0 {
		t.Errorf("sent %q, %d left", s, len(d.releases.injections))
	}
	if l.moved.Load() == nil {
		t.Error("keys that were copied would not be copied again")
	}
}

// TestHeldAgain: keys whose expiry an earlier run held, or passed on to another key, are noted once more; that run may have been
// killed before its list was on disk.
func TestHeldAgain(t *testing.T) {
	for _, c := range []struct{ command, want string }{
		{fmt.Sprintf("PEXPIREAT a %d", time.Now().UnixMilli()+60000), "[{0 a}]"},
		{"SET a v EX 10", "[{0 a}]"},
		{"PERSIST a", "[{0 a}]"},
		{"RENAME a b", "[{0 a} {0 b}]"},
		{"COPY a b", "[{0 a} {0 b}]"},
		{"COPY a b DB 5", "[{0 a} {5 b}]"},
		{"MOVE a 5", "[{0 a} {5 a}]"},
		{"EVAL s 2 a b", "[{0 a} {0 b}]"},
		{"INCR a", "[]"},
		{"INCR a, which is asked for", "[{0 a}]"},
		{"GETSET a v, which is not asked for", "[]"},
	} {
		var released bool
		c.command, _, released = strings.Cut(c.command, ",")
		for _, again := range []bool{false, true} {
			l := newTestLink(t)
			if l.expiries.Begin(); released {
				l.expiries.BeginRelease()
			}
			cp := &checkpoint{offset: 100, units: map[unit]int64{}}
			if again {
				cp.units = map[unit]int64{0: 200, 1: 200, 2: 200}
			}
			d := newTestDispatcher(l, cp)
			p, err := d.planner.plan(&sourceCommand{end: 150, args: bytes.Fields([]byte(c.command))}, 50000)
			if err != nil {
				t.Fatal(err)
			}
			if again && (len(p.pieces) > 0 || p.act != nil) {
				t.Errorf("%s: would be applied twice", c.command)
			}
			got := map[string]bool{}
			list := l.expiries.All()
			for k, ok, err := list.Next(); ok || err != nil; k, ok, err = list.Next() {
				if err != nil {
					t.Fatal(err)
				}
				got[fmt.Sprint(k)] = true
			}
			if s := fmt.Sprint(slices.Sorted(maps.Keys(got))); s != c.want {
				t.Errorf("%s, applied before %v: noted %s, want %s", c.command, again, s, c.want)
			}
		}
	}
}

// TestQuiet: servers before 6.0 send MULTI and EXEC of a transaction that only reads, and ROLE in it gives an offset between them.
func TestQuiet(t *testing.T) {
	for _, c := range []struct {
		name, why string
		stream    []string
		offset    int64 // behind the first 100 bytes of the stream
		passed    bool
	}{
		{"the end", "all is applied", []string{"SET a 1"}, 27, false},
		{"a boundary behind", "a command follows it", []string{"SET a 1", "SET a 2"}, 27, true},
		{"inside a command", "the source never says so", []string{"SET a 1"}, 26, true},
		{"empty transaction", "nothing was written between MULTI and EXEC", []string{"SET a 1", "MULTI", "EXEC"}, 27 + 15, false},
		{"before an empty transaction", "", []string{"SET a 1", "MULTI", "EXEC"}, 27, false},
		{"expired keys", "a read deletes them in the transaction, before ROLE", []string{"MULTI", "DEL a", "EXEC"}, 15 + 20, false},
		{"a write follows", "it is another's transaction", []string{"MULTI", "DEL a", "DEL b", "EXEC"}, 15 + 20, true},
		{"keep-alive", "PING changes nothing", []string{"SET a 1", "PING", "PING"}, 27 + 14, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			groups, err := groupsOf(t, spoolOf(t, encode(c.stream...), 1000), 0)
			if err != nil {
				t.Fatal(err)
			}
			d := newTestDispatcher(newTestLink(t), &checkpoint{offset: 100})
			for _, g := range groups {
				if err := d.step(t.Context(), g); err != nil {
					t.Fatal(err)
				}
			}
			if passed := 100+c.offset < d.quiet; passed != c.passed {
				t.Errorf("%s: offset %d is passed: %v, quiet from %d", c.why, 100+c.offset, passed, d.quiet)
			}
		})
	}
}

func TestLaneQueue(t *testing.T) {
	l := newTestLink(t)
	n := newTestLane(l, 0)
	push := func(it *item) {
		t.Helper()
		if err := n.push(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		push(&item{start: int64(i)})
	}
	push(&item{start: 3, meet: newMeeting([]*lane{n}, nil)})
	push(&item{start: 4})
	for i, want := range []int{3, 1, 1} {
		if oldest := n.oldest(); oldest == nil || oldest.start != []int64{0, 0, 3}[i] {
			t.Errorf("before batch %d the oldest is %+v", i, oldest)
		}
		if got := n.take(); len(got) != want {
			t.Errorf("batch %d has %d items", i, len(got))
		}
	}
	for range laneQueueItems {
		push(&item{bytes: 1})
	}
	blocked := make(chan error, 1)
	go func() { blocked <- n.push(t.Context(), &item{}) }()
	select {
	case err := <-blocked:
		t.Fatalf("a full lane took one more: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	n.take()
	if err := <-blocked; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.stop()
	if err := n.push(ctx, &item{}); err == nil {
		t.Error("a stopped lane took an item")
	}
	if n.take() != nil {
		t.Error("a stopped lane gave items")
	}
}

func TestCheckpointFields(t *testing.T) {
	cp := &checkpoint{units: map[unit]int64{}, fences: map[keyspace.Key]int64{}}
	want := map[keyspace.Key]int64{}
	fields := map[string]string{fieldOffset: "77"}
	for i, name := range []string{"", "a", "a:b", "f:0:x", "o", "\x00\xff", "{t}"} {
		k := keyspace.Key{DB: i, Name: name}
		want[k] = int64(i + 1)
		fields[fenceField(k)] = strconv.Itoa(i + 1)
	}
	if err := cp.add(5, fields); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cp.fences, want) || cp.units[5] != 77 {
		t.Errorf("read %v, %v", cp.fences, cp.units)
	}
	for _, bad := range []map[string]string{{"o": "x"}, {"x": "1"}, {"f:a:b": "1"}, {"f:1": "1"}} {
		if err := cp.add(1, bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func slogDiscard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestParserObserves: whoever watches sees the source's own names, databases and transactions, and no keep-alives.
func TestParserObserves(t *testing.T) {
	log := spoolOf(t, encode("SELECT 2", "SET a 1", "PING", "REPLCONF GETACK *", "MULTI", "SET b 1", "SELECT 3", "RENAME b c", "EXEC"), 5)
	p := feedOf(t, log, &keyspace.Filter{DBPrefix: map[int]string{2: "two:"}}, 0)
	var seen []string
	p.observe = func(db int, args [][]byte, at time.Time) {
		seen = append(seen, fmt.Sprintf("%d %s %d", db, bytes.Join(args, []byte(" ")), at.UnixMilli()))
	}
	out := make(chan stretch, 100)
	if err := p.run(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	times := 0
	for i, s := range seen {
		if at := strings.LastIndexByte(s, ' '); s[at:] != " 0" {
			times++
			seen[i] = s[:at]
		}
	}
	want := "0 SELECT 2, 2 SET a 1, 2 MULTI, 2 SET b 1, 2 SELECT 3, 3 RENAME b c, 3 EXEC"
	if got := strings.Join(seen, ", "); got != want || times != len(seen) {
		t.Errorf("seen %s, %d times; want %s", got, times, want)
	}
}
