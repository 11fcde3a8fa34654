package keyspace

import (
	"maps"
	"slices"
	"strings"
)

// Databases describes the databases that a target has.
type Databases struct {
	Home  int  // the database that the target's URL names, or the only one that it has; -1: neither
	Only  bool // surecut uses no other database of the target than Home
	Count int  // number of databases; 0: not known
}

// Mapping says in which database of the target, and under which name, a key of the source is stored. The checks, the migration and
// the verification each make their Mapping from the same filter and the same facts, so that they cannot disagree.
type Mapping struct {
	Filter
	Target Databases
}

// From returns the filter for a source whose URL names a database, or -1 for none. That database alone is selected, unless the
// filter selects others.
func (f Filter) From(named int) Filter {
	if named >= 0 && len(f.DBs) == 0 {
		f.DBs = []int{named}
	}
	return f
}

// To returns the mapping that the filter leads to for the databases of a target.
func (f Filter) To(target Databases) Mapping { return Mapping{Filter: f, Target: target} }

// Map returns the database of the target in which the keys of a source database are stored, and false if the target has no such
// database. If the user mapped databases, that map alone decides. Otherwise all keys go to the database that the target's URL
// names. If the target has only that database, then only these source databases go there: database 0, the only one that was asked
// for, and those with a prefix.
func (m *Mapping) Map(db int) (to int, ok bool) {
	t := &m.Target
	prefixed := m.DBPrefix[db] != ""
	to, mapped := m.DBMap[db]
	switch {
	case mapped:
	case len(m.DBMap) == 0 && t.Home >= 0 && (!t.Only || db == 0 || len(m.DBs) == 1 || prefixed):
		to = t.Home
	case !prefixed:
		to = db
	}
	return to, (!t.Only || to == t.Home) && (t.Count == 0 || to < t.Count)
}

// lands says whether a source database is selected and its keys are stored in the given database of the target.
func (m *Mapping) lands(db, targetDB int) bool {
	to, ok := m.Map(db)
	return ok && to == targetDB && m.MatchDB(db)
}

// Origin returns the database of the source from which a key of the target comes. Among the databases whose prefix begins the key's
// name, it is the one with the longest prefix. Other keys come from a selected database without a prefix that is mapped there, if
// there is one.
func (m *Mapping) Origin(targetDB int, name string) (db int, ok bool) {
	db = -1
	for from, p := range m.DBPrefix {
		if p != "" && strings.HasPrefix(name, p) && (db < 0 || len(p) > len(m.DBPrefix[db])) && m.lands(from, targetDB) {
			db = from
		}
	}
	if db >= 0 {
		return db, true
	}
	candidates := slices.Concat([]int{targetDB}, slices.Sorted(maps.Keys(m.DBMap)), m.DBs, []int{0})
	i := slices.IndexFunc(candidates, func(from int) bool { return m.DBPrefix[from] == "" && m.lands(from, targetDB) })
	if i < 0 {
		return -1, false
	}
	return candidates[i], true
}

// Rival returns the key of another database that would have the name of k on the target, because that name begins with the prefix
// of the other database. Such names belong to the other database, whether or not it holds the key at the moment. Only the key with
// the shorter prefix, or with none, has a rival.
func (m *Mapping) Rival(k Key) (rival Key, ok bool) {
	to, lands := m.Map(k.DB)
	if len(m.DBPrefix) == 0 || !lands || !m.Match(k) {
		return Key{}, false
	}
	name := m.TargetName(k.DB, k.Name)
	for from, p := range m.DBPrefix {
		rest, under := strings.CutPrefix(name, p)
		if from == k.DB || len(p) <= len(m.DBPrefix[k.DB]) || !under || !m.lands(from, to) {
			continue
		}
		if r := (Key{DB: from, Name: rest}); m.MatchName(rest) && (!ok || from < rival.DB) {
			rival, ok = r, true
		}
	}
	return rival, ok
}

// Covers says whether the source decides what a database of the target holds. If databases are selected, the databases to which
// they are mapped are covered. If the target's URL names one database for all keys, it alone is covered. Otherwise all databases
// are covered, so that one to which no source database is mapped must be empty.
func (m *Mapping) Covers(targetDB int) bool {
	if len(m.DBs) == 0 {
		return m.Target.Home < 0 || m.Target.Only || len(m.DBMap) > 0 || targetDB == m.Target.Home
	}
	return slices.ContainsFunc(m.DBs, func(db int) bool { to, _ := m.Map(db); return to == targetDB })
}
