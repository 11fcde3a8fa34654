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

// sample is what a bounded look at the source's keys showed.
type sample struct {
	keys     int
	complete bool // every key was looked at
	types    map[string]int
	big      []sampled // over Config.BigValue, the largest first, at most bigShown
	bigCount int
	longest  sampled // the longest string
	prefixed []keyspace.Key
	unsized  int   // keys whose size the server does not tell; only strings have one then
	err      error // why there is none, or why it ended early
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

// shownKey makes a key printable, shortened.
func shownKey(name string) string {
	const longest = 60
	if len(name) > longest {
		return fmt.Sprintf("%q...", name[:longest])
	}
	return fmt.Sprintf("%q", name)
}

const bigShown = 3

// looked says how much was looked at.
func (s sample) looked() string {
	switch {
	case s.err != nil:
		return fmt.Sprintf("a sample of %d keys that ended early: %s", s.keys, oneLine(s.err))
	case s.complete:
		return fmt.Sprintf("all %d keys looked at", s.keys)
	}
	return fmt.Sprintf("a sample of %d keys", s.keys)
}

// takeSample looks at up to SampleKeys keys, as many of each database of each primary.
func takeSample(ctx context.Context, r *run) sample {
	all := sample{types: map[string]int{}, complete: true}
	type place struct {
		n  *node
		db int
	}
	var places []place
	for _, n := range r.source.primaries() {
		if n.err != nil || n.infoErr != nil {
			all.complete, all.err = false, fmt.Errorf("the keys of %s cannot be looked at", n.addr)
			continue
		}
		for db, keys := range keyspaceOf(n.info) {
			if keys > 0 && r.cfg.reads(db) {
				places = append(places, place{n, db})
			}
		}
	}
	for _, p := range places {
		share := max(r.cfg.SampleKeys/len(places), 1)
		if err := all.scan(ctx, r, p.n.addr, p.db, share); err != nil {
			all.complete, all.err = false, err
		}
	}
	return all
}

func (s *sample) scan(ctx context.Context, r *run, addr string, db, limit int) error {
	c, err := r.source.d.Client(ctx, addr, db)
	if err != nil {
		return err
	}
	for cursor, seen := uint64(0), 0; ; {
		entry, err := c.Do(ctx, c.B().Scan().Cursor(cursor).Count(500).Build()).AsScanEntry()
		if err != nil {
			return fmt.Errorf("SCAN of database %d of %s: %w", db, addr, err)
		}
		names := slices.DeleteFunc(entry.Elements, func(k string) bool { return !r.cfg.Filter.MatchName(k) })
		s.notePrefixed(&r.cfg.Filter, db, names)
		if err := s.measure(ctx, c, db, names, r.cfg.BigValue); err != nil {
			return fmt.Errorf("sample of database %d of %s: %w", db, addr, err)
		}
		seen += len(names)
		if cursor = entry.Cursor; cursor == 0 {
			return nil
		}
		if seen >= limit {
			s.complete = false
			return nil
		}
	}
}

// notePrefixed keeps keys whose name on the target begins with the prefix of another database.
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

// measure asks type and size of some keys in one pipeline.
func (s *sample) measure(ctx context.Context, c rueidis.Client, db int, names []string, limit int64) error {
	cmds := make([]rueidis.Completed, 0, 3*len(names))
	for _, k := range names {
		cmds = append(cmds, c.B().Type().Key(k).Build(),
			c.B().Arbitrary("MEMORY", "USAGE").Keys(k).Args("SAMPLES", "5").Build(),
			c.B().Strlen().Key(k).Build())
	}
	replies := c.DoMulti(ctx, cmds...)
	for i, k := range names {
		kind, err := replies[3*i].ToString()
		if err != nil {
			return err
		}
		if kind == "none" { // gone since the SCAN
			continue
		}
		s.keys++
		s.types[kind]++
		key := sampled{db: db, name: k, kind: kind}
		if n, err := replies[3*i+2].AsInt64(); err == nil && kind == "string" {
			key.bytes = n
			if n > s.longest.bytes {
				s.longest = key
			}
		} else if endpoint.Code(err) == "" && err != nil && !endpoint.IsNil(err) {
			return err
		}
		if n, err := replies[3*i+1].AsInt64(); err == nil {
			key.bytes = n
		} else if kind != "string" {
			s.unsized++ // before 4.0, or forbidden
		}
		if key.bytes > limit {
			s.addBig(key)
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

// builtIn are the names that TYPE gives types that are no module's.
var builtIn = []string{"string", "list", "set", "zset", "hash", "stream"}

func isModuleType(name string) bool { return !slices.Contains(builtIn, name) }

func bigKeys(_ context.Context, r *run) []Check {
	return []Check{judgeBigKeys(r.sample, r.cfg.BigValue, r.cfg.Source.Spec.String())}
}

func judgeBigKeys(s sample, limit int64, source string) Check {
	wanted := "no key over " + bytesText(limit)
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
		return note("source", found+"; they are written in chunks", wanted, scan+" lists them all")
	case s.err != nil && s.keys == 0:
		return skip("source", s.looked(), wanted)
	case s.unsized > 0:
		return skip("source", fmt.Sprintf("MEMORY USAGE is not available: only strings could be measured, none is over the limit in %s", s.looked()), wanted)
	case s.err != nil:
		return skip("source", "none in "+s.looked(), wanted)
	}
	found := "none in " + s.looked()
	if !s.complete {
		found += "; " + scan + " looks at all"
	}
	return pass("source", found, wanted)
}

// defaultBulk is the limit of servers that have no proto-max-bulk-len (before 4.0), and its default.
const defaultBulk = 512 << 20

func bulkLength(_ context.Context, r *run) []Check {
	const wanted = "no value over the target's proto-max-bulk-len"
	limits := bulkLimits{Source: 0, Target: 1 << 62}
	for _, n := range r.source.primaries() {
		limits.Source = max(limits.Source, n.bulkLimit())
	}
	for _, n := range r.target.primaries() {
		if _, reason := n.number("proto-max-bulk-len"); reason != "" && n.confErr != nil {
			return []Check{skip(n.addr, reason, wanted)}
		}
		limits.Target = min(limits.Target, n.bulkLimit())
	}
	return []Check{judgeBulk(limits, r.sample, r.cfg.BigValue)}
}

func (n *node) bulkLimit() int64 {
	if v, reason := n.number("proto-max-bulk-len"); reason == "" {
		return v
	}
	return defaultBulk
}

// bulkLimits is proto-max-bulk-len: the largest of the source, the smallest of the target.
type bulkLimits struct{ Source, Target int64 }

func judgeBulk(l bulkLimits, s sample, bigValue int64) Check {
	wanted := fmt.Sprintf("no value over the target's proto-max-bulk-len of %s", bytesText(l.Target))
	remedy := fmt.Sprintf("redis-cli config set proto-max-bulk-len %d on the target", max(l.Source, s.longest.bytes))
	switch {
	case s.longest.bytes > l.Target:
		return alarm("source", s.longest.String(), wanted, remedy)
	case bigValue > l.Target:
		return alarm("source", fmt.Sprintf("values up to %s would be sent in one piece", bytesText(bigValue)), wanted,
			remedy+fmt.Sprintf("; or --big-value %d", l.Target))
	case l.Source <= l.Target:
		return pass("source", fmt.Sprintf("the source takes none over %s itself", bytesText(l.Source)), wanted)
	case s.keys == 0 && s.err != nil:
		return skip("source", s.looked(), wanted)
	case !s.complete:
		return alarm("source", fmt.Sprintf("the source takes values up to %s; none over the target's limit in %s", bytesText(l.Source), s.looked()), wanted, remedy)
	}
	return pass("source", fmt.Sprintf("the longest string has %s; %s", bytesText(s.longest.bytes), s.looked()), wanted)
}
