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
