package preflight

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// oldestSource is the first version whose replication surecut reads.
const oldestSource = 20206

// psyncSource is the first version whose stream can be continued.
const psyncSource = 20800

func sourceVersion(_ context.Context, r *run) []Check {
	return perNode(&r.source, r.source.nodes, func(n *node) Check {
		if n.infoErr != nil {
			return skip("", "INFO: "+oneLine(n.infoErr), "2.2.6 or later")
		}
		return judgeSourceVersion(n.server, commandCalls(n.info)["incrbyfloat"])
	})
}

// judgeSourceVersion: before 6.0 INCRBYFLOAT is replicated as a SET, which takes the expiry from every copy, native replicas included.
func judgeSourceVersion(s endpoint.Server, floats int64) Check {
	found := versionText(s)
	if s.Number < oldestSource {
		return fail("", found, "2.2.6 or later", "upgrade the source to 2.8 or later, or migrate its RDB file")
	}
	if s.Number < psyncSource {
		return alarm("", found+": it has SYNC and no PSYNC, so that after a lost connection everything is copied again, and nothing can be compared at one offset",
			"2.8 or later", "make a server of 2.8 or later its replica (SLAVEOF), and migrate from that one")
	}
	if s.Number < 60000 && floats > 0 {
		return alarm("", fmt.Sprintf("%s, which has run INCRBYFLOAT (%d calls): before 6.0 it sends that as a SET, so that a key with an expiry loses it on every copy, its own replicas included", found, floats),
			"2.2.6 or later", "do not use INCRBYFLOAT on keys that expire; or stop the writers in the end, verify, and repair what lost its expiry")
	}
	return pass("", found, "2.2.6 or later")
}

func versionText(s endpoint.Server) string {
	flavor := "Redis"
	if s.Flavor == "valkey" {
		flavor = "Valkey"
	}
	return fmt.Sprintf("%s %s (RDB version %d)", flavor, s.Version, s.RDBVersion)
}

// targetVersion compares the newest source with the oldest target.
func targetVersion(_ context.Context, r *run) []Check {
	const wanted = "the target reads the source's RDB version as it is"
	newest, reason := extreme(r.source.nodes, func(a, b endpoint.Server) bool { return a.RDBVersion > b.RDBVersion })
	if reason != "" {
		return []Check{skip("target", reason, wanted)}
	}
	oldest, reason := extreme(r.target.primaries(), func(a, b endpoint.Server) bool { return a.RDBVersion < b.RDBVersion })
	if reason != "" {
		return []Check{skip("target", reason, wanted)}
	}
	return []Check{judgeTargetVersion(versions{Source: newest, Target: oldest}, wanted)}
}

func extreme(nodes []*node, better func(a, b endpoint.Server) bool) (best endpoint.Server, reason string) {
	for _, n := range nodes {
		if n.err != nil || n.infoErr != nil {
			return best, "the version of " + n.addr + " is not known"
		}
		if best.Addr == "" || better(n.server, best) {
			best = n.server
		}
	}
	return best, ""
}

// versions is the servers of both sides that decide what must be re-encoded.
type versions struct{ Source, Target endpoint.Server }

// lastCommonRDB is the RDB version up to which Redis and Valkey write the same format. Above it each has its
// own: Valkey from 9.0 writes 80 and refuses the numbers between, Redis refuses what is above its own.
const lastCommonRDB = 11

func judgeTargetVersion(v versions, wanted string) Check {
	found := versionText(v.Source) + " to " + versionText(v.Target)
	fits := v.Target.RDBVersion >= v.Source.RDBVersion &&
		(v.Source.RDBVersion <= lastCommonRDB || v.Source.Flavor == v.Target.Flavor)
	if fits {
		return pass("target", found, wanted)
	}
	var effects []string
	for _, f := range features {
		if f.has(v.Source) && !f.has(v.Target) {
			effects = append(effects, f.effect)
		}
	}
	if len(effects) == 0 {
		effects = []string{"every value is re-encoded"}
	}
	return alarm("target", found+": "+strings.Join(effects, "; "), wanted, "migrate to a target of the source's version or later")
}

// feature is something that a server may hold and an older one cannot. Numbers are Redis-compatible for
// redis and Valkey's own RDB version decides for valkey.
type feature struct {
	redis  int // since this Redis
	rdb    int // since this RDB version of Valkey
	effect string
}

func (f feature) has(s endpoint.Server) bool {
	if s.Flavor == "valkey" {
		return f.rdb > 0 && s.RDBVersion >= f.rdb
	}
	return f.redis > 0 && s.Number >= f.redis
}

var features = []feature{
	{30200, 11, "lists are re-encoded (quicklist since 3.2)"},
	{40000, 11, "module values are refused"},
	{50000, 11, "streams are refused by servers before 5.0"},
	{70000, 11, "hashes, lists and sorted sets in listpacks are re-encoded; functions are refused before 7.0; entries-read of stream groups is lost"},
	{70200, 11, "sets in listpacks are re-encoded; active times of stream consumers are lost (before 7.2)"},
	{70400, 80, "hashes whose fields expire are refused (before 7.4)"},
	{80000, 0, "vector sets are refused"},
}

func databaseCount(_ context.Context, r *run) []Check {
	used := map[int]int64{}
	for _, n := range r.source.primaries() {
		if n.err != nil || n.infoErr != nil {
			return []Check{skip("source", "the databases of "+n.addr+" are not known", "INFO keyspace of every primary")}
		}
		for db, keys := range keyspaceOf(n.info) {
			if keys > 0 && r.cfg.reads(db) {
				used[db] += keys
			}
		}
	}
	return r.databasesFit(used)
}

// databasesFit judges the databases that the source uses, with their keys, by those that the target has.
func (r *run) databasesFit(used map[int]int64) []Check {
	if home, one := r.target.d.OneDatabase(); one && !r.target.cluster() {
		to := r.cfg.mappedToOne(home)
		return r.collisions(to, judgeDatabases(used, r.cfg.Filter.DBPrefix, to, databaseLimit{1, true, true}))
	}
	limit, known := 0, true
	for _, n := range r.target.primaries() {
		if n.err != nil || n.infoErr != nil {
			return []Check{skip("target", "the databases of "+n.addr+" are not known", "an answer of every primary")}
		}
		if limit == 0 || n.server.Databases < limit {
			limit = n.server.Databases
		}
		known = known && n.server.DatabasesKnown
	}
	return r.collisions(r.cfg.mapped, judgeDatabases(used, r.cfg.Filter.DBPrefix, r.cfg.mapped, databaseLimit{limit, known, r.target.cluster()}))
}

// collisions adds to what is said of the databases what the sample shows of keys that --db-prefix would make one.
func (r *run) collisions(mapped func(int) int, databases Check) []Check {
	if len(r.cfg.Filter.DBPrefix) == 0 {
		return []Check{databases}
	}
	return []Check{databases, judgeCollisions(r.sample, &r.cfg.Filter, mapped)}
}

func judgeCollisions(s sample, f *keyspace.Filter, mapped func(int) int) Check {
	const wanted = "no key whose name begins with the prefix of another database"
	var found []string
	count := 0
	for _, k := range s.prefixed {
		rival, ok := f.Rival(k, mapped)
		if !ok {
			continue
		}
		if count++; count <= bigShown {
			found = append(found, fmt.Sprintf("key %s of database %d and key %s of database %d would both be %s",
				shownKey(k.Name), k.DB, shownKey(rival.Name), rival.DB, shownKey(f.TargetName(k.DB, k.Name))))
		}
	}
	switch {
	case count > 0:
		return fail("source", fmt.Sprintf("%d in %s: %s", count, s.looked(), strings.Join(found, ", ")), wanted,
			"choose another --db-prefix, or leave the keys out with --exclude")
	case s.keys == 0 && !s.complete:
		return skip("source", s.looked()+"; the migration stops at the first such key", wanted)
	}
	return pass("source", "none in "+s.looked()+"; the migration stops at the first such key", wanted)
}

type databaseLimit struct {
	count   int
	known   bool // false: CONFIG is refused and count is the default
	cluster bool
}

func judgeDatabases(used map[int]int64, prefixes map[int]string, mapped func(int) int, limit databaseLimit) Check {
	wanted := fmt.Sprintf("target databases 0 to %d", limit.count-1)
	if limit.count == 1 {
		wanted = "database 0 alone: the target has no other"
	}
	var found, absent []string
	type place struct {
		db     int
		prefix string
	}
	from := map[place][]int{}
	for _, db := range slices.Sorted(maps.Keys(used)) {
		to := mapped(db)
		text := fmt.Sprintf("%d (%d keys)", db, used[db])
		prefix := prefixes[db]
		if prefix != "" {
			text = fmt.Sprintf("%d (%d keys, to %d as %s*)", db, used[db], to, prefix)
		} else if to != db {
			text = fmt.Sprintf("%d (%d keys, to %d)", db, used[db], to)
		}
		found = append(found, text)
		from[place{to, prefix}] = append(from[place{to, prefix}], db)
		if to >= limit.count {
			absent = append(absent, fmt.Sprint(to))
		}
	}
	if len(found) == 0 {
		found = []string{"none in use"}
	}
	text := strings.Join(found, ", ")
	switch {
	case len(absent) > 0 && !limit.known && !limit.cluster:
		return alarm("target", text+"; whether the target has "+strings.Join(absent, ", ")+" is not known: CONFIG is refused", wanted,
			"set databases in the target's configuration, or map them: --db-map "+absent[0]+":0, or with names of their own --db-prefix "+absent[0]+":db"+absent[0]+":")
	case len(absent) > 0:
		remedy := fmt.Sprintf("--db-map %s:0 to map it, or --db-prefix %s:db%s: where its names occur in other databases, too", absent[0], absent[0], absent[0])
		if !limit.cluster {
			remedy += "; or databases N in the target's redis.conf and a restart"
		}
		return fail("target", text+"; the target lacks "+strings.Join(absent, ", "), wanted, remedy)
	}
	byPlace := func(a, b place) int { return cmp.Or(cmp.Compare(a.db, b.db), cmp.Compare(a.prefix, b.prefix)) }
	for _, p := range slices.SortedFunc(maps.Keys(from), byPlace) {
		if len(from[p]) > 1 {
			return alarm("target", fmt.Sprintf("databases %v are merged into %d: of keys with the same name one survives", from[p], p.db), wanted,
				"give each source database one of its own with --db-map, or names of its own with --db-prefix, or make sure that no name occurs twice")
		}
	}
	return pass("target", text, wanted)
}

// moduleCommands gives the prefixes of the commands, and the names of the types, that belong to well-known modules.
var moduleCommands = map[string]struct{ prefixes, types []string }{
	"bf":         {[]string{"bf.", "cf.", "cms.", "topk.", "tdigest."}, []string{"MBbloom--", "MBbloomCF", "CMSk-TYPE", "TopK-TYPE", "TDIS-TYPE"}},
	"ReJSON":     {[]string{"json."}, []string{"ReJSON-RL"}},
	"json":       {[]string{"json."}, []string{"ReJSON-RL"}},
	"search":     {[]string{"ft."}, []string{"ft_index0", "ft_invidx"}},
	"timeseries": {[]string{"ts."}, []string{"TSDB-TYPE"}},
	"vectorset":  {[]string{"vadd", "vrem", "vsetattr"}, []string{"vectorset"}},
}

func modules(_ context.Context, r *run) []Check {
	const wanted = "every module whose data the source holds"
	have := map[string]bool{}
	for i, n := range r.target.primaries() {
		if n.err != nil || n.infoErr != nil {
			return []Check{skip("target", "the modules of "+n.addr+" are not known", wanted)}
		}
		loaded := map[string]bool{}
		for _, m := range n.modules {
			loaded[m] = i == 0 || have[m]
		}
		have = loaded
	}
	need := moduleNeeds{sampled: r.sample}
	for _, n := range r.source.primaries() {
		if n.err != nil || n.infoErr != nil {
			return []Check{skip("source", "the modules of "+n.addr+" are not known", wanted)}
		}
		for _, m := range n.modules {
			if !have[m] && !slices.Contains(need.missing, m) {
				need.missing = append(need.missing, m)
			}
		}
		need.commands = append(need.commands, slices.Collect(maps.Keys(commandCalls(n.info)))...)
	}
	return []Check{need.judge(wanted)}
}

// moduleNeeds is what speaks for and against the use of modules that the target lacks.
type moduleNeeds struct {
	missing  []string // loaded on the source, not on the target
	commands []string // that the source has run
	sampled  sample
}

func (m moduleNeeds) judge(wanted string) Check {
	var used []string
	for _, name := range m.missing {
		if m.uses(name) {
			used = append(used, name)
		}
	}
	looked := m.sampled.looked()
	switch {
	case len(used) > 0:
		return fail("target", "the source uses and the target lacks "+strings.Join(used, ", "), wanted,
			"load them on the target: redis-server --loadmodule /path/to/module.so for "+strings.Join(used, ", "))
	case len(m.missing) == 0:
		return pass("target", "the source has loaded no module that the target lacks", wanted)
	case m.sampled.complete:
		return pass("target", "loaded on the source alone and not used: "+strings.Join(m.missing, ", ")+"; "+looked, wanted)
	}
	return alarm("target", "loaded on the source alone: "+strings.Join(m.missing, ", ")+"; no use seen, in the commands since the source's start and in "+looked,
		wanted, "load them on the target, or make sure that no key needs them: surecut scan bigkeys --source URL lists every type")
}

func (m moduleNeeds) uses(name string) bool {
	known, ok := moduleCommands[name]
	if !ok { // an unknown module: any type that is not built in may be its own
		for t := range m.sampled.types {
			if isModuleType(t) {
				return true
			}
		}
		return false
	}
	for _, t := range known.types {
		if m.sampled.types[t] > 0 {
			return true
		}
	}
	return slices.ContainsFunc(m.commands, func(c string) bool { return hasPrefix(c, known.prefixes) })
}

func hasPrefix(command string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(command, p) })
}

// ofModule says whether a command, in lower case, belongs to a well-known module.
func ofModule(command string) bool {
	for _, m := range moduleCommands {
		if hasPrefix(command, m.prefixes) {
			return true
		}
	}
	return false
}

// commandCalls reads the fields "cmdstat_get:calls=3,usec=..." of INFO commandstats: calls that did something, by
// command in lower case; subcommands are "config|get" since 7.0. Failed calls (told since 6.2) are left out.
func commandCalls(info map[string]string) map[string]int64 {
	calls := map[string]int64{}
	for name, value := range info {
		command, ok := strings.CutPrefix(name, "cmdstat_")
		if !ok {
			continue
		}
		var n, failed int64
		for field := range strings.SplitSeq(value, ",") {
			_, _ = fmt.Sscanf(field, "calls=%d", &n)
			_, _ = fmt.Sscanf(field, "failed_calls=%d", &failed)
		}
		if n > failed {
			calls[command] = n - failed
		}
	}
	return calls
}

// clusterUnsafe is the commands that a cluster cannot run at all, or only where all their keys lie in one slot.
var clusterUnsafe = []struct{ why, commands string }{
	{"a cluster has no further databases", "move swapdb"},
	{"all keys must lie in one slot", "rename renamenx copy smove rpoplpush brpoplpush lmove blmove lmpop blmpop zmpop bzmpop " +
		"sinterstore sunionstore sdiffstore zinterstore zunionstore zdiffstore zrangestore georadius georadiusbymember geosearchstore " +
		"sinter sunion sdiff sintercard zinter zunion zdiff zintercard bitop pfmerge mget mset msetnx lcs"},
	{"all keys of the transaction or script must lie in one slot, and be named", "exec eval evalsha fcall"},
}

func commandCompatibility(_ context.Context, r *run) []Check {
	const wanted = "no command that a cluster cannot run"
	switch {
	case !r.target.sharded():
		return []Check{pass("source", "the target is one server and runs what the source runs", wanted)}
	case r.source.cluster():
		return []Check{pass("source", "the source is a cluster already", wanted)}
	}
	return perNode(&r.source, r.source.primaries(), func(n *node) Check {
		if n.infoErr != nil {
			return skip("", "INFO commandstats: "+oneLine(n.infoErr), wanted)
		}
		calls := commandCalls(n.info)
		if p := r.target.fronted(); p != nil {
			maps.DeleteFunc(calls, func(name string, _ int64) bool { return p.AcrossSlots(name) })
		}
		return judgeCommands(calls, len(keyspaceOf(n.info)), wanted)
	})
}

func judgeCommands(calls map[string]int64, databases int, wanted string) Check {
	var found []string
	if n := calls["select"]; n > 0 && databases > 1 {
		found = append(found, fmt.Sprintf("a cluster has no further databases: SELECT (%d calls, %d databases in use)", n, databases))
	}
	for _, group := range clusterUnsafe {
		var seen []string
		for name := range strings.FieldsSeq(group.commands) {
			if n := calls[name]; n > 0 {
				seen = append(seen, fmt.Sprintf("%s (%d calls)", strings.ToUpper(name), n))
			}
		}
		if len(seen) > 0 {
			found = append(found, group.why+": "+strings.Join(seen, ", "))
		}
	}
	if len(found) == 0 {
		return pass("", fmt.Sprintf("none among the %d commands run since the source's start", len(calls)), wanted)
	}
	return alarm("", strings.Join(found, "; "), wanted,
		"give the keys that such a command takes together one {hash tag}, or change the application; the figures are those of: redis-cli info commandstats")
}
