package reports

import "surecut/internal/keyspace"

// selectionOf returns the selection of keys that a report is about, which is nil for all keys. It returns false for reports without a
// selection.
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

// partOfScan returns in words the part of the source that a scan of big keys has looked at. It returns "" if that part is
// sufficient: if the scan looked at all keys, at the selection in the policy, or at the databases of that selection.
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
