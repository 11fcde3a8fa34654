package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"surecut/internal/quiet"
	"surecut/reports"
	"surecut/verifier"
)

const (
	// defaultQuiet is how long nobody may have written to the source after it was compared.
	defaultQuiet = 5 * time.Second
	// mostComparisons bounds how often both sides are compared because the source was written during a comparison and was quiet after it.
	mostComparisons = 3
	// mostApplying bounds how long the target may take to apply the last that the source was written.
	mostApplying = 10 * time.Second
)

// compare verifies while the migration goes on, and then sees whether the source is still written. What was written after the comparison
// began may have been read before, so where the writers have stopped meanwhile, everything is compared once more.
func (r *migration) compare(ctx context.Context) (verified *reports.Verify, err error) {
	pause, err := r.pauseWrites(ctx)
	if err != nil {
		return nil, err
	}
	if pause != nil {
		defer func() { err = errors.Join(err, r.endPause(pause)) }()
	}
	for n := 1; ; n++ {
		before, err := quiet.Read(ctx, r.o.Config.Sides.Source)
		if err != nil {
			return nil, err
		}
		fmt.Fprintln(r.stderr, "surecut: caught up; verifying")
		verified, err = r.verify(ctx)
		if err != nil || verified.Verdict != verifier.Same {
			return verified, err
		}
		still, err := r.quietSince(ctx, before, pause)
		if err != nil {
			return nil, err
		}
		if r.quiet.Quiet || still || n == mostComparisons {
			return verified, nil
		}
		fmt.Fprintf(r.stderr, "surecut: the source was written while it was compared, and is quiet now; comparing again (%s)\n", strings.Join(r.quiet.Reasons(), " "))
	}
}

// quietSince waits for the quiet time, and notes how the source was found since before. still says that it was written during the
// quiet time itself.
func (r *migration) quietSince(ctx context.Context, before []quiet.Reading, pause *quiet.Pause) (still bool, err error) {
	fmt.Fprintf(r.stderr, "surecut: no difference; GO needs a source that nobody writes to for %v\n", r.o.QuietFor)
	report, still, err := quiet.Watch(ctx, r.o.Config.Sides.Source, before, r.o.QuietFor)
	if err != nil {
		return false, err
	}
	if pause != nil {
		pause.Judge(ctx, &report)
	}
	if err := r.awaitApplied(ctx, &report); err != nil {
		return false, err
	}
	r.quiet = &report
	return still, nil
}

// awaitApplied waits until the target has applied what the source had at the end of its quiet time, so that the offsets of the report
// are those at which both sides were the same.
func (r *migration) awaitApplied(ctx context.Context, report *quiet.Report) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(mostApplying); ; {
		behind := r.noteApplied(report)
		if len(behind) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			for _, n := range behind {
				report.Quiet = false
				n.Reason = fmt.Sprintf("the target has applied it up to offset %d only, %v after the quiet time", n.AppliedOffset, mostApplying)
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// noteApplied notes how far the target has applied each node, and returns those that are quiet and not applied. The links of a source that
// is scanned, or that has no PSYNC, count no offsets of the source.
func (r *migration) noteApplied(report *quiet.Report) (behind []*quiet.Node) {
	links := r.m.Report().Links
	for i := range report.Nodes {
		n := &report.Nodes[i]
		for _, l := range links {
			if l.Shard != n.Addr || l.Sync || l.ReplID == "" {
				continue
			}
			if n.AppliedOffset = l.AppliedOffset; l.AppliedOffset < n.OffsetEnd && n.Reason == "" && r.oneStream(l.Reads, n.Addr) {
				behind = append(behind, n)
			}
		}
	}
	return behind
}

// oneStream says whether the offsets of the node that a link reads from are those of the shard's primary. A replica before 4.0 sends a
// stream of its own.
func (r *migration) oneStream(reads, primary string) bool {
	if reads == primary {
		return true
	}
	facts, err := r.o.Config.Sides.Source.Server(context.Background(), primary)
	return err == nil && facts.OneStream
}

// pauseWrites holds back the writes to the source where that was asked for; nil where it was not.
func (r *migration) pauseWrites(ctx context.Context) (*quiet.Pause, error) {
	if r.o.PauseWrites == 0 {
		return nil, nil
	}
	pause, err := quiet.PauseWrites(ctx, r.o.Config.Sides.Source, r.o.PauseWrites)
	if err != nil {
		return nil, fmt.Errorf("--pause-writes: %w", err)
	}
	fmt.Fprintf(r.stderr, "surecut: all writes to the source are held back, for %v at most (CLIENT PAUSE %d WRITE on %s)\n",
		r.o.PauseWrites, r.o.PauseWrites.Milliseconds(), strings.Join(pause.Nodes(), ", "))
	return pause, nil
}

func (r *migration) endPause(pause *quiet.Pause) error {
	if err := pause.End(); err != nil {
		return fmt.Errorf("let the writes to the source go on: %w", err)
	}
	fmt.Fprintf(r.stderr, "surecut: writes to the source go on (CLIENT UNPAUSE on %s)\n", strings.Join(pause.Nodes(), ", "))
	return nil
}

// scannedQuiet says whether the round that has just found both sides the same was made of a source that nobody wrote to, so that it may
// be the last. Where that cannot be told at all, three rounds are enough to say so.
func (r *migration) scannedQuiet(ctx context.Context, before []quiet.Reading, untold *int) (bool, error) {
	if r.o.Endpoints.Source.Proxy != "" && r.o.Until != "same" {
		fmt.Fprintln(r.stderr, "surecut: both sides agree; whether the source is still written cannot be told through a proxy: see to it that the writers had stopped before this round")
		return true, nil
	}
	if _, err := r.quietSince(ctx, before, nil); err != nil {
		return false, err
	}
	if *untold++; r.quiet.Quiet || r.quiet.Written() {
		*untold = 0
	}
	if r.quiet.Quiet || *untold == mostComparisons {
		return true, nil
	}
	fmt.Fprintf(r.stderr, "surecut: the round does not count, since the source is not quiet: %s\n", strings.Join(r.quiet.Reasons(), " "))
	return false, nil
}
