package verifier

import (
	"fmt"
	"slices"
	"strings"
)

// Reason says why a key is not the same, or why that is not known. Programs compare reasons: they are part of the reports and of
// the gate's policy, and keep their names. The wording of a finding is for people and may change.
type Reason string

// A key has one reason. A milder difference than the one that the reason names may exist as well, but not a graver one. The reasons
// that are about expiries and counters alone (from FieldExpiryDiffers to ExpiryDiffers) say that nothing else differs.
const (
	AbsentOnTarget Reason = "absent_on_target"

	AbsentOnSource   Reason = "absent_on_source"
	DatabaseUnmapped Reason = "database_unmapped"
	AstrayOnTarget   Reason = "astray_on_target"

	TypeDiffers          Reason = "type_differs"
	LengthDiffers        Reason = "length_differs"
	ValueDiffers         Reason = "value_differs"
	ExpiryAndMoreDiffer  Reason = "expiry_and_more_differ"
	FieldExpiryDiffers   Reason = "field_expiry_differs"
	StreamCountersDiffer Reason = "stream_counters_differ"
	ExpiryOnSourceOnly   Reason = "expiry_on_source_only"
	ExpiryOnTargetOnly   Reason = "expiry_on_target_only"
	ExpiryDiffers        Reason = "expiry_differs"
	SourceReadFailed     Reason = "source_read_failed"
	TargetReadFailed     Reason = "target_read_failed"
	KeptChanging         Reason = "kept_changing"
	TargetUnsteady       Reason = "target_unsteady"
	LinkBehind           Reason = "link_behind"
	NamesCollide         Reason = "names_collide"
	ModuleInFile         Reason = "module_in_file"
	ModulePayloadDiffers Reason = "module_payload_differs"
	FieldExpiriesTooMany Reason = "field_expiries_too_many"
	NameTooLong          Reason = "name_too_long"
)

// reasons lists every reason with the verdict of its keys, and with the text that a finding shows where nothing more is known.
var reasons = []struct {
	reason  Reason
	verdict Verdict
	text    string
}{
	{AbsentOnTarget, Missing, "The key is on the source only."},
	{AbsentOnSource, Extra, "The key is on the target only."},
	{DatabaseUnmapped, Extra, "The key is on the target only, in a database to which no database of the source is mapped."},
	{AstrayOnTarget, Extra, "The key is on a server of the target where the proxy does not look for it."},
	{TypeDiffers, Different, "The type is not the same on both sides."},
	{LengthDiffers, Different, "The length is not the same on both sides."},
	{ValueDiffers, Different, "The values differ."},
	{ExpiryAndMoreDiffer, Different, "The expiry of the key differs, and so do the expiries of its fields or the counters of its stream."},
	{FieldExpiryDiffers, Different, "The expiries of fields differ."},
	{StreamCountersDiffer, Different, "The counters of the stream differ."},
	{ExpiryOnSourceOnly, Different, "The key expires on the source only."},
	{ExpiryOnTargetOnly, Different, "The key expires on the target only."},
	{ExpiryDiffers, Different, "The key expires at different times on the two sides."},
	{SourceReadFailed, Unchecked, "The source could not be read."},
	{TargetReadFailed, Unchecked, "The target could not be read."},
	{KeptChanging, Unchecked, "The key changed whenever it was compared: it was written, or fields of it expired."},
	{TargetUnsteady, Unchecked, "The key changed on the target between the rounds."},
	{LinkBehind, Unchecked, "The migration of this shard has not caught up, so the right value may still be on its way."},
	{NamesCollide, Unchecked, "Several keys of the source have this name on the target, because their databases are mapped to the same one."},
	{ModuleInFile, Unchecked, "Values of modules in a file are not compared."},
	{ModulePayloadDiffers, Unchecked, "The payloads of a module type differ, but it may be only their encoding that differs."},
	{FieldExpiriesTooMany, Unchecked, "The expiries of fields differ, but the hash has too many fields to tell whether they differ by more than the tolerance."},
	{NameTooLong, Unchecked, "The name of the key is too long to be kept, and no key with its length and digest was found (in a file it is not searched for)."},
}

// Reasons lists every reason, in the order in which reports count them.
func Reasons() []Reason {
	out := make([]Reason, len(reasons))
	for i := range reasons {
		out[i] = reasons[i].reason
	}
	return out
}

// Verdict returns the verdict of the keys that have this reason. It returns "" for an unknown reason.
func (r Reason) Verdict() Verdict {
	for i := range reasons {
		if reasons[i].reason == r {
			return reasons[i].verdict
		}
	}
	return ""
}

// Text returns the reason as a sentence. It returns "" for an unknown reason.
func (r Reason) Text() string {
	for i := range reasons {
		if reasons[i].reason == r {
			return reasons[i].text
		}
	}
	return ""
}

// SparesValue says that the values are the same and only expiries or counters differ.
func (r Reason) SparesValue() bool {
	return slices.Contains([]Reason{ExpiryAndMoreDiffer, FieldExpiryDiffers, StreamCountersDiffer, ExpiryOnSourceOnly, ExpiryOnTargetOnly, ExpiryDiffers}, r)
}

// ofValue says that a look at the values can tell more than the reason does, namely where they differ.
func (r Reason) ofValue() bool {
	return slices.Contains([]Reason{LengthDiffers, ValueDiffers, ExpiryAndMoreDiffer, FieldExpiryDiffers, StreamCountersDiffer}, r)
}

// cause is the reason of one key together with what else is known about this key.
type cause struct {
	Reason
	detail string // a clause to show instead of the reason's text; "" where nothing more is known
}

// because returns the verdict that the reason leads to, and the cause. The format and its arguments make up the cause's detail.
func because(r Reason, format string, args ...any) (Verdict, cause) {
	return r.Verdict(), cause{r, fmt.Sprintf(format, args...)}
}

// String returns the cause as a clause, which begins with a small letter and has no full stop.
func (c cause) String() string {
	if c.detail != "" {
		return c.detail
	}
	text := c.Text()
	if text == "" {
		return ""
	}
	return strings.ToLower(text[:1]) + strings.TrimSuffix(text[1:], ".")
}

// ReasonTotal counts the keys of one reason, including those that the report does not list.
type ReasonTotal struct {
	Code Reason `json:"code"`
	Keys int64  `json:"keys"`
}

// mostDetails is how many different details of one reason a report's sentences show.
const mostDetails = 3

// byReason counts keys that are not the same by their reasons.
type byReason map[Reason]*reasonTally

type reasonTally struct {
	keys    int64
	clauses []string // the first different details
	more    bool     // there were more different details
}

func (b byReason) add(c cause, keys int64) {
	if keys == 0 {
		return
	}
	t := b[c.Reason]
	if t == nil {
		t = &reasonTally{}
		b[c.Reason] = t
	}
	t.keys += keys
	switch clause := c.String(); {
	case slices.Contains(t.clauses, clause):
	case len(t.clauses) < mostDetails:
		t.clauses = append(t.clauses, clause)
	default:
		t.more = true
	}
}

func (b byReason) totals() []ReasonTotal {
	var out []ReasonTotal
	for _, r := range Reasons() {
		if t := b[r]; t != nil {
			out = append(out, ReasonTotal{r, t.keys})
		}
	}
	return out
}

// unchecked says why keys could not be compared, in one sentence per reason.
func (b byReason) unchecked() (sentences []string) {
	for _, r := range Reasons() {
		t := b[r]
		if t == nil || r.Verdict() != Unchecked {
			continue
		}
		clauses := slices.Sorted(slices.Values(t.clauses)) // keys are judged concurrently, in no fixed order
		if t.more {
			clauses = append(clauses, "and others")
		}
		sentences = append(sentences, fmt.Sprintf("Of those, %d: %s.", t.keys, strings.Join(clauses, "; ")))
	}
	return sentences
}
