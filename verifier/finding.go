package verifier

import "surecut/internal/keyspace"

// Finding is one key that is not the same. Key is printable (escaped as Go's %q does without
// the quotes); KeyBase64 is exact. Both are as the source names the key. Source and Target describe each side in a few words; they are nil where the key
// is absent.
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
	Code    Reason  `json:"code,omitempty"` // empty in reports of older versions
	Reason  string  `json:"reason"`         // the same in words, with what differs and where: "element 41 of 100 differs"
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

// newFinding describes a key that is not the same. The names of its key are those on either side.
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

// sideOf returns nil where the key is absent, or could not be read.
func sideOf(r *reading) *Side {
	if !r.known() {
		return nil
	}
	return &Side{Type: r.TypeName, Length: r.FP.Length, Digest: hex16(r.FP.Value), ExpireAt: r.ExpireAt}
}

// locate says where the values differ, if that was found.
func (f *Finding) locate(d *difference) {
	if d.places == 0 {
		return
	}
	f.Reason = d.text()
	f.Source.Detail = d.Source
	f.Target.Detail = d.Target
	if f.Code == ExpiryAndMoreDiffer {
		f.Reason += "; the expiry of the key differs, too"
	}
}

// ListAtMost takes the findings beyond the first n out of the report's list, and says so.
func (r *Report) ListAtMost(n int) {
	if beyond := len(r.Findings) - n; beyond > 0 {
		r.Findings = r.Findings[:n]
		r.Omitted += beyond
	}
}
