package verifier

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"surecut/internal/endpoint"
)

// onlyOne says whether the databases that were asked for are just the one that every cluster has, so that naming it
// selects nothing. Since Valkey 9 a cluster may have more databases, and then naming some is a selection.
func onlyOne(d *endpoint.Deployment, dbs []int) bool {
	return d.Kind() == endpoint.Cluster && len(dbs) == 1 && dbs[0] == 0
}

// inUse notes which databases of a node hold keys.
func (s *side) inUse(dbs map[int]endpoint.Database) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for db := range dbs {
		s.dbs[db] = true
	}
}

// passOver notes which databases of a node hold keys but are not compared.
func (s *side) passOver(dbs map[int]endpoint.Database) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for db, info := range dbs {
		if _, ok := s.pairDB(db); !ok {
			s.elsewhere[db] += info.Keys
		}
	}
}

// inFile notes, while a file is read, that a database holds keys. The map seen holds the databases that this reading
// has noted already.
func (s *side) inFile(db int, seen map[int]bool) {
	if seen[db] {
		return
	}
	seen[db] = true
	s.inUse(map[int]endpoint.Database{db: {}})
	s.passOver(map[int]endpoint.Database{db: {}})
}

// holding says in words which databases hold keys on either side.
func (v *verification) holding() string {
	source, target := v.source.holds(), v.target.holds()
	switch {
	case source == "" && target == "":
		return "neither side holds any key"
	case source == "":
		return "the source holds no key; databases of the target that hold keys: " + target
	case target == "":
		return "databases of the source that hold keys: " + source + "; the target holds no key"
	}
	return "databases that hold keys: " + source + " of the source, " + target + " of the target"
}

// holds lists the databases of the side that hold keys.
func (s *side) holds() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return numbers(s.dbs)
}

func numbers[V any](dbs map[int]V) string {
	var words []string
	for _, db := range slices.Sorted(maps.Keys(dbs)) {
		words = append(words, fmt.Sprint(db))
	}
	return strings.Join(words, ", ")
}

// notLookedAt names the databases that hold keys but were not asked for.
func (s *side) notLookedAt() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys int64
	for _, n := range s.elsewhere {
		keys += n
	}
	switch {
	case len(s.elsewhere) == 0:
		return nil
	case s.isFile():
		return []string{fmt.Sprintf("These databases of the %s hold keys and were not compared: %s.", s.name, numbers(s.elsewhere))}
	}
	return []string{fmt.Sprintf("These databases of the %s hold keys and were not compared: %s (%d keys in total).", s.name, numbers(s.elsewhere), keys)}
}
