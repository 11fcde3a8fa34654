package migrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"surecut/internal/endpoint"
	"surecut/internal/waiting"

	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/libraries"
	"surecut/migrator/internal/receive"
	"surecut/migrator/internal/slots"
	"surecut/migrator/internal/stream"
	"surecut/migrator/internal/target"
)

// Migration copies one deployment into another. Run has these ends:
//
//	what ends it                       what becomes of the data               Run returns          Report.State
//	the context of Run                 stops at once, as by a crash           the context's cause  stopped
//	Finish                             all that the source had is applied     nil                  done
//	Finish, and Settled is false       what was received is applied           nil                  stopped
//	Finish before the snapshot is in   what has arrived of it stays           nil                  stopped
//	ModeFull is done, a file is read   all of it is in the target             nil                  done
//	Finish, and the target is silent   what it has acknowledged is applied    nil                  stopped
//	an error                           stops at once                          the error            failed
//
// A stopped migration is resumed by New with the same StateDir, and so is a failed one, unless its error says otherwise. A migration that
// Finish has brought to done can be resumed as well, until Forget removes what surecut keeps on the target and on disk. Of a full copy or
// a file that is done, nothing of surecut is left.
type Migration struct {
	cfg     Config
	slotted bool         // the source is a cluster whose slots may move
	table   *slots.Table // which link has which slots; nil: slots that move are not followed
	notes   *slots.Notes // nil until Run, and where slots that move are not followed
	target  *target.Target
	state   *state

	libraries *libraries.Set

	resumed bool

	linksMu sync.RWMutex
	links   []*link // guarded by linksMu; a shard that joins the source adds one

	running atomic.Bool // Run was called, so that the state on disk is kept up to date

	stopping context.Context // done once Finish was called
	stop     context.CancelFunc
	toldAt   atomic.Pointer[time.Time] // when Finish was called; nil: it was not

	waits      waiting.Book
	unfinished atomic.Pointer[waiting.Told] // for which the run was ended after Finish; nil: for none

	stateMu   sync.Mutex      // guards state
	mending   sync.Mutex      // held by mend
	again     sync.Mutex      // held by CopyAgain
	unsure    atomic.Bool     // a shard has slots and no link yet
	primaries map[string]bool // IDs of the primaries of the source that were alive when it was last looked at; guarded by stateMu
	proven    time.Time       // when CopyAgain last saw the slots of the source in place; guarded by again

	refresh   sync.Mutex // held by refreshSource
	refreshed time.Time  // guarded by refresh

	problems []*ledger.Problems // of each link; guarded by linksMu

	finishing sync.Once // Finish waits for slots that move

	mu    sync.Mutex
	err   error // of Run
	ended bool  // Run has returned
	cut   bool  // because its context had ended
}

// New prepares a migration: it reads what an earlier run has left in the state directory, asks source and target what they can do,
// and chooses the nodes to read from. It writes nothing to the target, except through a proxy a few keys that it deletes at once.
func New(ctx context.Context, cfg Config) (*Migration, error) {
	if err := errors.Join(cfg.Validate(), cfg.Sides.Validate()); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Migration{cfg: cfg}
	m.stopping, m.stop = context.WithCancel(context.Background())
	var err error
	if m.state, m.resumed, err = openState(cfg.StateDir); err != nil {
		return nil, err
	}
	if err := m.guarded(ctx, m.prepare); err != nil {
		return nil, errors.Join(err, m.state.close())
	}
	return m, nil
}

func (m *Migration) prepare(ctx context.Context) error {
	from, to := identity(m.cfg.Sides.Source), identity(m.cfg.Sides.Target)
	if m.resumed {
		if err := m.state.refuseOthers(ctx, m.cfg.StateDir, m.cfg.Sides); err != nil {
			return err
		}
	}
	if m.resumed && !maps.Equal(m.state.DBPrefix, m.cfg.Filter.DBPrefix) {
		return fmt.Errorf("Config.StateDir %s: the migration began with Filter.DBPrefix %v, not %v: use the same prefixes, or start again with an empty target and a new Config.StateDir",
			m.cfg.StateDir, prefixText(m.state.DBPrefix), prefixText(m.cfg.Filter.DBPrefix))
	}
	m.state.DBPrefix = m.cfg.Filter.DBPrefix
	if m.scans() && (m.cfg.Sides.Source.Spec().IsFile() || m.cfg.Mode != ModeFullIncremental) {
		return errors.New("Config.Capture scan: the source must not be a file, and Config.Mode must be full+incremental")
	}
	if m.cfg.Sides.Source.Spec().IsFile() && m.cfg.Mode != ModeFullIncremental {
		return fmt.Errorf("Config.Mode %s: a file is always copied completely; leave Config.Mode out", m.cfg.Mode)
	}
	if n := m.cfg.Sides.Source.Moving(); n > 0 {
		return fmt.Errorf("%d %w", n, stream.ErrSlotsMoved)
	}
	if !m.resumed {
		if m.cfg.Mode == ModeIncremental {
			return fmt.Errorf("Config.Mode incremental: %s holds no migration to continue", m.cfg.StateDir)
		}
		m.state.Lanes = m.cfg.Lanes
		for i, s := range m.cfg.Sides.Source.Shards() {
			m.state.Links = append(m.state.Links, &linkState{Name: strconv.Itoa(i), Shard: s.Primary.Addr})
		}
	}
	m.state.Source, m.state.Target = from, to
	if err := m.nameServers(ctx); err != nil {
		return err
	}
	m.slotted = movableSlots(m.cfg.Sides.Source)
	shards, err := m.bindShards(ctx)
	if err != nil {
		return err
	}
	m.target, err = target.Open(ctx, target.Config{Target: m.cfg.Sides.Target, Source: m.cfg.Sides.Source, StateDir: m.cfg.StateDir, ID: m.state.ID,
		Lanes: m.state.Lanes, RetryFor: m.cfg.RetryFor, RateBytes: m.cfg.RateBytes, RateOps: m.cfg.RateOps, Waits: &m.waits, Log: m.cfg.Log})
	if err != nil {
		return err
	}
	if err := m.openLibraries(); err != nil {
		return err
	}
	for i, s := range shards {
		reads, err := m.chooseNode(ctx, s)
		if err != nil {
			return err
		}
		l := newLink(m, i, s, reads)
		if err := l.chooseOrigin(reads); err != nil {
			return err
		}
		m.add(l)
	}
	return nil
}

func (m *Migration) add(l *link) {
	m.linksMu.Lock()
	defer m.linksMu.Unlock()
	m.links = append(m.links, l)
}

// all returns the links in the order of the state, also those whose shards have gone.
func (m *Migration) all() []*link {
	m.linksMu.RLock()
	defer m.linksMu.RUnlock()
	return slices.Clip(m.links)
}

// live returns the links whose shards belong to the source.
func (m *Migration) live() []*link {
	return slices.DeleteFunc(slices.Clone(m.all()), func(l *link) bool { return l.gone.Load() })
}

// linkAt returns one of the links that LinkInfos lists, unless its shard has left the source.
func (m *Migration) linkAt(i int) (l *link, there bool) {
	all := m.all()
	if i < 0 || i >= len(all) || all[i].gone.Load() {
		return nil, false
	}
	return all[i], true
}

// nameServers notes in the state which servers the migration reads and writes: its URLs may lead to others for another process, or later.
func (m *Migration) nameServers(ctx context.Context) (err error) {
	if m.state.SourceServers, err = m.cfg.Sides.Source.Identity(ctx); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if m.state.TargetServers, err = m.cfg.Sides.Target.Identity(ctx); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	return nil
}

// prefixText returns prefixes in the form "0:a:,1:b:", or "none".
func prefixText(prefixes map[int]string) string {
	if len(prefixes) == 0 {
		return "none"
	}
	var parts []string
	for _, db := range slices.Sorted(maps.Keys(prefixes)) {
		parts = append(parts, fmt.Sprintf("%d:%s", db, prefixes[db]))
	}
	return strings.Join(parts, ",")
}

// identity returns an endpoint as the state remembers it: its URL, and how its keys are spread where the URL does not tell.
func identity(d *endpoint.Deployment) string {
	return strings.TrimSpace(d.Spec().String() + " " + d.Sharding())
}

// chooseNode returns the node of a shard that a link reads from: a replica that is in sync, if Config.ReadFrom wants one and there is one,
// else the primary.
func (m *Migration) chooseNode(ctx context.Context, s endpoint.Shard) (string, error) {
	if m.cfg.ReadFrom != "replica" || m.scans() || m.cfg.Sides.Source.Spec().IsFile() {
		return s.Primary.Addr, nil
	}
	return receive.ChooseReplica(ctx, m.cfg.Sides.Source, s)
}

// Config returns the configuration that the migration was made with.
func (m *Migration) Config() Config { return m.cfg }

// Finish brings the migration to its end: it asks the source how far it has come, what the source has written up to there is received and
// applied, and Run returns. If the source does not answer within 5 seconds, or the rest is not received within 10, or if the target does not answer for
// 5, Run returns nevertheless, and Settled is false. Finish does not wait for that. It may be called at any time, and more than once.
//
// While slots of the source move, they are waited for before that, for up to Config.RetryFor.
func (m *Migration) Finish() {
	if m.table == nil || !m.running.Load() {
		m.stopNow()
		return
	}
	m.finishing.Do(func() { go m.stopOnceSettled() })
}

func (m *Migration) stopNow() {
	now := time.Now()
	m.toldAt.CompareAndSwap(nil, &now)
	m.stop()
}

// AwaitCaughtUp waits until every link has caught up with the source. It returns an error if the run or the context has ended before.
func (m *Migration) AwaitCaughtUp(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		switch m.Report().State {
		case "caught_up":
			return nil
		case "running":
		default:
			return errors.New("the migration ended before the target had caught up")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Servers returns the servers that the migration reads and writes, as they were when it was begun or resumed.
func (m *Migration) Servers() (source, target endpoint.Identity) {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	return m.state.SourceServers, m.state.TargetServers
}

// scans says whether the source is scanned instead of replicated.
func (m *Migration) scans() bool { return m.cfg.Capture == CaptureScan }

// TargetWasEmpty says whether the target held no keys when the migration began.
func (m *Migration) TargetWasEmpty() bool { return m.state.TargetWasEmpty }

// Resumed says whether this run continues an earlier one.
func (m *Migration) Resumed() bool { return m.resumed }

// Run migrates until Finish is called, its mode or its context ends it, or it fails; see Migration. It may be called once.
func (m *Migration) Run(ctx context.Context) (err error) {
	defer m.tellProgress()()
	defer func() {
		m.endedBy(ctx, err)
		if m.notes != nil {
			err = errors.Join(err, m.notes.Close())
		}
		err = errors.Join(err, m.state.close())
	}()
	if err := m.guarded(ctx, m.begin); err != nil {
		return err
	}
	copied := m.guarded(ctx, m.copy)
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), mostLeaving)
	defer cancel()
	left := errors.Join(m.endRun(copied), m.ending(after, m.putBack))
	if ctx.Err() == nil {
		left = errors.Join(left, m.leave(context.WithoutCancel(ctx), errors.Join(copied, left)))
	}
	if errors.Is(copied, errUnfinished) {
		copied = nil
	}
	if err = errors.Join(copied, left); err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// mostLeaving bounds how long a run that has ended waits for a server that it is to leave as it was.
const mostLeaving = 2 * time.Second

// begin claims the target for the run, and prepares both sides.
func (m *Migration) begin(ctx context.Context) error {
	lost, err := m.lookBack(ctx)
	if err != nil {
		return err
	}
	if m.table != nil && len(lost) > 0 {
		if err := m.table.BeginAgain(); err != nil {
			return err
		}
	}
	if m.resumed {
		m.target.Claim.Resume(len(m.witnesses()) > 0 && len(lost) == 0)
	} else {
		m.state.Begins = true
		if err := m.saveState(); err != nil {
			return err
		}
	}
	if err := m.target.Claim.Acquire(ctx); err != nil {
		if m.state.Begins && errors.Is(err, target.ErrClaimed) { // nothing has begun
			err = errors.Join(err, os.Remove(m.state.path()))
		}
		return err
	}
	if !m.resumed {
		if err := m.target.ProveSharding(ctx); err != nil {
			return err
		}
		if m.state.TargetWasEmpty, err = m.target.IsEmpty(ctx); err != nil {
			return err
		}
		if err := m.libraries.Begin(ctx); err != nil {
			return err
		}
		m.state.Begins = false
	}
	if m.table != nil {
		if err := m.openNotes(); err != nil {
			return err
		}
	}
	m.beginRun()
	m.running.Store(true)
	if err := m.saveState(); err != nil {
		return err
	}
	if err := m.awaitEvictions(ctx); err != nil {
		return err
	}
	if err := m.placeWitnesses(ctx, append(lost, m.target.Witnesses.Missing(m.witnesses())...)); err != nil {
		return err
	}
	if m.resumed {
		if err := m.lookAtLibraries(ctx); err != nil {
			return err
		}
	}
	if m.cfg.TuneSource {
		if err := m.tune(ctx); err != nil {
			return errors.Join(err, m.putBack(context.WithoutCancel(ctx)))
		}
	}
	return nil
}

// copy runs the links, and looks whether the target still holds at the end what they have written.
func (m *Migration) copy(ctx context.Context) error {
	beating, stopBeating := context.WithCancel(ctx)
	var beside sync.WaitGroup
	if m.resumed || !m.state.TargetWasEmpty {
		m.target.Expiring.Forget()
		beside.Go(func() { m.target.Expiring.Learn(beating, func() int { return len(m.live()) }) })
	}
	err := m.lastWitness(ctx, m.lastLook(ctx, m.runLinks(ctx)))
	if err == nil && ctx.Err() == nil {
		err = m.lookAtLibraries(ctx)
	}
	stopBeating()
	beside.Wait()
	return err
}

// endedBy notes how Run has ended, for the report.
func (m *Migration) endedBy(ctx context.Context, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err, m.ended, m.cut = err, true, err != nil && ctx.Err() != nil
}

// runLinks runs all links until they have ended. Meanwhile it watches the source's slots, renews the claim, and watches the witnesses.
func (m *Migration) runLinks(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	var links sync.WaitGroup
	run := func(l *link) { // also called for a shard that joins, while other links run
		links.Add(1)
		g.Go(func() error {
			defer links.Done()
			if err := l.run(ctx); err != nil {
				return fmt.Errorf("link %s: %w", l.name, err)
			}
			return nil
		})
	}
	for _, l := range m.live() {
		run(l)
	}
	g.Go(func() error {
		if m.table != nil {
			return m.followSlots(watching, run)
		}
		return m.watchSlots(watching)
	})
	g.Go(func() error { return m.target.Claim.Keep(watching) })
	g.Go(func() error { return m.watchWitnesses(watching) })
	g.Go(func() error {
		links.Wait()
		stopWatching()
		return nil
	})
	return g.Wait()
}

// leave marks the claim as stopped. After a full copy or a file that has reached its end, it removes all that surecut has left instead.
func (m *Migration) leave(ctx context.Context, failed error) error {
	if failed == nil && (m.cfg.Mode == ModeFull || m.cfg.Sides.Source.Spec().IsFile()) && m.stopping.Err() == nil {
		if err := m.target.Claim.Renew(ctx, "running"); err != nil { // another run that has taken the target over may have changed what was copied
			return err
		}
		return m.Forget(ctx)
	}
	if errors.Is(failed, errUnfinished) { // most likely it is the target that does not answer
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, mostLeaving)
	defer cancel()
	err := m.ending(ctx, func(ctx context.Context) error { return m.target.Claim.Renew(ctx, "stopped") })
	if failed == nil {
		return err
	}
	return nil
}

// Snapshotted says whether every snapshot, or all of every file, is in the target.
func (m *Migration) Snapshotted() bool {
	needless := m.needless()
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	for i, st := range m.state.Links {
		if !st.Gone && !st.Stage.inTarget() && !needless[i] {
			return false
		}
	}
	for _, l := range m.live() {
		if l.file != nil && !l.file.whole.Load() {
			return false
		}
	}
	return true
}

// Forget removes what surecut has left on the target and on disk: after it, the migration cannot be resumed. It may be called only after
// Run has returned nil.
func (m *Migration) Forget(ctx context.Context) error {
	records := map[*link][]target.RecordKey{}
	for _, l := range m.all() {
		records[l] = l.records.keys() // their places are those of the witnesses
	}
	if err := m.forgetWitnesses(ctx); err != nil {
		return err
	}
	for _, l := range m.all() {
		kept := slices.Collect(maps.Keys(l.positions.AcknowledgedUnits())) // units whose checkpoints compact has kept
		if err := l.records.checkpoints.Forget(ctx, records[l], kept); err != nil {
			return err
		}
	}
	if err := m.target.Claim.Release(ctx); err != nil {
		return err
	}
	for _, l := range m.all() {
		if err := os.RemoveAll(l.dir); err != nil {
			return fmt.Errorf("remove the spool: %w", err)
		}
	}
	if err := os.Remove(m.notesPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the keys that were noted: %w", err)
	}
	if err := os.Remove(m.state.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the state: %w", err)
	}
	return nil
}

// update changes the state by calling f. saveState makes that durable.
func (m *Migration) update(f func()) {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	f()
}

func (m *Migration) saveState() error {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	m.gather()
	return m.state.save()
}
