package verifier

import (
	"fmt"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// pair is one key as each side was read.
type pair struct{ Source, Target reading }

// Reasons that say less than the values themselves can: they are looked at once more, to name the place.
const (
	reasonFields   = "the expiries of fields differ"
	reasonCounters = "the counters of the stream differ"
)

// expiryJitter bounds how far apart two readings of an expiry are that was not changed, on a busy machine.
const expiryJitter = 50 * time.Millisecond

// rules say when two readings agree.
type rules struct {
	depth     Depth
	counters  bool          // both sides keep the counters of streams
	tolerance time.Duration // between expiries
	skew      time.Duration // the target's clock is ahead of the source's by so much

	// jitter is how far apart two readings of one expiry on one server may be, where it is computed from the remaining time. The
	// tolerance is wider and no measure here: an expiry that was changed by less has been changed all the same.
	jitter time.Duration

	sourceClock time.Duration // the source's clock is ahead of ours by so much
}

// judge gives Same, Different, Missing, Extra or Unchecked, and the reason for everything but Same.
// Two absent keys are the same.
func (u *rules) judge(p *pair) (Verdict, string) {
	source, target := &p.Source, &p.Target
	switch {
	case source.Err != nil:
		return Unchecked, "the source could not be read: " + source.Err.Error()
	case target.Err != nil:
		return Unchecked, "the target could not be read: " + target.Err.Error()
	case !source.present() && !target.present():
		return Same, ""
	case !target.present():
		return Missing, "on the source only"
	case !source.present():
		return Extra, "on the target only"
	case source.Type != target.Type || source.TypeName != target.TypeName:
		return Different, fmt.Sprintf("the type is %s on the source and %s on the target", source.TypeName, target.TypeName)
	case u.depth == DepthKeys:
		return Same, ""
	}
	if !u.sameValue(source, target) {
		if source.Type == keyspace.Module && source.FP == (keyspace.Fingerprint{}) {
			return Unchecked, errModuleInFile.Error()
		}
		if source.Type == keyspace.Module && source.TypeName != rdb.VectorSet {
			return Unchecked, fmt.Sprintf("the payloads of module type %s differ, which may be their encoding alone", source.TypeName)
		}
		if onlyTimes(source, target) && u.compareTimes(source, target) == timesUnknown {
			return Unchecked, whyTimesUnknown
		}
		return Different, u.valueReason(source, target)
	}
	return u.judgeExpiry(source.ExpireAt, target.ExpireAt)
}

func (u *rules) sameValue(source, target *reading) bool {
	s, t := source.FP, target.FP
	if source.Type == keyspace.Stream && !u.sameCounters(source, target) {
		return false
	}
	return s.SameValue(&t) || onlyTimes(source, target) && u.compareTimes(source, target) == timesAgree
}

// sameCounters compares what streams count, where both servers count.
func (u *rules) sameCounters(source, target *reading) bool {
	return !u.counters || source.FP.Counters == 0 || target.FP.Counters == 0 || source.FP.SameCounters(&target.FP)
}

func (u *rules) valueReason(source, target *reading) string {
	if source.FP.Length != target.FP.Length {
		return fmt.Sprintf("the length is %d on the source and %d on the target", source.FP.Length, target.FP.Length)
	}
	if source.FP.Value == target.FP.Value && source.FP.FieldExpiries != target.FP.FieldExpiries {
		return reasonFields
	}
	if source.FP.SameValue(&target.FP) {
		return reasonCounters
	}
	return "the values differ"
}

// judgeExpiry takes expiries as the same when the instants are, or when the remaining times are by clocks that differ.
func (u *rules) judgeExpiry(source, target int64) (Verdict, string) {
	switch {
	case source == target:
		return Same, ""
	case target == 0:
		return Different, "expires on the source only"
	case source == 0:
		return Different, "expires on the target only"
	}
	apart := time.Duration(target-source) * time.Millisecond
	if u.within(source, target) {
		return Same, ""
	}
	when := "later"
	if apart < 0 {
		when = "earlier"
	}
	return Different, fmt.Sprintf("expires %v %s on the target", apart.Abs(), when)
}

// unchanged says whether one side's key stayed as it was between two readings.
func (u *rules) unchanged(before, after *reading) bool {
	if before.Err != nil || after.Err != nil || before.Type != after.Type || before.FP != after.FP && !(onlyTimes(before, after) && u.compareTimes(before, after) == timesAgree) {
		return false
	}
	if before.ExpireAt == 0 || after.ExpireAt == 0 {
		return before.ExpireAt == after.ExpireAt
	}
	return max(before.ExpireAt-after.ExpireAt, after.ExpireAt-before.ExpireAt) <= u.jitter.Milliseconds()
}

// counterDifference says what two streams count differently; "" where nothing differs that both servers know.
func counterDifference(source, target *keyspace.StreamMeta) string {
	switch {
	case !source.HasCounters || !target.HasCounters:
		return ""
	case source.EntriesAdded != target.EntriesAdded:
		return fmt.Sprintf("entries added: %d on the source, %d on the target", source.EntriesAdded, target.EntriesAdded)
	case source.MaxDeletedID != target.MaxDeletedID:
		return fmt.Sprintf("highest deleted ID: %v on the source, %v on the target", source.MaxDeletedID, target.MaxDeletedID)
	}
	return ""
}
