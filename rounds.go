package surecut

import (
	"context"
	"errors"
	"fmt"

	"surecut/migrator"
	"surecut/verifier"
)

// scannedFindings bounds what one round copies again; what is beyond it, the next one finds.
const scannedFindings = 200_000

// Agree compares a source that was scanned with the target, and copies again what differs, in rounds until both agree. While the
// source is written there is always something; once the writers have stopped, the next round is the last. It ends without
// agreement where two rounds in a row could mend nothing.
//
// Where the source tells of its writes, they are copied as they come, and agreement counts only if it told of none during the round.
func (c *Cutover) Agree(ctx context.Context) (agreed *verifier.Report, err error) {
	writes, followed := func() int64 { return 0 }, func() int64 { return 0 }
	watch, why := c.Migration.Watch(ctx)
	if why != nil {
		c.tell("comparing in rounds; the source does not report its writes (%v)", why)
	} else {
		c.tell("comparing in rounds, and copying keys when the source reports that they were written")
		writes, followed = watch.Seen, watch.Copied
		defer func() { err = errors.Join(err, watch.Close()) }()
	}
	idle, untold := 0, 0
	for n := 1; ; n++ {
		begun, err := c.begin(ctx)
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", n, err)
		}
		seen, before := writes(), followed()
		opts := verifier.DefaultConfig()
		opts.Sides = c.Migration.Config().Sides
		opts.Filter, opts.Rounds, opts.MaxFindings = c.Migration.Config().Filter, 2, scannedFindings
		result, err := verifier.Run(ctx, opts)
		if err := orEnded(ctx, err); err != nil {
			return nil, fmt.Errorf("round %d: %w", n, err)
		}
		t := result.Totals
		round := migrator.Round{Round: n, Same: t.Same, Different: t.Different, Missing: t.Missing, Extra: t.Extra, Unchecked: t.Unchecked}
		round.Followed = followed() - before
		if result.Verdict != verifier.Same {
			round.Recopied, err = c.Migration.CopyAgain(ctx, outdated(result.Findings, &round))
		}
		c.Rounds = append(c.Rounds, round)
		if err != nil {
			return nil, fmt.Errorf("round %d: copy again: %w", n, err)
		}
		c.tell("round %d: %d same, %d different, %d missing, %d extra, %d unchecked; %d copied again, %d deleted, %d followed",
			n, t.Same, t.Different, t.Missing, t.Extra, t.Unchecked, round.Copied, round.Deleted, round.Followed)
		if idle++; round.Copied+round.Deleted > 0 {
			idle = 0
		}
		if writes() != seen { // it is out of date already
			idle = 0
			continue
		}
		settled := idle == 2
		if result.Verdict == verifier.Same {
			if settled, err = c.scannedQuiet(ctx, begun, &untold); err != nil {
				return nil, fmt.Errorf("round %d: %w", n, err)
			}
		}
		if settled {
			result.ListAtMost(verifier.DefaultConfig().MaxFindings)
			return result, nil
		}
	}
}

// outdated returns the keys that the target does not hold as the source does. One in a database that comes from none of the source's
// is left alone.
func outdated(findings []verifier.Finding, round *migrator.Round) []migrator.Outdated {
	var keys []migrator.Outdated
	for i := range findings {
		f := &findings[i]
		switch {
		case f.Verdict == verifier.Unchecked || f.Verdict == verifier.Same:
		case f.Unmapped, !f.Named(): // of a name that is too long to be kept, the report says so
			round.Left++
		default:
			keys = append(keys, migrator.Outdated{Key: f.Name(), Extra: f.Verdict == verifier.Extra})
		}
	}
	return keys
}
