//go:build servers

package preflight

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
)

const password = "pw"

// bench is the servers that cases share; each case puts back what it changes.
type bench struct {
	primary, replica, target *servers.Server
	sentinels                []*servers.Server // of primary and replica
	cluster                  []*servers.Server
}

func newBench(t *testing.T) *bench {
	secured := []string{"--requirepass", password}
	b := &bench{
		primary: servers.Standalone(t, "redis:7.0", secured...),
		target:  servers.Standalone(t, "redis:7.0", append([]string{"--maxmemory", "200mb"}, secured...)...),
		cluster: servers.Cluster(t, "redis:7.0", 3, 0),
	}
	b.replica = servers.Replica(t, b.primary, secured...)
	b.sentinels = servers.Sentinels(t, b.primary, 1, 1)
	eventually(t, "the sentinel has heard from the replica", func() bool {
		replicas, err := b.sentinels[0].Do("SENTINEL", "replicas", servers.SentinelGroup).ToArray()
		if err != nil || len(replicas) != 1 {
			return false
		}
		facts, err := replicas[0].AsStrMap()
		return err == nil && facts["flags"] == "slave" && facts["master-link-status"] == "ok"
	})
	return b
}

func url(s *servers.Server) string {
	scheme := "redis"
	if s.Cluster {
		scheme = "redis+cluster"
	}
	if s.Password != "" {
		return scheme + "://:" + s.Password + "@" + s.Addr
	}
	return scheme + "://" + s.Addr
}

// urls is what a run is made between.
type urls struct{ source, target string }

// good is a migration that nothing is wrong with.
func (b *bench) good() urls {
	return urls{strings.Replace(servers.SentinelURL(b.sentinels), "://", "://:"+password+"@", 1), url(b.target)}
}

func check(t *testing.T, u urls, change func(*Config)) Report {
	t.Helper()
	cfg := DefaultConfig()
	cfg.StateDir = t.TempDir()
	for raw, to := range map[string]*Side{u.source: &cfg.Source, u.target: &cfg.Target} {
		spec, err := endpoint.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		*to = Connect(t.Context(), spec)
		defer to.Close()
	}
	if u.source == u.target {
		cfg.Source = Opened(cfg.Target.Deployment)
	}
	if change != nil {
		change(&cfg)
	}
	rep, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// worst returns the row of a check that matters most.
func worst(rep Report, id string) (out Check) {
	order := []Result{"", Skipped, Pass, Note, Alarm, Fail}
	for _, c := range rep.Checks {
		if c.ID == id && slices.Index(order, c.Result) > slices.Index(order, out.Result) {
			out = c
		}
	}
	return out
}

// set changes a setting until the case ends.
func set(t *testing.T, s *servers.Server, name, value string) {
	t.Helper()
	pair, err := s.Do("CONFIG", "GET", name).AsStrMap()
	if err != nil {
		t.Fatal(err)
	}
	old := pair[name]
	s.Must("CONFIG", "SET", name, value)
	t.Cleanup(func() { s.Must("CONFIG", "SET", name, old) })
}

// write runs commands until the case ends, when the data is flushed.
func write(t *testing.T, s *servers.Server, commands ...string) {
	t.Helper()
	t.Cleanup(func() { s.Must("FLUSHALL") })
	for _, c := range commands {
		s.Must(strings.Fields(c)...)
	}
}

// trouble is a case in which a check does not pass.
type trouble struct {
	name, why string
	want      Result
	says      string
	run       func(t *testing.T, b *bench) Report
}

// notByServer is the checks that no real server here can be made to fail; their pairs are judgements.
var notByServer = []string{"source_version", "clock_skew", "tcp_kernel"}

// cases is at least one case for each check, by ID.
var cases = map[string][]trouble{
	"connectivity": {{"nobody there", "a closed port", Fail, "connection refused", func(t *testing.T, b *bench) Report {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		return check(t, urls{url(b.replica), "redis://" + l.Addr().String()}, nil)
	}}, {"a replica that is down", "the cluster no longer counts it", Fail, "has marked this node as failed", func(t *testing.T, b *bench) Report {
		nodes := servers.Cluster(t, "redis:7.0", 3, 1)
		dead := nodes[5]
		dead.Kill()
		eventually(t, "the cluster has marked this node as failed", func() bool {
			for line := range strings.Lines(nodes[0].Must("CLUSTER", "NODES").(string)) {
				if strings.Contains(line, dead.Addr) {
					return strings.Contains(line, "fail")
				}
			}
			return false
		})
		return check(t, urls{url(nodes[0]), url(b.target)}, nil)
	}}, {"wrong password", "", Fail, "WRONGPASS", func(t *testing.T, b *bench) Report {
		return check(t, urls{"redis://:wrong@" + b.replica.Addr, url(b.target)}, nil)
	}}},
	"permissions": {{"no DUMP and no PSYNC", "the user may do the rest", Fail, "dump, psync", func(t *testing.T, b *bench) Report {
		b.replica.Must("ACL", "SETUSER", "u", "on", ">"+password, "~*", "&*", "+@all", "-dump", "-psync")
		t.Cleanup(func() { b.replica.Must("ACL", "DELUSER", "u") })
		return check(t, urls{"redis://u:" + password + "@" + b.replica.Addr, url(b.target)}, nil)
	}}, {"no DUMP, scanned", "there is another way", Note, "read by the commands of their types", func(t *testing.T, b *bench) Report {
		b.replica.Must("ACL", "SETUSER", "u", "on", ">"+password, "~*", "&*", "+@all", "-dump", "-psync")
		t.Cleanup(func() { b.replica.Must("ACL", "DELUSER", "u") })
		return check(t, urls{"redis://u:" + password + "@" + b.replica.Addr, url(b.target)}, func(c *Config) { c.Scans = true })
	}}, {"some keys only", "a migration needs them all", Fail, "restore", func(t *testing.T, b *bench) Report {
		b.target.Must("ACL", "SETUSER", "u", "on", ">"+password, "~app:*", "&*", "+@all")
		t.Cleanup(func() { b.target.Must("ACL", "DELUSER", "u") })
		return check(t, urls{url(b.replica), "redis://u:" + password + "@" + b.target.Addr}, nil)
	}}},
	"target_version": {{"older target", "8.0 writes RDB 12, 7.0 reads 10", Alarm, "hashes whose fields expire (1 now) are refused", func(t *testing.T, b *bench) Report {
		source := servers.Standalone(t, "redis:8.0")
		source.Must("HSET", "h", "f", "v", "g", "w")
		source.Must("HEXPIRE", "h", "5000", "FIELDS", "1", "f")
		source.Must("SADD", "s", "a")
		return check(t, urls{url(source), url(b.target)}, nil)
	}}},
	"authentication": {{"open to all", "", Alarm, "anyone", func(t *testing.T, b *bench) Report {
		return check(t, urls{url(b.replica), url(b.cluster[0])}, nil)
	}}},
	"same_instance": {{"itself", "", Fail, "are the same server", func(t *testing.T, b *bench) Report {
		return check(t, urls{url(b.target), url(b.target)}, nil)
	}}, {"itself by another name", "names do not tell servers apart", Fail, "are the same server", func(t *testing.T, b *bench) Report {
		return check(t, urls{url(b.target), strings.Replace(url(b.target), "127.0.0.1", "localhost", 1)}, nil)
	}}, {"a cluster by two of its nodes", "", Fail, "are the same server", func(t *testing.T, b *bench) Report {
		return check(t, urls{url(b.cluster[0]), url(b.cluster[2])}, nil)
	}}, {"its own primary", "what is written would come back", Fail, "replicate the same data", func(t *testing.T, b *bench) Report {
		return check(t, urls{url(b.replica), url(b.primary)}, nil)
	}}},
	"source_state": {{"slot leaves", "it is followed, and its keys are copied twice", Alarm, "1 leave", func(t *testing.T, b *bench) Report {
		moveSlot(t, b)
		return check(t, urls{url(b.cluster[0]), url(b.target)}, nil)
	}}},
	"target_state": {{"slot comes", "", Fail, "being moved", func(t *testing.T, b *bench) Report {
		moveSlot(t, b)
		return check(t, urls{url(b.replica), url(b.cluster[0])}, nil)
	}}, {"another migration", "its heartbeat is fresh", Fail, "still running", func(t *testing.T, b *bench) Report {
		write(t, b.target, "HSET "+MigrationKey+" id x state running host h heartbeat_ms "+strconv.FormatInt(time.Now().UnixMilli(), 10))
		return check(t, b.good(), nil)
	}}, {"loading", "its data is not there yet", Fail, "loading", func(t *testing.T, b *bench) Report {
		s := servers.Standalone(t, "redis:7.0", "--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
		s.Must("DEBUG", "POPULATE", "200000")
		rep := make(chan error, 1)
		go func() { rep <- s.Do("DEBUG", "RELOAD").Error() }()
		waitLoading(t, s)
		got := check(t, urls{url(b.replica), url(s)}, nil)
		s.Kill()
		<-rep
		return got
	}}},
	"source_is_replica": {{"primary with a replica", "its fork serves the migration", Note, "its replicas are 127.0.0.1", func(t *testing.T, b *bench) Report {
		return check(t, urls{url(b.primary), url(b.target)}, nil)
	}}, {"cluster without replicas", "", Note, "no replica", func(t *testing.T, b *bench) Report {
		return check(t, urls{url(b.cluster[0]), url(b.target)}, nil)
	}}},
	"source_is_primary": {{"a replica", "what its primary has not sent yet is not seen", Alarm, "have not reached the replica", func(t *testing.T, b *bench) Report {
		return check(t, urls{url(b.replica), url(b.target)}, nil)
	}}, {"a replica with a key of its own", "its primary does not hold it", Alarm, "accepts writes itself", func(t *testing.T, b *bench) Report {
		set(t, b.replica, "replica-read-only", "no")
		b.replica.Must("SET", "own", "1")
		t.Cleanup(func() { b.replica.Must("DEL", "own") })
		rep := check(t, urls{url(b.replica), url(b.target)}, nil)
		if c := worst(rep, "source_is_primary"); !strings.Contains(c.Found, b.replica.Addr) || !strings.Contains(c.Found, b.primary.Addr) {
			t.Errorf("both servers have to be named: %+v", c)
		}
		return rep
	}}},
	"target_is_primary": {{"a replica that takes writes", "they are lost when it is synchronised again", Fail, "loses them at its next synchronisation", func(t *testing.T, b *bench) Report {
		set(t, b.replica, "replica-read-only", "no")
		return check(t, urls{url(b.target), url(b.replica)}, nil)
	}}, {"replica", "it refuses writes", Fail, "a replica of", func(t *testing.T, b *bench) Report {
		return check(t, urls{url(b.target), url(b.replica)}, nil)
	}}, {"too few replicas", "it refuses writes", Fail, "min-replicas-to-write is 1", func(t *testing.T, b *bench) Report {
		set(t, b.target, "min-replicas-to-write", "1")
		return check(t, b.good(), nil)
	}}},
	"target_empty": {{"one key", "it might be someone's", Fail, "1 keys: 1 in database 2", func(t *testing.T, b *bench) Report {
		write(t, b.target, "SELECT 0", "SET __surecut:cp:x v", "SET k v", "MOVE k 2")
		return check(t, b.good(), nil)
	}}, {"a function library", "it might be someone's", Fail, "function libraries: own", func(t *testing.T, b *bench) Report {
		t.Cleanup(func() { b.target.Must("FUNCTION", "FLUSH") })
		b.target.Must("FUNCTION", "LOAD", "#!lua name=own\nredis.register_function('f', function() return 1 end)")
		return check(t, b.good(), nil)
	}}, {"replace", "the user said so", Alarm, "replace", func(t *testing.T, b *bench) Report {
		write(t, b.target, "SET k v")
		return check(t, b.good(), func(c *Config) { c.OnExisting = "replace" })
	}}},
	"target_space": {{"full", "", Fail, "0 B free", func(t *testing.T, b *bench) Report {
		set(t, b.target, "maxmemory", "100000")
		return check(t, b.good(), nil)
	}}, {"no limit", "the default", Note, "no maxmemory", func(t *testing.T, b *bench) Report {
		set(t, b.target, "maxmemory", "0")
		return check(t, b.good(), nil)
	}}},
	"target_eviction": {{"LRU", "keys would vanish", Alarm, "allkeys-lru", func(t *testing.T, b *bench) Report {
		set(t, b.target, "maxmemory-policy", "allkeys-lru")
		return check(t, b.good(), nil)
	}}},
	"sentinels": {{"no replica", "nobody can take over", Alarm, "0 replicas that can take over", func(t *testing.T, b *bench) Report {
		group := servers.Sentinels(t, servers.Standalone(t, "redis:7.0"), 0, 1)
		return check(t, urls{url(b.replica), servers.SentinelURL(group)}, nil)
	}}},
	"database_count": {{"to a cluster", "", Fail, "has no database 3", func(t *testing.T, b *bench) Report {
		write(t, b.primary, "SET k v", "MOVE k 3")
		awaitReplica(t, b, "db3")
		return check(t, urls{url(b.replica), url(b.cluster[0])}, nil)
	}}},
	"modules": {{"vector set", "8.0 has them, 7.0 does not", Fail, "vectorset", func(t *testing.T, b *bench) Report {
		s := servers.Standalone(t, "redis:8.0")
		s.Must("VADD", "v", "VALUES", "3", "1", "2", "3", "e")
		return check(t, urls{url(s), url(b.target)}, nil)
	}}},
	"output_buffer": {{"tiny", "", Alarm, "4.9 KiB at once", func(t *testing.T, b *bench) Report {
		set(t, b.replica, "client-output-buffer-limit", "slave 5000 0 0")
		return check(t, b.good(), nil)
	}}},
	"backlog": {{"tiny", "", Note, "16.0 KiB", func(t *testing.T, b *bench) Report {
		set(t, b.replica, "repl-backlog-size", "16kb")
		return check(t, b.good(), nil)
	}}},
	"repl_timeout": {{"short", "", Note, "10 s", func(t *testing.T, b *bench) Report {
		set(t, b.replica, "repl-timeout", "10")
		return check(t, b.good(), nil)
	}}},
	"rdb_directory": {{"nothing proves it", "disk-based, never saved", Note, "no background save", func(t *testing.T, b *bench) Report {
		set(t, b.replica, "repl-diskless-sync", "no")
		return check(t, b.good(), nil)
	}}},
	"big_keys": {{"a big string", "", Note, `string "big"`, func(t *testing.T, b *bench) Report {
		write(t, b.primary, "SETRANGE big 100000 x")
		awaitReplica(t, b, "db0")
		return check(t, b.good(), func(c *Config) { c.BigValue = 50000 })
	}}},
	"command_compatibility": {{"RENAME", "its keys lie in two slots", Alarm, "RENAME (1 calls)", func(t *testing.T, b *bench) Report {
		write(t, b.primary, "CONFIG RESETSTAT", "SET a 1", "RENAME a b")
		return check(t, urls{url(b.primary), url(b.cluster[0])}, nil)
	}}, {"a script", "6.0 can be set to send it as it was called", Note, "1 calls of scripts", func(t *testing.T, b *bench) Report {
		old := servers.Standalone(t, "redis:6.0", "--lua-replicate-commands", "no", "--requirepass", password)
		write(t, old, "EVAL return 0")
		return check(t, urls{url(old), url(b.target)}, nil)
	}}},
	"sharding": {{"keys astray", "every key is on the other server", Fail, "on another server", func(t *testing.T, b *bench) Report {
		return check(t, urls{behindProxy(t, true), url(b.target)}, nil)
	}}},
	"cached_scripts": {{"SCRIPT LOAD", "7.0 sends it to nobody", Note, "1 cached scripts", func(t *testing.T, b *bench) Report {
		write(t, b.primary, "SCRIPT FLUSH", "SCRIPT LOAD return")
		return check(t, urls{url(b.primary), url(b.target)}, nil)
	}}},
	"bulk_length": {{"longer than the target takes", "", Alarm, "2.0 MiB", func(t *testing.T, b *bench) Report {
		set(t, b.target, "proto-max-bulk-len", "1mb")
		write(t, b.primary, "SETRANGE big 2097151 x")
		awaitReplica(t, b, "db0")
		return check(t, b.good(), nil)
	}}},
	"local_disk": {{"a file", "no directory can be below it", Alarm, "not a directory", func(t *testing.T, b *bench) Report {
		file := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return check(t, b.good(), func(c *Config) { c.StateDir = filepath.Join(file, "state") })
	}}},
}

// moveSlot has slot 0 on the move from the first to the second primary until the case ends.
func moveSlot(t *testing.T, b *bench) {
	t.Helper()
	from, to := b.cluster[0].Must("CLUSTER", "MYID").(string), b.cluster[1].Must("CLUSTER", "MYID").(string)
	b.cluster[0].Must("CLUSTER", "SETSLOT", "0", "MIGRATING", to)
	b.cluster[1].Must("CLUSTER", "SETSLOT", "0", "IMPORTING", from)
	t.Cleanup(func() {
		for _, s := range b.cluster[:2] {
			s.Must("CLUSTER", "SETSLOT", "0", "STABLE")
		}
	})
}

func waitLoading(t *testing.T, s *servers.Server) {
	t.Helper()
	eventually(t, "the server loads", func() bool {
		// What a server that loads answers is no INFO of a client that waits behind DEBUG RELOAD: ask anew.
		out, err := exec.Command("redis-cli", "-p", strconv.Itoa(s.Port), "info", "persistence").Output()
		return err == nil && strings.Contains(string(out), "loading:1")
	})
}

func awaitReplica(t *testing.T, b *bench, db string) {
	t.Helper()
	eventually(t, "the replica has the key", func() bool { return b.replica.Info("keyspace")[db] != "" })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestEveryCheckPassesAndDoesNot(t *testing.T) {
	t.Parallel()
	ids := slices.DeleteFunc(IDs(), func(id string) bool { return id == "source_file" }) // made of files only
	var mu sync.Mutex
	passedOrNot := map[string]map[bool]bool{} // guarded by mu
	saw := func(id string, r Result) {
		mu.Lock()
		defer mu.Unlock()
		if passedOrNot[id] == nil {
			passedOrNot[id] = map[bool]bool{}
		}
		passedOrNot[id][r == Pass] = true
	}
	for _, id := range ids {
		if slices.Contains(notByServer, id) {
			for _, j := range judged() {
				if j.id == id && j.want != Skipped {
					saw(id, j.got.Result)
				}
			}
		}
	}
	const benches = 3
	t.Run("servers", func(t *testing.T) { // it ends when all of its own have
		for n := range benches {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				if n == 0 {
					passes(t, b, ids, saw)
				}
				for i, id := range ids {
					if i%benches == n {
						passesNot(t, b, id, len(ids), saw)
					}
				}
			})
		}
	})
	for _, id := range ids {
		if !passedOrNot[id][true] || !passedOrNot[id][false] {
			t.Errorf("%s has no pair: passed %v, did not %v", id, passedOrNot[id][true], passedOrNot[id][false])
		}
	}
}

// passes: every check passes where nothing is wrong.
func passes(t *testing.T, b *bench, ids []string, saw func(string, Result)) {
	good := check(t, b.good(), nil)
	for _, id := range ids {
		if id == "tcp_kernel" { // this host's kernel is as it is
			continue
		}
		t.Run("pass/"+id, func(t *testing.T) {
			for _, c := range good.Checks {
				if c.ID == id && c.Result != Pass {
					t.Errorf("%+v", c)
				}
			}
			saw(id, worst(good, id).Result)
		})
	}
}

// passesNot runs the cases of a check, whose reports have so many checks.
func passesNot(t *testing.T, b *bench, id string, checks int, saw func(string, Result)) {
	for _, tt := range cases[id] {
		t.Run("not/"+id+"/"+tt.name, func(t *testing.T) {
			rep := tt.run(t, b)
			c := worst(rep, id)
			if c.Result != tt.want || !strings.Contains(c.Found, tt.says) || c.Remedy == "" && tt.want != Note {
				t.Errorf("%+v, want %s that says %q, with a remedy (%s)", c, tt.want, tt.says, tt.why)
			}
			if len(distinct(rep)) != checks {
				t.Errorf("the report has %d of %d checks", len(distinct(rep)), checks)
			}
			saw(id, c.Result)
		})
	}
}

// behindProxy starts two servers with 100 keys behind a proxy and gives its URL. astray: each key lies on the other server.
func behindProxy(t *testing.T, astray bool) string {
	t.Helper()
	one, two := servers.Standalone(t, "redis:7.0"), servers.Standalone(t, "redis:7.0")
	proxy := servers.Twemproxy(t, []string{"hash: crc16", "distribution: modula"}, one.Addr+":1", two.Addr+":1")
	source := "redis+twemproxy://" + proxy.Addr + "?config=" + proxy.Config
	spec, err := endpoint.Parse(source)
	if err != nil {
		t.Fatal(err)
	}
	d, err := endpoint.Open(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for i := range 100 {
		name := fmt.Sprint("key-", i)
		on := two
		if d.Holds(one.Addr, name) != astray {
			on = one
		}
		on.Must("SET", name, "1")
	}
	return source
}

// TestPassesBehindProxyAndSentinels: where there is a proxy and sentinels, what is in order passes, and not only what is not there.
func TestPassesBehindProxyAndSentinels(t *testing.T) {
	t.Parallel()
	source := behindProxy(t, false)
	primary := servers.Standalone(t, "redis:7.0")
	servers.Replica(t, primary)
	group := servers.Sentinels(t, primary, 1, 3)
	rep := check(t, urls{source, servers.SentinelURL(group)}, nil)
	for id, says := range map[string]string{"sharding": "of a sample of 100 keys, 0 are on another server", "sentinels": "1 replicas that can take over"} {
		if c := worst(rep, id); c.Result != Pass || !strings.Contains(c.Found, says) {
			t.Errorf("%+v, want it to pass and to say %q", c, says)
		}
	}
}

func distinct(rep Report) map[string]bool {
	ids := map[string]bool{}
	for _, c := range rep.Checks {
		ids[c.ID] = true
	}
	return ids
}

// TestLeastPrivilege makes the user that the remedy says, by running it in a shell as a person would, and nothing is missing.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	for _, image := range servers.Must() {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			source, target := servers.Standalone(t, image), servers.Standalone(t, image)
			for _, s := range []*servers.Server{source, target} {
				s.Must("ACL", "SETUSER", "low", "on", ">"+password, "~*", "+@connection", "+info", "+multi", "+discard")
			}
			low := check(t, urls{"redis://low:" + password + "@" + source.Addr, "redis://low:" + password + "@" + target.Addr}, nil)
			var remedies []string
			for _, c := range low.Checks {
				if c.ID == "permissions" && c.Result == Fail {
					remedies = append(remedies, c.Remedy)
				}
			}
			if len(remedies) != 2 {
				t.Fatalf("want a remedy for each side: %+v", low.Checks)
			}
			for _, r := range remedies {
				out, err := exec.Command("sh", "-c", strings.Replace(r, "PASSWORD", password, 1)).CombinedOutput()
				if err != nil || strings.TrimSpace(string(out)) != "OK" {
					t.Fatalf("%s: %s, %v", r, out, err)
				}
			}
			rep := check(t, urls{"redis://surecut:" + password + "@" + source.Addr, "redis://surecut:" + password + "@" + target.Addr}, nil)
			for _, c := range rep.Checks {
				if c.ID == "permissions" && c.Result != Pass || c.Result == Skipped {
					t.Errorf("with the least privileges: %+v", c)
				}
			}
			for _, s := range []*servers.Server{source, target} {
				if refused := fmt.Sprint(s.Must("ACL", "LOG")); strings.Contains(refused, "surecut") {
					t.Errorf("a command was refused: %s", refused)
				}
			}
		})
	}
}

func TestEveryMissingCommandIsNamed(t *testing.T) {
	t.Parallel()
	for _, image := range servers.Must() {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			s := servers.Standalone(t, image)
			target := servers.Standalone(t, image)
			for _, name := range []string{"psync", "dump", "multi", "exec", "replconf", "role"} {
				s.Must("ACL", "SETUSER", "u", "on", ">"+password, "~*", "+@all", "-"+name)
				c := worst(check(t, urls{"redis://u:" + password + "@" + s.Addr, url(target)}, nil), "permissions")
				if c.Result != Fail || !slices.Contains(strings.FieldsFunc(c.Found, func(r rune) bool { return strings.ContainsRune(" ,:;", r) }), name) {
					t.Errorf("without %s: %+v", name, c)
				}
			}
			if n := s.Must("DBSIZE"); n != int64(0) {
				t.Errorf("the probes left %v keys", n)
			}
			if n := target.Must("DBSIZE"); n != int64(0) {
				t.Errorf("the probes left %v keys on the target", n)
			}
		})
	}
}
