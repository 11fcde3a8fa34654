package ledger

// Counters says how every key and command ended. Every key of the snapshots, and every command, that has ended is in one of the counters
// below its total.
type Counters struct {
	SnapshotKeys     int64 `json:"snapshot_keys"`            // keys that the snapshots held
	SnapshotApplied  int64 `json:"snapshot_applied"`         // written to the target
	SnapshotFiltered int64 `json:"snapshot_filtered"`        // left out by Filter.Include, Filter.Exclude, Filter.DBs
	SnapshotKept     int64 `json:"snapshot_kept"`            // left as the target had them (Config.OnExisting keep)
	SnapshotExpired  int64 `json:"snapshot_expired"`         // had expired, or were gone when they were read
	SnapshotEmpty    int64 `json:"snapshot_empty,omitempty"` // held no element, such as lists of an RDB of 2.8: such a key does not exist for clients
	SnapshotReported int64 `json:"snapshot_reported"`        // not written; each is a problem
	Commands         int64 `json:"commands"`                 // commands that the streams held, control commands included
	CommandsApplied  int64 `json:"commands_applied"`
	CommandsFiltered int64 `json:"commands_filtered"`
	CommandsControl  int64 `json:"commands_control"`  // PING, SELECT, REPLCONF, MULTI, EXEC
	CommandsRepaired int64 `json:"commands_repaired"` // settled by copying their keys from the source
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
