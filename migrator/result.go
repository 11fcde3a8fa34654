package migrator

import "surecut/internal/keyspace"

// Report is where a migration stands, or how it ended. It is what --progress json prints and migrate.json holds.
type Report struct {
	State    string    `json:"state"`    // running, caught_up, done, stopped, failed
	Level    string    `json:"level"`    // exactly_once or repaired
	Links    []Link    `json:"links"`    // one per source shard, in shard order
	Counters Counters  `json:"counters"` // sums over the links, of this run
	AllRuns  AllRuns   `json:"all_runs"` // the same from the first run of the migration on
	Problems []Problem `json:"problems"` // what did not arrive as it was sent; capped at 1000, Counters has the exact numbers
	Error    string    `json:"error,omitempty"`

	Selection *keyspace.Selection `json:"selection,omitempty"` // the part of the source that is moved; nil: all keys

	Rounds []Round `json:"rounds,omitempty"` // of a source that is scanned: how it was compared, and what was copied again
}

// Round is one comparison of a source that is scanned, with what was copied again after it.
type Round struct {
	Round     int   `json:"round"`
	Same      int64 `json:"same"`
	Different int64 `json:"different"`
	Missing   int64 `json:"missing"`
	Extra     int64 `json:"extra"`
	Unchecked int64 `json:"unchecked"`
	Followed  int64 `json:"followed"` // keys that were copied during the round, as the source told of its writes
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
	SnapshotTotal int64   `json:"snapshot_total"` // its whole size; 0 where unknown (diskless)
	Commands      int64   `json:"commands"`       // commands of the stream that have been dealt with
	ReplID        string  `json:"replication_id"`
	Offset        int64   `json:"offset"`         // received
	AppliedOffset int64   `json:"applied_offset"` // applied by the target
	LagBytes      int64   `json:"lag_bytes"`
	LagSeconds    float64 `json:"lag_seconds"`
	Sync          bool    `json:"sync,omitempty"`      // the source has no PSYNC (before 2.8): offsets are counted from the snapshot on, and what is lost cannot be continued
	CutBytes      int64   `json:"cut_bytes,omitempty"` // of a file: bytes at its end that are no whole command and were dropped
}

// Counters says how every key and command ended; they add up.
type Counters struct {
	SnapshotKeys     int64 `json:"snapshot_keys"`     // keys that the snapshots held
	SnapshotApplied  int64 `json:"snapshot_applied"`  // written to the target
	SnapshotFiltered int64 `json:"snapshot_filtered"` // left out by Filter.Include, Filter.Exclude, Filter.DBs
	SnapshotKept     int64 `json:"snapshot_kept"`     // left as the target had them (Config.OnExisting keep)
	SnapshotExpired  int64 `json:"snapshot_expired"`  // had expired at the source
	SnapshotReported int64 `json:"snapshot_reported"` // not written; each is a problem
	Commands         int64 `json:"commands"`          // commands that the streams held, control commands included
	CommandsApplied  int64 `json:"commands_applied"`
	CommandsFiltered int64 `json:"commands_filtered"`
	CommandsControl  int64 `json:"commands_control"`  // PING, SELECT, REPLCONF, MULTI, EXEC
	CommandsRepaired int64 `json:"commands_repaired"` // their keys were copied from the source instead
	CommandsReported int64 `json:"commands_reported"` // not applied; each is a problem
}

// Problem is one key or command that did not arrive as it was sent.
type Problem struct {
	Shard   string `json:"shard"`
	DB      int    `json:"db"`
	Key     string `json:"key"` // printable
	Command string `json:"command,omitempty"`
	Reason  string `json:"reason"`
}
