package verifier

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// TestWithinTolerance: two expiries are the same if the instants agree, or the times that are left by each server's own clock. One that
// expires and one that never does are never the same, whatever the tolerance.
func TestWithinTolerance(t *testing.T) {
	const at = 1_700_000_000_000
	for _, tt := range []struct {
		name           string
		tolerance      time.Duration
		skew           time.Duration
		source, target int64
		same           bool
	}{
		{"neither expires", 0, 0, 0, 0, true},
		{"to the millisecond", 0, 0, at, at, true},
		{"a millisecond apart, and none allowed", 0, 0, at, at + 1, false},
		{"as far as allowed", time.Second, 0, at, at + 1000, true},
		{"as far as allowed, earlier", time.Second, 0, at, at - 1000, true},
		{"a millisecond too far", time.Second, 0, at, at + 1001, false},
		{"only on the source", 365 * 24 * time.Hour, 0, at, 0, false},
		{"only on the target", 365 * 24 * time.Hour, 0, 0, at, false},
		{"one that expired in 1970", time.Hour, 0, 1, 0, false},
		{"by each clock", time.Second, time.Hour, at, at + 3_600_000, true},
		{"by each clock, too far", time.Second, time.Hour, at, at + 3_602_000, false},
		{"the instants agree, and the clocks do not", time.Second, time.Hour, at, at, true},
		{"a clock that is behind", time.Second, -time.Hour, at, at - 3_600_500, true},
		{"a clock that is behind, the other way", time.Second, -time.Hour, at, at + 3_600_500, false},
	} {
		u := &rules{tolerance: tt.tolerance, skew: tt.skew}
		if same := u.within(tt.source, tt.target); same != tt.same {
			t.Errorf("%s: the same %v, want %v", tt.name, same, tt.same)
		}
		if back := (&rules{tolerance: tt.tolerance, skew: -tt.skew}).within(tt.target, tt.source); back != tt.same {
			t.Errorf("%s, with the sides exchanged: the same %v, want %v", tt.name, back, tt.same)
		}
	}
}

// TestTimesOfFields: hashes that differ in nothing but when fields expire are the same only if each field that expires on one side does
// on the other, within the tolerance. Where too many expire for all times to be kept, nobody knows.
func TestTimesOfFields(t *testing.T) {
	const at = 1_700_000_000_000
	type field struct {
		name string
		at   int64
	}
	hash := func(room int, value string, list ...field) reading {
		h := keyspace.NewHasher()
		left := room
		e := &expiringFields{room: room, took: func(n int) { left -= n }}
		for _, f := range list {
			h.HashField([]byte(f.name), []byte(value), f.at)
			if f.at != 0 {
				e.add([]byte(f.name), f.at)
			}
		}
		r := reading{Type: keyspace.Hash, TypeName: "hash", FP: h.Sum(), times: e.finish(h.KeyedValue())}
		if left < 0 {
			t.Errorf("%d times were kept, and there was room for %d", room-left, room)
		}
		return r
	}
	a, b := field{"a", at}, field{"b", at + 60_000}
	for _, tt := range []struct {
		name           string
		source, target reading
		want           timesLike
	}{
		{"to the millisecond", hash(9, "v", a, b), hash(9, "v", b, a), timesAgree},
		{"within the tolerance", hash(9, "v", a, b), hash(9, "v", field{"b", at + 60_900}, field{"a", at - 900}), timesAgree},
		{"one is beyond it", hash(9, "v", a, b), hash(9, "v", a, field{"b", at + 61_001}), timesDiffer},
		{"exchanged", hash(9, "v", a, b), hash(9, "v", field{"a", b.at}, field{"b", a.at}), timesDiffer},
		{"one never expires", hash(9, "v", a, b), hash(9, "v", a, field{"b", 0}), timesDiffer},
		{"another one expires", hash(9, "v", a, field{"b", 0}), hash(9, "v", field{"a", 0}, field{"b", at}), timesDiffer},
		{"another value as well", hash(9, "v", a, b), hash(9, "w", a, b), timesDiffer},
		{"no room on one side", hash(1, "v", a, b), hash(9, "v", a, b), timesUnknown},
		{"no room on the other", hash(9, "v", a, b), hash(1, "v", a, field{"b", at + 61_001}), timesUnknown},
		{"not asked for", hash(9, "v", a), reading{Type: keyspace.Hash}, timesDiffer},
	} {
		u := &rules{tolerance: time.Second, depth: DepthValue}
		if got := u.compareTimes(&tt.source, &tt.target); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
		verdict, why := u.judge(&pair{tt.source, tt.target})
		switch {
		case tt.target.times == nil:
		case tt.want == timesUnknown && tt.source.FP != tt.target.FP && (verdict != Unchecked || why.Reason != FieldExpiriesTooMany),
			tt.want == timesAgree && verdict != Same, tt.want == timesDiffer && verdict != Different:
			t.Errorf("%s: judged %s (%v)", tt.name, verdict, why)
		}
	}
}

// TestToleranceOfARun: the tolerance and the servers' clocks decide about expiries of keys and of fields, and about nothing else.
func TestToleranceOfARun(t *testing.T) {
	at := time.Now().Add(time.Hour).UnixMilli()
	for _, tt := range []struct {
		name, why string
		apart     int64 // by which the target's expiries are later, ms
		ahead     time.Duration
		tolerance time.Duration
		want      Verdict
	}{
		{"none", "", 0, 0, time.Second, Same},
		{"within it", "", 900, 0, time.Second, Same},
		{"beyond it", "", 5_000, 0, time.Second, Different},
		{"beyond it, and a wider one", "", 5_000, 0, 10 * time.Second, Same},
		{"the target's clock is ahead", "what is left of both is the same", 1_800_000, 30 * time.Minute, 30 * time.Second, Same},
		{"the target's clock is ahead, and nothing was changed", "the instants are the same", 0, 30 * time.Minute, 30 * time.Second, Same},
		{"the target's clock is ahead by less", "neither instants nor what is left are the same", 1_800_000, 20 * time.Minute, 30 * time.Second, Different},
	} {
		source, target := endpointtest.Serve(t, "7.4.1"), endpointtest.Serve(t, "7.4.1")
		for s, later := range map[*endpointtest.Server]int64{source: 0, target: tt.apart} {
			v := stringOf("abc")
			v.ExpireAt = at + later
			s.Put("key", v)
			s.Put("field", expiringField(valueOf(keyspace.Hash, 3, 10), at+later))
			s.Put("neither", stringOf("abc"))
		}
		if tt.ahead != 0 {
			target.On("TIME", func([]string) string {
				now := time.Now().Add(tt.ahead)
				return endpointtest.Strings(fmt.Sprint(now.Unix()), fmt.Sprint(now.Nanosecond()/1000))
			})
		}
		r, err := verifyTold(t, source, target, func(c *Config) { c.TTLTolerance = tt.tolerance })
		if err != nil {
			t.Fatal(err)
		}
		differ := int64(0)
		if tt.want == Different {
			differ = 2
		}
		if r.Verdict != tt.want || r.Totals.Different != differ || r.Totals.Same != 3-differ {
			t.Errorf("%s: %s, %+v: %s; want %s (%s)", tt.name, r.Verdict, r.Totals, strings.Join(r.Reasons, " "), tt.want, tt.why)
		}
	}
}
