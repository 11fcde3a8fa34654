package verifier

import (
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// Verdict is what is known about one key, one slot or a whole run.
type Verdict string

// A whole run is never missing or extra: it is same, different or unchecked.
const (
	Same      Verdict = "same"
	Different Verdict = "different"
	Missing   Verdict = "missing" // on the source only
	Extra     Verdict = "extra"   // on the target only
	Unchecked Verdict = "unchecked"
)

// Report is the result of a verification.
type Report struct {
	Verdict Verdict  `json:"verdict"`
	Reasons []string `json:"reasons"` // why the verdict is what it is, one sentence each

	// Incomplete says why the comparison may not cover all keys: those of a side may not all have been listed, or a server may have lost
	// some after they were compared. It is empty where nothing of the kind was seen, whatever the verdict is.
	Incomplete []string `json:"incomplete"`
	LeftOut    []string `json:"left_out"` // what the sides hold apart from the compared keys, one sentence each

	Depth  Depth   `json:"depth"`
	Rounds int     `json:"rounds"`
	Proof  Proof   `json:"proof"`
	Writes *Writes `json:"writes,omitempty"` // what was written on the source meanwhile

	Selection      *keyspace.Selection `json:"selection,omitempty"` // nil: all keys of all databases were compared
	TTLToleranceMs int64               `json:"ttl_tolerance_ms"`    // expiries that were no further apart than this count as the same

	Totals Totals      `json:"totals"`
	ByType []TypeTotal `json:"by_type"`
	// ByReason counts all keys that are not the same. It is empty where there are none, and in reports of older versions.
	ByReason []ReasonTotal `json:"by_reason,omitempty"`
	History  []Round       `json:"history"`
	Slots    []SlotResult  `json:"slots"`    // only slots that hold keys, in slot order
	Findings []Finding     `json:"findings"` // every key that is not the same, in order of slot, database, key; may be capped
	Omitted  int           `json:"findings_omitted"`
	Strays   []Stray       `json:"strays"` // keys on nodes where no client finds them; behind a proxy of the target they are findings

	URLs    endpoint.URLs `json:"-"` // the header of the report names them, and the servers behind them
	Servers Servers       `json:"-"`
}

// Servers are the servers of both sides. Those whose keys were read are marked.
type Servers struct{ Source, Target endpoint.Identity }

// selectionOf returns nil where everything is compared. Naming the only database of a cluster selects nothing.
func selectionOf(o *Config) *keyspace.Selection {
	f := o.Filter
	named := keyspace.NamedDatabases{Source: endpoint.AllDBs, Target: endpoint.AllDBs}
	if o.Source != nil {
		named.Source = o.Source.Spec().NamedDB()
		if onlyOne(o.Source, f.DBs) {
			f.DBs = nil
		}
	}
	if o.Target != nil {
		named.Target = o.Target.Spec().NamedDB()
	}
	return f.Selection(named)
}

// Proof is what the verdicts of a run rest on.
type Proof string

// ProofRounds is weaker than ProofOffset.
const (
	ProofRounds Proof = "rounds" // a verdict rests on the target lagging less than the interval, or on nothing being on its way to it
	ProofOffset Proof = "offset" // every key was compared at one offset of the source, or agreed while nothing was written there
)

// Totals counts keys.
type Totals struct {
	SourceKeys int64 `json:"source_keys"`
	TargetKeys int64 `json:"target_keys"`
	Same       int64 `json:"same"`
	Different  int64 `json:"different"`
	Missing    int64 `json:"missing"`
	Extra      int64 `json:"extra"`
	Unchecked  int64 `json:"unchecked"`
}

// TypeTotal counts the source's keys of one type.
type TypeTotal struct {
	Type string `json:"type"`
	Keys int64  `json:"keys"`
}

// Round is one pass over the keys that were still in doubt.
type Round struct {
	Round      int   `json:"round"`
	Suspects   int64 `json:"suspects"` // keys in doubt when the round began
	Cleared    int64 `json:"cleared"`
	Confirmed  int64 `json:"confirmed"`
	DurationMs int64 `json:"duration_ms"`
}

// SlotResult is the result of one slot. Each digest is 16 hexadecimal digits (sum of values), "/" and 16 more (sum with expiries).
type SlotResult struct {
	Slot         uint16  `json:"slot"`
	SourceKeys   int64   `json:"source_keys"`
	TargetKeys   int64   `json:"target_keys"`
	SourceDigest string  `json:"source_digest"`
	TargetDigest string  `json:"target_digest"`
	Verdict      Verdict `json:"verdict"`
}
