package target

import (
	"errors"
	"fmt"
)

// ErrGivenAway says that another migration has held the target, or that the record of this one was removed from it.
var ErrGivenAway = errors.New("the data that this migration has copied may have been overwritten or deleted since: start again with a new Config.StateDir and an empty target (or Config.OnExisting replace)")

// past judges whether the target has stayed with a migration since its last run. A nil *past is that of a migration that had none.
type past struct {
	holder holder
	whole  bool   // the witnesses of the earlier run show that the target has not lost its keys
	later  record // of the overlapping migrations with a record in another database, the one that was renewed last
}

// stillOurs judges the records of the target for a migration that is resumed; that of its own database comes last. It refuses a target that
// another migration has held since the last run: that one may have written to the same keys, even if it has ended since.
func (p *past) stillOurs(r record, elsewhere bool) error {
	if p == nil {
		return nil
	}
	if elsewhere {
		if p.holder.overlaps(r) && r.seen() > p.later.seen() {
			p.later = r
		}
		return nil
	}
	switch id := r.fields["id"]; {
	case id == "" && p.whole:
		return fmt.Errorf("the record of this migration (%s) is gone although the target has kept its keys, so another migration has ended there, or somebody has removed it: %w", KeyMigration, ErrGivenAway)
	case id != "" && id != p.holder.id:
		return fmt.Errorf("migration %q on host %q claimed the target after this one had stopped: %w", id, r.fields["host"], ErrGivenAway)
	case id != "" && p.later.seen() > r.seen():
		return fmt.Errorf("migration %q on host %q has written to a part of the target after this one had stopped: %w", p.later.fields["id"], p.later.fields["host"], ErrGivenAway)
	}
	return nil
}
