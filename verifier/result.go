package verifier

import (
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// Verdict is what is known of one key, one slot or a whole run.
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

	// Incomplete says why the keys of a side may not all have been listed, so that an extra or a missing key may have been overlooked.
	// It is empty where the enumeration was whole, whatever the verdict is.
	Incomplete []string `json:"incomplete"`
	LeftOut    []string `json:"left_out"` // what the sides hold beside the keys that were compared, one sentence each

	Depth  string  `json:"depth"` // keys, length or value
	Rounds int     `json:"rounds"`
	Proof  string  `json:"proof"`            // "offset": both sides were compared at one offset, or while nothing was written; "rounds": it rests on the lag
	Writes *Writes `json:"writes,omitempty"` // what was written on the source meanwhile

	Selection      *keyspace.Selection `json:"selection,omitempty"` // nil: all keys of all databases were compared
	TTLToleranceMs int64               `json:"ttl_tolerance_ms"`    // expiries that were no further apart than this count as the same

	Totals   Totals       `json:"totals"`
	ByType   []TypeTotal  `json:"by_type"`
	History  []Round      `json:"history"`
	Slots    []SlotResult `json:"slots"`    // only slots that hold keys, in slot order
	Findings []Finding    `json:"findings"` // every key that is not same, in order of slot, database, key; may be capped
	Omitted  int          `json:"findings_omitted"`
	Strays   []Stray      `json:"strays"` // keys on nodes where no client finds them; those of a target behind a proxy are findings

	Servers Servers `json:"-"` // the header of the report names them
}

// Servers are those of both sides; the ones whose keys were read are marked.
type Servers struct{ Source, Target endpoint.Identity }

// selectionOf returns nil where everything is compared. The database of a cluster that has only one is no selection.
func selectionOf(o *Options) *keyspace.Selection {
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

// Round is one pass over what was still in doubt.
type Round struct {
	Round      int   `json:"round"`
	Suspects   int64 `json:"suspects"` // keys in doubt when the round began
	Cleared    int64 `json:"cleared"`
	Confirmed  int64 `json:"confirmed"`
	DurationMs int64 `json:"duration_ms"`
}

// SlotResult is one slot; digests are 16 hexadecimal digits (value sum) "/" 16 (sum with expiry).
type SlotResult struct {
	Slot         uint16  `json:"slot"`
	SourceKeys   int64   `json:"source_keys"`
	TargetKeys   int64   `json:"target_keys"`
	SourceDigest string  `json:"source_digest"`
	TargetDigest string  `json:"target_digest"`
	Verdict      Verdict `json:"verdict"`
}

// Finding is one key that is not the same. Key is printable (escaped as Go's %q does without
// the quotes); KeyBase64 is exact. Both are as the source names the key. Source and Target describe each side in a few words, nil where absent.
//
// Of a name of more than 200 bytes, Key is the beginning. Of one of more than 1 KiB, KeyBase64 is empty, and KeyLength and KeyDigest
// (xxhash64, 16 hexadecimal digits) tell which it is.
type Finding struct {
	DB        int    `json:"db"`
	TargetDB  int    `json:"target_db"`
	Key       string `json:"key"`
	KeyBase64 string `json:"key_base64"`
	KeyLength int64  `json:"key_length,omitempty"`
	KeyDigest string `json:"key_digest,omitempty"`

	TargetKey       string `json:"target_key,omitempty"` // where the target names it otherwise
	TargetKeyBase64 string `json:"target_key_base64,omitempty"`
	Unmapped        bool   `json:"unmapped,omitempty"` // no database of the source is mapped to that of the target; DB is then TargetDB

	Slot    uint16  `json:"slot"`
	Type    string  `json:"type"`
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason"` // what differs and where: "element 41 of 100", "expires on the source only"
	Source  *Side   `json:"source"`
	Target  *Side   `json:"target"`

	long *longNames // of a long name, while it is known
}

// Side is a finding's key on one side.
type Side struct {
	Type     string `json:"type"`
	Length   int64  `json:"length"` // bytes of a string, else elements
	Digest   string `json:"digest"` // 16 hexadecimal digits
	ExpireAt int64  `json:"expire_at_ms"`
	Detail   string `json:"detail,omitempty"` // the differing piece, shortened and escaped
}
