package surecut

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"surecut/internal/quiet"
	"surecut/internal/retry"
	"surecut/migrator"
	"surecut/verifier"
)

const (
	// DefaultQuiet is how long nobody may have written to the source after it was compared.
	DefaultQuiet = 5 * time.Second
	// mostComparisons bounds how often both sides are compared because the source was written during a comparison and was quiet after it.
	mostComparisons = 3
	// mostApplying bounds how long the target may take to apply the last that the source was written.
	mostApplying = 10 * time.Second
)

// Cutover finds out whether applications can be moved to the target: it compares both sides while the migration goes on, and sees whether
// anybody still writes to the source.
type Cutover struct {
	Migration   *migrator.Migration
	QuietFor    time.Duration         // how long nobody may write to the source after the comparison
	PauseWrites time.Duration         // for how long the source's writes are held back at most (CLIENT PAUSE, since 6.2); 0: they are not
	Tell        func(sentence string) // what happens; nil: nobody is told

	// MayStayUntold lets Agree end although it cannot be told, through a proxy, whether the source is still written.
	MayStayUntold bool

	Quiet  *quiet.Report    // how the source was found after the last comparison; nil: nothing was compared
	Rounds []migrator.Round // of Agree
}

func (c *Cutover) tell(format string, args ...any) {
	if c.Tell != nil {
		c.Tell(fmt.Sprintf(format, args...))
	}
}

// Ready says whether applications can be moved by what was found: both sides are the same, nobody writes to the source, and the target
// still holds what was compared.
func (c *Cutover) Ready(found *verifier.Report) bool {
	return found.Verdict == verifier.Same && c.Quiet != nil && c.Quiet.Quiet
}

// Run runs the migration and compares both sides: once the target has caught up, or in rounds where the source is scanned. Then it finishes
// the migration. What surecut keeps on the target and on disk stays, so that the migration can be resumed, until Migration.Forget removes it.
func (c *Cutover) Run(ctx context.Context) (*verifier.Report, error) {
	switch cfg := c.Migration.Config(); {
	case cfg.Capture == migrator.CaptureScan:
		if err := c.Migration.Run(ctx); err != nil {
			return nil, err
		}
		return c.Agree(ctx)
	case cfg.Mode == migrator.ModeFull, cfg.Sides.Source.Spec().IsFile():
		return nil, errors.New("cut over: a migration of a file, or with Config.Mode full, ends by itself; run it, and compare afterwards")
	}
	comparing, ended := context.WithCancel(ctx)
	defer ended()
	result := make(chan error, 1)
	go func() {
		result <- c.Migration.Run(ctx)
		ended()
	}()
	var found *verifier.Report
	err := c.Migration.AwaitCaughtUp(comparing)
	if err == nil {
		found, err = c.Compare(comparing)
	}
	c.Migration.Finish()
	if failed := <-result; failed != nil {
		return nil, failed
	}
	return found, err
}

// Compare verifies while the migration goes on, and then sees whether the source is still written. What was written after the comparison
// began may have been read before, so where the writers have stopped meanwhile, everything is compared once more.
func (c *Cutover) Compare(ctx context.Context) (found *verifier.Report, err error) {
	pause, err := c.pauseWrites(ctx)
	if err != nil {
		return nil, err
	}
	if pause != nil {
		defer func() { err = errors.Join(err, c.endPause(pause)) }()
	}
	for n := 1; ; n++ {
		before, err := c.begin(ctx)
		if err != nil {
			return nil, err
		}
		c.tell("the target has caught up; verifying")
		found, err = c.verify(ctx)
		if err != nil || found.Verdict != verifier.Same {
			return found, err
		}
		still, err := c.quietSince(ctx, before, pause)
		if err != nil {
			return nil, err
		}
		if c.Quiet.Quiet || still || n == mostComparisons {
			return found, nil
		}
		if len(c.Quiet.Reasons()) > 0 {
			c.tell("the source was written during the comparison, but is no longer written now; comparing again (%s)", strings.Join(c.Quiet.Reasons(), " "))
		} else {
			c.tell("the target may have changed since it was compared; comparing again (%s)", strings.Join(c.Quiet.TargetReasons(), " "))
		}
	}
}

// verify compares while the migration goes on.
func (c *Cutover) verify(ctx context.Context) (*verifier.Report, error) {
	opts := verifier.DefaultConfig()
	opts.Sides = c.Migration.Config().Sides
	opts.Filter, opts.Applier, opts.SourcePaused = c.Migration.Config().Filter, Feeding(c.Migration), c.PauseWrites > 0
	found, err := verifier.Run(ctx, opts)
	if err := orEnded(ctx, err); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return found, nil
}

// orEnded returns the error of a context that has ended: an engine whose connections were broken off has found nothing.
func orEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// quietSince waits for the quiet time, and notes how the source was found since before. still says that it was written during the
// quiet time itself, or that a pause has not shown it quiet.
func (c *Cutover) quietSince(ctx context.Context, before *beginning, pause *quiet.Pause) (still bool, err error) {
	c.tell("there is no difference; the verdict is GO if nobody writes to the source for another %v", c.QuietFor)
	report, still, err := quiet.Watch(ctx, c.Migration.Config().Sides.Source, before.source, c.QuietFor)
	if err != nil {
		return false, err
	}
	if pause != nil && pause.Judge(ctx, &report) {
		still = true
	}
	if err := c.awaitApplied(ctx, &report); err != nil {
		return false, err
	}
	if report.Target, err = c.changedTarget(ctx, before); err != nil {
		return false, err
	}
	report.Quiet = report.Quiet && len(report.Target) == 0
	c.Quiet = &report
	return still, nil
}

// awaitApplied waits until the target has applied what the source had at the end of its quiet time, so that the offsets of the report
// are those at which both sides were the same.
func (c *Cutover) awaitApplied(ctx context.Context, report *quiet.Report) error {
	for deadline := time.Now().Add(mostApplying); ; {
		behind := c.noteApplied(report)
		if len(behind) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			for _, n := range behind {
				report.Quiet = false
				n.Reason = fmt.Sprintf("the target has applied it only up to offset %d, %v after the quiet time", n.AppliedOffset, mostApplying)
			}
			return nil
		}
		if err := retry.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// noteApplied notes how far the target has applied each node, and returns those that are quiet and not applied. The links of a source that
// is scanned, or that has no PSYNC, count no offsets of the source.
func (c *Cutover) noteApplied(report *quiet.Report) (behind []*quiet.Node) {
	links := c.Migration.Report().Links
	for i := range report.Nodes {
		n := &report.Nodes[i]
		for _, l := range links {
			if l.Shard != n.Addr || l.Sync || l.ReplID == "" {
				continue
			}
			if n.AppliedOffset = l.AppliedOffset; l.AppliedOffset < n.OffsetEnd && n.Reason == "" && c.oneStream(l.Reads, n.Addr) {
				behind = append(behind, n)
			}
		}
	}
	return behind
}

// oneStream says whether the offsets of the node that a link reads from are those of the shard's primary. A replica before 4.0 sends a
// stream of its own.
func (c *Cutover) oneStream(reads, primary string) bool {
	if reads == primary {
		return true
	}
	facts, err := c.Migration.Config().Sides.Source.Server(context.Background(), primary)
	return err == nil && facts.OneStream
}

// pauseWrites holds back the writes to the source where that was asked for; nil where it was not.
func (c *Cutover) pauseWrites(ctx context.Context) (*quiet.Pause, error) {
	if c.PauseWrites == 0 {
		return nil, nil
	}
	pause, err := quiet.PauseWrites(ctx, c.Migration.Config().Sides.Source, c.PauseWrites)
	if err != nil {
		return nil, fmt.Errorf("Cutover.PauseWrites: %w", err)
	}
	c.tell("all writes to the source are held back for at most %v (CLIENT PAUSE %d WRITE on %s)",
		c.PauseWrites, c.PauseWrites.Milliseconds(), strings.Join(pause.Nodes(), ", "))
	return pause, nil
}

func (c *Cutover) endPause(pause *quiet.Pause) error {
	if err := pause.End(); err != nil {
		return fmt.Errorf("end the pause of the source's writes: %w", err)
	}
	c.tell("writes to the source are no longer held back (CLIENT UNPAUSE on %s)", strings.Join(pause.Nodes(), ", "))
	return nil
}

// scannedQuiet says whether the round that has just found both sides the same was made of a source that nobody wrote to, so that it may
// be the last. Where that cannot be told at all, three rounds are enough to say so.
func (c *Cutover) scannedQuiet(ctx context.Context, before *beginning, untold *int) (bool, error) {
	if c.MayStayUntold && c.Migration.Config().Sides.Source.Spec().Proxy != "" {
		c.tell("both sides agree. Through a proxy it cannot be determined whether the source is still written, so make sure that the writers had stopped before this round")
		report := quiet.Compare(before.source, before.source) // of a proxy, a reading says only that nothing is told
		c.Quiet = &report
		return true, nil
	}
	if _, err := c.quietSince(ctx, before, nil); err != nil {
		return false, err
	}
	if *untold++; c.Quiet.Quiet || c.Quiet.Written() {
		*untold = 0
	}
	if c.Quiet.Quiet || *untold == mostComparisons {
		return true, nil
	}
	if len(c.Quiet.Reasons()) > 0 {
		c.tell("the round does not count, because the source is still written: %s", strings.Join(c.Quiet.Reasons(), " "))
	} else {
		c.tell("the round does not count, because the target may have changed: %s", strings.Join(c.Quiet.TargetReasons(), " "))
	}
	return false, nil
}
