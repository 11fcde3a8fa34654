package migrator

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/reply"
)

// postponement is added to every expiry that an AOF gives a key: some 3000 years, in ms. A server that loads its AOF expires nothing, since
// an expiry that has passed may be renewed further down in the file, but a target would. Commands like RENAME, SET and PERSIST treat a
// postponed expiry as any other. Once the file has been applied, every key on the list of held keys gets its true expiry.
const postponement = 100_000_000_000_000

// postponed returns the expiry that a key gets while the file is being loaded, in place of at.
func postponed(at int64) int64 { return min(max(at, 1), math.MaxInt64-postponement) + postponement }

// postpone appends to run a call with its expiry postponed, and notes its key as held.
func (d *dispatcher) postpone(run []call, c *sourceCommand, x call) []call {
	at, ok := absoluteExpiry(x.args)
	if !ok {
		return append(run, x)
	}
	d.noteHeld(c, x.args[1])
	x.expires = 0 // the key does not expire before the file has been applied
	if strings.EqualFold(x.args[0], "RESTORE") {
		x.args = slices.Clone(x.args)
		x.args[2] = strconv.FormatInt(postponed(at), 10)
	} else {
		x.args = []string{"PEXPIREAT", x.args[1], strconv.FormatInt(postponed(at), 10)}
	}
	return append(run, x)
}

// notePassedFields reports a call that gives fields of a hash an expiry which has passed: the target deletes the fields at once, so that a
// later command of the file cannot renew it.
func (d *dispatcher) notePassedFields(c *sourceCommand, x call) {
	name, at := strings.ToUpper(x.args[0]), int64(-1)
	switch {
	case len(x.args) < 3, name != "HPEXPIREAT" && name != "HEXPIREAT" && name != "HSETEX":
	case name == "HSETEX":
		if i := slices.IndexFunc(x.args, func(a string) bool { return strings.EqualFold(a, "PXAT") }); i > 0 && i+1 < len(x.args) {
			at, _ = strconv.ParseInt(x.args[i+1], 10, 64)
		}
	default:
		at, _ = strconv.ParseInt(x.args[2], 10, 64)
		if name == "HEXPIREAT" {
			at *= 1000
		}
	}
	if at > 0 && at <= d.l.clock.Now() {
		d.l.ledger.Note(c.db, x.args[1], name, "fields of this hash had an expiry that has passed; if the file renews it further down, they are missing")
	}
}

// notePassed reports fields whose expiry has passed as notePassedFields does, for a hash of the RDB that an AOF begins with.
func (l *link) notePassed(e *rdb.Entry, k keyspace.Key) {
	if !rdb.FieldsExpire(e.Type) {
		return
	}
	fields := &passedFields{Hasher: keyspace.NewHasher(), now: l.clock.Now()}
	if !e.Big && rdb.WalkValue(e.Type, e.Raw, fields) == nil && fields.passed == 0 {
		return
	}
	l.ledger.Note(k.DB, k.Name, "", "fields of this hash had an expiry that has passed, or it is too large to tell; if the file renews it further down, they are missing")
}

// passedFields counts fields whose expiry has passed.
type passedFields struct {
	*keyspace.Hasher
	now    int64
	passed int
}

// HashField counts the field if its expiry has passed.
func (p *passedFields) HashField(_, _ []byte, expireAt int64) error {
	if expireAt > 0 && expireAt <= p.now {
		p.passed++
	}
	return nil
}

// endPostponing gives every key on the list of held keys its true expiry, by which the target deletes those that have expired. It may be
// repeated: a key that has its true expiry already is left alone.
func (d *dispatcher) endPostponing(ctx context.Context) error {
	w := newDirect(d.l.m.target, d.l.writing()) // openProxied refuses an AOF
	defer w.close()
	list := d.l.expiries.All()
	for {
		keys := map[uint16][]keyspace.Key{}
		n := 0
		for ; n < 500; n++ {
			k, ok, err := list.Next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			db, ok := d.l.scope.Map(k.DB)
			if !ok || !d.l.scope.Carries(k) {
				continue
			}
			slot := d.l.m.target.slot(k.Name)
			keys[slot] = append(keys[slot], keyspace.Key{DB: db, Name: k.Name})
		}
		if n == 0 {
			return d.endHolding()
		}
		if err := w.unpostpone(ctx, keys); err != nil {
			return fmt.Errorf("give keys their expiry: %w", err)
		}
	}
}

// unpostpone subtracts the postponement from the expiries of keys of the target. left holds the keys by slot.
func (w *direct) unpostpone(ctx context.Context, left map[uint16][]keyspace.Key) error {
	return w.t.retry(ctx, func() (again, err error) {
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
				delete(left, w.t.slot(k.Name))
			}
		}
		return again, ctx.Err()
	})
}

func (w *direct) unpostponeOn(ctx context.Context, addr string, keys []keyspace.Key) (again, err error) {
	c, err := w.conn(ctx, addr)
	if err != nil {
		return err, ctx.Err()
	}
	var ask []rueidis.Completed
	at := make([]int, len(keys))
	sel := func(cmds []rueidis.Completed, db int) []rueidis.Completed {
		if w.t.cluster || db == c.db {
			return cmds
		}
		c.db = db
		return append(cmds, endpoint.Arbitrary(c.dc, "SELECT", strconv.Itoa(db)))
	}
	for i, k := range keys {
		ask = sel(ask, k.DB)
		at[i] = len(ask)
		if w.t.number >= 70000 {
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
		if expireAt < postponement/2 { // the key has no expiry, or its true one already
			continue
		}
		set = append(sel(set, k.DB), endpoint.Arbitrary(c.dc, "PEXPIREAT", k.Name, strconv.FormatInt(expireAt-postponement, 10)))
	}
	for _, r := range c.dc.DoMulti(ctx, set...) {
		if why, err := classify(addr, r.Error()); why != nil || err != nil {
			return why, err
		}
	}
	return nil, nil
}

// expireTime reads the replies about the expiry of one key. at is in Unix ms, and negative if the key has no expiry or does not exist.
func (w *direct) expireTime(addr string, got []rueidis.RedisResult) (at int64, again, err error) {
	if w.t.number >= 70000 {
		at, err = got[0].AsInt64()
		again, err = classify(addr, err)
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
	if again, err = classify(addr, err); ttl < 0 {
		return -1, again, err
	}
	return now.UnixMilli() + ttl, again, err
}
