package verifier

import (
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// naming says which keys of one side are compared, and under which names and databases they pair with those of the other side.
type naming struct {
	of      endpoint.Side
	mapping *keyspace.Mapping
}

// pairDB returns the target's database that a database of this side is compared with, and false where the database is left out.
func (n naming) pairDB(db int) (int, bool) {
	m := n.mapping
	if n.of == endpoint.Source {
		to, _ := m.Map(db) // a key that is mapped to a database which the target does not have is missing there
		return to, m.MatchDB(db)
	}
	return db, m.Covers(db)
}

// named returns the key's name on this side.
func (n naming) named(k keyID) string {
	if n.of == endpoint.Source {
		return n.mapping.SourceName(k.db, k.name)
	}
	return k.name
}

// compared returns the ID under which a key that was found on this side is compared, and false where the key is left out.
func (n naming) compared(db int, name string) (keyID, bool) {
	m := n.mapping
	pair, ok := n.pairDB(db)
	k := keyID{db: db, pairDB: pair, name: name}
	switch {
	case n.of == endpoint.Source:
		k.name = m.TargetName(db, name)
	case ok && len(m.DBPrefix) > 0:
		from, known := m.Origin(db, name)
		if !known { // the key can only be extra, unless only databases were asked for that cannot have it
			return k, len(m.DBs) == 0 && m.MatchName(name)
		}
		name = m.SourceName(from, name)
	}
	return k, ok && m.MatchName(name)
}
