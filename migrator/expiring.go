package migrator

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
)

// Bounds of what is remembered of expiries, in ms.
const (
	expiryAhead = 10_000 // what expires within it may be gone when a command that is sent now is run: clocks differ
	// expiryBehind is how long a source may have been silent before that counts as lost, and some.
	expiryBehind = 90_000
)

// expiryScales say how exactly the date of an expiry is remembered: the nearer, the more exactly. Together they hold
// no more than 100 MiB, and that only where expiries lie at every distance. What lies behind, and matters as long as a link lags,
// holds as much again at most, and 8 MiB for each 9 hours of lag.
var expiryScales = [...]expiryScale{
	{128_000, 8_000, 256 << 10},
	{2_048_000, 128_000, 1 << 20},
	{32_768_000, 2_048_000, 4 << 20},
	{math.MaxInt64, math.MaxInt64, 8 << 20}, // always due
}

// longPast is the last scale of what lies behind.
var longPast = expiryScale{math.MaxInt64, 32_768_000, 8 << 20}

// expiryScale remembers expiries whose distance is within some ms by periods of a width, in so many bytes each. Widths and
// bytes of a scale are multiples of those before.
type expiryScale struct{ within, width, bytes int64 }

// scaleOf gives the scale for a distance from now.
func scaleOf(ahead int64) expiryScale {
	distance := max(ahead, -ahead)
	for i, s := range expiryScales {
		if last := i == len(expiryScales)-1; distance <= s.within && !(last && ahead < 0) {
			return s
		}
	}
	return longPast
}

// expiring remembers which keys of the target may have expired there, by its own clock, before a command was run that
// the source ran while it still had the key. Such a command would begin the key anew: an INCR from zero, an HSET with
// one field; and what renews the expiry next would find a key, and notice nothing. So a command that depends on what such a
// key holds asks first whether it is there, and the key is copied again from the source where it is not.
//
// Keys are kept as bits of Bloom filters by the date of their expiry. What is remembered for nothing costs a question, and a
// copy where the key is new.
type expiring struct {
	mu      sync.RWMutex
	periods map[expiryPeriod]*bloom
	due     []*bloom     // of those that have begun
	chosen  atomic.Int64 // Unix ms when due was
	unknown atomic.Bool
	known   map[uint64]struct{} // keys that were made anew, or deleted, since unknown was set: of them all is noted
	floors  map[string]int64    // by link
	swapped [][]int             // databases whose keys have changed places
	began   int64
}

// expiryPeriod is the expiries from index*width on, width ms long.
type expiryPeriod struct{ width, index int64 }

func newExpiring(links int) *expiring {
	return &expiring{periods: map[expiryPeriod]*bloom{}, floors: make(map[string]int64, links), began: time.Now().UnixMilli()}
}

// expiringHash tells keys of the target apart, databases included.
func expiringHash(db int, name string) uint64 {
	return xxhash.Sum64String(name) ^ uint64(db)*0x9E3779B97F4A7C15
}

// note remembers that the target lets a key of a database of its own expire at a Unix time in ms.
func (e *expiring) note(db int, name string, at int64) {
	now := time.Now().UnixMilli()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.period(scaleOf(at-now), at, now).add(expiringHash(db, name))
}

// period gives the set of the expiries of a scale at a time. The caller holds mu.
func (e *expiring) period(s expiryScale, at, now int64) *bloom {
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

// mayBeGone says whether the target may lack a key that the source had when it ran a command that has not been applied yet.
func (e *expiring) mayBeGone(db int, name string) bool {
	h := expiringHash(db, name)
	if e.unknown.Load() {
		e.mu.RLock()
		_, known := e.known[h]
		e.mu.RUnlock()
		if !known {
			return true
		}
	}
	if now := time.Now().UnixMilli(); now-e.chosen.Load() > 500 { // pass may have to wait for the target
		e.mu.Lock()
		e.choose(now)
		e.mu.Unlock()
	}
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

// mostKnown bounds what is remembered of known keys, 8 bytes each; further ones are asked for.
const mostKnown = 1 << 20

// forget says that the target may hold expiries that were not noted.
func (e *expiring) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known = map[uint64]struct{}{}
	e.unknown.Store(true)
}

// learn takes from a call what is certain afterwards: a key that it makes anew or deletes has no expiry but those that are noted.
func (e *expiring) learn(c *call) {
	if !e.unknown.Load() {
		return
	}
	var names []string
	switch strings.ToUpper(c.args[0]) {
	case "DEL", "UNLINK":
		names = c.args[1:]
	case "RESTORE":
		names = c.args[1:2]
	case "SET":
		if len(c.args) == 3 {
			names = c.args[1:2]
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range names {
		if len(e.known) < mostKnown {
			e.known[expiringHash(c.db, name)] = struct{}{}
		}
	}
}

// swap exchanges what is remembered of two databases, for their keys change places. A filter does not tell what it holds, so
// keys that may expire of either are from now on looked for in both: at the worst, a question too many.
func (e *expiring) swap(first, second int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known != nil { // these may not be taken for the other's
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

// hashes gives the hashes under which an expiry of a key may have been noted. The caller holds mu.
func (e *expiring) hashes(db int, name string) []uint64 {
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

// pass forgets what expired before the source ran what a link has applied, Unix ms by when that was received; 0: that is not
// known. It is called several times a second.
func (e *expiring) pass(link string, applied int64, links int) {
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

// choose finds the periods that have begun. The caller holds mu.
func (e *expiring) choose(now int64) {
	e.due = e.due[:0]
	for p, b := range e.periods {
		if p.begins() <= now+expiryAhead {
			e.due = append(e.due, b)
		}
	}
	e.chosen.Store(now)
}

// allPassed says whether every link has caught up since this run began, and nothing of before is under way.
func (e *expiring) allPassed(links int) bool {
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

// bloom is a set of hashes with false positives.
type bloom struct{ bits []uint64 }

func (b *bloom) add(h uint64) {
	for range 4 {
		b.bits[h>>6%uint64(len(b.bits))] |= 1 << (h & 63)
		h = h*0x9E3779B97F4A7C15 ^ h>>29
	}
}

// merge adds what a set of the same size, or of a whole fraction of it, holds.
func (b *bloom) merge(other *bloom) {
	for i := range b.bits {
		b.bits[i] |= other.bits[i%len(other.bits)]
	}
}

func (b *bloom) has(h uint64) bool {
	for range 4 {
		if b.bits[h>>6%uint64(len(b.bits))]&(1<<(h&63)) == 0 {
			return false
		}
		h = h*0x9E3779B97F4A7C15 ^ h>>29
	}
	return true
}

// learnExpiries reads the expiries that the target holds from before this run. Until that is done and every link has
// caught up once, any key may have expired.
func (m *Migration) learnExpiries(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for learnt := false; ; {
		if !learnt {
			err := m.learnOnce(ctx)
			if learnt = err == nil; !learnt && ctx.Err() == nil {
				m.cfg.Log.Warn("the target does not tell its keys' expiries; it is asked again", "error", err)
				tick.Reset(5 * time.Second)
			} else {
				tick.Reset(100 * time.Millisecond)
			}
		}
		if learnt && m.expiring.allPassed(len(m.links)) {
			m.expiring.unknown.Store(false)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (m *Migration) learnOnce(ctx context.Context) error {
	for _, addr := range m.target.primaries() {
		dbs, err := m.target.databases(ctx, addr)
		if err != nil {
			return err
		}
		for _, db := range dbs {
			if err := m.learnOn(ctx, addr, db); err != nil {
				return fmt.Errorf("target %s: read the expiries of database %d: %w", addr, db, err)
			}
		}
	}
	return nil
}

func (m *Migration) learnOn(ctx context.Context, addr string, db int) error {
	client, err := m.target.d.Client(ctx, addr, db)
	if err != nil {
		return err
	}
	dc, release := client.Dedicate()
	defer release()
	for cursor := uint64(0); ; {
		page, err := dc.Do(ctx, arbitrary(dc, "SCAN", strconv.FormatUint(cursor, 10), "COUNT", "500")).AsScanEntry()
		if err != nil {
			return err
		}
		cmds := make([]rueidis.Completed, len(page.Elements))
		for i, name := range page.Elements {
			cmds[i] = arbitrary(dc, "PTTL", name)
		}
		now := time.Now().UnixMilli()
		for i, r := range dc.DoMulti(ctx, cmds...) {
			ttl, err := r.AsInt64()
			if err != nil {
				return err
			}
			if ttl >= 0 {
				m.expiring.note(db, page.Elements[i], now+ttl)
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}

// databases lists those of a node that hold keys.
func (t *target) databases(ctx context.Context, addr string) ([]int, error) {
	if t.dbs.Only {
		return []int{t.ownDB()}, nil
	}
	client, err := t.d.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	info, err := endpoint.Info(ctx, client, "keyspace")
	if err != nil {
		return nil, fmt.Errorf("target %s: INFO keyspace: %w", addr, err)
	}
	dbs, err := endpoint.Keyspace(info)
	return slices.Collect(maps.Keys(dbs)), err
}
