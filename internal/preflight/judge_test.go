package preflight

import (
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/profile"
)

func redis(version string, number, rdb int) endpoint.Server {
	return endpoint.Server{Addr: "h:1", Flavor: "redis", Version: version, Number: number, RDBVersion: rdb}
}

func valkey(version string, rdb int) endpoint.Server {
	return endpoint.Server{Addr: "h:1", Flavor: "valkey", Version: version, Number: 70204, RDBVersion: rdb}
}

// format of a migration between servers of which the version alone decides.
func formatOf(source, target endpoint.Server) format {
	return format{Source: source, Commands: endpoint.CapabilitiesOf(source).Dialect, Sends: true, Holds: holdings{fields: -1},
		Target: target, Reads: target.RDBVersion, Told: true, Dialect: endpoint.CapabilitiesOf(target).Dialect}
}

func between(source, target endpoint.Server) Check { return formatOf(source, target).judge() }

// withFields is between for a source that holds two hashes whose fields expire.
func withFields(source, target endpoint.Server) Check {
	f := formatOf(source, target)
	f.Holds = holdings{types: map[string]int{"hash": 5}, complete: true, fields: 2}
	return f.judge()
}

func kernel(backlog, somaxconn, abort string) fstest.MapFS {
	return fstest.MapFS{
		"net/ipv4/tcp_max_syn_backlog":   {Data: []byte(backlog + "\n")},
		"net/core/somaxconn":             {Data: []byte(somaxconn + "\n")},
		"net/ipv4/tcp_abort_on_overflow": {Data: []byte(abort + "\n")},
	}
}

// prefixed lets database 3 arrive in database 0.
var prefixed = keyspace.Filter{DBPrefix: map[int]string{3: "app3:"}}

var into0 = keyspace.Filter{DBMap: map[int]int{3: 0}}

func clocks(ahead ...time.Duration) (out []clock) {
	for i, a := range ahead {
		out = append(out, clock{string(rune('a' + i)), a})
	}
	return out
}

// names are commands that write.
func names(list ...string) map[string]bool {
	writes := map[string]bool{}
	for _, name := range list {
		writes[name] = name != "get" && name != "xgroup" // since 7.0 only its subcommands do
	}
	return writes
}

// now is what the record of a migration is judged at.
var now = time.UnixMilli(1_700_000_000_000)

func record(id, state string, age time.Duration) map[string]string {
	return map[string]string{"id": id, "state": state, "host": "h", "heartbeat_ms": strconv.FormatInt(now.Add(-age).UnixMilli(), 10)}
}

// judged is every verdict that needs no server.
func judged() []struct {
	id, name, why string
	got           Check
	want          Result
	says          string
} {
	return []struct {
		id, name, why string
		got           Check
		want          Result
		says          string
	}{
		{"connectivity", "failed node", "half of a cluster's nodes would pass for all of them", judgeFailed("h:1", false, ""), Fail, "marked this node as failed"},
		{"connectivity", "failed node, resumed", "a failover may have replaced it", judgeFailed("h:1", true, ""), Alarm, "marked this node as failed"},

		{"source_version", "oldest", "2.2.6 is the first", judgeSourceVersion(redis("2.2.6", 20206, 5), nil), Alarm, "no PSYNC"},
		{"source_version", "PSYNC", "its stream can be continued", judgeSourceVersion(redis("2.8.0", 20800, 6), nil), Pass, "2.8.0"},
		{"source_version", "INCRBYFLOAT before 6.0", "it is replicated as SET without KEEPTTL", judgeSourceVersion(redis("5.0.14", 50014, 9), map[string]int64{"incrbyfloat": 7}), Alarm, "7 calls"},
		{"source_version", "INCRBYFLOAT of 6.0", "with KEEPTTL", judgeSourceVersion(redis("6.0.0", 60000, 9), map[string]int64{"incrbyfloat": 7}), Pass, "6.0.0"},
		{"source_version", "VADD of 8.0", "a changed vector is not replicated", judgeSourceVersion(redis("8.0.2", 80002, 12), map[string]int64{"vadd": 7}), Alarm, "7 calls"},
		{"source_version", "no VADD of 8.0", "nothing is lost", judgeSourceVersion(redis("8.0.2", 80002, 12), map[string]int64{"get": 7}), Pass, "8.0.2"},
		{"source_version", "too old", "before it replication differs", judgeSourceVersion(redis("2.2.5", 20205, 5), nil), Fail, "2.2.5"},

		{"target_version", "same", "the same bytes do", between(redis("7.0.15", 70015, 10), redis("7.0.15", 70015, 10)), Pass, ""},
		{"target_version", "7.0 to Valkey", "Valkey reads 11", between(redis("7.0.15", 70015, 10), valkey("8.1.0", 11)), Pass, ""},
		{"target_version", "8.0 to Valkey", "field expiries came with 7.4", between(redis("8.0.0", 80000, 12), valkey("8.1.0", 11)), Alarm, "fields expire"},
		{"target_version", "8.0 to Valkey 9", "80 is above 12 and yet another format", between(redis("8.0.0", 80000, 12), valkey("9.0.0", 80)), Alarm, "vector sets"},
		{"target_version", "seen", "what there is now says how bad it is", withFields(redis("8.0.0", 80000, 12), redis("7.0.0", 70000, 10)), Alarm, "hashes whose fields expire (2 now) are refused"},
		{"target_version", "Valkey 9 to 8.0", "Redis refuses 80", between(valkey("9.0.0", 80), redis("8.0.0", 80000, 12)), Note, "re-encoded"},
		{"target_version", "7.0.15 to 7.0.0", "the same release", between(redis("7.0.15", 70015, 10), redis("7.0.0", 70000, 10)), Pass, ""},
		{"target_version", "6.2 to 6.0", "one RDB version, fewer commands", between(redis("6.2.0", 60200, 9), redis("6.0.0", 60000, 9)), Note, "the target is older"},
		{"target_version", "6.0 to 5.0", "one RDB version and the same commands, fewer options", between(redis("6.0.0", 60000, 9), redis("5.0.0", 50000, 9)), Note, "the target is older"},
		{"target_version", "Valkey 8.1 to 8.0", "both say that they are Redis 7.2.4", between(valkey("8.1.0", 11), valkey("8.0.0", 11)), Note, "the target is older"},
		{"target_version", "7.0 to 4.0", "streams came with 5.0", between(redis("7.0.0", 70000, 10), redis("4.0.0", 40000, 8)), Alarm, "streams are refused"},

		{"target_state", "no hash", "nothing else runs", judgeCluster(endpoint.Target, "h:1", map[string]string{"cluster_state": "ok", "cluster_slots_ok": "16384"}, nil), Pass, ""},
		{"target_state", "slot without owner", "its keys could not be written", judgeCluster(endpoint.Target, "h:1", map[string]string{"cluster_state": "ok", "cluster_slots_ok": "16383"}, nil), Fail, "16383"},
		{"target_state", "cluster down", "it refuses everything", judgeCluster(endpoint.Target, "h:1", map[string]string{"cluster_state": "fail", "cluster_slots_ok": "16384"}, nil), Fail, "cluster_state:fail"},
		{"target_state", "slot on the move", "its keys are in two places", judgeCluster(endpoint.Target, "h:1", map[string]string{"cluster_state": "ok", "cluster_slots_ok": "16384"},
			[]endpoint.ClusterNode{{Importing: map[uint16]string{7: "x"}}}), Fail, "1 arrive"},
		{"source_state", "slot on the move", "it is followed", judgeCluster(endpoint.Source, "h:1", map[string]string{"cluster_state": "ok", "cluster_slots_ok": "16384"},
			[]endpoint.ClusterNode{{Migrating: map[uint16]string{7: "x"}}}), Alarm, "1 leave"},
		{"target_state", "other runs", "two would overwrite each other", judgeMigration(endpoint.Target, resumed{host: "h"}, record("a", "running", time.Second), now), Fail, "still running"},
		{"target_state", "own runs elsewhere", "two processes of one migration", judgeMigration(endpoint.Target, resumed{"a", "other"}, record("a", "running", time.Second), now), Fail, "another process"},
		{"target_state", "own was killed just now", "the lock of its state directory is what counts here", judgeMigration(endpoint.Target, resumed{"a", "h"}, record("a", "running", time.Second), now), Pass, ""},
		{"target_state", "own was killed", "its heartbeat is old", judgeMigration(endpoint.Target, resumed{"a", "other"}, record("a", "running", time.Minute), now), Pass, ""},
		{"target_state", "other stopped", "its data is there", judgeMigration(endpoint.Target, resumed{host: "h"}, record("a", "stopped", time.Hour), now), Alarm, "stopped before it was complete"},
		{"target_state", "other done", "history", judgeMigration(endpoint.Target, resumed{host: "h"}, record("a", "done", time.Hour), now), Pass, ""},
		{"source_state", "was a target once", "its data is there as it should be", judgeMigration(endpoint.Source, resumed{host: "h"}, record("a", "stopped", time.Hour), now), Pass, ""},
		{"source_state", "is a target now", "it is not complete", judgeMigration(endpoint.Source, resumed{host: "h"}, record("a", "running", time.Second), now), Fail, "still running"},

		{"source_is_replica", "replica", "", judgeReader(reader("slave", "up"), "replica", true, false, ""), Pass, "a replica of"},
		{"source_is_replica", "replica that stands still", "", judgeReader(reader("slave", "down"), "replica", true, false, ""), Alarm, "receives no writes"},
		{"source_is_replica", "no replica in the shard", "", judgeReader(reader("master", ""), "replica", true, false, ""), Note, "no replica"},
		{"source_is_replica", "replicas of 4.0", "EXEC goes to the primary", judgeReader(reader("master", ""), "replica", true, true, ""), Note, "3.2 to 5.0"},
		{"source_is_replica", "as the user wants it", "", judgeReader(reader("master", ""), "primary", true, false, ""), Note, "Config.ReadFrom primary"},

		{"target_space", "exactly", "1.5 times", space{free: 150}.judge(100), Pass, "150 B"},
		{"target_space", "one byte less", "less than 1.5 times", space{free: 149}.judge(100), Fail, "149 B"},
		{"target_space", "no limit", "the default: what is free cannot be known, and the hosts have the room", unlimited(1 << 40).judge(100), Note, "no maxmemory"},
		{"target_space", "no limit, small hosts", "it fits into no memory there is", unlimited(149).judge(100), Alarm, "149 B of memory in total"},
		{"target_space", "not told", "is not known", space{free: 1 << 40, unknown: []string{"h:1 does not report its maxmemory"}}.judge(100), Alarm, "does not report"},

		{"authentication", "open as the source", "it is what it was", judgeOpen("h:1", false, ""), Note, "anyone"},
		{"authentication", "open, and the source is not", "AUTH is an error there", judgeOpen("h:1", true, ""), Alarm, "clients that send the source's password fail"},

		{"source_is_primary", "a primary", "", judgeNamed(reader("master", "")), Pass, "a primary"},
		{"source_is_primary", "a replica", "both servers are named", judgeNamed(replicaOf("p", "6379", "1")), Alarm, "h:1 is a replica of p:6379"},
		{"source_is_primary", "a replica with keys of its own", "they are no part of the data", judgeNamed(replicaOf("p", "6379", "0")), Alarm, "accepts writes itself"},

		{"target_empty", "own keys", "left by an earlier run", judgeEmpty(targetKeys{own: 3}, "fail", ""), Pass, "3 of surecut"},
		{"target_empty", "foreign keys", "nobody said what to do with them", judgeEmpty(targetKeys{foreign: 1}, "fail", ""), Fail, "1 keys"},
		{"target_empty", "function libraries", "they may be in use", judgeEmpty(targetKeys{libraries: []string{"a", "b"}}, "fail", ""), Fail, "function libraries: a, b"},
		{"target_empty", "keys and libraries", "", judgeEmpty(targetKeys{foreign: 1, libraries: []string{"a"}}, "replace", ""), Alarm, "1 keys; function libraries: a; with Config.OnExisting replace, keys and function libraries"},
		{"target_empty", "libraries, resumed", "", judgeEmpty(targetKeys{libraries: []string{"a"}, resumed: true}, "fail", ""), Pass, "resumed"},
		{"target_empty", "keep", "the user knows", judgeEmpty(targetKeys{foreign: 1}, "keep", ""), Alarm, "keep"},
		{"target_empty", "resumed, and its record is lost", "the migration names the node that has lost data, which is not to be emptied", judgeEmpty(targetKeys{foreign: 1, unrecorded: true}, "fail", ""), Note, "record of the migration that is resumed is missing"},
		{"target_empty", "resumed", "they are the migration's own", judgeEmpty(targetKeys{foreign: 1, resumed: true}, "fail", ""), Pass, "resumed"},

		{"database_count", "in range", "", judgeDatabases(map[int]int64{0: 1, 15: 2}, databases(keyspace.Filter{}, 16), true), Pass, "15 (2 keys)"},
		{"database_count", "out of range", "the target has 16", judgeDatabases(map[int]int64{16: 1}, databases(keyspace.Filter{}, 16), true), Fail, "has no database 16"},
		{"database_count", "cluster", "it has one", judgeDatabases(map[int]int64{3: 1}, cluster(keyspace.Filter{}), true), Fail, "has no database 3"},
		{"database_count", "not known", "16 is a guess where CONFIG is refused", judgeDatabases(map[int]int64{20: 1}, databases(keyspace.Filter{}, 16), false), Alarm, "not known"},
		{"database_count", "mapped", "to one that is there", judgeDatabases(map[int]int64{3: 1}, cluster(into0), true), Pass, "to 0"},
		{"database_count", "prefixed", "the names do not collide", judgeDatabases(map[int]int64{0: 1, 3: 1}, cluster(prefixed), true), Pass, "to 0 as app3:*"},
		{"database_count", "collision", "both would be one key", judgeCollisions(sample{keys: 2, complete: true, prefixed: []keyspace.Key{{DB: 0, Name: "app3:x"}}}, cluster(prefixed)), Fail, `key "app3:x" of database 0 and key "x" of database 3 would both become "app3:x"`},
		{"database_count", "no collision", "the key goes to another database", judgeCollisions(sample{keys: 2, complete: true, prefixed: []keyspace.Key{{DB: 5, Name: "app3:x"}}}, databases(prefixed, 16)), Pass, "none"},
		{"database_count", "merged", "names may collide", judgeDatabases(map[int]int64{0: 1, 3: 1}, cluster(into0), true), Alarm, "merged"},

		{"modules", "none", "", moduleNeeds{}.judge(""), Pass, "no module"},
		{"modules", "type seen", "a key of it exists", moduleNeeds{missing: []string{"ReJSON"}, sampled: sample{types: map[string]int{"ReJSON-RL": 1}}}.judge(""), Fail, "ReJSON"},
		{"modules", "command seen", "it was used since the start", moduleNeeds{missing: []string{"bf"}, commands: []string{"bf.add"}}.judge(""), Fail, "bf"},
		{"modules", "unknown module, module type", "it may be its own", moduleNeeds{missing: []string{"acme"}, sampled: sample{types: map[string]int{"acmetype1": 1}}}.judge(""), Fail, "acme"},
		{"modules", "loaded and unused", "every key was looked at", moduleNeeds{missing: []string{"bf"}, sampled: sample{complete: true}}.judge(""), Pass, "does not use them"},
		{"modules", "loaded, sample only", "nobody knows the rest", moduleNeeds{missing: []string{"bf"}}.judge(""), Alarm, "sample"},

		{"output_buffer", "no limit", "", judgeBuffer("h:1", bufferLimit{}, estimate(1<<40, 1<<30)), Pass, "no limit"},
		{"output_buffer", "hard", "10 MiB/s for 100 s", judgeBuffer("h:1", bufferLimit{256 << 20, 0, 0}, estimate(100*snapshotRate, 10<<20)), Alarm, "256.0 MiB"},
		{"output_buffer", "soft", "longer than 60 s over 64 MiB", judgeBuffer("h:1", bufferLimit{0, 64 << 20, 60}, estimate(100*snapshotRate, 1<<20)), Alarm, "64.0 MiB"},
		{"output_buffer", "soft, short", "it is over before", judgeBuffer("h:1", bufferLimit{0, 64 << 20, 60}, estimate(50*snapshotRate, 2<<20)), Pass, ""},
		{"backlog", "default, idle", "", judgeBacklog("h:1", 1<<20, 0), Pass, "1.0 MiB"},
		{"backlog", "too small", "a minute of 1 MiB/s", judgeBacklog("h:1", 1<<20, 1<<20), Note, "1.0 MiB"},
		{"repl_timeout", "default", "", judgeTimeout("h:1", 60, estimate(1<<20, 0)), Pass, "60 s"},
		{"repl_timeout", "big data", "100 s of snapshot", judgeTimeout("h:1", 60, estimate(100*snapshotRate, 0)), Note, "60 s"},

		{"tcp_kernel", "large enough", "", judgeKernel(kernel("4096", "4096", "0")), Pass, "somaxconn = 4096"},
		{"tcp_kernel", "small backlog", "", judgeKernel(kernel("128", "4096", "0")), Note, "tcp_max_syn_backlog = 128"},
		{"tcp_kernel", "small queue", "", judgeKernel(kernel("4096", "128", "0")), Note, "somaxconn = 128"},
		{"tcp_kernel", "resets", "an overflow would be an error", judgeKernel(kernel("4096", "4096", "1")), Note, "tcp_abort_on_overflow = 1"},
		{"tcp_kernel", "not Linux", "there is nothing to read", judgeKernel(fstest.MapFS{}), Skipped, "/proc/sys"},

		{"big_keys", "none", "", judgeBigKeys(sample{keys: 5, complete: true}, 100, ""), Pass, "all 5 keys"},
		{"big_keys", "one", "", judgeBigKeys(sample{keys: 5, bigCount: 1, big: []sampled{{0, "a\nb", "hash", 200}}}, 100, ""), Note, `"a\nb"`},
		{"big_keys", "not measured", "no MEMORY USAGE before 4.0", judgeBigKeys(sample{keys: 5, unsized: 1}, 100, ""), Skipped, "MEMORY USAGE"},

		{"command_compatibility", "none", "", judgeAgainst("cluster", map[string]int64{"get": 1, "select": 4}, 1), Pass, "2 commands"},
		{"command_compatibility", "several databases", "", judgeAgainst("cluster", map[string]int64{"select": 4}, 2), Alarm, "SELECT (4 calls"},
		{"command_compatibility", "several keys", "", judgeAgainst("cluster", map[string]int64{"rename": 7}, 1), Alarm, "RENAME (7 calls)"},
		{"command_compatibility", "script", "", judgeAgainst("cluster", map[string]int64{"eval": 7}, 1), Alarm, "EVAL (7 calls)"},
		{"command_compatibility", "transaction", "", judgeAgainst("cluster", map[string]int64{"exec": 7}, 1), Alarm, "EXEC (7 calls)"},
		{"command_compatibility", "our own", "surecut scans and counts", judgeAgainst("cluster", map[string]int64{"scan": 7, "dbsize": 1}, 1), Pass, ""},
		{"command_compatibility", "subcommand", "", judgeAgainst("twemproxy", map[string]int64{"client|setname": 7}, 1), Alarm, "CLIENT SETNAME (7 calls)"},
		{"command_compatibility", "through twemproxy", "", judgeAgainst("twemproxy", map[string]int64{"get": 7, "info": 3}, 1), Pass, ""},
		{"command_compatibility", "through Codis", "", judgeAgainst("codis", map[string]int64{"blpop": 7}, 1), Alarm, "BLPOP (7 calls)"},

		{"command_compatibility", "all names", "", judgeNames(names("get", "incrby", "xgroup"), names("incrby", "xgroup"), false, false, ""), Pass, ""},
		{"command_compatibility", "a renamed command", "surecut asks for its name", judgeNames(names("incrby"), names(), false, true, ""), Note, "INCRBY"},
		{"command_compatibility", "a renamed command, and prefixes", "its keys are not known where they get one", judgeNames(names("incrby"), names(), true, false, ""), Alarm, "DBPrefix"},
		{"command_compatibility", "a renamed container", "", judgeNames(names("xgroup"), names(), false, false, ""), Note, "XGROUP"},
		{"command_compatibility", "a hidden command that reads", "", judgeNames(map[string]bool{"config": false}, names(), true, true, ""), Pass, ""},
		{"command_compatibility", "a command of an unknown module", "", judgeNames(names("mod.add"), names(), false, false, ""), Note, "MOD.ADD"},
		{"command_compatibility", "a command of an unknown module, into a cluster", "", judgeNames(names("mod.add"), names(), false, true, ""), Alarm, "MOD.ADD"},

		{"cached_scripts", "before 7.0", "the snapshot holds them", cached{scripts: 3}.judge(), Pass, "copied with the data"},
		{"cached_scripts", "none", "", cached{stays: "x"}.judge(), Pass, "no cached scripts"},
		{"cached_scripts", "since 7.0", "", cached{scripts: 3, bytes: 2048, stays: "it does not send them"}.judge(), Note, "3 cached scripts (2.0 KiB); it does not send them"},
		{"cached_scripts", "not told", "", cached{stays: "x", unknown: "h:1 does not tell"}.judge(), Skipped, "h:1 does not tell"},
		{"cached_scripts", "not told by all", "those of one are known", cached{scripts: 1, stays: "x", unknown: "h:1 does not tell"}.judge(), Note, "1 cached scripts"},

		{"command_compatibility", "scripts as they were called", "the target does not sort", *judgeVerbatim(7, 70000), Note, "7 calls of scripts"},

		{"clock_skew", "a second", "", judgeClocks(clocks(0, time.Second), ""), Pass, "1s"},
		{"clock_skew", "more", "", judgeClocks(clocks(-600*time.Millisecond, 600*time.Millisecond), ""), Alarm, "1.2s"},
		{"clock_skew", "one clock", "nothing to compare it with", judgeClocks(clocks(0), ""), Skipped, ""},

		{"bulk_length", "same limit", "", judgeBulk(bulkLimits{512 << 20, 512 << 20, bulkSetting}, sample{}), Pass, ""},
		{"bulk_length", "too long", "", judgeBulk(bulkLimits{512 << 20, 1 << 20, bulkSetting}, sample{longest: sampled{bytes: 2 << 20, kind: "string"}}), Alarm, "2.0 MiB"},
		{"bulk_length", "unknown rest", "the source takes longer ones", judgeBulk(bulkLimits{512 << 20, 1 << 20, bulkSetting}, sample{keys: 1}), Alarm, "sample"},
		{"bulk_length", "all known", "the next one may be too long", judgeBulk(bulkLimits{512 << 20, 1 << 20, bulkSetting}, sample{keys: 1, complete: true}), Alarm, "all 1 keys"},
		{"bulk_length", "no key yet", "", judgeBulk(bulkLimits{512 << 20, 1<<20 - 2, querySetting}, sample{complete: true}), Alarm, "written later"},
	}
}

// unlimited is a target of two nodes on one host without maxmemory.
func unlimited(memory int) space {
	s := space{unlimited: []string{"h:1 has no maxmemory", "h:2 has no maxmemory"}}
	for _, addr := range []string{"h:1", "h:2"} {
		s.host(&node{addr: addr, info: map[string]string{"total_system_memory": strconv.Itoa(memory)}})
	}
	return s
}

func replicaOf(host, port, readOnly string) *node {
	return &node{addr: "h:1", info: map[string]string{"role": "slave", "master_host": host, "master_port": port, "slave_read_only": readOnly}}
}

// databases is a mapping to a target with that many databases.
func databases(f keyspace.Filter, n int) *keyspace.Mapping {
	m := f.To(keyspace.Databases{Home: endpoint.AllDBs, Count: n})
	return &m
}

// cluster is a mapping to a cluster.
func cluster(f keyspace.Filter) *keyspace.Mapping {
	m := f.To(keyspace.Databases{Only: true})
	return &m
}

// TestHostOfSource: at the end of a bastion or a proxy 127.0.0.1 is another host, and this one's kernel says nothing of it.
func TestHostOfSource(t *testing.T) {
	here := &node{addr: "127.0.0.1:6379"}
	for _, tt := range []struct {
		name string
		spec endpoint.Spec
		want bool
	}{
		{"direct", endpoint.Spec{}, true},
		{"bastion", endpoint.Spec{SSH: &endpoint.SSH{}}, false},
		{"proxy", endpoint.Spec{SOCKS5: &endpoint.SOCKS5{}}, false},
		{"mapped away", endpoint.Spec{NAT: endpoint.NAT{"127.0.0.1:6379": "192.0.2.1:6379"}}, false},
	} {
		got, err := (&side{spec: tt.spec}).sharesHost(t.Context(), here)
		if err != nil || got != tt.want {
			t.Errorf("%s: %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

// TestDatabasesOfURL: the database of a URL counts under sentinels as it does of one server, and --db wins.
func TestDatabasesOfURL(t *testing.T) {
	for _, kind := range []endpoint.Kind{endpoint.Standalone, endpoint.Sentinel} {
		c := Config{Source: Side{Spec: endpoint.Spec{Kind: kind, DB: 3}}}
		if c.reads(0) || !c.reads(3) {
			t.Errorf("%s: 0 is read: %v, 3 is read: %v, want 3 alone", kind, c.reads(0), c.reads(3))
		}
		c.Filter.DBs = []int{0}
		if !c.reads(0) || c.reads(3) {
			t.Errorf("%s: --db 0 does not win", kind)
		}
	}
}

// TestNothingVerbatim: a source without calls of scripts, and a target that sorts as well, are no matter.
func TestNothingVerbatim(t *testing.T) {
	if c := judgeVerbatim(0, 70000); c != nil {
		t.Error(c)
	}
	if c := judgeVerbatim(7, 40014); c != nil {
		t.Error(c)
	}
}

func TestJudgements(t *testing.T) {
	for _, tt := range judged() {
		t.Run(tt.id+"/"+tt.name, func(t *testing.T) {
			if tt.got.Result != tt.want || !strings.Contains(tt.got.Found, tt.says) {
				t.Errorf("%s %q, want %s that says %q (%s)", tt.got.Result, tt.got.Found, tt.want, tt.says, tt.why)
			}
			if (tt.want == Alarm || tt.want == Fail) && tt.got.Remedy == "" {
				t.Error("no remedy")
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	checks := func(results ...Result) (out []Check) {
		for _, r := range results {
			out = append(out, Check{ID: "backlog", Result: r})
		}
		return out
	}
	tests := []struct {
		name   string
		checks []Check
		accept []string
		all    bool
		want   Result
	}{
		{name: "all pass", checks: checks(Pass, Pass), want: Pass},
		{name: "skipped hides nothing and is no alarm", checks: checks(Skipped, Pass), want: Pass},
		{name: "alarm", checks: checks(Pass, Alarm), want: Alarm},
		{name: "note", checks: checks(Note, Pass), want: Pass},
		{name: "note beside an alarm", checks: checks(Note, Alarm), want: Alarm},
		{name: "accepting what is a note does no harm", checks: checks(Note), accept: []string{"backlog"}, want: Pass},
		{name: "accepting what was not raised does no harm", checks: checks(Pass), accept: []string{"backlog", "modules"}, want: Pass},
		{name: "accepted", checks: checks(Alarm), accept: []string{"backlog"}, want: Pass},
		{name: "another accepted", checks: checks(Alarm), accept: []string{"modules"}, want: Alarm},
		{name: "all accepted", checks: checks(Alarm), all: true, want: Pass},
		{name: "fail before alarm", checks: checks(Fail, Alarm), want: Fail},
		{name: "a fail cannot be accepted", checks: checks(Fail), all: true, accept: []string{"backlog"}, want: Fail},
	}
	for _, tt := range tests {
		rep := Report{Checks: tt.checks}
		if rep.decide(Config{Accept: tt.accept, AcceptAlarms: tt.all}); rep.Verdict != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, rep.Verdict, tt.want)
		}
		for _, c := range rep.Checks {
			if c.Accepted && c.Result != Alarm {
				t.Errorf("%s: a %s is marked as accepted", tt.name, c.Result)
			}
		}
	}
}

func TestUnaccepted(t *testing.T) {
	rep := Report{Checks: []Check{{ID: "c", Result: Alarm}, {ID: "a", Result: Alarm}, {ID: "a", Result: Alarm, Subject: "another node"},
		{ID: "b", Result: Alarm, Accepted: true}, {ID: "d", Result: Note}, {ID: "e", Result: Fail}}}
	if got := strings.Join(rep.Unaccepted(), ","); got != "c,a" {
		t.Errorf("%s, want c,a", got)
	}
}

func TestNodesAreSummed(t *testing.T) {
	side := &side{name: endpoint.Source}
	nodes := []*node{{addr: "a:1"}, {addr: "b:1"}}
	by := func(results map[string]Check) func(*node) Check {
		return func(n *node) Check { return results[n.addr] }
	}
	got := perNode(side, nodes, by(map[string]Check{"a:1": pass("", "x", ""), "b:1": pass("", "x", "")}))
	if len(got) != 1 || got[0].Subject != "source" || got[0].Found != "x on each of 2 nodes" {
		t.Errorf("all pass: %+v", got)
	}
	got = perNode(side, nodes, by(map[string]Check{"a:1": pass("", "x", ""), "b:1": fail("", "y", "", "z")}))
	if len(got) != 1 || got[0].Subject != "b:1" || got[0].Result != Fail {
		t.Errorf("one fails: %+v", got)
	}
	got = perNode(side, nodes, by(map[string]Check{"a:1": alarm("", "y", "", "z a"), "b:1": alarm("", "y", "", "z b")}))
	if len(got) != 1 || got[0].Subject != "source" || got[0].Result != Alarm {
		t.Errorf("all have the same alarm: %+v", got)
	}
}

func reader(role, link string) *node {
	return &node{addr: "h:1", info: map[string]string{"role": role, "master_link_status": link}}
}

func TestNothingOpensAndNothingCrashes(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Source.Spec, cfg.Target.Spec = endpoint.Spec{Kind: endpoint.Standalone}, endpoint.Spec{Kind: endpoint.Cluster}
	rep, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range rep.Checks {
		seen[c.ID] = true
		if want := map[bool]Result{true: Fail, false: Skipped}[c.ID == "connectivity"]; c.Result != want || c.Found == "" || c.Title == "" {
			t.Errorf("%+v, want %s with a reason", c, want)
		}
	}
	for _, id := range IDs() {
		if !seen[id] && id != "source_file" {
			t.Errorf("%s is missing", id)
		}
	}
	if rep.Verdict != Fail {
		t.Errorf("verdict %s", rep.Verdict)
	}
}

func TestParseBufferLimit(t *testing.T) {
	for text, want := range map[string]bufferLimit{
		"normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60": {268435456, 67108864, 60},
		"normal 0 0 0 replica 0 0 0":                                          {},
	} {
		if got, err := parseBufferLimit(text); err != nil || got != want {
			t.Errorf("parseBufferLimit(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "slave 1 2", "slave a b c", "normal 0 0 0"} {
		if _, err := parseBufferLimit(text); err == nil {
			t.Errorf("parseBufferLimit(%q) gave no error", text)
		}
	}
}

func judgeAgainst(kind string, calls map[string]int64, databases int) Check {
	p, err := profile.Get(kind)
	if err != nil {
		panic(err)
	}
	return judgeCommands(p, calls, databases, "")
}

func TestCommandCalls(t *testing.T) {
	got := endpoint.CommandCalls(map[string]string{
		"cmdstat_get":          "calls=3,usec=4,usec_per_call=1.33",
		"cmdstat_config|get":   "calls=2,usec=1,usec_per_call=0.5,rejected_calls=0,failed_calls=0",
		"cmdstat_exec":         "calls=5,usec=1,usec_per_call=0.2,rejected_calls=1,failed_calls=5",
		"instantaneous_ops":    "7",
		"cmdstat_broken":       "x",
		"cmdstat_host:":        "",
		"cmdstatless_whatever": "calls=1",
	})
	if len(got) != 2 || got["get"] != 3 || got["config|get"] != 2 {
		t.Errorf("CommandCalls = %v, want get 3 and config|get 2: failed calls did nothing", got)
	}
}

func TestFreeSpace(t *testing.T) {
	dir := t.TempDir()
	if at, free, err := freeSpace(dir + "/not/yet/there"); err != nil || at != dir || free <= 0 {
		t.Errorf("freeSpace below %s = %s, %d, %v", dir, at, free, err)
	}
	if _, _, err := freeSpace("/proc/version/x"); err == nil {
		t.Error("a file was taken for a directory")
	}
}

func TestLeastACL(t *testing.T) {
	old := LeastACL(redis("5.0.0", 50000, 9), endpoint.Source)
	six := LeastACL(redis("6.0.20", 60020, 9), endpoint.Target)
	seven := LeastACL(redis("7.0.15", 70015, 10), endpoint.Target)
	switch {
	case old != "":
		t.Errorf("before 6.0 there are no ACLs: %s", old)
	case strings.Contains(six, "&*") || strings.Contains(six, "spublish"):
		t.Errorf("6.0 knows neither rules for channels nor sharded ones: %s", six)
	case !strings.Contains(seven, "'&*'") || !strings.Contains(seven, " +@write ") || !strings.Contains(seven, "'+script|load'"):
		t.Errorf("7.0 lacks channels, writes or scripts: %s", seven)
	case strings.Contains(LeastACL(redis("7.0.15", 70015, 10), endpoint.Source), "write"):
		t.Error("a source is only read")
	}
	for _, rule := range []string{" +watch", " +echo", " +subscribe", " resetchannels '&__surecut:none' ", " '+client|tracking'", " '+client|no-touch'", " '+client|list'", " '+function|list'"} {
		if source := LeastACL(redis("7.2.6", 70206, 10), endpoint.Source); !strings.Contains(source, rule) {
			t.Errorf("a comparison of a source uses%s, which the rule does not allow: %s", rule, source)
		}
	}
	if source := LeastACL(redis("6.0.20", 60020, 9), endpoint.Source); strings.Contains(source, "no-touch") || strings.Contains(source, "function") || strings.Contains(source, "channels") {
		t.Errorf("6.0 has neither CLIENT NO-TOUCH nor functions nor rules for channels: %s", source)
	}
}
