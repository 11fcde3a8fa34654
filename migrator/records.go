package migrator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"surecut/internal/endpoint"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// records keeps what the target remembers of the link: the link's records, and the checkpoints of its units.
type records struct {
	l           *link
	checkpoints *target.Checkpoints

	releasesSaved int              // how often all held keys had been released when the last record was written; guarded by the saving of positions
	loaded        map[string]int64 // offset of each record as load found it, until all are written anew; guarded by the saving of positions
}

// save saves a checkpoint of the link on the target, if it is ahead of the one that the target holds.
func (r *records) save(ctx context.Context, at stream.Mark) error {
	return r.l.positions.Save(at, func(saved int64) error {
		r.l.m.stateMu.Lock()
		replID := r.l.st.ReplID
		r.l.m.stateMu.Unlock()
		if err := errors.Join(r.l.problems.Saved(), r.l.expiries.Save(), r.l.doubts.Save(), r.l.scripts.Save(), r.l.m.saveNotes()); err != nil {
			return err
		}
		copies, releases := r.l.doubts.Copies(), r.l.expiries.Releases()
		keys := r.kept()
		g, ctx := errgroup.WithContext(ctx)
		for _, k := range keys {
			least := saved
			if offset, ok := r.loaded[k.Name]; ok && saved >= 0 {
				least = offset
			}
			g.Go(func() error {
				return r.checkpoints.SaveRecord(ctx, k, least, at.Offset, "replication_id", replID,
					"db", fmt.Sprint(at.DB), "shard", r.l.shard.Primary())
			})
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("save the checkpoint: %w", err)
		}
		r.l.doubts.Saved(copies)
		r.releasesSaved, r.loaded = releases, nil
		return r.note(keys)
	})
}

// keys returns the keys of the link's records on the target, its own first.
func (r *records) keys() []target.RecordKey {
	keys := []target.RecordKey{{Name: r.checkpoints.RecordName(), Main: true}}
	ofNodes := r.l.m.cfg.Sides.Target.Kind() == endpoint.Cluster && r.l.m.target.Can.Placement
	if !ofNodes && !r.l.m.target.Can.Tells {
		return keys
	}
	r.l.m.stateMu.Lock()
	defer r.l.m.stateMu.Unlock()
	for _, w := range r.l.m.state.Witnesses {
		keys = append(keys, target.RecordKey{Name: r.checkpoints.RecordNameIn(w.Slot), Slot: w.Slot, Must: slices.Contains(r.l.st.Recorded, w.Slot)})
	}
	return keys
}

// kept returns the keys of the records that are written.
func (r *records) kept() []target.RecordKey {
	keys := r.keys()
	if !r.l.m.target.Can.Tells {
		return keys
	}
	return slices.DeleteFunc(keys, func(k target.RecordKey) bool { return !k.Main && !r.checkpoints.Keeps(k.Slot) })
}

// note makes durable which records the target holds by now.
func (r *records) note(keys []target.RecordKey) error {
	if !slices.ContainsFunc(keys, func(k target.RecordKey) bool { return !k.Main && !k.Must }) {
		return nil
	}
	r.l.m.update(func() {
		r.l.st.Recorded = nil
		for _, w := range r.l.m.state.Witnesses {
			name := r.checkpoints.RecordNameIn(w.Slot)
			if slices.ContainsFunc(keys, func(k target.RecordKey) bool { return k.Name == name }) {
				r.l.st.Recorded = append(r.l.st.Recorded, w.Slot)
			}
		}
	})
	return r.l.m.saveState()
}

// compact deletes the checkpoints of units that are not ahead of the link's own. It keeps those that hold the fence of a key which was
// copied as of a later offset.
func (r *records) compact(ctx context.Context, s *stream.Stream) error {
	if err := r.verify(ctx); err != nil {
		return err
	}
	if !r.l.m.target.Can.Transactions { // units have no checkpoints then
		return r.l.reach.settle(s)
	}
	return r.checkpoints.Forget(ctx, nil, r.l.positions.ForgetSettled(s.Fenced()))
}

// verify returns ErrRegressed if the target lacks something that it has acknowledged; see Checkpoints.Verify.
func (r *records) verify(ctx context.Context) error {
	return r.checkpoints.Verify(ctx, r.l.positions.AcknowledgedUnits())
}

// load reads from the target how far it has come. Nothing goes to it without a checkpoint if the link could not go back (replica.again):
// that of a file, and that of a source without offsets.
func (r *records) load(ctx context.Context) (*target.Checkpoint, error) {
	cp, err := r.checkpoints.Resume(ctx, r.keys(), r.l.file == nil && r.l.standing.countsOffsets())
	if err == nil {
		r.loaded = cp.Records
	}
	return cp, err
}
