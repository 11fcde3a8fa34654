package target

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/command"
	"surecut/internal/keyspace"
	"surecut/internal/resp"
	"surecut/migrator/internal/slab"
)

// Restore writes one batch. Keys whose slot has moved, or whose connection broke, are tried again.
func (w *direct) Restore(ctx context.Context, b *Batch, settle func(k *Value, refused *RefusedError) error) error {
	if err := w.t.take(ctx, len(b.Payload), len(b.Keys)); err != nil {
		return err
	}
	left := b.Keys
	return w.t.Retry(ctx, func() (again, err error) {
		byNode, err := w.spread(b.Addr, left)
		if err != nil {
			return err, nil
		}
		left = nil
		for addr, keys := range byNode {
			undone, why, err := w.restoreOn(ctx, addr, b, keys, settle)
			if err != nil {
				return nil, err
			}
			if left = append(left, undone...); why != nil {
				again = why
			}
		}
		return again, nil
	})
}

// spread groups keys by node. At the first attempt all belong to the batch's node; later, slots may have moved.
func (w *direct) spread(addr string, keys []Value) (map[string][]Value, error) {
	if keys[0].Attempts == 0 {
		return map[string][]Value{addr: keys}, nil
	}
	byNode := map[string][]Value{}
	for _, k := range keys {
		addr, err := w.t.AddrOf(k.Name)
		if err != nil {
			return nil, err
		}
		byNode[addr] = append(byNode[addr], k)
	}
	return byNode, nil
}

// restoreOn sends values to one node. left are the keys that are to be sent again.
func (w *direct) restoreOn(ctx context.Context, addr string, b *Batch, keys []Value, settle func(k *Value, refused *RefusedError) error) (left []Value, again, err error) {
	if keys, err = w.refuseLarge(ctx, addr, b, keys, settle); err != nil || len(keys) == 0 {
		return nil, nil, err
	}
	for i := range keys {
		keys[i].Attempts++
	}
	db := 0
	for i := range keys {
		db = max(db, keys[i].DB)
	}
	p, err := w.pipeTo(ctx, addr, db)
	if err != nil {
		again, err = AgainOrEnd("", err)
		return keys, again, err
	}
	at := w.queueValues(p, b, keys)
	if err := w.t.Claim.Hold(ctx); err != nil {
		p.unsend()
		again, err = AgainOrEnd("", err)
		return keys, again, err
	}
	res := p.exchange()
	var dated []Value
	for i := range keys {
		k := &keys[i]
		reply := res[at[i]].err
		if at[i] > 0 && reply == nil {
			if e := res[at[i]-1].err; e != nil && (i == 0 || at[i-1] != at[i]-1) {
				return nil, nil, fmt.Errorf("target %s: database %d: %w", addr, k.DB, e)
			}
		}
		if reply == nil && !k.restored && k.ExpireAt > 0 && !w.t.Dialect.Has(command.AbsTTL) {
			k.restored = true // the exact expiry follows only now, so that a key which the target kept as it was does not get it
			dated = append(dated, *k)
			continue
		}
		if unreadable := w.t.unreadable(reply, slab.View(b.Value(k))); unreadable != nil {
			reply = unreadable
		}
		refused, retry, err := judge(addr, k, reply)
		if err == nil && retry == nil {
			err = settle(k, refused)
		}
		if err != nil {
			return nil, nil, err
		}
		if retry != nil {
			left, again = append(left, *k), fmt.Errorf("target %s: %w", addr, retry)
		}
	}
	if again != nil {
		w.drop(addr)
		return append(left, dated...), again, ctx.Err()
	}
	if len(dated) > 0 {
		return w.restoreOn(ctx, addr, b, dated, settle)
	}
	return left, again, ctx.Err()
}

// queueValues queues the commands that write values, and returns for each key the index of the reply that tells the outcome.
func (w *direct) queueValues(p *pipe, b *Batch, keys []Value) []int {
	at := make([]int, len(keys))
	replaces, absolute := w.t.Dialect.Has(command.Replace), w.t.Dialect.Has(command.AbsTTL)
	for i := range keys {
		k := &keys[i]
		if !w.t.Cluster && k.DB != p.db {
			p.add("SELECT", strconv.Itoa(k.DB))
			p.db = k.DB
			w.t.Witnesses.wroteTo(k.DB)
		}
		if k.restored {
			at[i] = p.add("PEXPIREAT", k.Name, strconv.FormatInt(k.ExpireAt, 10))
			continue
		}
		over := b.Over.At(k.Attempts)
		if over && !replaces {
			p.add("DEL", k.Name)
		}
		at[i] = p.restore(k, b.Value(k), over && replaces, absolute)
	}
	return at
}

// restore queues the RESTORE of a value and returns its index in the batch. absolute says that the server takes an absolute expiry, and how
// the value was used (ABSTTL, FREQ and IDLETIME, since 5.0). It writes the bytes of the command itself, since this is done for each key.
func (p *pipe) restore(k *Value, payload []byte, replace, absolute bool) int {
	expires := k.ExpireAt > 0
	words, ttl, usage, used := 4, int64(0), "", int64(0)
	if replace {
		words++
	}
	switch {
	case expires && absolute:
		words, ttl = words+1, k.ExpireAt
	case expires: // for now; the exact expiry follows
		ttl = max(k.ExpireAt-time.Now().UnixMilli(), 1)
	}
	switch {
	case absolute && k.Freq >= 0:
		words, usage, used = words+2, "FREQ", k.Freq
	case absolute && k.Idle > 0:
		words, usage, used = words+2, "IDLETIME", k.Idle
	}
	out := resp.AppendHeader(p.out, words)
	out = append(out, "$7\r\nRESTORE\r\n"...)
	out = resp.AppendArg(out, k.Name)
	out = resp.AppendInt(out, ttl)
	out = resp.AppendArg(out, payload)
	if replace {
		out = append(out, "$7\r\nREPLACE\r\n"...)
	}
	if expires && absolute {
		out = append(out, "$6\r\nABSTTL\r\n"...)
	}
	if usage != "" {
		out = resp.AppendArg(out, usage)
		out = resp.AppendInt(out, used)
	}
	p.out = out
	p.sent++
	return p.sent - 1
}

// Rebuild writes a value by commands in bounded chunks. It builds the value under a temporary key of the same slot, which is then renamed,
// so that no client sees half a value.
func (w *direct) Rebuild(ctx context.Context, k Value, over Overwrite, walk func(keyspace.Visitor) error) (lost []string, err error) {
	addr, err := w.t.AddrOf(k.Name)
	if err != nil {
		return nil, err
	}
	c, err := w.conn(ctx, addr)
	if err != nil {
		return nil, err
	}
	if err := w.reach(ctx, c, k.DB); err != nil {
		return nil, err
	}
	temp := tempKey(w.Checkpoints.link, k.Name)
	lost, err = w.build(ctx, c, temp, k, walk)
	if err == nil {
		if err = w.t.Claim.Hold(ctx); err == nil {
			err = rename(ctx, c, temp, k.Name, over.First)
		}
	}
	where := fmt.Sprintf("target %s: write key %s by commands", addr, keyspace.PrintableShort(k.Name))
	err = judgeBuilt(where, addr, err)
	if errors.As(err, new(*TooLargeError)) { // the server may have closed the connection
		w.drop(addr)
	}
	if errors.Is(err, keyspace.ErrGone) || errors.As(err, new(*RefusedError)) {
		if err := w.discard(ctx, addr, k.DB, temp); err != nil {
			return lost, fmt.Errorf("target %s: delete %s: %w", addr, temp, err)
		}
	}
	return lost, err
}

// discard deletes a temporary key.
func (w *direct) discard(ctx context.Context, addr string, db int, temp string) error {
	c, err := w.conn(ctx, addr)
	if err != nil {
		return err
	}
	if !w.t.Cluster && c.db != db {
		if err := c.dc.Do(ctx, arbitrary(c.dc, "SELECT", strconv.Itoa(db))).Error(); err != nil {
			w.drop(addr)
			return err
		}
		c.db = db
	}
	return c.dc.Do(ctx, arbitrary(c.dc, "DEL", temp)).Error()
}

// build writes a value under a temporary key. It returns keyspace.ErrGone if nothing is left of the value.
func (w *direct) build(ctx context.Context, c *conn, temp string, k Value, walk func(keyspace.Visitor) error) (lost []string, err error) {
	out := &chunks{ctx: ctx, t: w.t, c: c}
	if !w.t.Cluster && c.db != k.DB {
		c.db = k.DB
		if err := out.add("SELECT", strconv.Itoa(k.DB)); err != nil {
			return nil, err
		}
	}
	b := newRebuild([]byte(temp), w.t.Dialect, func(args ...[]byte) error { return out.add(copies(args)...) })
	b.most = w.t.Most()
	if err = out.add("DEL", temp); err == nil {
		if err = walk(b); err == nil {
			if err = b.Finish(k.ExpireAt); err == nil {
				err = out.flush()
			}
		}
	}
	if err != nil {
		return b.Lost, b.explained(err)
	}
	built, err := c.dc.Do(ctx, arbitrary(c.dc, "EXISTS", temp)).AsInt64()
	if err == nil && built == 0 { // the key, or every field of the hash, has expired meanwhile
		return nil, keyspace.ErrGone
	}
	return b.Lost, err
}

// copies returns copies of arguments, which a rebuild reuses.
func copies(args [][]byte) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = string(a)
	}
	return out
}

func rename(ctx context.Context, c *conn, temp, name string, over bool) error {
	if over {
		return c.dc.Do(ctx, arbitrary(c.dc, "RENAME", temp, name)).Error()
	}
	n, err := c.dc.Do(ctx, arbitrary(c.dc, "RENAMENX", temp, name)).AsInt64()
	if err == nil && n == 0 {
		return ErrExists
	}
	return err
}

// chunks sends commands over one connection in pipelines of bounded size. The first refusal ends it.
type chunks struct {
	ctx   context.Context
	t     *Target
	c     *conn
	cmds  []rueidis.Completed
	bytes int
}

func (o *chunks) add(args ...string) error {
	if err := o.t.Most().refuses(args...); err != nil {
		return err
	}
	size := longest(args)
	if size >= leastBound { // it is sent alone, so that it is known at which command the connection breaks
		if err := o.flush(); err != nil {
			return err
		}
	}
	for _, a := range args {
		o.bytes += len(a)
	}
	o.cmds = append(o.cmds, arbitrary(o.c.dc, args...))
	if o.bytes < 1<<20 && len(o.cmds) < 1000 {
		return nil
	}
	err := o.flush()
	switch {
	case err == nil || size < leastBound:
	case isProtocolError(err):
		err = o.t.unreadable(err, args...)
	case consequenceOf(err, toFollow) == unanswered && o.t.findBound(o.ctx, o.c.addr, size, size):
		err = o.t.Most().refuses(args...)
	}
	return err
}

func (o *chunks) flush() error {
	if len(o.cmds) == 0 {
		return nil
	}
	if err := o.t.take(o.ctx, o.bytes, len(o.cmds)); err != nil {
		return err
	}
	if err := o.t.Claim.Hold(o.ctx); err != nil { // reading the value, or waiting for the rate limit, may have taken longer than the claim lasts
		return err
	}
	res := o.c.dc.DoMulti(o.ctx, o.cmds...)
	o.cmds, o.bytes = o.cmds[:0], 0
	for _, r := range res {
		if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
	}
	return nil
}

// Remove deletes keys, none of which occurs twice, and their temporary keys.
func (w *direct) Remove(ctx context.Context, keys []keyspace.Key) error {
	byNode := map[string][]keyspace.Key{}
	for _, k := range keys {
		addr, err := w.t.AddrOf(k.Name)
		if err != nil {
			return err
		}
		byNode[addr] = append(byNode[addr], k)
	}
	for addr, keys := range byNode {
		if err := w.removeFrom(ctx, addr, keys); err != nil {
			return err
		}
	}
	return nil
}

func (w *direct) removeFrom(ctx context.Context, addr string, keys []keyspace.Key) error {
	c, err := w.conn(ctx, addr)
	if err != nil {
		return err
	}
	w.out = w.out[:0]
	for _, k := range keys {
		if err := w.reach(ctx, c, k.DB); err != nil {
			return err
		}
	}
	for _, k := range keys {
		if !w.t.Cluster && k.DB != c.db {
			w.out = append(w.out, arbitrary(c.dc, "SELECT", strconv.Itoa(k.DB)))
			c.db = k.DB
		}
		w.out = append(w.out, arbitrary(c.dc, "DEL", k.Name, tempKey(w.Checkpoints.link, k.Name)))
	}
	for _, r := range c.dc.DoMulti(ctx, w.out...) {
		if err := r.Error(); err != nil {
			w.drop(addr) // which database is selected in it is not known
			return fmt.Errorf("target %s: %w", addr, err)
		}
	}
	return nil
}
