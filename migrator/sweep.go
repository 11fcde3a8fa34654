package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// sweepKeys is how many keys of a snapshot are in memory at once, by 8 bytes each.
const sweepKeys = 4 << 20

// sweep deletes the keys of the link's shard that the target holds and the snapshot, which replaces an earlier one,
// does not. The target was empty when the migration began.
func (l *link) sweep(ctx context.Context) error {
	if err := l.m.proveSlots(ctx); err != nil {
		return err
	}
	total := l.ledger.snapshotKeys.Load()
	parts := uint64(total/sweepKeys + 1)
	deleted := 0
	for part := range parts {
		there, err := l.snapshotHashes(parts, part)
		if err != nil {
			return fmt.Errorf("read the snapshot again: %w", err)
		}
		gone := func(db int, name string) bool {
			if _, ours := l.scope.brings(db, name); !ours {
				return false
			}
			h := hashOf(db, name)
			_, found := slices.BinarySearch(there, h)
			return h%parts == part && !found
		}
		for _, addr := range l.m.target.primaries() {
			n, err := l.sweepNode(ctx, addr, total > 0, gone)
			if err != nil {
				return fmt.Errorf("delete what the new snapshot has not: %w", err)
			}
			deleted += n
		}
	}
	l.log.Info("keys that the new snapshot has not were deleted from the target", "keys", deleted)
	return nil
}

func hashOf(db int, name string) uint64 {
	return keyspace.Key{DB: db, Name: name}.Hash()
}

// snapshotHashes returns the hashes of the snapshot's keys, as the target names them, that fall into a part; sorted.
func (l *link) snapshotHashes(parts, part uint64) ([]uint64, error) {
	r := rdb.NewReader(l.receiver.Snapshot().Reader(), rdb.Options{MaxValue: 1 << 20})
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
		if e.Kind != rdb.KindKey || !l.scope.MatchDB(e.DB) || e.ExpireAt > 0 && e.ExpireAt <= l.st.StartedMs {
			continue
		}
		db, ok := l.scope.Map(e.DB)
		if !ok {
			continue
		}
		if h := hashOf(db, l.scope.TargetName(e.DB, string(e.Key))); h%parts == part {
			hashes = append(hashes, h)
		}
	}
}

// sweepNode deletes from one primary what is gone; allowed is false for a snapshot without any key.
func (l *link) sweepNode(ctx context.Context, addr string, allowed bool, gone func(db int, name string) bool) (deleted int, err error) {
	t := l.m.target
	err = t.retry(ctx, func() (again, err error) {
		dbs, err := t.databases(ctx, addr)
		for i := 0; err == nil && i < len(dbs); i++ {
			if !l.scope.Covers(dbs[i]) || t.dbs.Home >= 0 && dbs[i] != t.dbs.Home {
				continue
			}
			var n int
			n, err = l.sweepDatabase(ctx, addr, dbs[i], allowed, gone)
			deleted += n
		}
		if errors.Is(err, errNothingLeft) {
			return nil, err
		}
		return classify(addr, err)
	})
	return deleted, err
}

// errNothingLeft protects the target from a primary that has come up empty.
var errNothingLeft = errors.New("the new primary of the source holds no keys at all, and the target does: nothing was deleted; if that is as it should be, empty the target and start again with a new Config.StateDir")

func (l *link) sweepDatabase(ctx context.Context, addr string, db int, allowed bool, gone func(db int, name string) bool) (deleted int, err error) {
	c, err := l.m.target.d.Client(ctx, addr, db)
	if err != nil {
		return 0, err
	}
	for cursor := uint64(0); ; {
		page, err := c.Do(ctx, arbitrary(c, "SCAN", strconv.FormatUint(cursor, 10), "COUNT", "1000")).AsScanEntry()
		if err != nil {
			return deleted, err
		}
		var cmds []rueidis.Completed
		for _, name := range page.Elements {
			if gone(db, name) {
				cmds = append(cmds, arbitrary(c, "DEL", name))
			}
		}
		if len(cmds) > 0 && !allowed {
			return deleted, errNothingLeft
		}
		if err := l.m.target.claim.hold(ctx); err != nil {
			return deleted, err
		}
		for _, r := range c.DoMulti(ctx, cmds...) {
			if err := r.Error(); err != nil {
				return deleted, err
			}
			deleted++
		}
		if cursor = page.Cursor; cursor == 0 {
			return deleted, nil
		}
	}
}
