package verifier

import (
	"cmp"
	"hash/maphash"
	"slices"
	"time"

	"surecut/internal/keyspace"
)

// mostTimes is how many expiring fields have their times kept while keys in doubt are read, in all.
const mostTimes = 256 << 10

// expiringFields are the fields of a hash that expire, and when. Fingerprints say only whether all times are the same to the
// millisecond; where they are not, these say whether each is within the tolerance.
type expiringFields struct {
	list  []fieldTime // in order of name
	value uint64      // Keyed of the fingerprint without the expiries
	cut   bool        // there were more than could be kept
	room  int
	took  func(n int)
}

type fieldTime struct {
	name uint64 // hash
	at   int64
}

// fieldSeed makes hashes of names that nobody can aim at.
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

// keepTimes has the reader keep when fields expire, for so many of them.
func (r *reader) keepTimes(fields int) { r.timesRoom = fields }

func (r *reader) tookTimes(n int) { r.timesRoom -= n }

// timesLike says how the expiries of the fields of two hashes compare whose fingerprints differ in those alone.
type timesLike uint8

const (
	timesDiffer  timesLike = iota
	timesAgree             // each field that expires on one side expires on the other, within the tolerance
	timesUnknown           // too many fields expire to keep the times of all
)

func (u *rules) compareTimes(source, target *reading) timesLike {
	s, t := source.times, target.times
	switch {
	case s == nil || t == nil: // not asked for, or no field expires on one side
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

// within says whether two expiries are the same: the instants are, or the remaining times are by clocks that differ.
func (u *rules) within(source, target int64) bool {
	if source == 0 || target == 0 {
		return source == target
	}
	apart := time.Duration(target-source) * time.Millisecond
	return min(apart.Abs(), (apart-u.skew).Abs()) <= u.tolerance
}

// onlyTimes says that two readings of a hash differ in the expiries of fields alone.
func onlyTimes(source, target *reading) bool {
	s, t := &source.FP, &target.FP
	return source.Type == keyspace.Hash && s.Value == t.Value && s.Length == t.Length && s.FieldExpiries != t.FieldExpiries
}
