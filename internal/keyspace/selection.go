package keyspace

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Selection is what a report says about the part of the keys that its run covered, and about where those keys are stored on the
// target. Every report of one migration must have the same Selection. A report without one covers every key.
//
// Lists are sorted and have no repetitions, so that two Selections that select the same are equal.
type Selection struct {
	Include        []string `json:"include" yaml:"include"`                                     // patterns of names; none: all names
	Exclude        []string `json:"exclude" yaml:"exclude"`                                     // patterns of names that are left out
	Databases      []int    `json:"databases" yaml:"databases"`                                 // databases of the source; none: all
	TargetDatabase *int     `json:"target_database,omitempty" yaml:"target_database,omitempty"` // the only target database that was covered
	DBMap          []string `json:"db_map,omitempty" yaml:"db_map,omitempty"`                   // "3:0": database 3 arrives in database 0
	DBPrefix       []string `json:"db_prefix,omitempty" yaml:"db_prefix,omitempty"`             // "3:app3:": prefix of database 3's names
	Sample         int64    `json:"sample,omitempty" yaml:"sample,omitempty"`                   // at most this many keys were covered
	Repaired       bool     `json:"repaired" yaml:"-"`                                          // only keys that were repaired
}

// NamedDatabases are the databases that the URLs of both sides name, or -1 where they name none. The URL of a cluster names none,
// because a cluster has only one.
type NamedDatabases struct{ Source, Target int }

// Selection returns what the filter and the URLs select and map. It returns nil where that is every key under its own name.
func (f *Filter) Selection(named NamedDatabases) *Selection {
	s := &Selection{Include: slices.Clone(f.Include), Exclude: slices.Clone(f.Exclude), Databases: slices.Clone(f.From(named.Source).DBs)}
	if named.Target >= 0 && len(f.DBMap) == 0 {
		s.TargetDatabase = &named.Target
	}
	for _, from := range slices.Sorted(maps.Keys(f.DBMap)) {
		s.DBMap = append(s.DBMap, fmt.Sprintf("%d:%d", from, f.DBMap[from]))
	}
	for _, from := range slices.Sorted(maps.Keys(f.DBPrefix)) {
		s.DBPrefix = append(s.DBPrefix, fmt.Sprintf("%d:%s", from, f.DBPrefix[from]))
	}
	return s.Normal()
}

// Normal returns the selection with its lists sorted and without repetitions. It returns nil where the selection selects and maps
// nothing in particular.
func (s *Selection) Normal() *Selection {
	if s == nil {
		return nil
	}
	n := *s
	n.Include, n.Exclude, n.DBMap, n.DBPrefix = asSet(s.Include), asSet(s.Exclude), asSet(s.DBMap), asSet(s.DBPrefix)
	n.Databases = asSet(s.Databases)
	if n.Part() == "" && n.Mapping() == "" {
		return nil
	}
	return &n
}

// asSet returns the list sorted, without repetitions, and nil where it is empty.
func asSet[T cmp.Ordered](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// Equal says whether two reports cover the same keys in the same places.
func (s *Selection) Equal(o *Selection) bool { return reflect.DeepEqual(s.Normal(), o.Normal()) }

// Part says in words which keys were selected: `keys of database 0 whose names match "a:*"`. It returns "" where every key was
// selected.
func (s *Selection) Part() string {
	if s == nil {
		return ""
	}
	if s.Repaired {
		return "keys that a report found not to be the same and that were repaired"
	}
	var b strings.Builder
	if len(s.Databases) > 0 {
		fmt.Fprintf(&b, " of %s", databasesText(s.Databases))
	}
	if s.TargetDatabase != nil {
		fmt.Fprintf(&b, " that belong in database %d of the target", *s.TargetDatabase)
	}
	conjunction := " "
	if len(s.Include) > 0 {
		b.WriteString(" whose names match " + quotedList(s.Include))
		conjunction = " and "
	}
	if len(s.Exclude) > 0 {
		b.WriteString(conjunction + "whose names do not match " + quotedList(s.Exclude))
	}
	if s.Sample > 0 {
		fmt.Fprintf(&b, ", %d of them at most", s.Sample)
	}
	if b.Len() == 0 {
		return ""
	}
	return "keys" + b.String()
}

// Mapping says in words which keys are stored under another database number or name. It returns "" where each key keeps its own.
func (s *Selection) Mapping() string {
	if s == nil {
		return ""
	}
	var words []string
	for _, m := range s.DBMap {
		from, to, _ := strings.Cut(m, ":")
		words = append(words, fmt.Sprintf("database %s arrives in database %s", from, to))
	}
	for _, p := range s.DBPrefix {
		from, prefix, _ := strings.Cut(p, ":")
		words = append(words, fmt.Sprintf("database %s arrives in database 0 with names that begin with %s", from, strconv.Quote(prefix)))
	}
	return strings.Join(words, ", ")
}

// String returns Part and Mapping together, with "all keys" in place of an empty Part.
func (s *Selection) String() string {
	text := cmp.Or(s.Part(), "all keys")
	if m := s.Mapping(); m != "" {
		text += "; " + m
	}
	return text
}

func databasesText(dbs []int) string {
	words := make([]string, len(dbs))
	for i, db := range dbs {
		words[i] = strconv.Itoa(db)
	}
	if len(words) == 1 {
		return "database " + words[0]
	}
	return "databases " + strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

func quotedList(patterns []string) string {
	words := make([]string, len(patterns))
	for i, p := range patterns {
		words[i] = strconv.Quote(p)
	}
	return strings.Join(words, " or ")
}
