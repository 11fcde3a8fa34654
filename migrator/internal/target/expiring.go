package target

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Bounds for the expiries that are remembered, in ms.
const (
	// expiryAhead is how far ahead an expiry may be to count as one that may have passed when a command that is sent now is run. It allows
	// for clocks that differ.
	expiryAhead = 10_000
	// expiryBehind is a little more than the time after which a silent source counts as lost.
	expiryBehind = 90_000
)

// expiryScales say how exactly the time of an expiry is remembered: the nearer it is, the more exactly. Together they take no more than
// 25 MiB, and that only where there are expiries at every distance. Expiries that have passed, which matter while a link lags, take as much
// again at most, and 2 MiB more for every 9 hours of lag. With ten million keys that expire within 9 hours, one key in a hundred is taken
// for one that expires.
var expiryScales = [...]expiryScale{
	{128_000, 8_000, 64 << 10},
	{2_048_000, 128_000, 256 << 10},
	{32_768_000, 2_048_000, 1 << 20},
	{math.MaxInt64, math.MaxInt64, 2 << 20}, // one period for all that is farther ahead; it is always due
}

// longPast is the last scale for expiries that have passed.
var longPast = expiryScale{math.MaxInt64, 32_768_000, 2 << 20}

// expiryScale applies to expiries at a distance from now of at most within ms. It remembers them by periods of width ms, in a set of so
// many bytes each. The width and the bytes of a scale are multiples of those of the scale before it.
type expiryScale struct{ within, width, bytes int64 }

// scaleOf returns the scale for an expiry that is ahead ms from now; negative: it has passed.
func scaleOf(ahead int64) expiryScale {
	distance := max(ahead, -ahead)
	for i, s := range expiryScales {
		if last := i == len(expiryScales)-1; distance <= s.within && !(last && ahead < 0) {
			return s
		}
	}
	return longPast
}

// Expiring remembers which keys may have expired on the target, by its own clock, before it ran a command that the source ran while it
// still had the key. Such a command would make the key anew: an INCR would count from zero, an HSET would leave one field. A later command
// that renews the expiry would then find a key, so that nobody would notice. So a command that depends on the value of such a key is
// preceded by a question whether the key exists, and the key is copied from the source if it does not.
//
// The keys are kept in Bloom filters, one for each period of expiry. A false positive costs a question, and a copy if the key does not
// exist.
type Expiring struct {
	nodes   *nodes
	began   int64        // Unix ms at which this run began
	chosen  atomic.Int64 // Unix ms at which due was computed
	unknown atomic.Bool  // the target may hold expiries that were not noted

	mu      sync.RWMutex // guards all below
	periods map[expiryPeriod]*bloom
	due     []*bloom            // sets of the periods that have begun
	known   map[uint64]struct{} // keys that were made anew or deleted since unknown was set, so that all their expiries are noted
	floors  map[string]int64    // by link, Unix ms: expiries before all of them do not matter any more
	swapped [][]int             // groups of databases whose keys have changed places
}

// expiryPeriod is a period of width ms that begins at index*width, in Unix ms.
type expiryPeriod struct{ width, index int64 }

func newExpiring(ns *nodes) *Expiring {
	return &Expiring{nodes: ns, periods: map[expiryPeriod]*bloom{}, floors: map[string]int64{}, began: time.Now().UnixMilli()}
}

// expiringHash returns the hash of a key of the target and its database.
func expiringHash(db int, name string) uint64 {
	return xxhash.Sum64String(name) ^ uint64(db)*0x9E3779B97F4A7C15
}

// Note remembers that a key of the target expires at a Unix time in ms. db is a database of the target.
func (e *Expiring) Note(db int, name string, at int64) {
	now := time.Now().UnixMilli()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.period(scaleOf(at-now), at, now).add(expiringHash(db, name))
}

// period returns the set of the period of a scale in which at lies. The caller holds mu.
func (e *Expiring) period(s expiryScale, at, now int64) *bloom {
	p := expiryPeriod{s.width, at / s.width}
	b := e.periods[p]
	if b == nil {
		b = &bloom{bits: make([]uint64, s.bytes/8)}
		e.periods[p] = b
		if p.begins() <= now+expiryAhead {
			e.due = append(e.due, b)
		}
	}
	return b
}

func (p expiryPeriod) begins() int64 { return p.index * p.width }

func (p expiryPeriod) ends() int64 {
	if p.width == math.MaxInt64 {
		return math.MaxInt64
	}
	return p.begins() + p.width
}

// Plain says whether a command for a key may go to the target in a series, as far as its expiry matters: when the command is sent, the
// target is hardly going to be asked for the key. reads says whether the effect of the command depends on the value of the key.
func (e *Expiring) Plain(db int, name string, reads bool) bool {
	return !e.unknown.Load() && (!reads || e.noneDue() || !e.mayBeGone(db, name))
}

// none says that no key may be gone.
func (e *Expiring) none() bool {
	e.refresh()
	return !e.unknown.Load() && e.noneDue()
}

func (e *Expiring) noneDue() bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return len(e.due) == 0
}

// refresh computes due again where pass was not called for a while, since the target is slow.
func (e *Expiring) refresh() {
	if now := time.Now().UnixMilli(); now-e.chosen.Load() > 500 {
		e.mu.Lock()
		e.choose(now)
		e.mu.Unlock()
	}
}

// mayBeGone says whether the target may lack a key that the source had when it ran a command that has not been applied yet.
func (e *Expiring) mayBeGone(db int, name string) bool {
	h := expiringHash(db, name)
	if e.unknown.Load() {
		e.mu.RLock()
		_, known := e.known[h]
		e.mu.RUnlock()
		if !known {
			return true
		}
	}
	e.refresh()
	e.mu.RLock()
	defer e.mu.RUnlock()
	if len(e.due) == 0 {
		return false
	}
	hashes := e.hashes(db, name)
	for _, b := range e.due {
		if slices.ContainsFunc(hashes, b.has) {
			return true
		}
	}
	return false
}

// mostKnown bounds the number of known keys, of 8 bytes each. The target is asked for further ones.
const mostKnown = 1 << 20

// Forget notes that the target may hold expiries that were not noted.
func (e *Expiring) Forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known = map[uint64]struct{}{}
	e.unknown.Store(true)
}

// learn adds the keys that a call makes anew or deletes to known: after it they have no expiry other than those that are noted.
func (e *Expiring) learn(c *Call) {
	if !e.unknown.Load() {
		return
	}
	var names []string
	switch strings.ToUpper(c.Args[0]) {
	case "DEL", "UNLINK":
		names = c.Args[1:]
	case "RESTORE":
		names = c.Args[1:2]
	case "SET":
		if len(c.Args) == 3 {
			names = c.Args[1:2]
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range names {
		if len(e.known) < mostKnown {
			e.known[expiringHash(c.DB, name)] = struct{}{}
		}
	}
}

// Swap has the keys of two databases change places. A Bloom filter does not tell which keys it holds, so a key of either database is from
// now on looked for as a key of both, which costs a needless question at worst.
func (e *Expiring) Swap(first, second int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known != nil { // a known key of one database must not count as known in the other
		e.known = map[uint64]struct{}{}
	}
	group := []int{first, second}
	e.swapped = slices.DeleteFunc(e.swapped, func(other []int) bool {
		shared := slices.Contains(other, first) || slices.Contains(other, second)
		if shared {
			group = append(group, other...)
		}
		return shared
	})
	slices.Sort(group)
	e.swapped = append(e.swapped, slices.Compact(group))
}

// hashes returns the hashes under which an expiry of a key may have been noted. The caller holds mu.
func (e *Expiring) hashes(db int, name string) []uint64 {
	for _, group := range e.swapped {
		if slices.Contains(group, db) {
			out := make([]uint64, len(group))
			for i, other := range group {
				out[i] = expiringHash(other, name)
			}
			return out
		}
	}
	return []uint64{expiringHash(db, name)}
}

// Pass is called several times a second for each link. applied is when the commands were received that the link applies now, in Unix ms; 0:
// that says nothing. Expiries that passed some time before that on all links are forgotten: the source had expired these keys itself.
func (e *Expiring) Pass(link string, applied int64, links int) {
	now := time.Now().UnixMilli()
	e.mu.Lock()
	defer e.mu.Unlock()
	if applied > 0 {
		e.floors[link] = applied - expiryBehind
	}
	floor := int64(0)
	if len(e.floors) == links {
		floor = math.MaxInt64
		for _, f := range e.floors {
			floor = min(floor, f)
		}
	}
	for p := range e.periods {
		if p.ends() <= floor {
			delete(e.periods, p)
		}
	}
	for p, b := range e.periods {
		if s := scaleOf(p.ends() - now); p.ends() < now && s.width > p.width {
			delete(e.periods, p)
			e.period(s, p.begins(), now).merge(b)
		}
	}
	e.choose(now)
}

// Leave forgets a link whose shard has gone.
func (e *Expiring) Leave(link string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.floors, link)
}

// choose computes due. The caller holds mu.
func (e *Expiring) choose(now int64) {
	e.due = e.due[:0]
	for p, b := range e.periods {
		if p.begins() <= now+expiryAhead {
			e.due = append(e.due, b)
		}
	}
	e.chosen.Store(now)
}

// allPassed says whether every link has applied all commands that the source ran before this run began.
func (e *Expiring) allPassed(links int) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if len(e.floors) < links {
		return false
	}
	for _, f := range e.floors {
		if f < e.began {
			return false
		}
	}
	return true
}
