package keyspace

import (
	"slices"
	"strings"
)

// Filter selects keys of a source, and says how the user wants databases and names to be mapped. Where a key is stored also depends
// on the target: see Mapping. The zero Filter selects every key and maps every database and name to itself.
type Filter struct {
	Include  []string       // globs as in KEYS; a key must match one of them; none: every key matches
	Exclude  []string       // globs; a key that matches one of them is left out, even if it matches Include
	DBs      []int          // databases of the source; none: every database is selected
	DBMap    map[int]int    // from source database to target database; others keep their number
	DBPrefix map[int]string // from source database to the prefix that its names get on the target, in database 0
}

// Match says whether a key of the source is selected. Keys that surecut itself writes are never selected.
func (f *Filter) Match(k Key) bool { return f.MatchDB(k.DB) && f.MatchName(k.Name) }

// MatchDB says whether a database of the source is selected.
func (f *Filter) MatchDB(db int) bool { return len(f.DBs) == 0 || slices.Contains(f.DBs, db) }

// MatchName says whether a name is selected, given that its database is.
func (f *Filter) MatchName(name string) bool {
	if strings.HasPrefix(name, Prefix) {
		return false
	}
	if len(f.Include) > 0 && !matchAny(f.Include, name) {
		return false
	}
	return !matchAny(f.Exclude, name)
}

// TargetName returns the name that a key of a source database has on the target.
func (f *Filter) TargetName(db int, name string) string {
	if p := f.DBPrefix[db]; p != "" {
		return p + name
	}
	return name
}

// SourceName is the inverse of TargetName.
func (f *Filter) SourceName(db int, name string) string {
	return strings.TrimPrefix(name, f.DBPrefix[db])
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return Glob(p, name) })
}

// Glob matches bytes as KEYS and SCAN MATCH do: * matches any run of bytes, ? any byte, [abc] [a-z] [^a] one of a set, and \ makes
// the next byte literal. An unclosed set ends with the pattern; a single trailing \ is literal.
func Glob(pattern, name string) bool {
	var hopeless bool
	return glob(pattern, name, &hopeless)
}

// glob sets hopeless once the pattern after some * has matched nowhere: then no earlier * can help. This keeps patterns with many
// stars from taking exponential time.
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

// globSet matches one byte against a set whose [ has been consumed, and returns the pattern after its ].
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
