package verifier

import (
	"cmp"
	"hash/maphash"
	"slices"
	"time"

	"surecut/internal/keyspace"
)

// mostTimes is how many expiring fields, of all readers together, have their times kept while suspects are read.
const mostTimes = 256 << 10

// expiringFields are those fields of a hash that expire, with their times. Fingerprints only show whether all times are the same to
// the millisecond; where they are not, these times show whether each pair is within the tolerance.
type expiringFields struct {
	list  []fieldTime // in order of name
	value uint64      // Keyed of the fingerprint without the expiries
	cut   bool        // there were more fields than could be kept
	room  int
	took  func(n int)
}

type fieldTime struct {
	name uint64 // hash of the name
	at   int64
}

// fieldSeed makes the hashes of names unpredictable, so that nobody can construct collisions.
var fieldSeed = maphash.MakeSeed()

func (e *expiringFields) add(name []byte, at int64) {
	if e.cut = e.cut || len(e.list) >= e.room; !e.cut {
		e.list = append(e.list, fieldTime{maphash.Bytes(fieldSeed, name), at})
	}
}

func (e *expiringFields) finish(value uint64) *expiringFields {
	if e.value = value; e.cut {
		e.list = nil
	}
	slices.SortFunc(e.list, func(a, b fieldTime) int { return cmp.Compare(a.name, b.name) })
	e.took(len(e.list))
	return e
}

// timesLike says how the field expiries of two hashes compare whose fingerprints differ in nothing else.
type timesLike uint8

const (
	timesDiffer  timesLike = iota
	timesAgree             // each field that expires on one side expires on the other, within the tolerance
	timesUnknown           // too many fields expire for all times to be kept
)

func (u *rules) compareTimes(source, target *reading) timesLike {
	s, t := source.times, target.times
	switch {
	case s == nil || t == nil: // the times were not asked for, or no field expires on one side
		return timesDiffer
	case s.value != t.value:
		return timesDiffer
	case s.cut || t.cut:
		return timesUnknown
	case len(s.list) != len(t.list):
		return timesDiffer
	}
	for i := range s.list {
		if s.list[i].name != t.list[i].name || !u.within(s.list[i].at, t.list[i].at) {
			return timesDiffer
		}
	}
	return timesAgree
}

// within says whether two expiries are the same: either the instants agree, or the remaining times by each server's own clock do.
func (u *rules) within(source, target int64) bool {
	if source == 0 || target == 0 {
		return source == target
	}
	apart := time.Duration(target-source) * time.Millisecond
	return min(apart.Abs(), (apart-u.skew).Abs()) <= u.tolerance
}

// onlyTimes says that two readings of a hash differ in nothing but the expiries of fields.
func onlyTimes(source, target *reading) bool {
	s, t := &source.FP, &target.FP
	return source.Type == keyspace.Hash && s.Value == t.Value && s.Length == t.Length && s.FieldExpiries != t.FieldExpiries
}
