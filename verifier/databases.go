package verifier

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"surecut/internal/endpoint"
)

// onlyOne says whether the databases that were asked for are just the one that every cluster has, so that naming it
// selects nothing. Since Valkey 9 a cluster may have more databases, and then naming some is a selection.
func onlyOne(d *endpoint.Deployment, dbs []int) bool {
	return d.Kind() == endpoint.Cluster && len(dbs) == 1 && dbs[0] == 0
}

// heldDatabases notes which databases of one side hold keys.
type heldDatabases struct {
	naming
	file bool // numbers of keys are not known

	mu        sync.Mutex
	used      map[int]bool  // guarded by mu: databases that were found to hold keys
	elsewhere map[int]int64 // guarded by mu: number of keys in databases that are not compared
}

// add notes which databases of a node hold keys.
func (h *heldDatabases) add(dbs map[int]endpoint.Database) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for db := range dbs {
		h.used[db] = true
	}
}

// passOver notes which databases of a node hold keys but are not compared.
func (h *heldDatabases) passOver(dbs map[int]endpoint.Database) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for db, info := range dbs {
		if _, ok := h.pairDB(db); !ok {
			h.elsewhere[db] += info.Keys
		}
	}
}

// inFile notes, while a file is read, that a database holds keys. The map seen holds the databases that this reading
// has noted already.
func (h *heldDatabases) inFile(db int, seen map[int]bool) {
	if seen[db] {
		return
	}
	seen[db] = true
	h.add(map[int]endpoint.Database{db: {}})
	h.passOver(map[int]endpoint.Database{db: {}})
}

// all returns the databases that hold keys.
func (h *heldDatabases) all() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.used))
}

// inWords lists the databases that hold keys.
func (h *heldDatabases) inWords() string { return numbers(h.all()) }

// notLookedAt names the databases that hold keys but were not asked for.
func (h *heldDatabases) notLookedAt() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var keys int64
	for _, n := range h.elsewhere {
		keys += n
	}
	list := numbers(slices.Sorted(maps.Keys(h.elsewhere)))
	switch {
	case list == "":
		return nil
	case h.file:
		return []string{fmt.Sprintf("These databases of the %s hold keys and were not compared: %s.", h.of, list)}
	}
	return []string{fmt.Sprintf("These databases of the %s hold keys and were not compared: %s (%d keys in total).", h.of, list, keys)}
}

// holding says in words which databases hold keys on either side.
func (v *verification) holding() string {
	source, target := v.source.dbs.inWords(), v.target.dbs.inWords()
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

func numbers(dbs []int) string {
	var words []string
	for _, db := range dbs {
		words = append(words, fmt.Sprint(db))
	}
	return strings.Join(words, ", ")
}
