package migrator

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"surecut/internal/keyspace"
)

// ledger counts how each key and each command of a link ended. Each is counted once, when it ends. A command that counts as applied may
// be counted as repaired or reported instead when its doubts are settled.
type ledger struct {
	snapshotBytes, snapshotReceived, snapshotTotal                                                   atomic.Int64
	snapshotKeys, snapshotApplied, snapshotFiltered, snapshotKept, snapshotExpired, snapshotReported atomic.Int64
	commands, applied, filtered, control, repaired, reported                                         atomic.Int64

	log      *slog.Logger
	names    *keyspace.Filter // knows the names of keys on the source
	shard    func() string    // names the link's shard
	problems *problems

	mu      sync.Mutex
	earlier Counters // sums over earlier runs
}

// newLedger returns the ledger of a link. names knows the names of keys on the source, and shard returns the name of the link's shard as it
// is by now. earlier is what earlier runs have counted.
func newLedger(log *slog.Logger, names *keyspace.Filter, shard func() string, problems *problems, earlier Counters) *ledger {
	return &ledger{log: log, names: names, shard: shard, problems: problems, earlier: earlier}
}

// reportKey counts a key of the snapshot that does not arrive.
func (b *ledger) reportKey(k keyspace.Key, reason string) {
	b.snapshotReported.Add(1)
	b.note(k.DB, k.Name, "", reason)
}

// problem counts a command that is not applied.
func (b *ledger) problem(db int, key, command, reason string) {
	b.reported.Add(1)
	b.note(db, key, command, reason)
}

// note reports a key, or a command, that does not arrive as the source has it, and counts nothing.
func (b *ledger) note(db int, key, command, reason string) {
	key = keyspace.PrintableShort(b.names.SourceName(db, key))
	b.log.Warn("not carried as it was sent", "db", db, "key", key, "command", command, "reason", reason)
	b.problems.add(Problem{Shard: b.shard(), DB: db, Key: key, Command: command, Reason: reason})
}

// thisRun returns what the present run has counted.
func (b *ledger) thisRun() Counters {
	return Counters{
		SnapshotKeys:     b.snapshotKeys.Load(),
		SnapshotApplied:  b.snapshotApplied.Load(),
		SnapshotFiltered: b.snapshotFiltered.Load(),
		SnapshotKept:     b.snapshotKept.Load(),
		SnapshotExpired:  b.snapshotExpired.Load(),
		SnapshotReported: b.snapshotReported.Load(),
		Commands:         b.commands.Load(),
		CommandsApplied:  b.applied.Load(),
		CommandsFiltered: b.filtered.Load(),
		CommandsControl:  b.control.Load(),
		CommandsRepaired: b.repaired.Load(),
		CommandsReported: b.reported.Load(),
	}
}

// beforeThisRun returns what earlier runs have counted.
func (b *ledger) beforeThisRun() Counters {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.earlier
}

// allRuns returns what all runs have counted.
func (b *ledger) allRuns() Counters {
	c := b.beforeThisRun()
	b.thisRun().addTo(&c)
	return c
}

// keysDone returns how many keys of the snapshot have ended in a counter.
func (b *ledger) keysDone() int64 {
	return b.snapshotApplied.Load() + b.snapshotFiltered.Load() + b.snapshotKept.Load() + b.snapshotExpired.Load() + b.snapshotReported.Load()
}

// forgetSnapshot sets the counters of the snapshot to zero, also those of earlier runs, since a snapshot is loaded again.
func (b *ledger) forgetSnapshot() {
	for _, n := range []*atomic.Int64{&b.snapshotKeys, &b.snapshotApplied, &b.snapshotFiltered, &b.snapshotKept, &b.snapshotExpired, &b.snapshotReported} {
		n.Store(0)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.earlier.forgetSnapshot()
}

// forgetUnsettled takes back the counting of commands that were dispatched and have not ended: they come again, or a new snapshot has their
// effect.
func (b *ledger) forgetUnsettled() {
	b.commands.Store(b.applied.Load() + b.filtered.Load() + b.control.Load() + b.repaired.Load() + b.reported.Load())
}

func (c *Counters) forgetSnapshot() {
	c.SnapshotKeys, c.SnapshotApplied, c.SnapshotFiltered = 0, 0, 0
	c.SnapshotKept, c.SnapshotExpired, c.SnapshotReported = 0, 0, 0
}

func (c Counters) addTo(t *Counters) {
	t.SnapshotKeys += c.SnapshotKeys
	t.SnapshotApplied += c.SnapshotApplied
	t.SnapshotFiltered += c.SnapshotFiltered
	t.SnapshotKept += c.SnapshotKept
	t.SnapshotExpired += c.SnapshotExpired
	t.SnapshotReported += c.SnapshotReported
	t.Commands += c.Commands
	t.CommandsApplied += c.CommandsApplied
	t.CommandsFiltered += c.CommandsFiltered
	t.CommandsControl += c.CommandsControl
	t.CommandsRepaired += c.CommandsRepaired
	t.CommandsReported += c.CommandsReported
}

// mostProblems bounds the list of problems in the report. The counters stay exact.
const mostProblems = 1000

// problems is the list of the first problems of all links.
type problems struct {
	mu   sync.Mutex
	list []Problem
}

func (p *problems) add(problem Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.list) < mostProblems {
		p.list = append(p.list, problem)
	}
}

// all returns a copy of the list, which is empty rather than nil where there are none.
func (p *problems) all() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Problem{}, p.list...)
}
