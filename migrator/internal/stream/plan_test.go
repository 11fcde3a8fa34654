package stream

import (
	"fmt"
	"strings"
	"testing"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/migrator/internal/target"
)

func TestPlan(t *testing.T) {
	const end = 1000
	cluster := func(l *testStream) {
		l.Target.Cluster, l.Target.DBs = true, keyspace.Databases{Only: true}
		l.Scope.Target = l.Target.DBs
	}
	exclude := func(l *testStream) { l.Scope.Exclude = []string{"no:*"} }
	only2 := func(l *testStream) { l.Scope.DBs, l.Scope.DBMap = []int{2}, map[int]int{2: 7} }
	few := func(l *testStream) { l.Scope.Target.Count = 16 }
	lower := func(l *testStream) { l.Scope.Slots = keyspace.SlotRanges{{First: 0, Last: 8191}} } // the slots of a and b are 15495 and 3300
	described := func(l *testStream) {
		l.Describe = func(name string) (*command.Spec, error) {
			switch name {
			case "ADDTO":
				spec, _ := command.LookupName("incrby")
				return spec, nil
			case "MOD.ADD":
				return command.Described(name, 3, true, 1, 1, 1), nil
			}
			return nil, nil
		}
	}
	describedCluster := func(l *testStream) { cluster(l); described(l) }
	describedFilter := func(l *testStream) { exclude(l); described(l) }
	five := func(l *testStream) { l.Target.Bounds.Words = 5 }
	fromFile := func(l *testStream) { l.File, l.CannotCopy = true, "its result cannot be copied from a file" }
	for _, c := range []struct {
		name, why, command string
		db                 int
		change             func(*testStream)
		fences             map[string]int64
		want               string // calls, "db:ARGS"; act where the dispatcher acts
		counted            string // one letter of what was counted at once: a f c r x (repaired: by act)
	}{
		{name: "a stray expires", why: "the key of that name is the slot owner's", command: "DEL a", change: lower, counted: "f"},
		{name: "a stray expires beside another key", command: "DEL a b", change: lower, want: "0:DEL b"},
		{name: "a key of another slot is written", why: "a script of the source may do that", command: "SET a 1", change: lower, want: "0:SET a 1"},
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
		{name: "COPY DB twice", why: "the last one counts", command: "COPY a b DB 9 REPLACE DB 3", want: "0:COPY a b DB 3 REPLACE DB 3|3:PTTL b|"},
		{name: "COPY DB", command: "COPY a b DB 3 REPLACE", want: "0:COPY a b DB 3 REPLACE|3:PTTL b|"},
		{name: "last database", command: "INCR a", db: 15, change: few, want: "15:INCR a"},
		{name: "database that the target lacks", why: "a SELECT that fails in a transaction lets what follows run elsewhere", command: "INCR a", db: 16, change: few, counted: "r"},
		{name: "MOVE to a database that the target lacks", command: "MOVE a 16", change: few, want: "act"},
		{name: "sort", command: "SORT a BY nosort STORE b", want: "0:SORT a BY nosort STORE b|"},
		{name: "sort by other keys", why: "other lanes write them", command: "SORT a BY w_* STORE b", want: "act"},
		{name: "sort, and get other keys", command: "SORT a GET v_* STORE b", want: "act"},
		{name: "sort by other keys of a file", why: "nothing can be copied", command: "SORT a BY w_* STORE b", change: fromFile, want: "0:SORT a BY w_* STORE b|0:PTTL a|0:PTTL b"},
		{name: "more arguments than the target takes", command: "RPUSH a 1 2 3 4", change: five, want: "0:RPUSH a 1 2 3|0:RPUSH a 4"},
		{name: "more keys than the target takes", command: "UNLINK a a a a a", change: five, want: "0:UNLINK a a a a|0:UNLINK a"},
		{name: "as many arguments as the target takes", command: "RPUSH a 1 2 3", change: five, want: "0:RPUSH a 1 2 3"},
		{name: "more arguments than the target takes, which belong together", why: "the writer leaves it out, and its keys are copied", command: "XADD a 1-1 f 1 g 2", change: five, want: "0:XADD a 1-1 f 1 g 2"},
		{name: "renamed by the source", command: "addto a 7", change: described, want: "0:INCRBY a 7"},
		{name: "renamed by the source, in a cluster", command: "ADDTO a 7", change: describedCluster, want: "0:INCRBY a 7"},
		{name: "renamed by the source, excluded", command: "ADDTO no:a 7", change: describedFilter, counted: "f"},
		{name: "a module's in a cluster", why: "the source knows its keys", command: "MOD.ADD a 7", change: describedCluster, want: "act"},
		{name: "a module's of an excluded key", command: "MOD.ADD no:a 7", change: describedFilter, counted: "f"},
		{name: "a module's", command: "MOD.ADD a 7", change: described, want: "0:MOD.ADD a 7"},
		{name: "unknown to the source as well", command: "FROBNICATE a", change: describedCluster, counted: "r"},
		{name: "publish", command: "PUBLISH ch m", want: "0:PUBLISH ch m"},
		{name: "sentinel", command: "PUBLISH __sentinel__:hello m", counted: "f"},
		{name: "unknown", command: "FROBNICATE a", want: "0:FROBNICATE a"},
		{name: "unknown in a cluster", command: "FROBNICATE a", change: cluster, counted: "r"},
		{name: "unknown with filter", command: "FROBNICATE a", change: exclude, counted: "r"},
		{name: "unknown subcommand", why: "a source sends only what changes something", command: "XGROUP FROBNICATE a g", want: "0:XGROUP FROBNICATE a g"},
		{name: "unknown subcommand in a cluster", command: "XGROUP FROBNICATE a g", change: cluster, counted: "r"},
		{name: "arguments of a form that surecut does not know", command: "ZUNIONSTORE d 5 a", want: "0:ZUNIONSTORE d 5 a"},
		{name: "such arguments in a cluster", command: "ZUNIONSTORE d 5 a", change: cluster, counted: "r"},
		{name: "such arguments of a script", command: "EVAL s x", want: "0:EVAL s x"},
		{name: "such arguments in another database", command: "MOVE", db: 1, change: only2, counted: "f"},
		{name: "a database that is no number", command: "MOVE a b", want: "0:MOVE a b"},
		{name: "script", command: "EVAL s 1 a", want: "0:EVAL s 1 a|0:PTTL a"},
		{name: "script without keys, filtered", command: "EVAL s 0", change: exclude, counted: "r"},
		{name: "script across slots", command: "EVAL s 2 a b", change: cluster, want: "act"},
		{name: "expiry", command: "PEXPIREAT a 4000000000000", want: "0:PEXPIREAT a 4000000000000"},
		{name: "the last expiry", why: "it comes back exactly", command: "PEXPIREAT a 9223372036854775807", change: fromFile, want: "0:PEXPIREAT a 9223372036854775807"},
		{name: "the last second", command: "EXPIREAT a 9223372036854775", change: fromFile, want: "0:PEXPIREAT a 9223372036854775000"},
		{name: "an expiry that overflows", why: "servers refuse it", command: "EXPIREAT a 9223372036854775807", change: fromFile, want: "0:EXPIREAT a 9223372036854775807"},
		{name: "relative expiry", command: "EXPIRE a 100", want: "0:PEXPIREAT a 150000"},
		{name: "lower case", command: "set a v ex 100", want: "0:SET a v PXAT 150000"},
		{name: "held", why: "it may be renewed", command: "SET a v EX 100", change: func(l *testStream) { l.Expiries.Begin() }, want: "0:SET a v|0:EXISTS a|0:PERSIST a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestStream(t)
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
				if x.call.Args == nil {
					calls = append(calls, "")
					continue
				}
				calls = append(calls, fmt.Sprintf("%d:%s", x.call.DB, strings.Join(x.call.Args, " ")))
			}
			got := strings.Join(calls, "|")
			if p.act != nil {
				got += "act"
			}
			if strings.TrimRight(got, "|") != strings.TrimRight(c.want, "|") {
				t.Errorf("%s: got %s, want %s", c.why, got, c.want)
			}
			counted := strings.Repeat("a", int(l.Ledger.Applied.Load())) + strings.Repeat("f", int(l.Ledger.Filtered.Load())) + strings.Repeat("r", int(l.Ledger.Reported.Load()))
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

// TestScriptThatDiffers: a script whose outcome may be another one on a target since 5.0 is not run there, as far as its keys can be copied.
func TestScriptThatDiffers(t *testing.T) {
	const sorted = "return redis.call('SMEMBERS', KEYS[1])"
	for _, c := range []struct {
		name    string
		command []string
		target  int
		file    bool
		copied  bool
		reason  string // what is noted
	}{
		{"the same everywhere", []string{"EVAL", "return redis.call('INCR', KEYS[1])", "1", "a"}, 70000, false, false, ""},
		{"what it reads was sorted", []string{"EVAL", sorted, "1", "a"}, 70000, false, true, ""},
		{"in small letters", []string{"eval", sorted, "1", "a"}, 70000, false, true, ""},
		{"and is sorted there, too", []string{"EVAL", sorted, "1", "a"}, 40014, false, false, ""},
		{"other keys may be written", []string{"EVAL", "redis.call('SET', ARGV[1], math.random())", "1", "a", "b"}, 70000, false, true, "keys that it does not declare were not"},
		{"no keys", []string{"EVAL", "redis.call('SET', 'a', math.random())", "0"}, 70000, false, false, "may have written something else"},
		{"from a file", []string{"EVAL", sorted, "1", "a"}, 70000, true, false, "may have written something else"},
		{"a text that is not known", []string{"EVALSHA", "0123456789012345678901234567890123456789", "1", "a"}, 70000, false, true, "keys that it does not declare were not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestStream(t)
			l.Target.Number = c.target
			if c.file {
				l.File, l.CannotCopy = true, "its result cannot be copied from a file"
			}
			d := newTestDispatcher(l, nil)
			for range 2 { // what is run is noted once
				var args [][]byte
				for _, w := range c.command {
					args = append(args, []byte(w))
				}
				p, err := d.planner.plan(&sourceCommand{end: 100, args: args}, 50000)
				if err != nil || (p.act != nil) != c.copied || (len(p.pieces) > 0) == c.copied {
					t.Fatalf("%+v, %v", p, err)
				}
			}
			all := l.problems.All()
			if (len(all) > 0) != (c.reason != "") || !c.copied && len(all) > 1 {
				t.Fatalf("%+v", all)
			}
			if c.reason != "" && !strings.Contains(all[0].Reason, c.reason) {
				t.Error(all[0].Reason)
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
			l := newTestStream(t)
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
			if n := len(l.problems.All()); n != c.problems {
				t.Errorf("%d problems, want %d: %+v", n, c.problems, l.problems.All())
			}
		})
	}
}

// TestPlanDoubtful: what an earlier run may have applied is not sent again; its keys are copied, those once that a copy holds.
func TestPlanDoubtful(t *testing.T) {
	l := newTestStream(t)
	d := newTestDispatcher(l, &target.Checkpoint{Offset: 100})
	d.planner.doubtEnd = 200
	d.ahead.fences[keyspace.Key{Name: "copied"}] = 300
	for _, tt := range []struct {
		end        int64
		args       string
		sent, acts bool
		why        string
	}{
		{150, "INCR a", false, true, "it may have been applied"},
		{150, "INCR copied", false, false, "a copy of later holds it"},
		{201, "INCR a", true, false, "it lies beyond what was sent"},
	} {
		var args [][]byte
		var verb, key string
		fmt.Sscan(tt.args, &verb, &key)
		args = append(args, []byte(verb), []byte(key))
		p, err := d.planner.plan(&sourceCommand{end: tt.end, args: args}, 0)
		if err != nil || len(p.pieces) > 0 != tt.sent || p.act != nil != tt.acts {
			t.Errorf("%s at %d: %d pieces, act %v, %v (%s)", tt.args, tt.end, len(p.pieces), p.act != nil, err, tt.why)
		}
	}
}

// TestKeysOfACall: where a call was refused, every key that it may have changed on the source is copied.
func TestKeysOfACall(t *testing.T) {
	l := newTestStream(t)
	d := newTestDispatcher(l, nil)
	for line, want := range map[string]string{
		"RENAME a b": "[{4 a} {4 b}]", "INCR a": "[{4 a}]", "MOVE a 3": "[{4 a} {3 a}]", "COPY a b DB 3": "[{4 a} {3 b}]",
		"SUNIONSTORE d a b": "[{4 d} {4 a} {4 b}]", "EVAL s 2 a b x": "[{4 a} {4 b}]", "FROBNICATE a": "[]", "EVAL s 0 a": "[]",
	} {
		var args [][]byte
		for _, w := range strings.Fields(line) {
			args = append(args, []byte(w))
		}
		p, err := d.planner.plan(&sourceCommand{end: 9, db: 4, args: args}, 0)
		if err != nil || len(p.pieces) == 0 {
			t.Fatal(line, err)
		}
		if got := sprintKeys(p.pieces[0].call.Keys()); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

func sprintKeys(keys []keyspace.Key) string { return fmt.Sprint(keys) }

// TestFlushOfOneFile: of several files nobody knows whose keys the target holds.
func TestFlushOfOneFile(t *testing.T) {
	l := newTestStream(t)
	l.Alone = false
	d := newTestDispatcher(l, nil)
	err := d.planner.do.flush(t.Context(), &sourceCommand{end: 9, args: [][]byte{[]byte("FLUSHALL")}}, true)
	if err == nil || !strings.Contains(err.Error(), "BGREWRITEAOF") || l.Ledger.Applied.Load() != 0 {
		t.Errorf("FLUSHALL in one of two files: %v", err)
	}
}
