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

// partOfScan returns, in words, the part of the source that a scan of big keys has looked at. It is "" where that is enough: where the
// scan has looked at all keys, at the part that the policy names, or at the databases of that part.
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
