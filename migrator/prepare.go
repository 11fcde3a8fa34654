package migrator

import (
	"context"
	"errors"
	"fmt"
	"os"

	"surecut/internal/psync"
	"surecut/internal/rdb"
	"surecut/migrator/internal/load"
)

// prepareTarget prepares the target for the link's next snapshot: it deletes the keys of a snapshot that was cut off, and the checkpoints
// of a stream that is not continued. It is called before the source is asked for anything, since a source that has begun to send must not
// wait for the target.
func (l *link) prepareTarget(ctx context.Context) error {
	stage := l.standing.stage()
	if stage != fresh && stage != receiving {
		return nil
	}
	return l.m.target.Retry(ctx, func() (again, err error) {
		if err = l.makeRoom(ctx, stage); err != nil && psync.Retryable(err) && !errors.Is(err, errMixed) && !errors.Is(err, errResharded) {
			return err, ctx.Err()
		}
		return nil, err
	})
}

func (l *link) makeRoom(ctx context.Context, stage stage) error {
	if l.st.Again || stage == receiving { // before keys are deleted, the source has to show that its slots have not moved
		if err := l.m.proveSlots(ctx); err != nil {
			return err
		}
	}
	if err := l.takeBack(ctx); err != nil {
		return fmt.Errorf("delete what was loaded of an incomplete snapshot: %w", err)
	}
	if l.st.Again {
		return l.forgetCheckpoints(ctx)
	}
	return nil
}

// errMixed says that the target may hold keys of a snapshot that was cut off among keys of its own.
var errMixed = errors.New("the target held keys before this migration began, so it is not known which of its keys came from the snapshot: set Config.OnExisting replace, or remove the source's keys from the target and start again with a new Config.StateDir")

// takeBack deletes from the target the keys of a snapshot that was cut off, since the source may not have them any more. If the target had
// keys of its own, it does so only with Config.OnExisting replace.
func (l *link) takeBack(ctx context.Context) error {
	if l.st.Again || l.m.cfg.Mode == ModeIncremental || l.standing.stage() != receiving || l.loadsNothing() {
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
	if err := load.New(l.loadConfig(false)).Unload(ctx, rdb.NewReader(f, rdb.Options{MaxValue: 1 << 20})); err != nil {
		return err
	}
	return os.Remove(l.snapshotPath()) // so that the keys are not deleted a second time
}
