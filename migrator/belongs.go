package migrator

import (
	"context"
	"fmt"
	"strings"

	"surecut/internal/endpoint"
)

// A migration is resumed only between the servers with which it was started, and only if no other migration has held the target since. URLs
// are no proof: one may lead to another server than before, and another migration may have come and gone.

// CheckState returns an error if a state directory belongs to a migration between other servers, or is damaged. It does not lock the
// directory and writes nothing. It compares no servers if a side is nil, because it could not be opened.
func CheckState(ctx context.Context, dir string, sides Sides) error {
	s := &state{dir: dir}
	if there, err := s.read(); err != nil || !there {
		return err
	}
	if s.Begins || s.Source == "" || sides.Source == nil || sides.Target == nil {
		return nil
	}
	return s.refuseOthers(ctx, dir, sides)
}

func (s *state) refuseOthers(ctx context.Context, dir string, sides Sides) error {
	source, target := identity(sides.Source), identity(sides.Target)
	if withoutSeeds(s.Source) != withoutSeeds(source) || withoutSeeds(s.Target) != withoutSeeds(target) {
		return fmt.Errorf("Config.StateDir %s belongs to the migration from %s to %s, not to the one from %s to %s: name another directory",
			dir, s.Source, s.Target, source, target)
	}
	for _, side := range []struct {
		name string
		d    *endpoint.Deployment
		said string
		then endpoint.Identity
	}{{"source", sides.Source, s.Source, s.SourceServers}, {"target", sides.Target, s.Target, s.TargetServers}} {
		now, err := side.d.Identity(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
		otherSeeds := side.said != identity(side.d)
		if r := now.Recognize(side.then); !r.Same && r.Sure || otherSeeds && !(r.Same && r.Sure) {
			return fmt.Errorf("Config.StateDir %s belongs to a migration with another %s than the one that %s leads to now: %s; name another directory, or the %s that it began with",
				dir, side.name, side.d.Spec(), r.By, side.name)
		}
	}
	return nil
}

// withoutSeeds returns an endpoint, as the state remembers it, without the addresses of the nodes of a cluster: these come and go, and any
// of them leads to the others.
func withoutSeeds(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || !strings.HasSuffix(scheme, "+cluster") {
		return text
	}
	if i := strings.IndexAny(rest, "/? "); i >= 0 {
		return scheme + "://" + rest[i:]
	}
	return scheme + "://"
}
