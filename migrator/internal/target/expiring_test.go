package target

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestExpiring(t *testing.T) {
	const second = 1000
	now := time.Now().UnixMilli()
	for _, c := range []struct {
		name   string
		at     int64 // expiry, relative to now
		passed int64 // both links have caught up then, relative to now
		want   bool
	}{
		{"just expired", -second, -2 * second, true},
		{"about to expire", 5 * second, 0, true},
		{"expires later", 100 * second, 0, false},
		{"expires in an hour", 3600 * second, 0, false},
		{"nobody knows exactly when", 48 * 3600 * second, 0, true},
		{"expired before both had caught up", -400 * second, 0, false},
		{"expired, a link has not caught up since", -400 * second, -350 * second, true},
		{"expired ten hours ago, and a link lags as much", -36000 * second, -36000 * second, true},
		{"expired ten hours ago", -72000 * second, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newExpiring(nil)
			e.Note(0, "k", now+c.at)
			e.Pass("0", now, 2)
			if c.at < 0 && !e.mayBeGone(0, "k") {
				t.Error("forgotten before the second link has caught up")
			}
			e.Pass("1", now+c.passed, 2)
			if got := e.mayBeGone(0, "k"); got != c.want {
				t.Errorf("may be gone: %v", got)
			}
			if e.mayBeGone(0, "another") || e.mayBeGone(1, "k") {
				t.Error("a key that was never noted may be gone")
			}
		})
	}
	e := newExpiring(nil)
	e.Forget()
	for _, args := range []string{"DEL d", "SET s v", "RESTORE r 0 p", "SET kept v KEEPTTL", "INCR i"} {
		e.learn(&Call{Args: strings.Fields(args)})
	}
	for name, want := range map[string]bool{"d": false, "s": false, "r": false, "kept": true, "i": true} {
		if got := e.mayBeGone(0, name); got != want {
			t.Errorf("%s may be gone: %v, and nothing is known but what was sent", name, got)
		}
	}
	if !e.mayBeGone(0, "k") {
		t.Error("as long as nothing is known, every key may be gone")
	}
	if e.Pass("0", now-second, 1); e.allPassed(1) {
		t.Error("the link had caught up before this run began")
	}
	if e.Pass("0", now+expiryBehind+10*second, 1); !e.allPassed(1) {
		t.Error("the link has caught up")
	}
}

// TestExpiringOfALag: what is remembered for a link that lags does not grow with the lag, and nothing is forgotten.
func TestExpiringOfALag(t *testing.T) {
	const hour = 3600_000
	e := newExpiring(nil)
	now := time.Now().UnixMilli()
	for at := now - 10*hour; at < now; at += 4000 { // keys that expire as they are written, in order
		e.Note(0, strconv.FormatInt(at, 10), at)
		e.Pass("0", now-11*hour, 1)
	}
	bytes := 0
	for _, b := range e.periods {
		bytes += 8 * len(b.bits)
	}
	if bytes > 32<<20 || len(e.due) > 100 {
		t.Errorf("%d MiB in %d sets", bytes>>20, len(e.due))
	}
	for at := now - 10*hour; at < now; at += 4000 {
		if !e.mayBeGone(0, strconv.FormatInt(at, 10)) {
			t.Fatalf("what expired %d s ago is forgotten", (now-at)/1000)
		}
	}
	for at := now - 100_000; at < now; at += 4000 { // dates that are near when they are noted are so no more an hour later
		e.period(expiryScales[0], at-hour, now).add(expiringHash(0, strconv.FormatInt(at, 10)))
	}
	e.Pass("0", now-11*hour, 1)
	for p := range e.periods {
		if p.width == expiryScales[0].width && now-p.ends() > expiryScales[0].within {
			t.Errorf("a period of %d s that ended %d s ago", p.width/1000, (now-p.ends())/1000)
		}
	}
	for at := now - 100_000; at < now; at += 4000 {
		if !e.mayBeGone(0, strconv.FormatInt(at, 10)) {
			t.Fatal("what is put together is forgotten")
		}
	}
	e.Pass("0", now+hour, 1)
	if len(e.periods) > 0 {
		t.Errorf("%d periods are left when the link has caught up", len(e.periods))
	}
}

func TestBloom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	b := &bloom{bits: make([]uint64, 1<<12)} // 13 bits a key
	in := map[uint64]bool{}
	for range 20_000 {
		h := r.Uint64()
		in[h] = true
		b.add(h)
	}
	for h := range in {
		if !b.has(h) {
			t.Fatalf("%x is not in", h)
		}
	}
	wrong := 0
	for range 20_000 {
		if h := r.Uint64(); !in[h] && b.has(h) {
			wrong++
		}
	}
	if wrong > 20_000/50 {
		t.Errorf("%d of 20000 false positives", wrong)
	}
}

func BenchmarkMayBeGone(b *testing.B) {
	e := newExpiring(nil)
	now := time.Now().UnixMilli()
	for i := range int64(100_000) {
		e.Note(0, strconv.FormatInt(i, 10), now+i*40)
	}
	e.Pass("0", now, 1)
	for b.Loop() {
		e.mayBeGone(0, "a key of some length")
	}
}

// TestExpiringSwaps: what is remembered of a database goes with its keys.
func TestExpiringSwaps(t *testing.T) {
	e := newExpiring(nil)
	soon := time.Now().UnixMilli() + 1000
	e.Forget()
	e.learn(&Call{DB: 1, Args: []string{"SET", "k", "v"}})
	e.Note(0, "k", soon)
	e.Note(2, "m", soon)
	e.Swap(0, 1)
	if !e.mayBeGone(1, "k") {
		t.Error("SWAPDB 0 1: k of 1 was made anew in the other database, and that which is there now may have expired")
	}
	e.unknown.Store(false)
	if !e.mayBeGone(1, "k") || e.mayBeGone(3, "k") || e.mayBeGone(1, "other") {
		t.Error("SWAPDB 0 1: the expiry of k has gone from 0 to 1, and nowhere else")
	}
	e.Swap(1, 2)
	e.Swap(3, 4)
	for _, db := range []int{0, 1, 2} {
		if !e.mayBeGone(db, "k") || !e.mayBeGone(db, "m") {
			t.Errorf("after SWAPDB 0 1 and 1 2, either may be in %d", db)
		}
	}
	if e.mayBeGone(3, "k") || e.mayBeGone(4, "m") {
		t.Error("databases that were swapped among themselves know of others")
	}
	e.Swap(4, 0)
	if !e.mayBeGone(3, "k") {
		t.Error("groups that a SWAPDB joins are not one")
	}
	e.Note(3, "n", soon)
	if !e.mayBeGone(4, "n") || e.mayBeGone(5, "n") {
		t.Error("what is noted after the swaps is looked for in the group")
	}
}
