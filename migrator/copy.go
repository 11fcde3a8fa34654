package migrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/reply"
	"surecut/internal/retry"
)

// sourceReader reads keys on the node that the link receives from, at known offsets.
type sourceReader struct {
	d        *endpoint.Deployment
	node     func() string // returns the address of the node, which changes with a failover
	retryFor time.Duration
	filter   *keyspace.Filter // knows the source's name of a key
}

// copied is one key as the source held it at an offset.
type copied struct {
	key      keyspace.Key
	payload  string // as DUMP returned it; "" where the key is absent, or its value was not asked for
	expireAt int64  // Unix ms; 0: never
	present  bool
	offset   int64 // replication offset at which the key was read
}

// read reads keys from the source and returns them in the order of the offsets as of which they were read. It reads them in a transaction
// that also asks for the offset; a cluster refuses transactions over several slots, so there each slot has one of its own. Without values,
// only presence and expiry are read. A source that is lost, or stands before the offset least, is tried again for a while: it may have
// failed over.
func (s *sourceReader) read(ctx context.Context, keys []keyspace.Key, values bool, least int64) (out []copied, err error) {
	again, err := sourceRetry(s.retryFor).Do(ctx, func() (again, err error) {
		out, err = s.readOnce(ctx, s.node(), keys, values)
		if err == nil && len(out) > 0 && out[0].offset < least {
			err = fmt.Errorf("source %s stands at offset %d, behind what it has sent (%d)", s.node(), out[0].offset, least)
		}
		if code := endpoint.Code(err); code == "" || endpoint.Passing(code) {
			return err, nil
		}
		return nil, err
	})
	return out, cmp.Or(again, err)
}

// sourceRetry is the policy for asking a source again that may answer soon.
func sourceRetry(patience time.Duration) retry.Policy {
	return retry.Policy{First: 100 * time.Millisecond, Most: 100 * time.Millisecond, For: patience}
}

func (s *sourceReader) readOnce(ctx context.Context, addr string, keys []keyspace.Key, values bool) (out []copied, err error) {
	facts, err := s.d.Server(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	client, err := s.d.Client(ctx, addr, 0)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", addr, err)
	}
	dc, release := client.Dedicate()
	defer release()
	var cmds []rueidis.Completed
	if s.d.Kind() == endpoint.Cluster {
		cmds = append(cmds, endpoint.Arbitrary(dc, "READONLY"))
	}
	groups := s.groups(keys)
	ends := make([]int, len(groups))
	for i, g := range groups {
		cmds = s.appendRead(cmds, dc, g, values, facts.OffsetCommand())
		ends[i] = len(cmds)
	}
	res := dc.DoMulti(ctx, cmds...)
	for i, g := range groups {
		replies, err := res[ends[i]-2].ToArray()
		if err != nil {
			return nil, fmt.Errorf("source %s: read %d keys at one offset: %w", addr, len(g), firstRefusal(res, err))
		}
		part, err := parseRead(addr, g, replies, values)
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out, nil
}

// position returns the replication offset at which the node stands.
func (s *sourceReader) position(ctx context.Context) (int64, error) {
	addr := s.node()
	facts, err := s.d.Server(ctx, addr)
	if err != nil {
		return 0, fmt.Errorf("source: %w", err)
	}
	client, err := s.d.Client(ctx, addr, 0)
	if err != nil {
		return 0, fmt.Errorf("source %s: %w", addr, err)
	}
	m, err := client.Do(ctx, endpoint.Arbitrary(client, facts.OffsetCommand()...)).ToMessage()
	if err != nil {
		return 0, fmt.Errorf("source %s: ask for its offset: %w", addr, err)
	}
	return endpoint.ParseOffset(m)
}

// groups splits keys into groups that one transaction may read: on a cluster one group for each slot, elsewhere a single one.
func (s *sourceReader) groups(keys []keyspace.Key) [][]keyspace.Key {
	if s.d.Kind() != endpoint.Cluster {
		return [][]keyspace.Key{keys}
	}
	var groups [][]keyspace.Key
	at := map[uint16]int{}
	for _, k := range keys {
		slot := keyspace.Slot(s.filter.SourceName(k.DB, k.Name))
		i, known := at[slot]
		if !known {
			i = len(groups)
			at[slot] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], k)
	}
	return groups
}

// appendRead appends the transaction that reads one group; its EXEC is the last command but one. TIME and PTTL, which counts from it, come
// before the values: DUMP of large values takes a while, in which the clock of TIME goes on, while that of PTTL stands still since 7.0.
func (s *sourceReader) appendRead(cmds []rueidis.Completed, b endpoint.Builder, keys []keyspace.Key, values bool, offset []string) []rueidis.Completed {
	add := func(args ...string) { cmds = append(cmds, endpoint.Arbitrary(b, args...)) }
	add("MULTI")
	add("TIME")
	read := "TYPE" // not EXISTS: the source counts calls, and preflight would take those for the application's, of several keys
	if values {
		read = "DUMP"
	}
	db := 0
	for _, name := range []string{"PTTL", read} {
		for _, k := range keys {
			if k.DB != db {
				add("SELECT", strconv.Itoa(k.DB))
				db = k.DB
			}
			add(name, s.filter.SourceName(k.DB, k.Name))
		}
	}
	add(offset...)
	add("EXEC")
	add("SELECT", "0")
	return cmds
}

// firstRefusal returns the first error reply, which says more than the EXECABORT that follows from it; exec if there is none.
func firstRefusal(res []rueidis.RedisResult, exec error) error {
	for _, r := range res {
		if e := r.Error(); e != nil {
			return e
		}
	}
	return exec
}

func parseRead(addr string, keys []keyspace.Key, replies []rueidis.RedisMessage, values bool) (out []copied, err error) {
	n := len(replies)
	now, err := reply.Time(&replies[0])
	if err != nil {
		return nil, fmt.Errorf("source %s: TIME: %w", addr, err)
	}
	offset, err := endpoint.ParseOffset(replies[n-1])
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", addr, err)
	}
	i, db := 1, 0
	next := func(k keyspace.Key) *rueidis.RedisMessage {
		if k.DB != db {
			i, db = i+1, k.DB
		}
		i++
		return &replies[i-1]
	}
	out = make([]copied, len(keys))
	for j, k := range keys {
		ttl, err := next(k).AsInt64()
		if err != nil {
			return nil, fmt.Errorf("source %s: read key %s: %w", addr, keyspace.PrintableShort(k.Name), err)
		}
		out[j] = copied{key: k, offset: offset, present: ttl != -2}
		if ttl >= 0 {
			out[j].expireAt = max(now.UnixMilli()+ttl, 1)
		}
	}
	for j, k := range keys {
		m := next(k)
		var exists bool
		if values {
			out[j].payload, err = m.ToString()
			if exists = err == nil; rueidis.IsRedisNil(err) {
				err = nil
			}
		} else {
			var kind string
			kind, err = m.ToString()
			exists = kind != "none"
		}
		if err != nil {
			return nil, fmt.Errorf("source %s: read key %s: %w", addr, keyspace.PrintableShort(k.Name), err)
		}
		out[j].present = out[j].present && exists
	}
	return out, nil
}

// copyKeys copies keys from the source to the target, in place of applying the commands to them that the stream holds up to the offset end.
// While the lanes of the keys stand still, it reads the source at end or later. Commands up to the offset of the copy are then not
// applied to these keys: the transaction that writes the copies writes this offset as the fence of each key. lost are the keys that the
// target cannot hold; they are reported, and are absent from the target.
func (d *dispatcher) copyKeys(ctx context.Context, keys []keyspace.Key, end int64) (lost []keyspace.Key, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	var at []piece
	for _, k := range keys {
		at = append(at, piece{slot: d.l.m.target.slot(k.Name)})
	}
	err = d.meet(ctx, d.lanesOf(at), func() error {
		got, err := d.l.source.read(ctx, keys, true, end)
		if err != nil {
			return err
		}
		if err := d.l.reserve(got[len(got)-1].offset); err != nil { // a restart must not apply commands whose effect the copies already have
			return err
		}
		var txs []*transaction
		if txs, lost, err = d.copyTransactions(got, end); err != nil {
			return err
		}
		if err := d.l.writer.commit(ctx, txs); err != nil {
			return err
		}
		for _, x := range txs {
			d.l.positions.acknowledge(x.units, x.end)
			for _, f := range x.failed {
				d.l.ledger.Note(f.call.key.DB, f.call.key.Name, f.call.args[0], "the copy was refused by the target: "+f.reply.Error())
				lost = append(lost, f.call.key)
			}
		}
		for _, c := range got {
			d.fences[c.key] = c.offset
			d.fenceEnd = min(d.fenceEnd, c.offset)
		}
		d.l.doubts.clean(keys)
		return nil
	})
	return lost, err
}

// copyTransactions returns the transactions that write copies. All copies of one unit are in one transaction, so that its checkpoint covers
// all of them. A key that the target has no encoding for is lost, and deleted there.
func (d *dispatcher) copyTransactions(got []copied, end int64) (txs []*transaction, lost []keyspace.Key, err error) {
	t := d.l.m.target
	byUnit := map[unit]*transaction{}
	for _, c := range got {
		slot := d.l.m.target.slot(c.key.Name)
		u := d.lane(slot).unitOf(slot)
		db, ok := d.l.scope.Map(c.key.DB)
		if !ok {
			return nil, nil, fmt.Errorf("the target has no database %d; map it with Filter.DBMap or Filter.DBPrefix", c.key.DB)
		}
		x := byUnit[u]
		switch {
		case x != nil:
		default:
			reached := max(end, d.resumed[u])
			i := slices.IndexFunc(txs, func(x *transaction) bool { return !t.cluster && x.end == reached })
			if i < 0 {
				i = len(txs)
				txs = append(txs, &transaction{slot: slot, end: reached, fence: map[keyspace.Key]int64{}})
			}
			x = txs[i]
			x.units = append(x.units, u)
		}
		byUnit[u] = x
		x.fence[c.key] = c.offset
		d.lane(slot).keepFence(u, c.key)
		if err := d.holdCopy(&c); err != nil {
			return nil, nil, err
		}
		x.calls = append(x.calls, call{db: db, args: []string{"DEL", c.key.Name}, key: c.key})
		if !c.present {
			continue
		}
		payload, err := t.payloads.dumped(c.payload)
		if err != nil {
			d.l.ledger.Note(c.key.DB, c.key.Name, "", "not copied: "+err.Error())
			lost = append(lost, c.key)
			continue
		}
		x.calls = append(x.calls, call{db: db, args: restoreArgs(t.dialect, c.key.Name, payload, c.expireAt), key: c.key, expires: c.expireAt})
		if c.expireAt > 0 && !t.dialect.Has(command.AbsTTL) {
			x.calls = append(x.calls, call{db: db, args: []string{"PEXPIREAT", c.key.Name, strconv.FormatInt(c.expireAt, 10)}, key: c.key})
		}
	}
	return txs, lost, nil
}

// restoreArgs returns a RESTORE with an absolute expiry (ABSTTL, since 5.0). For older targets it is without expiry, and PEXPIREAT follows.
func restoreArgs(dialect *command.Dialect, key, payload string, expireAt int64) []string {
	if !dialect.Has(command.AbsTTL) {
		return []string{"RESTORE", key, "0", payload}
	}
	return []string{"RESTORE", key, strconv.FormatInt(expireAt, 10), payload, "ABSTTL"}
}

// lostWith says whether nothing can be copied in place of a call that failed, and why.
func (d *dispatcher) lostWith(f failure) (why string, lost bool) {
	why = d.l.cannotCopy()
	switch {
	case f.call.message:
		return "", true
	case why != "":
		return "; " + why, true
	case f.call.unnamed && len(f.call.keys()) == 0:
		return "; which keys it writes is not known, so that they cannot be copied", true
	}
	return "", false
}

// settleDoubts copies the keys of calls that failed, and counts their commands as repaired instead of applied.
func (d *dispatcher) settleDoubts(ctx context.Context, doubts []failure) error {
	var keys []keyspace.Key
	seen := map[keyspace.Key]bool{}
	commands := map[keyspace.Key]int64{} // number of commands that the copy of a key stands for
	for _, f := range doubts {
		name := ""
		if len(f.call.args) > 0 {
			name = keyspace.PrintableShort(f.call.args[0])
		}
		d.l.ledger.Applied.Add(-f.call.commands)
		if why, lost := d.lostWith(f); lost {
			d.l.ledger.Reported.Add(f.call.commands)
			d.l.ledger.Note(f.call.key.DB, f.call.key.Name, name, "refused by the target: "+f.reply.Error()+why)
			continue
		}
		if f.call.unnamed && endpoint.Code(f.reply) == "NOSCRIPT" {
			d.l.ledger.Note(f.call.key.DB, "", name, "the target does not know the script, and its text has not been seen: its declared keys were copied, keys that it does not declare were not")
		}
		level, reply := slog.LevelWarn, f.reply
		if errors.Is(reply, errExpired) || errors.Is(reply, errKeyGone) || errors.Is(reply, errInterrupted) { // to be expected, not a refusal
			level = slog.LevelDebug
		}
		d.l.log.Log(ctx, level, "a command was refused by the target; its keys are copied instead", "command", name,
			"key", keyspace.PrintableShort(f.call.key.Name), "reply", reply)
		d.l.ledger.Repaired.Add(f.call.commands)
		commands[f.call.key] += f.call.commands
		for _, k := range f.call.keys() {
			if !seen[k] && d.l.scope.Carries(k) {
				seen[k] = true
				keys = append(keys, k)
			}
		}
	}
	d.l.doubts.remember(keys)
	for len(keys) > 0 {
		n := min(len(keys), 100)
		lost, err := d.copyKeys(ctx, keys[:n], d.l.positions.dispatchedTo().offset)
		if err != nil {
			return err
		}
		for _, k := range lost {
			d.l.ledger.Repaired.Add(-commands[k])
			d.l.ledger.Reported.Add(commands[k])
			delete(commands, k)
		}
		keys = keys[n:]
	}
	return d.l.doubts.settled()
}
