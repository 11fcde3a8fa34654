package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/migrator/internal/scope"
	"surecut/migrator/internal/target"
)

// sweepKeys is for how many keys of a snapshot hashes are in memory at once, 8 bytes each.
const sweepKeys = 4 << 20

// sweep deletes from the target the keys of a link's shard that are not in a new snapshot, which replaces an earlier one. The target must
// have been empty when the migration began.
type sweep struct {
	target   *target.Target
	scope    *scope.Scope
	snapshot func() io.Reader // returns a reader from the beginning of the snapshot
	asked    int64            // when the snapshot was asked for, Unix ms
	keys     int64            // number of keys in the snapshot
	log      *slog.Logger
}

// run sweeps the target. The source must have shown before that its slots have not moved (proveSlots).
func (s *sweep) run(ctx context.Context) error {
	parts := uint64(s.keys/sweepKeys + 1)
	deleted := 0
	for part := range parts {
		there, err := s.hashes(parts, part)
		if err != nil {
			return fmt.Errorf("read the snapshot again: %w", err)
		}
		gone := func(db int, name string) bool {
			if _, ours := s.scope.Brings(db, name); !ours {
				return false
			}
			h := hashOf(db, name)
			_, found := slices.BinarySearch(there, h)
			return h%parts == part && !found
		}
		err = s.target.EachPrimary(ctx, func(addr string) error {
			n, err := s.node(ctx, addr, gone)
			deleted += n
			return err
		})
		if err != nil {
			return fmt.Errorf("delete the keys that the new snapshot does not contain: %w", err)
		}
	}
	s.log.Info("keys that the new snapshot does not contain were deleted from the target", "keys", deleted)
	return nil
}

func hashOf(db int, name string) uint64 {
	return keyspace.Key{DB: db, Name: name}.Hash()
}

// hashes returns the hashes, of one part of all, of the snapshot's keys, with their databases and names on the target. They are sorted.
func (s *sweep) hashes(parts, part uint64) ([]uint64, error) {
	r := rdb.NewReader(s.snapshot(), rdb.Options{MaxValue: 1 << 20})
	var hashes []uint64
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			slices.Sort(hashes)
			return hashes, nil
		}
		if err != nil {
			return nil, err
		}
		if e.Kind != rdb.KindKey || !s.scope.MatchDB(e.DB) || e.ExpireAt > 0 && e.ExpireAt <= s.asked {
			continue
		}
		db, ok := s.scope.Map(e.DB)
		if !ok {
			continue
		}
		if h := hashOf(db, s.scope.TargetName(e.DB, string(e.Key))); h%parts == part {
			hashes = append(hashes, h)
		}
	}
}

// node deletes from one primary the keys for which gone returns true.
func (s *sweep) node(ctx context.Context, addr string, gone func(db int, name string) bool) (deleted int, err error) {
	t := s.target
	err = t.Retry(ctx, func() (again, err error) {
		dbs, err := coveredDatabases(ctx, t, s.scope, addr)
		for i := 0; err == nil && i < len(dbs); i++ {
			var n int
			n, err = s.database(ctx, addr, dbs[i], gone)
			deleted += n
		}
		if errors.Is(err, errNothingLeft) {
			return nil, err
		}
		return target.AgainOrEnd(addr, err)
	})
	return deleted, err
}

// coveredDatabases returns the databases of a node of the target that a link writes to.
func coveredDatabases(ctx context.Context, t *target.Target, s *scope.Scope, addr string) ([]int, error) {
	dbs, err := t.Databases(ctx, addr)
	return slices.DeleteFunc(dbs, func(db int) bool { return !s.Covers(db) || t.DBs.Home >= 0 && db != t.DBs.Home }), err
}

// errNothingLeft protects the target from a source primary that has come up empty.
var errNothingLeft = errors.New("the new primary of the source holds no keys at all, but the target does, so nothing was deleted: if the source is meant to be empty, empty the target and start again with a new Config.StateDir")

// database deletes from one database of a primary the keys for which gone returns true. For a snapshot without any key, it deletes nothing
// and returns errNothingLeft.
func (s *sweep) database(ctx context.Context, addr string, db int, gone func(db int, name string) bool) (deleted int, err error) {
	err = s.target.Scan(ctx, addr, db, func(names []string) error {
		names = slices.DeleteFunc(names, func(name string) bool { return !gone(db, name) })
		switch {
		case len(names) == 0:
			return nil
		case s.keys == 0:
			return errNothingLeft
		}
		n, err := s.target.Delete(ctx, addr, db, names)
		deleted += n
		return err
	})
	return deleted, err
}
