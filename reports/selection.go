package reports

import "surecut/internal/keyspace"

// selectionOf returns the part of the keys that a report speaks of, nil for all. It is false of reports that have no selection.
func selectionOf(r Report) (*keyspace.Selection, bool) {
	switch r := r.(type) {
	case *Check:
		return r.Selection, true
	case *Verify:
		return r.Selection, true
	case *Migrate:
		return r.Selection, true
	}
	return nil, false
}

// partOfScan says which part of the source a scan of big keys has left the rest of, where the policy does not name it: it has looked at
// the part that is moved, or at the databases of that part.
func partOfScan(p Policy, b *BigKeys) string {
	if b.Selection.Part() == p.Selection.Part() {
		return ""
	}
	if p.Selection != nil {
		databases := keyspace.Selection{Databases: p.Selection.Databases}
		if b.Selection.Part() == databases.Part() {
			return ""
		}
	}
	return b.Selection.Part()
}
