package target

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrGivenAway says that another migration has held the target, or that the record of this one was removed from it.
var ErrGivenAway = errors.New("the data that this migration has copied may have been overwritten or deleted since: start again with a new Config.StateDir and an empty target (or Config.OnExisting replace)")

// stillOurs judges the records of the target for a migration that is resumed. It refuses a target that another migration has held since the
// last run: that one may have written to the same keys, even if it has ended since.
func (c *Claim) stillOurs(r record, elsewhere bool) error {
	if !c.resumed {
		return nil
	}
	if elsewhere {
		if c.overlaps(r) && r.seen() > c.later.seen() {
			c.later = r
		}
		return nil
	}
	switch id := r.fields["id"]; {
	case id == "" && c.whole:
		return fmt.Errorf("the record of this migration (%s) is gone although the target has kept its keys, so another migration has ended there, or somebody has removed it: %w", KeyMigration, ErrGivenAway)
	case id != "" && id != c.t.id:
		return fmt.Errorf("migration %q on host %q claimed the target after this one had stopped: %w", id, r.fields["host"], ErrGivenAway)
	case id != "" && c.later.seen() > r.seen():
		return fmt.Errorf("migration %q on host %q has written to a part of the target after this one had stopped: %w", c.later.fields["id"], c.later.fields["host"], ErrGivenAway)
	}
	return nil
}

// overlaps says whether a record in another database of the same server belongs to another migration that writes to the same databases as
// this one.
func (c *Claim) overlaps(r record) bool {
	return r.fields["id"] != "" && r.fields["id"] != c.t.id && (c.t.DBs.Home < 0 || r.fields["db"] == allDatabases)
}

// seen returns when the record was last renewed, in Unix ms by the clock of the target; 0 where that is not known.
func (r record) seen() int64 {
	ms, _ := strconv.ParseInt(r.fields["seen_ms"], 10, 64)
	return ms
}
