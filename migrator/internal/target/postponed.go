package target

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/reply"
)

// postponement is added to the expiries that an AOF gives to keys, in ms: some million years. A server that loads its AOF expires nothing, since
// an expiry that has passed may be renewed further down in the file, but a target would. Commands like RENAME, SET and PERSIST treat a
// postponed expiry as any other. Once the file has been applied, every key on the list of held keys gets its true expiry.
//
// Expiries in the far future stay as they are, since they do not pass before the file has been applied: those from mostPostponed on, in the
// year 4199. So each expiry comes back exactly, whatever it is, except for those in the two thousand years from postponement on; they
// become the last one before.
const (
	postponement  = 1<<55 + 7_654_321
	mostPostponed = 1 << 46
)

// Postponed returns the expiry that a key gets while the file is being loaded, in place of at.
func Postponed(at int64) int64 {
	switch {
	case at < mostPostponed:
		return max(at, 1) + postponement
	case isPostponed(at):
		return postponement - 1
	}
	return at
}

func isPostponed(at int64) bool { return at >= postponement && at < postponement+mostPostponed }

// postponedAtOnce is how many keys get their true expiry at once.
const postponedAtOnce = 500

// EndPostponing gives keys whose expiry was postponed their true one. next returns one key after the other, by its database and name on the
// target, and ok false at the end. It may be repeated: a key that has its true expiry already is left alone. Postponed expiries are only
// given to targets that are written directly.
func (t *Target) EndPostponing(ctx context.Context, next func() (k keyspace.Key, ok bool, err error)) error {
	w := newDirect(t, Writing{Checkpoints: t.NewCheckpoints("")})
	defer w.Close()
	for more := true; more; {
		keys, n := map[uint16][]keyspace.Key{}, 0
		for ; n < postponedAtOnce; n++ {
			k, ok, err := next()
			if err != nil {
				return err
			}
			if more = ok; !ok {
				break
			}
			slot := t.Slot(k.Name)
			keys[slot] = append(keys[slot], k)
		}
		if err := w.unpostpone(ctx, keys); err != nil {
			return err
		}
	}
	return nil
}

// unpostpone subtracts the postponement from the expiries of keys of the target. left holds the keys by slot.
func (w *direct) unpostpone(ctx context.Context, left map[uint16][]keyspace.Key) error {
	return w.t.Retry(ctx, func() (again, err error) {
		byNode := map[string][]keyspace.Key{}
		for slot, keys := range left {
			addr, err := w.t.node(slot)
			if err != nil {
				return err, nil
			}
			byNode[addr] = append(byNode[addr], keys...)
		}
		for addr, keys := range byNode {
			why, err := w.unpostponeOn(ctx, addr, keys)
			if err != nil {
				return nil, err
			}
			if why != nil {
				w.drop(addr)
				again = why
				continue
			}
			for _, k := range keys {
				delete(left, w.t.Slot(k.Name))
			}
		}
		return again, ctx.Err()
	})
}

func (w *direct) unpostponeOn(ctx context.Context, addr string, keys []keyspace.Key) (again, err error) {
	c, err := w.conn(ctx, addr)
	if err != nil {
		return AgainOrEnd("", err)
	}
	var ask []rueidis.Completed
	at := make([]int, len(keys))
	sel := func(cmds []rueidis.Completed, db int) []rueidis.Completed {
		if w.t.Cluster || db == c.db {
			return cmds
		}
		c.db = db
		return append(cmds, endpoint.Arbitrary(c.dc, "SELECT", strconv.Itoa(db)))
	}
	for i, k := range keys {
		ask = sel(ask, k.DB)
		at[i] = len(ask)
		if w.t.Number >= 70000 {
			ask = append(ask, endpoint.Arbitrary(c.dc, "PEXPIRETIME", k.Name))
		} else {
			ask = append(ask, endpoint.Arbitrary(c.dc, "TIME"), endpoint.Arbitrary(c.dc, "PTTL", k.Name))
		}
	}
	got := c.dc.DoMulti(ctx, ask...)
	var set []rueidis.Completed
	for i, k := range keys {
		expireAt, why, err := w.expireTime(addr, got[at[i]:])
		if why != nil || err != nil {
			return why, err
		}
		if !isPostponed(expireAt) { // the key has no expiry, or its true one already
			continue
		}
		set = append(sel(set, k.DB), endpoint.Arbitrary(c.dc, "PEXPIREAT", k.Name, strconv.FormatInt(expireAt-postponement, 10)))
	}
	for _, r := range c.dc.DoMulti(ctx, set...) {
		if why, err := AgainOrEnd(addr, r.Error()); why != nil || err != nil {
			return why, err
		}
	}
	return nil, nil
}

// expireTime reads the replies about the expiry of one key. at is in Unix ms, and negative if the key has no expiry or does not exist.
func (w *direct) expireTime(addr string, got []rueidis.RedisResult) (at int64, again, err error) {
	if w.t.Number >= 70000 {
		at, err = got[0].AsInt64()
		again, err = AgainOrEnd(addr, err)
		return at, again, err
	}
	m, err := got[0].ToMessage()
	var now time.Time
	if err == nil {
		now, err = reply.Time(&m)
	}
	ttl := int64(-1)
	if err == nil {
		ttl, err = got[1].AsInt64()
	}
	if again, err = AgainOrEnd(addr, err); ttl < 0 {
		return -1, again, err
	}
	return now.UnixMilli() + ttl, again, err
}
