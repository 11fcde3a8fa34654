package ledger

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"surecut/internal/keyspace"
)

// Ledger counts how each key and each command of a link ended. Each is counted once, when it ends. A command that counts as applied may
// be counted as repaired or reported instead when its doubts are settled.
type Ledger struct {
	SnapshotBytes, SnapshotReceived, SnapshotTotal                                                                  atomic.Int64
	SnapshotKeys, SnapshotApplied, SnapshotFiltered, SnapshotKept, SnapshotExpired, SnapshotEmpty, SnapshotReported atomic.Int64
	Commands, Applied, Filtered, Control, Repaired, Reported                                                        atomic.Int64

	log      *slog.Logger
	names    *keyspace.Filter // knows the names of keys on the source
	shard    func() string    // names the link's shard
	problems *Problems

	mu      sync.Mutex
	earlier Counters // sums over earlier runs
}

// New returns the ledger of a link. names knows the names of keys on the source, and shard returns the name of the link's shard as it
// is by now. earlier is what earlier runs have counted.
func New(log *slog.Logger, names *keyspace.Filter, shard func() string, problems *Problems, earlier Counters) *Ledger {
	return &Ledger{log: log, names: names, shard: shard, problems: problems, earlier: earlier}
}

// ReportKey counts a key of the snapshot that does not arrive.
func (b *Ledger) ReportKey(k keyspace.Key, reason string) {
	b.SnapshotReported.Add(1)
	b.Note(k.DB, k.Name, "", reason)
}

// ReportCommand counts a command that is not applied.
func (b *Ledger) ReportCommand(db int, key, command, reason string) {
	b.Reported.Add(1)
	b.Note(db, key, command, reason)
}

// Note reports a key, or a command, that does not arrive as the source has it, and counts nothing. Later runs report it as well.
func (b *Ledger) Note(db int, key, command, reason string) {
	b.problems.add(b.problem(db, key, command, reason), true)
}

// NotePassing reports what the next run mends, and counts nothing. No later run reports it.
func (b *Ledger) NotePassing(reason string) {
	b.problems.add(b.problem(0, "", "", reason), false)
}

func (b *Ledger) problem(db int, key, command, reason string) Problem {
	key = keyspace.PrintableShort(b.names.SourceName(db, key))
	b.log.Warn("a key or command does not arrive as the source has it", "db", db, "key", key, "command", command, "reason", reason)
	return Problem{Shard: b.shard(), DB: db, Key: key, Command: command, Reason: reason}
}

// ThisRun returns what the present run has counted.
func (b *Ledger) ThisRun() Counters {
	return Counters{
		SnapshotKeys:     b.SnapshotKeys.Load(),
		SnapshotApplied:  b.SnapshotApplied.Load(),
		SnapshotFiltered: b.SnapshotFiltered.Load(),
		SnapshotKept:     b.SnapshotKept.Load(),
		SnapshotExpired:  b.SnapshotExpired.Load(),
		SnapshotEmpty:    b.SnapshotEmpty.Load(),
		SnapshotReported: b.SnapshotReported.Load(),
		Commands:         b.Commands.Load(),
		CommandsApplied:  b.Applied.Load(),
		CommandsFiltered: b.Filtered.Load(),
		CommandsControl:  b.Control.Load(),
		CommandsRepaired: b.Repaired.Load(),
		CommandsReported: b.Reported.Load(),
	}
}

// BeforeThisRun returns what earlier runs have counted.
func (b *Ledger) BeforeThisRun() Counters {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.earlier
}

// AllRuns returns what all runs have counted.
func (b *Ledger) AllRuns() Counters {
	c := b.BeforeThisRun()
	b.ThisRun().AddTo(&c)
	return c
}

// KeysDone returns how many keys of the snapshot have ended in a counter.
func (b *Ledger) KeysDone() int64 {
	return b.SnapshotApplied.Load() + b.SnapshotFiltered.Load() + b.SnapshotKept.Load() + b.SnapshotExpired.Load() + b.SnapshotEmpty.Load() + b.SnapshotReported.Load()
}

// ForgetSnapshot sets the counters of the snapshot to zero, also those of earlier runs, since a snapshot is loaded again.
func (b *Ledger) ForgetSnapshot() {
	for _, n := range []*atomic.Int64{&b.SnapshotKeys, &b.SnapshotApplied, &b.SnapshotFiltered, &b.SnapshotKept, &b.SnapshotExpired, &b.SnapshotEmpty, &b.SnapshotReported} {
		n.Store(0)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.earlier.ForgetSnapshot()
}

// MendReported counts the commands that were not applied, also those of earlier runs, as repaired: a new snapshot has their effect.
func (b *Ledger) MendReported() {
	b.Repaired.Add(b.Reported.Swap(0))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.earlier.CommandsRepaired += b.earlier.CommandsReported
	b.earlier.CommandsReported = 0
}

// ForgetUnsettled takes back the counting of commands that were dispatched and have not ended: they come again, or a new snapshot has their
// effect.
func (b *Ledger) ForgetUnsettled() {
	b.Commands.Store(b.Applied.Load() + b.Filtered.Load() + b.Control.Load() + b.Repaired.Load() + b.Reported.Load())
}

// ForgetSnapshot sets the counters of the snapshot to zero.
func (c *Counters) ForgetSnapshot() {
	c.SnapshotKeys, c.SnapshotApplied, c.SnapshotFiltered = 0, 0, 0
	c.SnapshotKept, c.SnapshotExpired, c.SnapshotEmpty, c.SnapshotReported = 0, 0, 0, 0
}

// AddTo adds the counters to others.
func (c Counters) AddTo(t *Counters) {
	t.SnapshotKeys += c.SnapshotKeys
	t.SnapshotApplied += c.SnapshotApplied
	t.SnapshotFiltered += c.SnapshotFiltered
	t.SnapshotKept += c.SnapshotKept
	t.SnapshotExpired += c.SnapshotExpired
	t.SnapshotEmpty += c.SnapshotEmpty
	t.SnapshotReported += c.SnapshotReported
	t.Commands += c.Commands
	t.CommandsApplied += c.CommandsApplied
	t.CommandsFiltered += c.CommandsFiltered
	t.CommandsControl += c.CommandsControl
	t.CommandsRepaired += c.CommandsRepaired
	t.CommandsReported += c.CommandsReported
}
