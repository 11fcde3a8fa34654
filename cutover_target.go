package surecut

import (
	"context"
	"time"

	"surecut/internal/quiet"
	"surecut/internal/retry"
	"surecut/migrator"
)

// beginning is what both sides said of themselves before they were compared.
type beginning struct {
	source, target []quiet.Reading
	written        migrator.TargetWrites // what the migration had written to the target before it was read
	behind         []string              // shards of which the target had not applied what the source had been written
}

// begin reads the counters of both sides before a comparison: first those of the source; those of the target once all is applied that the
// source held then. If the source stays quiet from then on, the migration has nothing to write but surecut's own keys, and deletions of what
// expires.
func (c *Cutover) begin(ctx context.Context) (*beginning, error) {
	sides := c.Migration.Config().Sides
	b := &beginning{}
	var err error
	if b.source, err = quiet.Read(ctx, sides.Source); err != nil {
		return nil, err
	}
	if sides.Target.Spec().Proxy != "" {
		return b, nil
	}
	if b.behind, err = c.applySince(ctx, b.source); err != nil {
		return nil, err
	}
	b.written = c.Migration.TargetWrites()
	b.target, err = quiet.Read(ctx, sides.Target)
	return b, err
}

// applySince waits until the target has applied what the source held at a reading, and returns the shards of which it has not.
func (c *Cutover) applySince(ctx context.Context, at []quiet.Reading) (behind []string, err error) {
	var held quiet.Report
	for _, r := range at {
		held.Nodes = append(held.Nodes, quiet.Node{Addr: r.Addr, OffsetEnd: r.Offset})
	}
	for deadline := time.Now().Add(mostApplying); ; {
		behind = nil
		for _, n := range c.noteApplied(&held) {
			behind = append(behind, n.Addr)
		}
		if len(behind) == 0 || time.Now().After(deadline) {
			return behind, nil
		}
		if err := retry.Pause(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// changedTarget returns the nodes of the target that may not hold any more what was compared, because somebody other than the migration has
// written to them, or because they have lost keys. Behind a proxy nobody can tell.
func (c *Cutover) changedTarget(ctx context.Context, before *beginning) ([]quiet.Changed, error) {
	if len(before.target) == 0 {
		return nil, nil
	}
	var changed []quiet.Changed
	for _, shard := range before.behind {
		changed = append(changed, quiet.Changed{Addr: shard, Reason: "when the comparison began, the target had not applied all that this node of the source held, so it is not known who has written to the target since"})
	}
	after, err := quiet.Read(ctx, c.Migration.Config().Sides.Target)
	if err != nil {
		return nil, err
	}
	if err := c.settleReplies(ctx); err != nil {
		return nil, err
	}
	return append(changed, quiet.ChangedTarget(before.target, after, c.ownSince(&before.written))...), nil
}

// settleReplies waits until the migration has seen the replies to all that it had received when it was called, since it counts commands
// only then.
func (c *Cutover) settleReplies(ctx context.Context) error {
	received := map[string]int64{}
	for _, l := range c.Migration.Report().Links {
		received[l.Shard] = l.Offset
	}
	for deadline := time.Now().Add(mostApplying); time.Now().Before(deadline); {
		waits := false
		for _, l := range c.Migration.Report().Links {
			waits = waits || !l.Sync && l.Phase == "caught_up" && l.AppliedOffset < received[l.Shard]
		}
		if !waits {
			return nil
		}
		if err := retry.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// ownSince returns what the migration has written to the target since it had written what before says. Where it covers only a part of the
// target, whoever writes to the rest does no harm.
func (c *Cutover) ownSince(before *migrator.TargetWrites) quiet.Own {
	now := c.Migration.TargetWrites()
	own := quiet.Own{Keys: map[string]int64{}, Commands: now.Commands - before.Commands}
	own.Unknown = !now.Exact || !before.Exact || now.Copied != before.Copied || c.Migration.Report().Selection != nil
	for name, n := range now.Begun {
		own.Keys[name] = n - before.Ended[name]
	}
	return own
}
