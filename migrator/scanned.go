package migrator

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/load"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// scanned is a source that is not replicated: its keys are listed and read.
type scanned struct{ l *link }

func (scanned) open() error  { return nil }
func (scanned) close() error { return nil }

// run copies a source that is not replicated, by one scan.
func (s scanned) run(ctx context.Context) error {
	if err := s.l.clock.Measure(ctx, s.l.shard.Node()); err != nil {
		return err
	}
	if s.l.began == fresh {
		err := s.l.standing.advance(received, func(st *linkState) error {
			st.StartedMs = s.l.clock.Now()
			return nil
		})
		if err != nil {
			return err
		}
	}
	s.l.do(working)
	if !s.l.standing.stage().inTarget() {
		reading, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(s.l.m.stopping, stop)()
		if err := (&loading{s.l}).run(ctx, reading); err != nil {
			if reading.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
				return s.l.stopped()
			}
			return err
		}
	}
	return s.l.stopped()
}

// load lets a key give way to itself: SCAN may return a key twice, while the server's table of keys is being resized.
func (s scanned) load(ctx context.Context, ld *load.Config) error {
	ld.Over.First = ld.Over.First || ld.Over.Later
	_, err := s.l.loadScan(ctx, ld, nil)
	return err
}

// feed returns an error, since no stream follows a scan.
func (scanned) feed(stream.Mark, context.Context) (stream.Feed, error) {
	return nil, errors.New("a source that is scanned has no stream")
}

func (scanned) received() int64 { return 0 }

// loadScan scans the source and loads its keys; if keys is not nil, only these. It returns those of keys that the source does not have.
func (l *link) loadScan(ctx context.Context, ld *load.Config, keys []keyspace.Key) (gone []keyspace.Key, err error) {
	cfg := &l.m.cfg
	if keys != nil {
		ld.Libraries = nil
	}
	s := reread.NewScan(reread.ScanConfig{Source: cfg.Sides.Source, Node: l.shard.Node, Keys: keys, Filter: &l.scope.Filter, Readers: cfg.Lanes,
		BigValue: cfg.BigValue, RetryFor: cfg.RetryFor, Waits: &l.m.waits, Log: l.log,
		NoFunctions: func(err error) {
			ld.Libraries = nil // those of an earlier run stay
			l.ledger.Note(0, "", "FUNCTION LIST", "function libraries are not copied: "+err.Error())
		}})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error { return load.New(ld).Load(ctx, s) })
	err = g.Wait()
	return s.Absent(), err
}

// Outdated is a key whose value on the target differs from the source's.
type Outdated struct {
	Key   keyspace.Key // with the source's name
	Extra bool         // only the target has the key
}

// Recopied counts what became of keys that were copied again.
type Recopied struct {
	Copied  int64 `json:"copied"`
	Deleted int64 `json:"deleted"` // the source has them no longer
	Left    int64 `json:"left"`    // not copied, each with a problem; or not deleted, since the target held keys before the migration
}

// CopyAgain copies keys from the source to the target as they are now. The migration must have ended, and its capture must be a scan. Keys
// that only the target has are deleted if the target was empty before the migration. Only one call runs at a time, since an older copy of a
// key must not overwrite a newer one.
func (m *Migration) CopyAgain(ctx context.Context, keys []Outdated) (r Recopied, err error) {
	m.again.Lock()
	defer m.again.Unlock()
	if time.Since(m.proven) > slotPoll { // a key that a node lacks only because its slot has moved must not be deleted
		if err := m.proveSlots(ctx); err != nil {
			return r, err
		}
		m.proven = time.Now()
	}
	byLink := make([][]keyspace.Key, len(m.live()))
	keep := map[keyspace.Key]bool{}
	for _, k := range keys {
		if k.Extra && !m.state.TargetWasEmpty {
			keep[k.Key] = true
		}
		i := 0
		if n, ok := m.cfg.Sides.Source.PrimaryOf(m.cfg.Sides.Source.Slot(k.Key.Name)); ok {
			i = max(slices.IndexFunc(m.live(), func(l *link) bool { return l.shard.Node() == n.Addr }), 0)
		}
		byLink[i] = append(byLink[i], k.Key)
	}
	for i, keys := range byLink {
		if len(keys) == 0 {
			continue
		}
		if err := m.copyAgain(ctx, i, keys, keep, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (m *Migration) copyAgain(ctx context.Context, i int, keys []keyspace.Key, keep map[keyspace.Key]bool, r *Recopied) (err error) {
	l := newLink(m, i, m.live()[i].shard.Nodes(), m.live()[i].shard.Node()) // a link with counters of its own
	if err := l.chooseOrigin(""); err != nil {
		return err
	}
	if err := l.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	ld := l.loadConfig(true)
	ld.Over.First = true // the target's keys are known to be out of date
	gone, err := l.loadScan(ctx, ld, keys)
	if err != nil {
		return err
	}
	r.Copied += l.ledger.SnapshotApplied.Load()
	r.Left += l.ledger.SnapshotReported.Load() + l.ledger.SnapshotKept.Load()
	for _, k := range gone {
		db, ok := l.scope.Map(k.DB)
		if keep[k] || !ok {
			r.Left++
			continue
		}
		if err := l.removeGone(ctx, keyspace.Key{DB: db, Name: l.scope.TargetName(k.DB, k.Name)}); err != nil {
			return err
		}
		r.Deleted++
	}
	return nil
}

// removeGone deletes a key of the target that the source does not have.
func (l *link) removeGone(ctx context.Context, k keyspace.Key) error {
	return l.m.target.Retry(ctx, func() (again, err error) { return target.AgainOrEnd("", l.writer.Remove(ctx, []keyspace.Key{k})) })
}
