package migrator

import (
	"context"
	"io"
	"maps"
	"os"
	"time"

	"surecut/internal/rdb"
	"surecut/migrator/internal/load"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// loading is the loading of a link's snapshot. It notices if the target loses a part of it meanwhile.
type loading struct{ l *link }

// run writes the snapshot to the target. receiving ends when the migration is told to stop.
func (g *loading) run(ctx, receiving context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(receiving, func() {
		if g.l.m.cfg.Mode != ModeFull { // a full copy goes on to the end of what was received of the snapshot
			cancel()
		}
	})()
	ld := g.l.loadConfig(g.l.began != fresh)
	if ld.Hold = ld.Followed && g.l.m.cfg.HoldExpiry > 0 && g.l.replica != nil && g.l.standing.countsOffsets(); ld.Hold {
		g.l.expiries.Begin()
	}
	if err := g.whole(ctx, ld); err != nil {
		return err
	}
	if g.l.st.Again {
		if err := g.l.m.proveSlots(ctx); err != nil {
			return err
		}
		out := &sweep{target: g.l.m.target, scope: &g.l.scope, snapshot: func() io.Reader { return g.l.replica.receiver.Snapshot().Reader() },
			asked: g.l.st.StartedMs, keys: g.l.ledger.SnapshotKeys.Load(), log: g.l.log}
		if err := out.run(ctx); err != nil {
			return err
		}
	}
	if g.l.m.table != nil && (g.l.st.Again || g.l.began != fresh) {
		if err := g.l.m.table.Mark(); err != nil { // what was deleted before the snapshot, in slots that move by now, is in no notes
			return err
		}
	}
	start := stream.Mark{Offset: g.l.st.Start, DB: g.l.st.StreamDB, Received: time.Now().UnixMilli()}
	if err := g.l.records.save(ctx, start); err != nil {
		return err
	}
	if g.l.replica != nil {
		g.l.replica.cuts = 0
	}
	err := g.l.standing.advance(loaded, func(st *linkState) error {
		if st.Lost { // the target has lost keys since whole looked
			return target.ErrLost
		}
		st.Again = false
		return nil
	})
	if err != nil || g.l.replica == nil {
		return err
	}
	return os.Remove(g.l.snapshotPath())
}

// whole loads the snapshot until it was loaded without a loss: where a server of the target was restarted or replaced meanwhile, or
// has lost keys, it may not hold all that it has acknowledged, and the snapshot is loaded again.
func (g *loading) whole(ctx context.Context, ld *load.Config) error {
	t := g.l.m.target
	servers := func() (found map[string]target.Instance, err error) {
		err = t.Retry(ctx, func() (again, err error) {
			found, again = t.Instances(ctx)
			return again, ctx.Err()
		})
		return found, err
	}
	before, err := servers()
	for err == nil {
		if err = g.l.origin.load(ctx, ld); err != nil {
			break
		}
		after, err := servers()
		if err != nil {
			return err
		}
		if same := maps.EqualFunc(before, after, func(a, b target.Instance) bool { return a.Process == b.Process }); !g.l.standing.takeLoss() && same {
			return nil
		}
		g.l.log.Warn("the target was restarted or lost keys while the snapshot was loaded; the snapshot is loaded again")
		before, ld.Over = after, g.l.over(true)
		g.l.ledger.ForgetSnapshot()
		if err := g.l.problems.Clear(); err != nil {
			return err
		}
	}
	return err
}

// loadRDB loads an RDB, and returns how many bytes it has.
func (l *link) loadRDB(ctx context.Context, ld *load.Config, from io.Reader) (size int64, err error) {
	watch := l.m.cfg.Snapshots
	snapshot := rdb.NewReader(from, rdb.Options{MaxValue: int(l.m.cfg.BigValue), Shapes: watch != nil})
	if watch != nil {
		watch.Begin(l.st.Shard)
		ld.Show = func(e *rdb.Entry) { watch.Entry(l.st.Shard, e) }
	}
	if err := load.New(ld).Load(ctx, snapshot); err != nil {
		return 0, err
	}
	if watch != nil {
		watch.End(l.st.Shard)
	}
	return snapshot.Consumed(), nil
}
