package dataset

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// reserved starts the tool's own keys.
const reserved = "__surecut"

// ttlTolerance is how far expiries may lie apart.
const ttlTolerance = 2 * time.Second

// Pair is the two deployments of a comparison.
type Pair struct{ Source, Target *Side }

// CompareOptions says what belongs to what.
type CompareOptions struct {
	DBs         map[int]int // source database: target database; nil: every database, each to its own
	NoFunctions bool
	Without     map[string]bool // names of keys that are not compared
	Unsigned    bool            // a score of -0 counts as 0: since 7.2 servers lose the sign where RESTORE makes a small sorted set of a large one
	Later       time.Duration   // how much later one side was made to count relative expiries than the other: they may lie apart as far, too
}

// Result of a comparison. Differences holds at most 20 of Count.
type Result struct {
	Keys        int64 // distinct keys looked at on the source, over all databases
	Count       int64
	Differences []string
	Differ      map[Place]bool // all keys that differ
}

// Place is where a key is.
type Place struct {
	DB   int // of the source
	Name string
}

func (r *Result) String() string {
	if r.Count == 0 {
		return fmt.Sprintf("%d keys, no differences", r.Keys)
	}
	return fmt.Sprintf("%d keys, %d differences:\n  %s", r.Keys, r.Count, strings.Join(r.Differences, "\n  "))
}

func (r *Result) differ(format string, args ...any) {
	r.Count++
	if len(r.Differences) < 20 {
		r.Differences = append(r.Differences, fmt.Sprintf(format, args...))
	}
}

// Compare reads every key of both sides. Neither may be written to meanwhile; keys may expire.
func Compare(ctx context.Context, p Pair, o CompareOptions) (*Result, error) {
	r := &Result{}
	dbs := o.DBs
	if dbs == nil {
		dbs = map[int]int{}
		for _, s := range []*Side{p.Source, p.Target} {
			used, err := s.UsedDBs(ctx)
			if err != nil {
				return r, err
			}
			for _, db := range used {
				dbs[db] = db
			}
		}
	}
	for _, db := range slices.Sorted(maps.Keys(dbs)) {
		if err := compareDB(ctx, p, db, dbs[db], o, r); err != nil {
			return r, fmt.Errorf("compare database %d: %w", db, err)
		}
	}
	if !o.NoFunctions {
		if err := compareFunctions(ctx, p, r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// compareDB compares what the source has, and looks for what only the target has.
func compareDB(ctx context.Context, p Pair, sourceDB, targetDB int, o CompareOptions, r *Result) error {
	c := comparer{pair: p, sourceDB: sourceDB, targetDB: targetDB, shape: shapeOf(p.Source, p.Target), tolerance: (ttlTolerance + o.Later).Milliseconds(), result: r}
	c.shape.unsigned = o.Unsigned
	seen := maps.Clone(o.Without)
	if seen == nil {
		seen = map[string]bool{}
	}
	err := eachKeys(ctx, p.Source, sourceDB, func(keys []string) error {
		fresh := keys[:0]
		for _, k := range keys {
			if !seen[k] {
				seen[k] = true
				fresh = append(fresh, k)
			}
		}
		r.Keys += int64(len(fresh))
		return c.compare(ctx, fresh)
	})
	if err != nil {
		return err
	}
	return eachKeys(ctx, p.Target, targetDB, func(keys []string) error {
		extra := keys[:0]
		for _, k := range keys {
			if !seen[k] {
				seen[k] = true
				extra = append(extra, k)
			}
		}
		return c.compare(ctx, extra)
	})
}

// eachKeys hands over every key of a database in portions; a key may come twice.
func eachKeys(ctx context.Context, s *Side, db int, use func([]string) error) error {
	for _, addr := range s.primaries {
		c, err := s.scanClient(addr, db)
		if err != nil {
			return err
		}
		for cursor := uint64(0); ; {
			page, err := c.Do(ctx, c.B().Scan().Cursor(cursor).Count(500).Build()).AsScanEntry()
			if err != nil {
				return fmt.Errorf("SCAN at %s: %w", addr, err)
			}
			keys := slices.DeleteFunc(page.Elements, func(k string) bool { return strings.HasPrefix(k, reserved) })
			if len(keys) > 0 {
				if err := use(keys); err != nil {
					return err
				}
			}
			if cursor = page.Cursor; cursor == 0 {
				break
			}
		}
	}
	return nil
}

type comparer struct {
	pair               Pair
	sourceDB, targetDB int
	shape              shape
	tolerance          int64 // of expiries, in ms
	result             *Result
}

// compare judges keys. What differs is read once more when everything that was about to expire has expired: reading
// two servers takes time, and a key that ends in between is no difference.
func (c *comparer) compare(ctx context.Context, keys []string) error {
	suspects, err := c.pass(ctx, keys)
	if err != nil || len(suspects) == 0 {
		return err
	}
	for range 3 {
		var expiring []string
		for _, k := range slices.Sorted(maps.Keys(suspects)) {
			if suspects[k].expiring {
				expiring = append(expiring, k)
				delete(suspects, k)
				continue
			}
			c.differ(k, suspects[k])
		}
		if len(expiring) == 0 {
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		if suspects, err = c.pass(ctx, expiring); err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(suspects)) {
		c.differ(k, suspects[k])
	}
	return nil
}

func (c *comparer) differ(key string, s suspect) {
	if c.result.Differ == nil {
		c.result.Differ = map[Place]bool{}
	}
	c.result.Differ[Place{c.sourceDB, key}] = true
	c.result.differ("db %d %q: %s", c.sourceDB, shorten(key), s.difference)
}

// suspect is a key that differs; expiring tells that waiting may explain it.
type suspect struct {
	difference string
	expiring   bool
}

// pass reads the keys on both sides and gives what differs, by key.
func (c *comparer) pass(ctx context.Context, keys []string) (map[string]suspect, error) {
	suspects := map[string]suspect{}
	for part := range slices.Chunk(keys, 200) {
		source, err := readValues(ctx, c.pair.Source, c.sourceDB, part, c.shape)
		if err != nil {
			return nil, fmt.Errorf("source: %w", err)
		}
		target, err := readValues(ctx, c.pair.Target, c.targetDB, part, c.shape)
		if err != nil {
			return nil, fmt.Errorf("target: %w", err)
		}
		for i, k := range part {
			if d := difference(&source[i], &target[i], c.tolerance); d != "" {
				suspects[k] = suspect{d, source[i].expires() || target[i].expires()}
			}
		}
	}
	return suspects, nil
}

// expires tells whether the value or a part of it ends within the next seconds.
func (v *value) expires() bool {
	soon := time.Now().Add(10 * time.Second).UnixMilli()
	for _, at := range v.fields {
		if at != -1 && at < soon {
			return true
		}
	}
	return v.kind != "" && v.expireAt != -1 && v.expireAt < soon
}

// difference says what differs, "" where nothing does.
func difference(source, target *value, tolerance int64) string {
	switch {
	case source.kind == target.kind && source.kind == "":
		return ""
	case target.kind == "":
		return fmt.Sprintf("missing on the target (%s, expires %s)", source.kind, moment(source.expireAt))
	case source.kind == "":
		return fmt.Sprintf("extra on the target (%s, expires %s)", target.kind, moment(target.expireAt))
	case source.kind != target.kind:
		return fmt.Sprintf("%s on the source, %s on the target", source.kind, target.kind)
	}
	if d := differentExpiry(source.expireAt, target.expireAt, tolerance); d != "" {
		return d
	}
	for i := range max(len(source.lines), len(target.lines)) {
		s, t := at(source.lines, i), at(target.lines, i)
		if s != t {
			return fmt.Sprintf("%s piece %d of %d/%d: %s on the source, %s on the target",
				source.kind, i, len(source.lines), len(target.lines), piece(s, t), piece(t, s))
		}
	}
	for f, at := range source.fields {
		if d := differentExpiry(at, target.fields[f], tolerance); d != "" {
			return fmt.Sprintf("field %q: %s", shorten(f), d)
		}
	}
	return ""
}

func differentExpiry(source, target, tolerance int64) string {
	never := func(at int64) bool { return at == -1 }
	if never(source) != never(target) || !never(source) && abs(source-target) > tolerance {
		return fmt.Sprintf("expires %s on the source, %s on the target", moment(source), moment(target))
	}
	return ""
}

// moment shows an expiry, in Unix ms.
func moment(at int64) string {
	if at == -1 {
		return "never"
	}
	return time.UnixMilli(at).UTC().Format("15:04:05.000")
}

func abs(n int64) int64 { return max(n, -n) }

func at(lines []string, i int) string {
	if i < len(lines) {
		return "=" + lines[i]
	}
	return "nothing"
}

// piece shows the part of a line where it starts to differ from the other.
func piece(line, other string) string {
	i := 0
	for i < len(line) && i < len(other) && line[i] == other[i] {
		i++
	}
	from := max(0, i-20)
	return strconv.Quote(shorten(line[from:]))
}

func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// compareFunctions wants every primary of the target to hold the libraries that the source holds.
func compareFunctions(ctx context.Context, p Pair, r *Result) error {
	if !p.Source.Has("FUNCTION") || !p.Target.Has("FUNCTION") {
		return nil
	}
	want, err := libraryCode(ctx, p.Source, p.Source.primaries[0])
	if err != nil {
		return err
	}
	for _, addr := range p.Target.primaries {
		have, err := libraryCode(ctx, p.Target, addr)
		if err != nil {
			return err
		}
		for _, name := range sortedKeys(want) {
			if have[name] != want[name] {
				r.differ("function library %q at %s: %q, want %q", name, addr, shorten(have[name]), shorten(want[name]))
			}
		}
		for _, name := range sortedKeys(have) {
			if _, ok := want[name]; !ok {
				r.differ("function library %q at %s is extra", name, addr)
			}
		}
	}
	return nil
}

func libraryCode(ctx context.Context, s *Side, addr string) (map[string]string, error) {
	c, err := s.node(addr)
	if err != nil {
		return nil, err
	}
	reply, err := c.Do(ctx, c.B().Arbitrary("FUNCTION", "LIST", "WITHCODE").Build()).ToAny()
	if err != nil {
		return nil, fmt.Errorf("FUNCTION LIST at %s: %w", addr, err)
	}
	code := map[string]string{}
	for _, library := range list(reply) {
		facts := flatMap(library)
		code[fmt.Sprint(facts["library_name"])] = fmt.Sprint(facts["library_code"])
	}
	return code, nil
}
