package migrator

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"surecut/internal/endpoint"
)

// A migration is resumed only between the servers with which it was started, and only if no other migration has held the target since. URLs
// are no proof: one may lead to another server than before, and another migration may have come and gone.

// CheckState returns an error if a state directory belongs to a migration between other servers. It does not lock the directory and writes
// nothing. It returns nil if a side is nil, because it could not be opened.
func CheckState(ctx context.Context, dir string, sides Sides) error {
	s := peek(dir)
	if s.ID == "" || sides.Source == nil || sides.Target == nil {
		return nil
	}
	return s.refuseOthers(ctx, dir, sides)
}

func (s *state) refuseOthers(ctx context.Context, dir string, sides Sides) error {
	source, target := identity(sides.Source), identity(sides.Target)
	if s.Source != source || s.Target != target {
		return fmt.Errorf("Config.StateDir %s belongs to the migration from %s to %s, not to the one from %s to %s: name another directory",
			dir, s.Source, s.Target, source, target)
	}
	for _, side := range []struct {
		name string
		d    *endpoint.Deployment
		then endpoint.Identity
	}{{"source", sides.Source, s.SourceServers}, {"target", sides.Target, s.TargetServers}} {
		now, err := side.d.Identity(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
		if r := now.Recognize(side.then); !r.Same && r.Sure {
			return fmt.Errorf("Config.StateDir %s belongs to a migration with another %s than the one that %s leads to now: %s; name another directory, or the %s that it began with",
				dir, side.name, side.d.Spec(), r.By, side.name)
		}
	}
	return nil
}

// errGivenAway says that another migration has held the target, or that the record of this one was removed from it.
var errGivenAway = errors.New("what this one has copied may have been overwritten or deleted since: start again with a new Config.StateDir and an empty target (or Config.OnExisting replace)")

// stillOurs judges the records of the target for a migration that is resumed. It refuses a target that another migration has held since the
// last run: that one may have written to the same keys, even if it has ended since.
func (c *claim) stillOurs(r record, elsewhere bool) error {
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
		return fmt.Errorf("the record of this migration (%s) is gone although the target has kept its keys, so another migration has ended there, or somebody has removed it: %w", keyMigration, errGivenAway)
	case id != "" && id != c.t.id:
		return fmt.Errorf("the target was given to migration %q on host %q after this one had stopped: %w", id, r.fields["host"], errGivenAway)
	case id != "" && c.later.seen() > r.seen():
		return fmt.Errorf("migration %q on host %q has written to a part of the target after this one had stopped: %w", c.later.fields["id"], c.later.fields["host"], errGivenAway)
	}
	return nil
}

// overlaps says whether a record in another database of the same server belongs to another migration that writes to the same databases as
// this one.
func (c *claim) overlaps(r record) bool {
	return r.fields["id"] != "" && r.fields["id"] != c.t.id && (c.t.dbs.Home < 0 || r.fields["db"] == allDatabases)
}

// seen returns when the record was last renewed, in Unix ms by the clock of the target; 0 where that is not known.
func (r record) seen() int64 {
	ms, _ := strconv.ParseInt(r.fields["seen_ms"], 10, 64)
	return ms
}

// refilled returns the place of a lost witness where keys of unknown origin are by now, or "". A new snapshot would delete such keys.
func (m *Migration) refilled(ctx context.Context, lost []witness) (where string, err error) {
	if !m.target.can.nodes {
		return "", nil // a proxy does not show which server holds what
	}
	for _, w := range lost {
		n, _ := m.target.primaryOf(w.Slot)
		foreign, err := m.holdsForeign(ctx, n.Addr, w.DB)
		if err != nil {
			return "", err
		}
		if foreign {
			return n.Addr + " (database " + strconv.Itoa(w.DB) + ")", nil
		}
	}
	return "", nil
}
