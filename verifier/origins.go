package verifier

import (
	"context"
	"maps"
	"slices"

	"surecut/internal/keyspace"
)

// origins says in which databases of the source a key of the target may lie.
type origins struct {
	mapping *keyspace.Mapping
	dbs     *heldDatabases // of the source
}

func (v *verification) origins() origins { return origins{&v.cfg.mapping, &v.source.dbs} }

// locate sets the database of the source in which a key would be that only the target has: the lowest where several may hold
// it, and -1 where none may.
func (o origins) locate(id keyID, onSource bool) (at keyID, several bool) {
	if onSource {
		return id, false
	}
	dbs := o.of(id)
	if id.db = -1; len(dbs) > 0 {
		id.db = dbs[0]
	}
	return id, len(dbs) > 1
}

// of returns the databases of the source that a key of the target may come from.
func (o origins) of(id keyID) []int {
	m := o.mapping
	if len(m.DBPrefix) > 0 {
		db, ok := m.Origin(id.pairDB, id.name)
		if ok && m.DBPrefix[db] != "" {
			return []int{db}
		}
	}
	dbs := map[int]bool{}
	add := func(db int) {
		if to, _ := m.Map(db); m.MatchDB(db) && to == id.pairDB && m.DBPrefix[db] == "" {
			dbs[db] = true
		}
	}
	add(id.pairDB)
	for db := range m.DBMap {
		add(db)
	}
	for _, db := range m.DBs {
		add(db)
	}
	for _, db := range o.dbs.all() {
		add(db)
	}
	return slices.Sorted(maps.Keys(dbs))
}

// place finds the database of the source for those suspects of a batch that several databases may hold: a key that was created
// after the scan of the source had passed its place is listed by the target alone. A suspect that no database holds stays as it is.
func (o origins) place(ctx context.Context, source prober, batch []record) error {
	var keys []keyID
	var of []int
	for i := range batch {
		if batch[i].flags&unplaced == 0 {
			continue
		}
		for _, db := range o.of(batch[i].keyID) {
			keys, of = append(keys, keyID{db: db, pairDB: batch[i].pairDB, name: batch[i].name}), append(of, i)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	found, err := source.probe(ctx, keys, 0)
	if err != nil {
		return err
	}
	for k := range found {
		r := &batch[of[k]]
		switch {
		case !found[k].present():
		case r.flags&unplaced == 0:
			r.flags |= clash
		default:
			r.db, r.flags = keys[k].db, r.flags&^unplaced
		}
	}
	return nil
}
