package preflight

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/profile"
	"surecut/internal/rdb"
)

// oldestSource is the first version whose replication stream surecut can read.
const oldestSource = 20206

// psyncSource is the first version whose stream can be continued after a lost connection.
const psyncSource = 20800

func sourceVersion(_ context.Context, r *run) []Check {
	return perNode(&r.source, r.source.nodes, func(n *node) Check {
		if n.infoErr != nil {
			return skip("", "INFO: "+oneLine(n.infoErr), "2.2.6 or later")
		}
		return judgeSourceVersion(n.server, endpoint.CommandCalls(n.info))
	})
}

// judgeSourceVersion also reports what a version replicates wrongly. Before 6.0 INCRBYFLOAT is replicated as a SET, which removes
// the expiry on every copy, native replicas included. Redis 8.0 (observed with 8.0.2) does not replicate a VADD that changes the
// vector of an element.
func judgeSourceVersion(s endpoint.Server, calls map[string]int64) Check {
	found := versionText(s)
	if s.Number < oldestSource {
		return fail("", found, "2.2.6 or later", "upgrade the source to 2.8 or later, or migrate its RDB file")
	}
	if s.Number < psyncSource {
		return alarm("", found+": it has SYNC but no PSYNC, so after a lost connection everything is copied again, and keys cannot be compared at one offset",
			"2.8 or later", "make a server of 2.8 or later a replica of it (SLAVEOF), and migrate from that replica")
	}
	if floats := calls["incrbyfloat"]; s.Number < 60000 && floats > 0 {
		return alarm("", fmt.Sprintf("%s, which has run INCRBYFLOAT (%d calls). Before 6.0 this is replicated as a SET, so a key loses its expiry on every copy, including the server's own replicas", found, floats),
			"2.2.6 or later", "do not use INCRBYFLOAT on keys that expire; or stop the writers before the cutover, verify, and repair the keys that lost their expiry")
	}
	if added := calls["vadd"]; s.Flavor == "redis" && s.Number/100 == 800 && added > 0 {
		return alarm("", fmt.Sprintf("%s, which has run VADD (%d calls). Redis 8.0 does not replicate a VADD that changes the vector of an existing element, so every copy keeps the old vector, including the server's own replicas", found, added),
			"2.2.6 or later", "remove an element (VREM) before adding it with another vector; or stop the writers before the cutover, verify, and repair the vector sets that differ")
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

// targetVersion says what happens to the source's types of values on the target, according to what the target's nodes accept.
func targetVersion(ctx context.Context, r *run) []Check {
	newest, reason := extreme(r.source.nodes, func(a, b endpoint.Server) bool { return a.RDBVersion > b.RDBVersion })
	if reason != "" {
		return []Check{skip("target", reason, wantedFormat)}
	}
	c, err := r.source.d.Capabilities(ctx, newest.Addr, false)
	if err != nil {
		return []Check{skip("source", oneLine(err), wantedFormat)}
	}
	return r.judgeFormat(ctx, format{Source: newest, Commands: c.Dialect, Sends: !r.cfg.Scans, Holds: r.holdings()})
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

const wantedFormat = "the target is not older than the source, and accepts values in its RDB version"

// format is what decides in which form values arrive.
type format struct {
	Source   endpoint.Server
	Commands *command.Dialect // commands of the source
	Sends    bool             // the source continues to send them
	Holds    holdings

	Target  endpoint.Server
	Reads   int              // the highest RDB version that RESTORE accepts on every node of the target
	Told    bool             // the nodes showed that version themselves
	Dialect *command.Dialect // what all nodes of the target understand
}

// holdings is the data that the source is known to hold at the moment.
type holdings struct {
	types    map[string]int // keys by type, under the type's name in TYPE
	complete bool           // all keys were looked at
	fields   int64          // hashes with fields that expire; -1 if the source does not tell
}

// holdings reads the sample and, for fields that expire, "db0:keys=2,expires=0,avg_ttl=0,subexpiry=1" of INFO keyspace (since 7.4).
func (r *run) holdings() holdings {
	h := holdings{types: r.sample.types, complete: r.sample.complete && r.sample.err == nil}
	for _, n := range r.source.primaries() {
		for db, d := range n.dbs {
			if d.Hashes < 0 {
				h.fields = -1
				return h
			}
			if r.cfg.reads(db) {
				h.fields += d.Hashes
			}
		}
	}
	return h
}

// judgeFormat asks the target's nodes what they accept, and judges the result.
func (r *run) judgeFormat(ctx context.Context, f format) []Check {
	oldest, reason := extreme(r.target.primaries(), func(a, b endpoint.Server) bool { return a.RDBVersion < b.RDBVersion })
	if reason != "" {
		return []Check{skip("target", reason, wantedFormat)}
	}
	f.Target, f.Told = oldest, true
	for i, n := range r.target.primaries() {
		reads, told, err := r.target.d.AcceptedRDB(ctx, n.addr)
		if err != nil {
			return []Check{skip("target", oneLine(err), wantedFormat)}
		}
		c, err := r.target.d.Capabilities(ctx, n.addr, true)
		if err != nil {
			return []Check{skip("target", oneLine(err), wantedFormat)}
		}
		f.Told = f.Told && told
		if i == 0 {
			f.Reads, f.Dialect = reads, c.Dialect
		} else {
			f.Reads, f.Dialect = min(f.Reads, reads), f.Dialect.Common(c.Dialect)
		}
	}
	return []Check{f.judge()}
}

// judge names the types of values, and the commands, that do not arrive unchanged.
func (f format) judge() Check {
	reads := fmt.Sprintf("which accepts values up to RDB version %d", f.Reads)
	if !f.Told {
		reads = fmt.Sprintf("which does not report the RDB version that it accepts; by its own version this is %d", f.Reads)
	}
	found := versionText(f.Source) + " to " + versionText(f.Target) + ", " + reads
	effects, loses := f.effects()
	if lacks := f.lacks(); len(lacks) > 0 {
		more := ""
		if n := len(lacks) - lacksShown; n > 0 {
			lacks, more = lacks[:lacksShown], fmt.Sprintf(" and %d more", n)
		}
		found += "; the target lacks these commands, which are sent in another form or replaced by copies of their keys: " + strings.Join(lacks, " ") + more
	}
	if f.older() {
		effects = append(effects, "the target is older; commands and options that it lacks are sent in another form or replaced by copies of their keys")
	}
	if len(effects) == 0 {
		return pass("target", found, wantedFormat)
	}
	if !loses {
		return note("target", found+"; "+strings.Join(effects, "; "), wantedFormat, "")
	}
	return alarm("target", found+"; "+strings.Join(effects, "; "), wantedFormat,
		"migrate to a target of the source's version or later, or accept this alarm: each key that is refused will be reported, and values that are re-encoded arrive complete")
}

// older says whether the target is an older release of the same flavor. Version numbers of different flavors cannot be compared.
func (f format) older() bool {
	source, errSource := endpoint.ParseVersion(f.Source.Version)
	target, errTarget := endpoint.ParseVersion(f.Target.Version)
	return errSource == nil && errTarget == nil && f.Source.Flavor == f.Target.Flavor && target/100 < source/100
}

const lacksShown = 8

// lacks names the writing commands that the source may send and the target does not know.
func (f format) lacks() (names []string) {
	if !f.Sends {
		return nil
	}
	for _, s := range command.All() {
		if name, _, _ := strings.Cut(s.Name, " "); s.Write && f.Commands.Knows(name) && !f.Dialect.Knows(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// reencoded lists the kinds of values that arrive complete in any encoding.
var reencoded = []struct {
	what string
	kind keyspace.Type
}{{"lists", keyspace.List}, {"sets", keyspace.Set}, {"sorted sets", keyspace.ZSet}, {"hashes", keyspace.Hash}}

// encoded is a kind of values whose RDB types are judged together.
type encoded struct {
	kind         keyspace.Type
	fieldsExpire bool
}

// unread returns the kinds that the source writes in an RDB type that the target does not read, each with what its oldest such type
// loses when it is re-encoded. It also returns the kinds of which the target reads some type.
func (f format) unread() (loses map[encoded]string, reads map[encoded]bool) {
	loses, reads = map[encoded]string{}, map[encoded]bool{}
	for _, t := range rdb.Types {
		e := encoded{t.Of, t.FieldsExpire}
		if t.ReadBy(f.Reads) {
			reads[e] = true
		} else if _, noted := loses[e]; !noted && t.ReadBy(f.Source.RDBVersion) {
			loses[e] = t.Loses
		}
	}
	return loses, reads
}

// effects says what happens to kinds of values that the target does not read as the source writes them, and whether any part of
// them is lost. Values that are only re-encoded arrive complete.
func (f format) effects() (effects []string, loses bool) {
	unread, reads := f.unread()
	say := func(what, now, effect string) { effects = append(effects, what+now+" are "+effect) }
	refused := func(what, now string) {
		loses = true
		say(what, now, "refused")
	}
	var again []string
	for _, r := range reencoded {
		if _, ok := unread[encoded{kind: r.kind}]; ok {
			again = append(again, r.what+f.Holds.now(r.kind.String()))
		}
	}
	if len(again) > 0 {
		say(strings.Join(again, ", "), "", "re-encoded")
	}
	expiring := encoded{keyspace.Hash, true}
	if _, ok := unread[expiring]; ok && reads[expiring] {
		say("hashes whose fields expire", f.Holds.expiring(), "re-encoded")
	} else if ok {
		refused("hashes whose fields expire", f.Holds.expiring())
	}
	streams := encoded{kind: keyspace.Stream}
	if lost, ok := unread[streams]; ok && reads[streams] {
		loses = true
		say("streams", f.Holds.now("stream"), "re-encoded without "+lost)
	} else if ok {
		refused("streams", f.Holds.now("stream"))
	}
	if _, ok := unread[encoded{kind: keyspace.Module}]; ok {
		refused("values of modules", "")
	}
	if f.Commands.Knows("VADD") && !f.Dialect.Knows("VADD") {
		refused("vector sets", f.Holds.now("vectorset"))
	}
	if f.Commands.Knows("FUNCTION") && !f.Dialect.Knows("FUNCTION") {
		refused("function libraries", "")
	}
	return effects, loses
}

// now says how many keys of a type were found: in the whole source, or in the sample of it.
func (h holdings) now(kind string) string {
	switch n := h.types[kind]; {
	case n > 0 && h.complete:
		return fmt.Sprintf(" (%d now)", n)
	case n > 0:
		return fmt.Sprintf(" (%d in the sample)", n)
	case h.complete:
		return " (none now)"
	}
	return ""
}

// expiring says how many hashes have fields that expire.
func (h holdings) expiring() string {
	switch {
	case h.fields > 0:
		return fmt.Sprintf(" (%d now)", h.fields)
	case h.fields == 0:
		return " (none now)"
	}
	return ""
}

func databaseCount(_ context.Context, r *run) []Check {
	used := map[int]int64{}
	for _, n := range r.source.primaries() {
		if n.err != nil || n.infoErr != nil {
			return []Check{skip("source", "the databases of "+n.addr+" are not known", "every primary reports its databases (INFO keyspace)")}
		}
		for db, d := range n.dbs {
			if d.Keys > 0 && r.cfg.reads(db) {
				used[db] += d.Keys
			}
		}
	}
	return r.databasesFit(used)
}

// databasesFit compares the databases that the source uses, with their numbers of keys, with those of the target.
func (r *run) databasesFit(used map[int]int64) []Check {
	m := r.cfg.filter().To(r.target.d.Databases())
	known := true
	for _, n := range r.target.primaries() {
		if m.Target.Only {
			break
		}
		if n.err != nil || n.infoErr != nil {
			return []Check{skip("target", "the databases of "+n.addr+" are not known", "every primary answers")}
		}
		if m.Target.Count == 0 || n.server.Databases < m.Target.Count {
			m.Target.Count = n.server.Databases
		}
		known = known && n.server.DatabasesKnown
	}
	return r.collisions(&m, judgeDatabases(used, &m, known))
}

// collisions returns the result for the databases and, if there is a Filter.DBPrefix, a check that no key gets the name of another key
// through a prefix. Only sampled keys are checked.
func (r *run) collisions(m *keyspace.Mapping, databases Check) []Check {
	if len(r.cfg.Filter.DBPrefix) == 0 {
		return []Check{databases}
	}
	if r.source.spec.IsFile() {
		return []Check{databases, skip("source", "the names in a file are checked while it is loaded; the migration stops at the first such key", wantedNames)}
	}
	return []Check{databases, judgeCollisions(r.sample, m)}
}

const wantedNames = "no key whose name begins with the prefix of another database"

func judgeCollisions(s sample, m *keyspace.Mapping) Check {
	var found []string
	count := 0
	for _, k := range s.prefixed {
		rival, ok := m.Rival(k)
		if !ok {
			continue
		}
		if count++; count <= bigShown {
			found = append(found, fmt.Sprintf("key %s of database %d and key %s of database %d would both become %s",
				shownKey(k.Name), k.DB, shownKey(rival.Name), rival.DB, shownKey(m.TargetName(k.DB, k.Name))))
		}
	}
	switch {
	case count > 0:
		return fail("source", fmt.Sprintf("%d in %s: %s", count, s.looked(), strings.Join(found, ", ")), wantedNames,
			"choose another Filter.DBPrefix, or exclude the keys with Filter.Exclude")
	case s.keys == 0 && !s.complete:
		return skip("source", s.looked()+"; the migration would stop at the first such key", wantedNames)
	}
	return pass("source", "none in "+s.looked()+"; the migration would stop at the first such key", wantedNames)
}

// judgeDatabases judges to which databases those of the source are mapped. If CONFIG is refused, the number of the target's
// databases is not known and the default is assumed.
func judgeDatabases(used map[int]int64, m *keyspace.Mapping, known bool) Check {
	home := 0
	if m.Target.Only {
		home = m.Target.Home
	}
	wanted := fmt.Sprintf("the target's databases are 0 to %d", m.Target.Count-1)
	if m.Target.Only || m.Target.Count == 1 {
		wanted = fmt.Sprintf("only database %d, because the target has no other", home)
	}
	var found, absent []string
	type place struct {
		db     int
		prefix string
	}
	from := map[place][]int{}
	for _, db := range slices.Sorted(maps.Keys(used)) {
		to, ok := m.Map(db)
		text := fmt.Sprintf("%d (%d keys)", db, used[db])
		prefix := m.DBPrefix[db]
		if prefix != "" {
			text = fmt.Sprintf("%d (%d keys, to %d as %s*)", db, used[db], to, prefix)
		} else if to != db {
			text = fmt.Sprintf("%d (%d keys, to %d)", db, used[db], to)
		}
		found = append(found, text)
		from[place{to, prefix}] = append(from[place{to, prefix}], db)
		if !ok {
			absent = append(absent, fmt.Sprint(to))
		}
	}
	if len(found) == 0 {
		found = []string{"no database is in use"}
	}
	text := strings.Join(found, ", ")
	switch {
	case len(absent) > 0 && !known:
		return alarm("target", text+"; it is not known whether the target has database "+strings.Join(absent, ", ")+", because CONFIG is refused", wanted,
			"set databases in the target's configuration, or map them: Filter.DBMap "+absent[0]+":0, or with a prefix before their names: Filter.DBPrefix "+absent[0]+":db"+absent[0]+":")
	case len(absent) > 0:
		remedy := fmt.Sprintf("map it with Filter.DBMap %s:%d, or with Filter.DBPrefix %s:db%s: if its names also occur in other databases", absent[0], home, absent[0], absent[0])
		if !m.Target.Only {
			remedy += "; or set databases N in the target's redis.conf and restart it"
		}
		return fail("target", text+"; the target has no database "+strings.Join(absent, ", "), wanted, remedy)
	}
	byPlace := func(a, b place) int { return cmp.Or(cmp.Compare(a.db, b.db), cmp.Compare(a.prefix, b.prefix)) }
	for _, p := range slices.SortedFunc(maps.Keys(from), byPlace) {
		if len(from[p]) > 1 {
			return alarm("target", fmt.Sprintf("databases %v are merged into %d; of several keys with the same name only one remains", from[p], p.db), wanted,
				"map each source database to a different one with Filter.DBMap, use Filter.DBPrefix, or make sure that no name occurs twice")
		}
	}
	return pass("target", text, wanted)
}

// moduleCommands holds the prefixes of the commands, and the names of the types, of well-known modules.
var moduleCommands = map[string]struct{ prefixes, types []string }{
	"bf":         {[]string{"bf.", "cf.", "cms.", "topk.", "tdigest."}, []string{"MBbloom--", "MBbloomCF", "CMSk-TYPE", "TopK-TYPE", "TDIS-TYPE"}},
	"ReJSON":     {[]string{"json."}, []string{"ReJSON-RL"}},
	"json":       {[]string{"json."}, []string{"ReJSON-RL"}},
	"search":     {[]string{"ft."}, []string{"ft_index0", "ft_invidx"}},
	"timeseries": {[]string{"ts."}, []string{"TSDB-TYPE"}},
	"vectorset":  {[]string{"vadd", "vrem", "vsetattr"}, []string{"vectorset"}},
}

func modules(_ context.Context, r *run) []Check {
	const wanted = "the target has every module whose data the source holds"
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
		need.commands = append(need.commands, slices.Collect(maps.Keys(endpoint.CommandCalls(n.info)))...)
	}
	return []Check{need.judge(wanted)}
}

// moduleNeeds holds the evidence of whether modules that the target lacks are in use.
type moduleNeeds struct {
	missing  []string // loaded on the source but not on the target
	commands []string // commands that the source has run
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
		return fail("target", "the source uses modules that the target lacks: "+strings.Join(used, ", "), wanted,
			"load these modules on the target (redis-server --loadmodule /path/to/module.so): "+strings.Join(used, ", "))
	case len(m.missing) == 0:
		return pass("target", "the source has loaded no module that the target lacks", wanted)
	case m.sampled.complete:
		return pass("target", "only the source has these modules, and does not use them: "+strings.Join(m.missing, ", ")+" (examined: "+looked+")", wanted)
	}
	return alarm("target", "only the source has these modules: "+strings.Join(m.missing, ", ")+"; no use of them was found in the commands since the source's start and in "+looked,
		wanted, "load them on the target, or make sure that no key needs them (surecut scan bigkeys --source URL lists all types)")
}

func (m moduleNeeds) uses(name string) bool {
	known, ok := moduleCommands[name]
	if !ok { // any type that is not built in may belong to the unknown module
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

func commandCompatibility(ctx context.Context, r *run) []Check {
	return slices.Concat(refusedCommands(r), renamedCommands(ctx, r), verbatimScripts(r))
}

// refusedCommands compares what the source has run with what the target's kind runs.
func refusedCommands(r *run) []Check {
	rules := r.target.spec.Rules()
	if rules == "" || !r.target.sharded() {
		return []Check{pass("source", "the target is a single server, which can run what the source runs", "no command that the target cannot run")}
	}
	p, err := profile.Get(rules)
	if err != nil {
		return []Check{skip("source", err.Error(), "no command that the target cannot run")}
	}
	wanted := "no command that " + p.Title + " cannot run"
	if r.source.cluster() && r.target.cluster() {
		return []Check{pass("source", "the source is also a cluster", wanted)}
	}
	return perNode(&r.source, r.source.primaries(), func(n *node) Check {
		if n.infoErr != nil {
			return skip("", "INFO commandstats: "+oneLine(n.infoErr), wanted)
		}
		calls, _ := endpoint.AppCalls(n.info)
		return judgeCommands(p, calls, len(n.dbs), wanted)
	})
}

// judgeCommands compares the commands that the source has run with those that the target's kind refuses or answers wrongly.
// Commands that surecut itself and monitoring send to a source prove nothing about the application.
func judgeCommands(p *profile.Profile, calls map[string]int64, databases int, wanted string) Check {
	own := map[string]bool{}
	for _, c := range SourceCommands() {
		own[strings.ReplaceAll(c.Name(), "|", " ")] = c.Name() != "multi" && c.Name() != "exec"
	}
	seen := map[string][]string{} // by reason
	var reasons []string
	add := func(r *profile.Rule, what string) {
		if seen[r.Reason] == nil {
			reasons = append(reasons, r.Reason)
		}
		if !slices.Contains(seen[r.Reason], what) {
			seen[r.Reason] = append(seen[r.Reason], what)
		}
	}
	if r := p.Rule(profile.OtherDatabase, "SELECT", 0); r != nil && calls["select"] > 0 && databases > 1 {
		add(r, fmt.Sprintf("SELECT (%d calls, %d databases in use)", calls["select"], databases))
	}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		words := strings.ReplaceAll(name, "|", " ")
		for _, c := range command.Against(p, strings.ToUpper(words), 0) {
			notOfApp := own[words] || command.SentByTools(strings.ToUpper(words))
			if bad := c.Rule.Level == profile.Block || c.Rule.Level == profile.Silent; !bad || notOfApp && c.Rule.When == profile.Called {
				continue
			}
			add(c.Rule, fmt.Sprintf("%s (%d calls)", strings.ToUpper(words), calls[name]))
		}
	}
	if len(reasons) == 0 {
		return pass("", fmt.Sprintf("there is none among the %d commands that the source has run since its start", len(calls)), wanted)
	}
	found := make([]string, len(reasons))
	for i, reason := range reasons {
		found[i] = reason + ": " + strings.Join(seen[reason], ", ")
	}
	return alarm("", strings.Join(found, "; "), wanted,
		fmt.Sprintf("find out which calls these are, and what to do about each: surecut scan compat --to %s --source URL --monitor 30s", p.Kind))
}
