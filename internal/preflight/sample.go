package preflight

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// sample is what a bounded look at the source's keys has shown.
type sample struct {
	keys     int
	complete bool // every key was looked at
	types    map[string]int
	big      []sampled // values over Config.BigValue, the largest first, bigShown of them at most
	bigCount int
	longest  sampled // the longest string
	prefixed []keyspace.Key
	unsized  int   // keys whose size the server does not tell; then only strings have a size
	err      error // why there is no sample, or why it ended early
}

type sampled struct {
	db    int
	name  string
	kind  string
	bytes int64
}

func (s sampled) String() string {
	return fmt.Sprintf("%s %s in database %d (%s)", s.kind, shownKey(s.name), s.db, bytesText(s.bytes))
}

// shownKey returns a key shortened and in a printable form.
func shownKey(name string) string {
	const longest = 60
	if len(name) > longest {
		return fmt.Sprintf("%q...", name[:longest])
	}
	return fmt.Sprintf("%q", name)
}

const bigShown = 3

// looked says how many keys were looked at.
func (s sample) looked() string {
	switch {
	case s.err != nil:
		return fmt.Sprintf("a sample of %d keys, which ended early: %s", s.keys, oneLine(s.err))
	case s.complete:
		return fmt.Sprintf("all %d keys", s.keys)
	}
	return fmt.Sprintf("a sample of %d keys", s.keys)
}

// takeSample looks at up to SampleKeys keys, with the same share for each database of each primary.
func takeSample(ctx context.Context, r *run) sample {
	all := sample{types: map[string]int{}, complete: true}
	type place struct {
		n  *node
		db int
	}
	var places []place
	for _, n := range r.source.primaries() {
		if n.err != nil || n.infoErr != nil {
			all.complete, all.err = false, fmt.Errorf("the keys of %s cannot be read", n.addr)
			continue
		}
		for db, d := range n.dbs {
			if d.Keys > 0 && r.cfg.reads(db) {
				places = append(places, place{n, db})
			}
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.n.addr, b.n.addr), cmp.Compare(a.db, b.db)) })
	var open *endpoint.Session
	defer func() {
		if open != nil {
			open.Close()
		}
	}()
	for _, p := range places {
		share := max(r.cfg.SampleKeys/len(places), 1)
		if open == nil || open.Addr != p.n.addr { // one connection per server, even if it has many databases
			if open != nil {
				open.Close()
			}
			var err error
			if open, err = r.source.d.OpenSession(ctx, p.n.addr); err != nil {
				all.complete, all.err = false, err
				return all
			}
		}
		if err := all.scan(ctx, r, p.n, open, p.db, share); err != nil {
			all.complete, all.err = false, err
			if endpoint.IsSilence(err) && ctx.Err() == nil {
				p.n.fellSilent()
			}
			if endpoint.Code(err) == "" { // the connection is lost
				return all
			}
		}
	}
	return all
}

func (s *sample) scan(ctx context.Context, r *run, n *node, c *endpoint.Session, db, limit int) error {
	if err := c.Select(ctx, db); err != nil {
		return err
	}
	for cursor, seen := "0", 0; ; {
		page, next, err := c.Scan(ctx, cursor, "")
		if err != nil {
			return fmt.Errorf("database %d: %w", db, err)
		}
		names := slices.DeleteFunc(page, func(k string) bool { return !r.cfg.Filter.MatchName(k) })
		s.notePrefixed(&r.cfg.Filter, db, names)
		for _, some := range endpoint.ByNames(names, measuredAtOnce) {
			if err := s.measure(ctx, c, db, some, r.cfg.BigValue, n.countsUse()); err != nil {
				return fmt.Errorf("sample of database %d of %s: %w", db, c.Addr, err)
			}
		}
		seen += len(names)
		if cursor = next; cursor == "0" {
			return nil
		}
		if seen >= limit {
			s.complete = false
			return nil
		}
	}
}

// measuredAtOnce is how many keys one pipeline asks about.
const measuredAtOnce = 256

// countsUse says that the server evicts by use, or does not tell. Then the checks must not send commands that make a key look used.
func (n *node) countsUse() bool {
	policy := n.info["maxmemory_policy"] // since 4.0
	if policy == "" {
		policy, _ = n.setting("maxmemory-policy")
	}
	return policy == "" || strings.Contains(policy, "lru") || strings.Contains(policy, "lfu")
}

// notePrefixed keeps those keys whose name on the target begins with the prefix of another database.
func (s *sample) notePrefixed(f *keyspace.Filter, db int, names []string) {
	for _, name := range names {
		for other, p := range f.DBPrefix {
			if other != db && strings.HasPrefix(f.TargetName(db, name), p) {
				s.prefixed = append(s.prefixed, keyspace.Key{DB: db, Name: name})
				break
			}
		}
	}
}

// measure asks for the type and the size of some keys in one pipeline. TYPE and MEMORY USAGE do not make a key look used, but
// STRLEN does. So on a server that evicts by use, the memory of a string is taken as its length.
func (s *sample) measure(ctx context.Context, c *endpoint.Session, db int, names []string, limit int64, countsUse bool) error {
	cmds := make([]rueidis.Completed, 0, 2*len(names))
	for _, k := range names {
		cmds = append(cmds, c.B().Type().Key(k).Build(), c.B().Arbitrary("MEMORY", "USAGE").Keys(k).Args("SAMPLES", "5").Build())
	}
	replies, err := c.Do(ctx, cmds...)
	if err != nil {
		return err
	}
	var strings []sampled
	for i, k := range names {
		kind, err := replies[2*i].ToString()
		if err != nil {
			return err
		}
		if kind == "none" { // the key was deleted after SCAN returned it
			continue
		}
		s.keys++
		s.types[kind]++
		key := sampled{db: db, name: k, kind: kind}
		usage, err := replies[2*i+1].AsInt64()
		sized := err == nil
		if sized {
			key.bytes = usage
		}
		switch {
		case kind == "string" && (!sized || usage > s.longest.bytes):
			strings = append(strings, key)
		case !sized:
			s.unsized++ // MEMORY USAGE does not exist before 4.0, or is forbidden
		}
		if key.bytes > limit {
			s.addBig(key)
		}
	}
	return s.lengths(ctx, c, strings, limit, countsUse)
}

// lengths finds the longest of some strings. A string without a size yet is one for which MEMORY USAGE did not work.
func (s *sample) lengths(ctx context.Context, c *endpoint.Session, keys []sampled, limit int64, countsUse bool) error {
	if len(keys) == 0 {
		return nil
	}
	lengths := make([]int64, len(keys))
	if !countsUse {
		cmds := make([]rueidis.Completed, len(keys))
		for i, k := range keys {
			cmds[i] = c.B().Strlen().Key(k.name).Build()
		}
		replies, err := c.Do(ctx, cmds...)
		if err != nil {
			return err
		}
		for i := range keys {
			lengths[i], _ = replies[i].AsInt64() // stays 0 where it is refused, or the key is no string any more
		}
	}
	for i, k := range keys {
		unsized := k.bytes == 0
		k.bytes = cmp.Or(lengths[i], k.bytes)
		switch {
		case k.bytes == 0 && countsUse:
			s.unsized++
		case unsized && k.bytes > limit:
			s.addBig(k)
		}
		if k.bytes > s.longest.bytes {
			s.longest = k
		}
	}
	return nil
}

func (s *sample) addBig(k sampled) {
	s.bigCount++
	s.big = append(s.big, k)
	slices.SortFunc(s.big, func(a, b sampled) int { return cmp.Compare(b.bytes, a.bytes) })
	s.big = s.big[:min(len(s.big), bigShown)]
}

// builtIn are the names that TYPE uses for types that belong to no module.
var builtIn = []string{"string", "list", "set", "zset", "hash", "stream"}

func isModuleType(name string) bool { return !slices.Contains(builtIn, name) }

func bigKeys(_ context.Context, r *run) []Check {
	return []Check{judgeBigKeys(r.sample, r.cfg.BigValue, r.cfg.Source.Spec.String())}
}

func judgeBigKeys(s sample, limit int64, source string) Check {
	wanted := "no key larger than " + bytesText(limit)
	scan := "surecut scan bigkeys --source " + source
	switch {
	case s.bigCount > 0:
		found := fmt.Sprintf("%d in %s: ", s.bigCount, s.looked())
		for i, k := range s.big {
			if i > 0 {
				found += ", "
			}
			found += k.String()
		}
		return note("source", found+"; they will be written in chunks", wanted, "to list all of them: "+scan)
	case s.err != nil && s.keys == 0:
		return skip("source", s.looked(), wanted)
	case s.unsized > 0:
		return skip("source", fmt.Sprintf("MEMORY USAGE is not available, so at most strings could be measured; none is larger in %s", s.looked()), wanted)
	case s.err != nil:
		return skip("source", "none in "+s.looked(), wanted)
	}
	found := "none in " + s.looked()
	if !s.complete {
		found += "; to look at all keys: " + scan
	}
	return pass("source", found, wanted)
}

// defaultBulk is the default of proto-max-bulk-len, and the fixed limit of servers before 4.0.
const defaultBulk = 512 << 20

func bulkLength(_ context.Context, r *run) []Check {
	const wanted = "the target takes arguments as long as the source does"
	limits := bulkLimits{Target: 1 << 62}
	for _, n := range r.source.primaries() {
		length, _ := n.argumentLimit()
		limits.Source = max(limits.Source, length)
	}
	for _, n := range r.target.primaries() {
		if _, reason := n.number(bulkSetting); reason != "" && n.confErr != nil {
			return []Check{skip(n.addr, reason, wanted)}
		}
		if length, setting := n.argumentLimit(); length < limits.Target {
			limits.Target, limits.Setting = length, setting
		}
	}
	return append([]Check{judgeBulk(limits, r.sample)}, r.argumentCount()...)
}

const bulkSetting, querySetting = "proto-max-bulk-len", "client-query-buffer-limit"

// argumentLimit returns the length of the longest argument that a node takes from a client, and the setting that says so.
func (n *node) argumentLimit() (length int64, setting string) {
	length, setting = defaultBulk, bulkSetting
	if v, reason := n.number(bulkSetting); reason == "" {
		length = v
	}
	if v, reason := n.number(querySetting); reason == "" && v-2 < length {
		return v - 2, querySetting
	}
	return length, setting
}

// argumentCount notes that the source takes more arguments in one command than the target.
func (r *run) argumentCount() []Check {
	const unlimited, most = 70000, 1 << 20
	newer := func(n *node) bool { return n.server.Number >= unlimited }
	older := func(n *node) bool { return n.server.Number > 0 && n.server.Number < unlimited }
	if !slices.ContainsFunc(r.source.primaries(), newer) || !slices.ContainsFunc(r.target.primaries(), older) {
		return nil
	}
	return []Check{note("target", fmt.Sprintf("it takes at most %d arguments in one command, since it is older than 7.0; longer commands of the source are cut within their transaction, or their keys are copied", most),
		"the target takes as many arguments as the source does", "")}
}

// bulkLimits are the lengths of the longest argument: the largest of the source's nodes, and the smallest of the target's with its setting.
type bulkLimits struct {
	Source, Target int64
	Setting        string
}

func judgeBulk(l bulkLimits, s sample) Check {
	wanted := fmt.Sprintf("no value longer than %s, by the target's %s", bytesText(l.Target), l.Setting)
	remedy := fmt.Sprintf("on the target: redis-cli config set %s %d", l.Setting, max(l.Source, s.longest.bytes)+2)
	switch {
	case s.longest.bytes > l.Target:
		return alarm("source", s.longest.String(), wanted, remedy)
	case l.Source <= l.Target:
		return pass("source", fmt.Sprintf("the source itself accepts no value longer than %s", bytesText(l.Source)), wanted)
	case s.keys == 0 && s.err != nil:
		return skip("source", s.looked(), wanted)
	}
	return alarm("source", fmt.Sprintf("the source accepts values of up to %s; no value exceeds the target's limit in %s, but one that is written later would not arrive", bytesText(l.Source), s.looked()), wanted, remedy)
}
