package migrator

import (
	"surecut/internal/keyspace"
	"surecut/migrator/internal/ledger"
)

// Report says how far a migration has come, or how it ended. --progress json prints it, and migrate.json holds it.
type Report struct {
	State    string           `json:"state"`    // running, caught_up, done, stopped, failed
	Level    string           `json:"level"`    // exactly_once or repaired
	Links    []Link           `json:"links"`    // one per source shard, in shard order
	Counters ledger.Counters  `json:"counters"` // sums over the links, of this run
	AllRuns  AllRuns          `json:"all_runs"` // the counters from the first run of the migration on
	Problems []ledger.Problem `json:"problems"` // what did not arrive as it was sent, in all runs; capped at 1000, AllRuns has the exact numbers
	Error    string           `json:"error,omitempty"`
	Waiting  []Waiting        `json:"waiting,omitempty"` // what has been waited for at least 3 seconds, the longest first

	MovingSlots int `json:"moving_slots,omitempty"` // slots that move between shards of the source: their keys are read again once they have settled

	Selection *keyspace.Selection `json:"selection,omitempty"` // the part of the source that is moved; nil: all keys

	Rounds []Round `json:"rounds,omitempty"` // for a source that is scanned: its comparisons, and what was copied again
}

// Waiting is a wait of a run.
type Waiting struct {
	Who     string  `json:"who"`      // a link, or the migration
	For     string  `json:"for"`      // source or target, with the address of the server where it is known
	SinceMs int64   `json:"since_ms"` // Unix ms
	Seconds float64 `json:"seconds"`
	Why     string  `json:"why"`
}

// Round is one comparison of a source that is scanned, and what was copied again after it.
type Round struct {
	Round     int   `json:"round"`
	Same      int64 `json:"same"`
	Different int64 `json:"different"`
	Missing   int64 `json:"missing"`
	Extra     int64 `json:"extra"`
	Unchecked int64 `json:"unchecked"`
	Followed  int64 `json:"followed"` // keys that were copied during the round because the source notified of writes
	Recopied
}

// Link is one source shard on its way into the target.
type Link struct {
	Shard         string  `json:"shard"`          // address of the shard's primary
	Reads         string  `json:"reads"`          // address that the link reads from
	Phase         string  `json:"phase"`          // handshake, snapshot, streaming, caught_up, draining, done
	Keys          int64   `json:"keys"`           // keys of the snapshot that have been dealt with
	Bytes         int64   `json:"bytes"`          // bytes of the snapshot that have been loaded
	SnapshotBytes int64   `json:"snapshot_bytes"` // bytes of the snapshot received so far
	SnapshotTotal int64   `json:"snapshot_total"` // size of the whole snapshot; 0: unknown (diskless)
	Commands      int64   `json:"commands"`       // commands of the stream that have been dealt with
	ReplID        string  `json:"replication_id"`
	Offset        int64   `json:"offset"`                  // up to which the stream was received
	AppliedOffset int64   `json:"applied_offset"`          // up to which the target has applied it
	SourceOffset  int64   `json:"source_offset,omitempty"` // at which the source stood when it was last asked: at the end of a run, once it was told to end; 0: not known
	LagBytes      int64   `json:"lag_bytes"`
	LagSeconds    float64 `json:"lag_seconds"`
	Sync          bool    `json:"sync,omitempty"`      // the source has no PSYNC (before 2.8): offsets are counted from the snapshot on
	CutBytes      int64   `json:"cut_bytes,omitempty"` // for a file: bytes at its end that are no whole command and were dropped
}

// Counters says how every key and command ended.
type Counters = ledger.Counters

// Problem is one key or command that did not arrive as it was sent.
type Problem = ledger.Problem
