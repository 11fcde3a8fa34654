package verifier

import (
	"errors"
	"fmt"
	"time"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// pair is one key as it was read on each side.
type pair struct{ Source, Target reading }

// expiryJitter bounds how far apart two readings of the same unchanged expiry may be on a busy machine.
const expiryJitter = 50 * time.Millisecond

// rules decide when two readings agree.
type rules struct {
	depth     Depth
	counters  bool          // both sides keep the counters of streams
	tolerance time.Duration // by which expiries may differ
	skew      time.Duration // how far the target's clock is ahead of the source's

	// jitter bounds how far apart two readings of one expiry on one server may be where it is computed from the remaining
	// time. The tolerance is wider and no substitute here: an expiry that was changed by less than the tolerance has been
	// changed all the same.
	jitter time.Duration

	fieldGuard  time.Duration // a field that expires within this time may be there on one side only
	sourceClock time.Duration // how far the source's clock is ahead of ours
}

// judge returns the verdict, which is Same, Different, Missing, Extra or Unchecked, and the cause of every verdict
// but Same. Two absent keys are the same.
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

// unreadReason returns the given reason, or a more specific one that the error tells.
func unreadReason(err error, failed Reason) Reason {
	switch {
	case errors.Is(err, errModuleInFile):
		return ModuleInFile
	case errors.Is(err, errChanged):
		return KeptChanging
	}
	return failed
}

// judgeValue judges two values of one type that are not the same.
func (u *rules) judgeValue(source, target *reading) (Verdict, cause) {
	s, t := &source.FP, &target.FP
	mild := FieldExpiryDiffers
	switch {
	case source.Type == keyspace.Module && *s == (keyspace.Fingerprint{}):
		return because(ModuleInFile, "")
	case source.Type == keyspace.Module && source.TypeName != rdb.VectorSet:
		return because(ModulePayloadDiffers, "the payloads of module type %s differ, but it may be only their encoding that differs", source.TypeName)
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

// sameCounters compares the counters of two streams, if both servers keep counters.
func (u *rules) sameCounters(source, target *reading) bool {
	return !u.counters || source.FP.Counters == 0 || target.FP.Counters == 0 || source.FP.SameCounters(&target.FP)
}

// judgeExpiry takes two expiries as the same when the instants agree, or when the remaining times by each server's
// own clock do.
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

// counterDifference says which counters of two streams differ. It returns "" where no counter differs that both
// servers know.
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
