package keyspace

import (
	"maps"
	"slices"
	"strings"
)

// Filter selects keys of a source, and maps its databases and names to those of the target.
// The zero Filter selects every key and maps every database and name to itself.
type Filter struct {
	Include  []string       // globs as KEYS takes them; a key must match one of them, none: every key
	Exclude  []string       // globs; a key that matches one of them is left out, whatever Include says
	DBs      []int          // databases of the source; none: every database
	DBMap    map[int]int    // source database -> target database; others keep their number
	DBPrefix map[int]string // source database -> what its names begin with on the target, in database 0
	Into     *int           // the database of the target for all that DBMap does not name; nil: each to its own number
}

// Match says whether a key of the source is selected. Keys that surecut itself writes never are.
func (f *Filter) Match(k Key) bool { return f.MatchDB(k.DB) && f.MatchName(k.Name) }

// MatchDB says whether a database of the source is selected.
func (f *Filter) MatchDB(db int) bool { return len(f.DBs) == 0 || slices.Contains(f.DBs, db) }

// MatchName says whether a name is selected in a database that is.
func (f *Filter) MatchName(name string) bool {
	if strings.HasPrefix(name, Prefix) {
		return false
	}
	if len(f.Include) > 0 && !matchAny(f.Include, name) {
		return false
	}
	return !matchAny(f.Exclude, name)
}

// Map gives the database of the target that holds a database of the source.
func (f *Filter) Map(db int) int {
	if to, ok := f.DBMap[db]; ok {
		return to
	}
	if f.Into != nil {
		return *f.Into
	}
	if f.DBPrefix[db] != "" {
		return 0
	}
	return db
}

// TargetName gives the name on the target of a key in a database of the source.
func (f *Filter) TargetName(db int, name string) string {
	if p := f.DBPrefix[db]; p != "" {
		return p + name
	}
	return name
}

// SourceName gives back the name of a key in a database of the source by the one that TargetName gave it.
func (f *Filter) SourceName(db int, name string) string {
	return strings.TrimPrefix(name, f.DBPrefix[db])
}

// Origin gives the database of the source from which a key of the target comes: of those whose prefix its name begins with,
// the one with the longest. Other keys come from a database without a prefix, if a selected one maps there. mapped is Map, or
// what the target makes of it.
func (f *Filter) Origin(targetDB int, name string, mapped func(db int) int) (db int, ok bool) {
	db = -1
	for from, p := range f.DBPrefix {
		if p != "" && f.MatchDB(from) && mapped(from) == targetDB && strings.HasPrefix(name, p) && (db < 0 || len(p) > len(f.DBPrefix[db])) {
			db = from
		}
	}
	if db >= 0 {
		return db, true
	}
	plain := func(from int) bool {
		return f.DBPrefix[from] == "" && f.MatchDB(from) && mapped(from) == targetDB
	}
	if plain(targetDB) {
		return targetDB, true
	}
	others := append(append(slices.Sorted(maps.Keys(f.DBMap)), f.DBs...), 0)
	if i := slices.IndexFunc(others, plain); i >= 0 {
		return others[i], true
	}
	return -1, false
}

// Rival gives the key of another database that would have the name of k on the target: that of k begins with the other
// database's prefix. Such names are that database's own, whether or not it holds the key at the moment. Only the key of the
// shorter prefix, or of none, has a rival.
func (f *Filter) Rival(k Key, mapped func(db int) int) (rival Key, ok bool) {
	if len(f.DBPrefix) == 0 || !f.Match(k) {
		return Key{}, false
	}
	name, to := f.TargetName(k.DB, k.Name), mapped(k.DB)
	for from, p := range f.DBPrefix {
		rest, under := strings.CutPrefix(name, p)
		if from == k.DB || len(p) <= len(f.DBPrefix[k.DB]) || !under || mapped(from) != to {
			continue
		}
		if r := (Key{DB: from, Name: rest}); f.Match(r) && (!ok || from < rival.DB) {
			rival, ok = r, true
		}
	}
	return rival, ok
}

// Covers says whether the keys of a database of the target are the source's to decide: with DBs or Into
// given, only the databases that those map to; otherwise all, so that a database which no database of
// the source maps to must be empty.
func (f *Filter) Covers(targetDB int) bool {
	if len(f.DBs) == 0 {
		return f.Into == nil || targetDB == *f.Into || slices.Contains(slices.Collect(maps.Values(f.DBMap)), targetDB)
	}
	return slices.ContainsFunc(f.DBs, func(db int) bool { return f.Map(db) == targetDB })
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return Glob(p, name) })
}

// Glob matches bytes as KEYS and SCAN MATCH do: * any run, ? any byte, [abc] [a-z] [^a] a set,
// \ takes the next byte literally. An unclosed set ends with the pattern; a lone trailing \ is literal.
func Glob(pattern, name string) bool {
	var hopeless bool
	return glob(pattern, name, &hopeless)
}

// glob sets hopeless once the rest after some * matched nowhere: no earlier * can help then,
// which keeps patterns of many stars from taking exponential time.
func glob(pattern, name string, hopeless *bool) bool {
	for pattern != "" && name != "" {
		switch pattern[0] {
		case '*':
			rest := strings.TrimLeft(pattern, "*")
			if rest == "" {
				return true
			}
			for ; name != ""; name = name[1:] {
				if glob(rest, name, hopeless) {
					return true
				}
				if *hopeless {
					return false
				}
			}
			*hopeless = true
			return false
		case '?':
			pattern = pattern[1:]
		case '[':
			var in bool
			if in, pattern = globSet(pattern[1:], name[0]); !in {
				return false
			}
		default:
			if pattern[0] == '\\' && len(pattern) > 1 {
				pattern = pattern[1:]
			}
			if pattern[0] != name[0] {
				return false
			}
			pattern = pattern[1:]
		}
		name = name[1:]
	}
	return name == "" && strings.TrimLeft(pattern, "*") == ""
}

// globSet matches one byte against a set whose [ has been taken, and gives what follows its ].
func globSet(set string, c byte) (in bool, rest string) {
	not := strings.HasPrefix(set, "^")
	if not {
		set = set[1:]
	}
	for {
		switch {
		case set == "":
			return in != not, ""
		case set[0] == ']':
			return in != not, set[1:]
		case set[0] == '\\' && len(set) >= 2:
			in = in || set[1] == c
			set = set[2:]
		case len(set) >= 3 && set[1] == '-':
			in = in || min(set[0], set[2]) <= c && c <= max(set[0], set[2])
			set = set[3:]
		default:
			in = in || set[0] == c
			set = set[1:]
		}
	}
}
