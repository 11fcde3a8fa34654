package verifier

import (
	"errors"
	"fmt"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// pair is one key as each side was read.
type pair struct{ Source, Target reading }

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

	fieldGuard  time.Duration // a field that expires within it may be there on one side only
	sourceClock time.Duration // the source's clock is ahead of ours by so much
}

// judge returns Same, Different, Missing, Extra or Unchecked, and the cause of everything but Same.
// Two absent keys are the same.
func (u *rules) judge(p *pair) (Verdict, cause) {
	source, target := &p.Source, &p.Target
	switch {
	case source.Err != nil:
		return because(unreadReason(source.Err, SourceReadFailed), "the source could not be read: %v", source.Err)
	case target.Err != nil:
		return because(unreadReason(target.Err, TargetReadFailed), "the target could not be read: %v", target.Err)
	case !source.present() && !target.present():
		return Same, cause{}
	case !target.present():
		return because(AbsentOnTarget, "")
	case !source.present():
		return because(AbsentOnSource, "")
	case source.Type != target.Type || source.TypeName != target.TypeName:
		return because(TypeDiffers, "the type is %s on the source and %s on the target", source.TypeName, target.TypeName)
	case u.depth == DepthKeys:
		return Same, cause{}
	case !u.sameValue(source, target):
		return u.judgeValue(source, target)
	}
	return u.judgeExpiry(source.ExpireAt, target.ExpireAt)
}

// unreadReason is failed, unless the error tells more.
func unreadReason(err error, failed Reason) Reason {
	switch {
	case errors.Is(err, errModuleInFile):
		return ModuleInFile
	case errors.Is(err, errChanged):
		return KeptChanging
	}
	return failed
}

// judgeValue judges values that are not the same, of one type.
func (u *rules) judgeValue(source, target *reading) (Verdict, cause) {
	s, t := &source.FP, &target.FP
	mild := FieldExpiryDiffers
	switch {
	case source.Type == keyspace.Module && *s == (keyspace.Fingerprint{}):
		return because(ModuleInFile, "")
	case source.Type == keyspace.Module && source.TypeName != rdb.VectorSet:
		return because(ModulePayloadDiffers, "the payloads of module type %s differ, which may be their encoding alone", source.TypeName)
	case onlyTimes(source, target) && u.compareTimes(source, target) == timesUnknown:
		return because(FieldExpiriesTooMany, "")
	case s.Length != t.Length:
		return because(LengthDiffers, "the length is %d on the source and %d on the target", s.Length, t.Length)
	case s.Value == t.Value && s.FieldExpiries != t.FieldExpiries:
	case s.SameValue(t):
		mild = StreamCountersDiffer
	default:
		return because(ValueDiffers, "")
	}
	verdict, why := because(mild, "")
	if other, expiry := u.judgeExpiry(source.ExpireAt, target.ExpireAt); other != Same {
		return because(ExpiryAndMoreDiffer, "%v, and %v", why, expiry)
	}
	return verdict, why
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

// judgeExpiry takes expiries as the same when the instants are, or when the remaining times are by clocks that differ.
func (u *rules) judgeExpiry(source, target int64) (Verdict, cause) {
	switch {
	case u.within(source, target):
		return Same, cause{}
	case target == 0:
		return because(ExpiryOnSourceOnly, "")
	case source == 0:
		return because(ExpiryOnTargetOnly, "")
	}
	apart := time.Duration(target-source) * time.Millisecond
	when := "later"
	if apart < 0 {
		when = "earlier"
	}
	return because(ExpiryDiffers, "the key expires %v %s on the target", apart.Abs(), when)
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
