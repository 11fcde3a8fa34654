package verifier

import "surecut/internal/keyspace"

// Finding is one key that is not the same. Key is printable (escaped as Go's %q does, without the quotes); KeyBase64 is exact. Both
// are the key's name on the source. Source and Target describe the key on each side in a few words; each is nil where that side
// does not have the key or could not be read.
//
// A name of more than 200 bytes is cut off in Key. For a name of more than 1 KiB, KeyBase64 is empty, and KeyLength and KeyDigest
// (xxhash64, 16 hexadecimal digits) identify the key.
type Finding struct {
	DB        int    `json:"db"`
	TargetDB  int    `json:"target_db"`
	Key       string `json:"key"`
	KeyBase64 string `json:"key_base64"`
	KeyLength int64  `json:"key_length,omitempty"`
	KeyDigest string `json:"key_digest,omitempty"`

	TargetKey       string `json:"target_key,omitempty"` // where the name on the target differs
	TargetKeyBase64 string `json:"target_key_base64,omitempty"`
	Unmapped        bool   `json:"unmapped,omitempty"` // no database of the source is mapped to the target's database; DB is then TargetDB

	Slot    uint16  `json:"slot"`
	Type    string  `json:"type"`
	Verdict Verdict `json:"verdict"`
	Code    Reason  `json:"code,omitempty"` // empty in reports of older versions
	Reason  string  `json:"reason"`         // the code in words, with what differs and where: "element 41 of 100 differs"
	Source  *Side   `json:"source"`
	Target  *Side   `json:"target"`

	long *longNames // the names of a key whose name is long, while they are in memory
}

// Side describes the key of a finding on one side.
type Side struct {
	Type     string `json:"type"`
	Length   int64  `json:"length"` // bytes of a string, else elements
	Digest   string `json:"digest"` // 16 hexadecimal digits
	ExpireAt int64  `json:"expire_at_ms"`
	Detail   string `json:"detail,omitempty"` // the differing piece, shortened and escaped
}

// newFinding describes a key that is not the same. It takes the key's name on the source; the target's name is in the ID.
func newFinding(id keyID, sourceName string, d *decision) Finding {
	f := Finding{DB: id.db, TargetDB: id.pairDB, Slot: keyspace.Slot(id.name), Verdict: d.Verdict, Code: d.Why.Reason, Reason: d.Why.String(),
		Source: sideOf(&d.Pair.Source), Target: sideOf(&d.Pair.Target)}
	f.setNames(sourceName, id.name)
	if f.DB < 0 {
		f.DB, f.Unmapped = f.TargetDB, true
	}
	switch {
	case f.Source != nil:
		f.Type = f.Source.Type
	case f.Target != nil:
		f.Type = f.Target.Type
	}
	if d.Place != nil {
		f.locate(d.Place)
	}
	return f
}

// sideOf describes a reading. It returns nil where the key is absent or could not be read.
func sideOf(r *reading) *Side {
	if !r.known() {
		return nil
	}
	return &Side{Type: r.TypeName, Length: r.FP.Length, Digest: hex16(r.FP.Value), ExpireAt: r.ExpireAt}
}

// locate adds where the values differ, if a place was found.
func (f *Finding) locate(d *difference) {
	if d.places == 0 {
		return
	}
	f.Reason = d.text()
	f.Source.Detail = d.Source
	f.Target.Detail = d.Target
	if f.Code == ExpiryAndMoreDiffer {
		f.Reason += "; the expiry of the key differs as well"
	}
}

// ListAtMost removes all findings but the first n from the report's list, and counts the removed ones as omitted.
func (r *Report) ListAtMost(n int) {
	if beyond := len(r.Findings) - n; beyond > 0 {
		r.Findings = r.Findings[:n]
		r.Omitted += beyond
	}
}
