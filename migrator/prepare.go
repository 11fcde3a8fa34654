package migrator

import (
	"context"
	"errors"
	"fmt"
	"os"

	"surecut/internal/psync"
	"surecut/internal/rdb"
)

// prepareTarget removes from the target what stands in the way of the link's next snapshot: what was loaded of one that was cut off, and the
// checkpoints of one that it replaces. It does so before the source is asked for anything, since a source that has begun to send must not
// wait for the target.
func (l *link) prepareTarget(ctx context.Context) error {
	stage := l.standing.stage()
	if stage != fresh && stage != receiving {
		return nil
	}
	return l.m.target.retry(ctx, func() (again, err error) {
		if err = l.makeRoom(ctx, stage); err != nil && psync.Retryable(err) && !errors.Is(err, errMixed) && !errors.Is(err, errResharded) {
			return err, ctx.Err()
		}
		return nil, err
	})
}

func (l *link) makeRoom(ctx context.Context, stage stage) error {
	if l.st.Again || stage == receiving { // keys may be deleted: the source must first have shown that its slots are where they were
		if err := l.m.proveSlots(ctx); err != nil {
			return err
		}
	}
	if err := l.takeBack(ctx); err != nil {
		return fmt.Errorf("take back what was loaded of a snapshot that was cut off: %w", err)
	}
	if l.st.Again {
		return l.forgetCheckpoints(ctx)
	}
	return nil
}

// errMixed says that keys of a snapshot that was cut off stand among the target's own.
var errMixed = errors.New("the target held keys of its own before, and which of its keys came from there cannot be told: say Config.OnExisting replace, or remove the source's keys from the target and start again with a new Config.StateDir")

// takeBack deletes the keys of a snapshot that was cut off from the target: they may be gone at the source by now.
// Where the target had keys of its own, only Config.OnExisting replace lets it.
func (l *link) takeBack(ctx context.Context) error {
	if l.st.Again || l.m.cfg.Mode == ModeIncremental || l.standing.stage() != receiving {
		return nil
	}
	f, err := os.Open(l.snapshotPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if l.m.cfg.OnExisting != ExistingReplace && !l.m.state.TargetWasEmpty {
		return errMixed
	}
	ld := &loader{l: l}
	if err := ld.unload(ctx, rdb.NewReader(f, rdb.Options{MaxValue: 1 << 20})); err != nil {
		return err
	}
	return os.Remove(l.snapshotPath()) // or the next run would do it again
}
